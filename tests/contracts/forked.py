"""Processes for tests, forked from one that has imported everything: that takes longer than most of what they do."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from federation import killpoints

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "pytest",  # without xdist it is imported once more as the main module of each process
        "federation.cli.main",
        "federation.services.site_server",
        "federation.replication.verify",
        "federation.api",
    ]
)

pipe = _FORKS.Pipe


class ForkedProcess:
    """A process that calls ``target``, and ends by ``kill -9`` at the killpoint ``kill``.

    It has this process's environment. ``settings`` gives constants of modules other values there:
    ``{"module:NAME": value}``.
    """

    def __init__(
        self,
        target: Callable[..., object],
        *arguments: object,
        kill: str = "",
        settings: Mapping[str, object] | None = None,
    ) -> None:
        environment = {**os.environ, "FEDERATION_KILL": kill}
        self._process = _FORKS.Process(
            target=_act, args=(environment, dict(settings or {}), target, arguments), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def poll(self) -> int | None:
        """As of `subprocess`: None while it runs, minus the signal's number when it was killed."""
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    def has_ended(self, timeout_s: float) -> bool:
        """Whether it has ended by itself within that time."""
        self._process.join(timeout_s)
        return self._process.exitcode is not None

    def wait(self, timeout_s: float = 120.0) -> int:
        """The return code, once it has ended."""
        self._process.join(timeout_s)
        assert self._process.exitcode is not None, f"it still runs after {timeout_s} s"
        return self._process.exitcode

    def end(self) -> None:
        """End it if it still runs, and let go of what it used."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._process.close()


def run_command(*arguments: object, kill: str = "", errors: Path | None = None) -> int:
    """The exit code of ``federation ARGUMENTS`` in a process of its own, and its standard error in ``errors``."""
    process = ForkedProcess(_command, errors, *map(str, arguments), kill=kill)
    try:
        return process.wait()
    finally:
        process.end()


def _act(
    environment: Mapping[str, str],
    settings: Mapping[str, object],
    target: Callable[..., object],
    arguments: tuple[object, ...],
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    importlib.reload(killpoints)  # it has read the environment of before
    for name, value in settings.items():
        module, _, attribute = name.partition(":")
        assert hasattr(importlib.import_module(module), attribute), name
        setattr(importlib.import_module(module), attribute, value)
    target(*arguments)


def _command(errors: Path | None, *arguments: str) -> None:
    from federation.cli.main import main

    if errors is not None:
        with errors.open("wb") as opened:
            os.dup2(opened.fileno(), sys.stderr.fileno())
    sys.exit(main(arguments))
