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
        if (at == "files" and event.phase == "files" and event.done > 100_000) or at == event.phase == "rows":
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


def _die(*_args: object, **_options: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _after(function: Callable[..., object]) -> Callable[..., None]:
    def run(*args: object, **options: object) -> None:
        function(*args, **options)
        _die()

    return run


def _set_trap(at: str) -> None:
    """Have the function that does the step ``at`` kill the process, before or after it has done it."""
    match at:
        case "seal":
            assemble.seal = _die
        case "sealed":
            assemble.seal = _after(assemble.seal)
        case "bag":
            assemble.write_bag = assemble.extend_bag = _die
        case "bagged":
            assemble.write_bag, assemble.extend_bag = _after(assemble.write_bag), _after(assemble.extend_bag)
        case "commit":
            bag.recover_bag = lambda _directory, staging: _die() if (staging / "COMMIT").exists() else False
        case "moving":
            assemble._move_payload = _die
        case "discard":
            workspace.Workspace.discard = _die
