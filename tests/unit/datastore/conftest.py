"""Stores and sources for tests of the datastore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from federation.datastore import Datastore, TransferJournal


@attrs.define
class ScriptedSource:
    """Yields ``chunks``; an exception among them is raised at its place. Counts how often it was opened."""

    name: str
    chunks: tuple[bytes | BaseException, ...]
    opened: int = 0
    on_chunk: Callable[[int], None] = lambda number: None

    @contextmanager
    def open(self) -> Iterator[Iterator[bytes]]:
        self.opened += 1
        yield self._iterate()

    def _iterate(self) -> Iterator[bytes]:
        for number, chunk in enumerate(self.chunks):
            self.on_chunk(number)
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk


@pytest.fixture
def scripted() -> type[ScriptedSource]:
    return ScriptedSource


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Datastore]:
    """One suite, every backend: a directory and a remote-like store."""
    if request.param == "local":
        yield Datastore(str(tmp_path / "store"))
    else:
        root = f"/{tmp_path.name}"
        store = Datastore(f"memory:/{root}")
        yield store
        for path, _info in list(store.walk()):
            store.remove(path)


@pytest.fixture
def local_store(tmp_path: Path) -> Datastore:
    return Datastore(str(tmp_path / "store"))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[TransferJournal]:
    with TransferJournal(tmp_path / "transfer.sqlite") as journal:
        yield journal


@pytest.fixture
def names_below() -> Callable[[Datastore], list[str]]:
    """Every file of a store, hidden ones too, by path below its root."""

    def names(store: Datastore) -> list[str]:
        return sorted(path for path, _info in store.walk())

    return names
