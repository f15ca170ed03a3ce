"""Makes and extends snapshots in a process that ends by ``kill -9`` on the way, or waits to be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from snapshot_sites import UNIVERSE, make_sites

from federation.snapshot import assemble, bag, workspace
from federation.snapshot.progress import SnapshotProgress
from federation.snapshot.selection import Selection

__all__ = ["make_until_killed", "make_whole"]


def make_until_killed(root: str, verb: str, at: str) -> None:
    """Create ``root/snap``, or extend it, up to the step ``at``."""

    def progress(event: SnapshotProgress) -> None:
        if at == event.phase and (at == "rows" or (at == "files" and event.done > 100_000)):
            _die()

    _set_trap(at)
    sites = make_sites(Path(root) / "sites")
    with sites.source() as source:
        target = Path(root) / "snap"
        if verb == "create":
            assemble.create_snapshot(
                source, UNIVERSE, target, Selection(ids=sites.raws), progress=progress, workers=1
            )
        else:
            assemble.extend_snapshot(
                source, target, Selection(ids=sites.calexps), progress=progress, workers=1
            )


def make_whole(ready: Connection, root: str) -> None:
    """Create ``root/run/snap`` with everything, at a fixed time; ``ready`` is told when it begins."""
    sites = make_sites(Path(root) / "sites")
    selection = Selection(ids=(*sites.raws, *sites.calexps), calibrations=("Cam/calib",))
    ready.send("ready")
    with sites.source() as source:
        assemble.create_snapshot(
            source, UNIVERSE, Path(root) / "run" / "snap", selection, workers=1, clock=lambda: 10**18
        )


def _set_trap(at: str) -> None:
    """Have the function that does the step ``at`` kill the process, before or after it has done it."""
    for owner, name, kill in TRAPS.get(at, ()):
        setattr(owner, name, kill(getattr(owner, name)))


def _before(_function: Callable[..., object]) -> Callable[..., object]:
    return _die


def _after(function: Callable[..., object]) -> Callable[..., object]:
    def run(*args: object, **options: object) -> None:
        function(*args, **options)
        _die()

    return run


def _once_committed(_function: Callable[..., object]) -> Callable[..., object]:
    def recover(_directory: Path, staging: Path) -> bool:
        if (staging / "COMMIT").exists():
            _die()
        return False

    return recover


def _die(*_args: object, **_options: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


#: by step: the functions that do it, and when the process ends; "rows" and "files" are steps of the progress
TRAPS: dict[str, tuple[tuple[object, str, Callable[[Callable[..., object]], Callable[..., object]]], ...]] = {
    "seal": ((assemble, "seal", _before),),
    "sealed": ((assemble, "seal", _after),),
    "bag": ((assemble, "write_bag", _before), (assemble, "extend_bag", _before)),
    "bagged": ((assemble, "write_bag", _after), (assemble, "extend_bag", _after)),
    "commit": ((bag, "recover_bag", _once_committed),),
    "moving": ((assemble, "_move_payload", _before),),
    "discard": ((workspace.Workspace, "discard", _before),),
}
