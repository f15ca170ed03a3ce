"""Compares the files of a datastore with what the registry says of them: by name and size, or by every byte."""

from __future__ import annotations

import enum
import sqlite3
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import sqlalchemy as sa

from federation.datastore.checksum import Digester
from federation.datastore.durable import is_temporary
from federation.datastore.throttle import Throttle
from federation.errors import CorruptionError, FederationError, NotFoundError
from federation.model.system_tables import system_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from federation.datastore import Datastore
    from federation.datastore.backend import FileInfo
    from federation.registry.registry import Registry

_T = TypeVar("_T")

__all__ = ["FileCheck", "Finding", "Trouble", "withdraw"]

_BATCH = 2000
#: in memory, at a time, of files that are read
_WORKERS = 4


class Trouble(enum.StrEnum):
    """What is wrong with a file.

    MISSING is recorded and not there, CHANGED has another size and CORRUPT other bytes than recorded, UNREADABLE can't
    be read. RETIRED is of a dataset that was retired and can be restored, SURPLUS is there and not recorded;
    INTERRUPTED is what a killed writer left.
    """

    MISSING = "missing"
    CHANGED = "changed"
    CORRUPT = "corrupt"
    UNREADABLE = "unreadable"
    RETIRED = "retired"
    SURPLUS = "surplus"
    INTERRUPTED = "interrupted"

    @property
    def is_loss(self) -> bool:
        """Whether the registry promises what the datastore doesn't hold."""
        return self not in (Trouble.RETIRED, Trouble.SURPLUS, Trouble.INTERRUPTED)


@attrs.frozen
class Finding:
    """One file that is not as it should be; ``dataset_id`` and ``schema`` are those of the row that records it.

    ``modified_s`` (seconds since 1970) is when a file that nothing records was last changed.
    """

    trouble: Trouble
    uri: str
    detail: str = ""
    dataset_id: uuid.UUID | None = None
    schema: str = ""
    size_bytes: int = 0
    modified_s: float | None = None


@attrs.frozen
class _Row:
    """A recorded file."""

    uri: str
    dataset_id: bytes
    schema: str
    size_bytes: int | None
    checksum: str | None


class FileCheck:
    """One comparison of a site's datastore with its registry.

    Iterating gives the findings as they come; afterwards ``files`` and ``size_bytes`` are what was recorded and looked
    at, ``counts`` what was found. ``retired`` are files of retired datasets, by path below the root, and of which
    retirement. Memory does not grow with the number of recorded files. A site that works meanwhile is no trouble: what
    seems wrong is looked at once more before it is told.
    """

    def __init__(
        self,
        registry: Registry,
        datastore: Datastore,
        *,
        deep: bool = False,
        rate_bytes_s: float | None = None,
        progress: Callable[[int], None] | None = None,
        retired: Mapping[str, str] | None = None,
    ) -> None:
        self._registry, self._datastore, self._deep = registry, datastore, deep
        self._retired = retired or {}
        self._throttle = Throttle(rate_bytes_s)
        self._progress = progress or (lambda _files: None)
        self.files = 0
        self.size_bytes = 0
        self.counts: Counter[Trouble] = Counter()

    def __iter__(self) -> Iterator[Finding]:
        self._datastore.check_readable()
        # an unnamed database is a temporary file, which SQLite removes
        with closing(sqlite3.connect("")) as known:
            known.execute(
                "CREATE TABLE file (uri TEXT, dataset_id BLOB, schema TEXT, size_bytes INTEGER, checksum TEXT, "
                "seen INTEGER DEFAULT 0, PRIMARY KEY (uri, dataset_id)) WITHOUT ROWID"
            )
            for batch in _batches(self._recorded()):
                self.files += len(batch)
                known.executemany(
                    "INSERT OR IGNORE INTO file VALUES (?, ?, ?, ?, ?, 0)",
                    (attrs.astuple(row) for row in batch),
                )
            for found in (self._there(known), self._elsewhere(known), self._not_there(known)):
                for finding in found:
                    self.counts[finding.trouble] += 1
                    yield finding

    def _recorded(self) -> Iterator[_Row]:
        """Every file that the registry says this site has; paths below the root are made relative."""
        for held in self._registry.held():
            if held.owned:
                yield from self._rows(held.physical, held.schema.name)

    def _rows(self, physical: str, schema: str, uris: Iterable[str] = ()) -> Iterator[_Row]:
        table = self._registry.physical_tables(physical, system_tables())["artifact"]
        chosen = sa.select(table.c.uri, table.c.dataset_id, table.c.size_bytes, table.c.checksum).where(
            table.c.site == self._registry.site, table.c.present
        )
        wanted = list(uris)
        if wanted:
            chosen = chosen.where(table.c.uri.in_(wanted))
        with self._registry.database.read((physical,)) as connection:
            rows = connection.execution_options(yield_per=_BATCH).execute(chosen)
            for uri, dataset_id, size_bytes, checksum in rows:
                own = self._datastore.contains(uri)
                yield _Row(
                    self._datastore.relative(uri) if own else uri,
                    dataset_id.bytes,
                    schema,
                    size_bytes,
                    checksum,
                )

    def _there(self, known: sqlite3.Connection) -> Iterator[Finding]:
        """Go through the files of the datastore."""
        done = 0
        for batch in _batches(self._datastore.walk()):
            infos = dict(batch)
            marks = ", ".join("?" * len(infos))
            found: dict[str, list[_Row]] = {}
            for row in known.execute(
                f"SELECT uri, dataset_id, schema, size_bytes, checksum FROM file WHERE uri IN ({marks})",
                [*infos],
            ):
                found.setdefault(row[0], []).append(_Row(*row))
            known.executemany("UPDATE file SET seen = 1 WHERE uri = ?", ((uri,) for uri in found))
            unknown = [path for path in infos if path not in found]
            yield from self._unrecorded(unknown, infos)
            rows = [row for same in found.values() for row in same]
            self.size_bytes += sum(infos[path].size_bytes for path in found)
            yield from self._compared(rows, infos)
            done += len(found)
            self._progress(done)

    def _unrecorded(self, paths: list[str], infos: dict[str, FileInfo]) -> Iterator[Finding]:
        """Files that no row names: still none, now that they are listed."""
        late = {
            row.uri
            for held in self._registry.held()
            if held.owned and paths
            for row in self._rows(
                held.physical, held.schema.name, [*paths, *(self._datastore.resolve(path) for path in paths)]
            )
        }
        for path in paths:
            if path not in late:
                info = infos[path]
                trouble, detail = Trouble.SURPLUS, ""
                if is_temporary(path.rpartition("/")[2]):
                    trouble = Trouble.INTERRUPTED
                elif path in self._retired:
                    trouble, detail = Trouble.RETIRED, f"as {self._retired[path]}"
                yield Finding(trouble, path, detail, size_bytes=info.size_bytes, modified_s=info.modified_s)

    def _compared(self, rows: list[_Row], infos: dict[str, FileInfo]) -> Iterator[Finding]:
        whole = []
        for row in rows:
            size = infos[row.uri].size_bytes
            if row.size_bytes is not None and size != row.size_bytes:
                yield self._finding(Trouble.CHANGED, row, f"{size} bytes, {row.size_bytes} are recorded")
            else:
                whole.append(row)
        if self._deep:
            yield from self._read(whole)

    def _elsewhere(self, known: sqlite3.Connection) -> Iterator[Finding]:
        """Files outside of the datastore, which were ingested where they lie."""
        rows = known.execute(
            "SELECT uri, dataset_id, schema, size_bytes, checksum FROM file WHERE seen = 0 AND uri LIKE '%://%'"
        )
        for batch in _batches(_Row(*row) for row in rows):
            yield from self._read(batch)
            known.executemany("UPDATE file SET seen = 1 WHERE uri = ?", ((row.uri,) for row in batch))

    def _not_there(self, known: sqlite3.Connection) -> Iterator[Finding]:
        rows = known.execute(
            "SELECT uri, dataset_id, schema, size_bytes, checksum FROM file WHERE seen = 0 ORDER BY uri"
        )
        for row in (_Row(*row) for row in rows):
            if self._datastore.info(row.uri) is None and self._is_recorded(row):
                yield self._finding(Trouble.MISSING, row, "")

    def _is_recorded(self, row: _Row) -> bool:
        """Whether a row is still there: its dataset may have been removed since."""
        uris = [row.uri] if "://" in row.uri else [row.uri, self._datastore.resolve(row.uri)]
        return any(
            one.dataset_id == row.dataset_id
            for held in self._registry.held()
            if held.owned and held.schema.name == row.schema
            for one in self._rows(held.physical, row.schema, uris)
        )

    def _read(self, rows: list[_Row]) -> Iterator[Finding]:
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="check-file") as pool:
            for row, error in zip(rows, pool.map(self._trouble_of, rows), strict=True):
                if error is None or not self._is_recorded(row):
                    continue
                kind = Trouble.UNREADABLE
                if isinstance(error, NotFoundError):
                    kind = Trouble.MISSING
                elif isinstance(error, CorruptionError):
                    kind = Trouble.CORRUPT
                yield self._finding(kind, row, error.message)

    def _trouble_of(self, row: _Row) -> FederationError | None:
        """What is wrong with the bytes of a file."""
        digester = Digester(row.checksum)
        try:
            source = self._datastore.source_of(row.uri)
            with source.open() as chunks:
                for chunk in chunks:
                    if not self._deep:  # outside of the datastore: that it opens must do
                        return None
                    digester.update(chunk)
                    self._throttle.passed(len(chunk))
            if self._deep:
                digester.check(row.uri, row.size_bytes)
        except FederationError as error:
            return error
        return None

    def _finding(self, trouble: Trouble, row: _Row, detail: str) -> Finding:
        return Finding(
            trouble, row.uri, detail, uuid.UUID(bytes=row.dataset_id), row.schema, row.size_bytes or 0
        )


def withdraw(
    registry: Registry, datastore: Datastore, findings: Iterable[Finding], *, older_than_s: float
) -> tuple[int, int]:
    """Make the registry promise no lost file, and remove what killed writers left ``older_than_s`` ago or before.

    A file that is withdrawn is wanted again where another site has it. Surplus files and damaged bytes stay. Returns
    (rows withdrawn, leftovers removed).
    """
    lost: dict[str, set[uuid.UUID]] = {}
    removed = 0
    for finding in findings:
        if finding.trouble is Trouble.INTERRUPTED:
            if finding.modified_s is not None and finding.modified_s <= time.time() - older_than_s:
                try:
                    datastore.remove(finding.uri)
                except NotFoundError:
                    continue  # its writer has come to its end
                removed += 1
        elif finding.trouble.is_loss and finding.trouble is not Trouble.UNREADABLE and finding.dataset_id:
            lost.setdefault(finding.schema, set()).add(finding.dataset_id)
    count = 0
    for schema, ids in lost.items():
        with registry.transaction(schema) as tx:
            rows: list[dict[str, Any]] = [
                {**row, "present": False}
                for row in tx.select(
                    "artifact", ("dataset_id", "site"), [(one, registry.site) for one in ids]
                )
            ]
            tx.put("artifact", rows)
            count += len(rows)
    return count, removed


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    batch: list[_T] = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
