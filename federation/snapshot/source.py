"""Where a snapshot's rows and files come from: what creation asks for, and the federation as the one that answers."""

from __future__ import annotations

import concurrent.futures
import functools
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import pyarrow as pa

from federation.datastore.source import ForeignSource, is_readable_elsewhere
from federation.errors import QueryError, UnavailableError, UserError
from federation.model.lineage import Direction
from federation.model.logical import LogicalType
from federation.model.position import Position
from federation.model.sql_text import listed, quoted
from federation.request_context import RequestPool
from federation.snapshot.lookup import Answer, RowsByIds, RowsByKeys
from federation.snapshot.manifest import Refusal
from federation.snapshot.packed_ids import ID_BYTES, PackedIds
from federation.snapshot.reach import EDGES_MAX, SiteWalks, walk_readers

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from federation.datastore.source import Source
    from federation.datastore.store import Datastore
    from federation.execution.coordinator import Coordinator
    from federation.model.catalog import SchemaCatalog
    from federation.model.logical import ColumnDef, TableDef
    from federation.model.position import SchemaId
    from federation.snapshot.lookup import Lookup, Requests
    from federation.snapshot.reach import Reach
    from federation.wire.streams import FetchStream

__all__ = ["FederatedSource", "SnapshotSource"]

#: keys in one fragment: with more, its rows take much memory
KEYS_MAX = 2500
#: rows that are made Python values at a time
_ANSWER_ROWS = 2000
_KEY_TYPES = {LogicalType.INT64: pa.int64(), LogicalType.STRING: pa.string(), LogicalType.UUID: pa.uuid()}


class SnapshotSource(Protocol):
    """What a snapshot is made from."""

    def seeds(self, sql: str) -> Iterable[uuid.UUID]:
        """The dataset ids that a statement selects."""

    def lookup(self, requests: Requests) -> Iterable[Answer]:
        """The answers of all schemas to one round of lookups, in the order of these; gone through once."""

    def reach(
        self,
        direction: Direction,
        seeds: Iterable[uuid.UUID],
        *,
        depth: int | None = None,
        stop_at: Collection[str] = (),
        edges_max: int = EDGES_MAX,
    ) -> Reach:
        """What lies upstream or downstream of datasets."""

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What was left out because the caller may not read it."""

    def positions(self) -> tuple[Position, ...]:
        """How far the change log of each schema has been applied, at least, to what `lookup` answers."""

    def artifact_sources(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Source, ...]:
        """Where to read one dataset's file, best first, from its rows of the ``artifact`` table."""


@attrs.frozen
class _Fragment:
    """One statement for one site."""

    site: str
    schema: SchemaId
    table: TableDef
    sql: str
    keys: Mapping[str, pa.Table] = attrs.field(eq=False)
    lookup: Lookup


class FederatedSource:
    """All sites of a coordinator; each schema is read at its owner, else at its nearest replica.

    The catalog is taken once, so that every round asks the same sites; `UnavailableError` when a site does not answer
    it, unless ``partial``; ``purpose`` is what would lack its rows, ``remedy`` what to do. ``stores``
    are datastores that can be read from here without asking their sites.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        *,
        stores: Mapping[str, Datastore] | None = None,
        partial: bool = False,
        purpose: str = "snapshot",
        remedy: str = "try again when it is back",
        workers: int = 4,
    ) -> None:
        self._coordinator = coordinator
        self._stores = dict(stores or {})
        self._workers = workers
        self._catalog = coordinator.catalog()
        if self._catalog.unreachable and not partial:
            site, reason = next(iter(self._catalog.unreachable.items()))
            raise UnavailableError(
                f"site {site} does not answer, so the {purpose} might lack what it holds: {reason}",
                hint=remedy,
            )
        self._holders = {schema: self._holder(schema) for schema in self._catalog.schemas}
        self._readers = walk_readers(self._catalog)

    def _holder(self, schema: SchemaId) -> tuple[str, SchemaCatalog]:
        holders = self._catalog.holders(schema)
        return next((holder for holder in holders if holder[0] == schema.site), holders[0])

    def seeds(self, sql: str) -> Iterator[uuid.UUID]:
        table = self._coordinator.query(sql).table
        if "dataset_id" not in table.column_names:
            raise QueryError(
                f"the selection gives columns {', '.join(table.column_names)} and no dataset_id",
                hint="select dataset_id",
                sql=sql,
            )
        column = table.column("dataset_id")
        if column.type != pa.uuid():
            raise QueryError(f"dataset_id of the selection is {column.type}, not a UUID", sql=sql)
        return (
            value
            for start in range(0, len(column), _ANSWER_ROWS)
            for value in column.slice(start, _ANSWER_ROWS).to_pylist()
            if value is not None
        )

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The schemas that were left out, because the caller may not read them, and who can change that."""
        return tuple(
            Refusal(f"schema {schema}", reason, remedy)
            for schema, (reason, remedy) in sorted(self._catalog.forbidden.items())
        )

    @property
    def refused(self) -> tuple[str, ...]:
        """The schemas that were left out, because the caller may not read them."""
        return tuple(sorted(map(str, self._catalog.forbidden)))

    @property
    def missing(self) -> tuple[str, ...]:
        """The sites that did not answer, of which only replicas are read."""
        return tuple(sorted(self._catalog.unreachable))

    def positions(self) -> tuple[Position, ...]:
        return tuple(
            Position(schema.site, schema.name, held.epoch, held.lsn)
            for schema, (_site, held) in sorted(self._holders.items())
        )

    def lookup(self, requests: Requests) -> Iterator[Answer]:
        """Rows arrive in parts; a few parts are under way at a time, and kept as they came until they are wanted."""
        with RequestPool(self._workers, "snapshot") as pool:
            coming: deque[concurrent.futures.Future[Iterator[Answer] | _Part]] = deque()
            try:
                for call in self._calls(requests):
                    coming.append(pool.submit(call))
                    if len(coming) > self._workers:
                        yield from _answers(coming.popleft().result())
                while coming:
                    yield from _answers(coming.popleft().result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # the first failure ends the round
                raise

    def _calls(self, requests: Requests) -> Iterator[Callable[[], Iterator[Answer] | _Part]]:
        for lookup in requests:
            if isinstance(lookup, RowsByIds) and lookup.follow:
                yield functools.partial(self._walked, lookup)
            else:
                for fragment in self._fragments(lookup):
                    yield functools.partial(self._run, fragment)

    def reach(
        self,
        direction: Direction,
        seeds: Iterable[uuid.UUID],
        *,
        depth: int | None = None,
        stop_at: Collection[str] = (),
        edges_max: int = EDGES_MAX,
    ) -> Reach:
        """What lies upstream or downstream of datasets, as `SiteWalks.walk` finds it."""
        walks = SiteWalks(
            self._coordinator.clients, self._readers, user=self._coordinator.user, describe=self._types,
            workers=self._workers,
        )  # fmt: skip
        return walks.walk(direction, seeds, depth=depth, stop_at=stop_at, edges_max=edges_max)

    def describe(self, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, tuple[str, str]]:
        """Dataset type and run of the datasets that some site knows."""
        wanted = frozenset(ids)
        if not wanted:
            return {}
        answers = self.lookup((RowsByIds("dataset", "dataset_id", wanted),))
        return {
            row["dataset_id"]: (row["dataset_type"], row["run"])
            for answer in answers
            for row in answer.mappings()
        }

    def _types(self, ids: list[uuid.UUID]) -> dict[bytes, str]:
        return {dataset_id.bytes: found for dataset_id, (found, _) in self.describe(ids).items()}

    def artifact_sources(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Source, ...]:
        present = [row for row in rows if row["present"]]
        order = {site.site: number for number, site in enumerate(self._catalog.sites)}
        present.sort(key=lambda row: order.get(row["site"], len(order)))
        sources: dict[str, Source] = {}
        for row in present:
            store = self._stores.get(row["site"])
            if store is not None and store.contains(row["uri"]):
                source: Source = store.source(row["uri"])
                sources.setdefault(source.name, source)
        for row in present:
            # a file: URL means something on that site's own computers only
            if is_readable_elsewhere(row["uri"]):
                source = ForeignSource(row["uri"])
                sources.setdefault(source.name, source)
        for row in present:
            fetch = getattr(self._coordinator.clients.get(row["site"]), "fetch", None)
            if fetch is not None:
                source = _SiteSource(fetch, row["site"], row["dataset_id"])
                sources.setdefault(source.name, source)
        return tuple(sources.values())

    def _walked(self, lookup: RowsByIds) -> Iterator[Answer]:
        """The edges that a lookup leads to, by schema."""
        direction = Direction.UPSTREAM if lookup.follow == "input_id" else Direction.DOWNSTREAM
        reach = self.reach(direction, lookup.ids, depth=lookup.depth, stop_at=lookup.stop_at)
        _release()
        return reach.answers(direction)

    def _fragments(self, lookup: Lookup) -> Iterator[_Fragment]:
        column, values = _driving_column(lookup)
        for schema, (site, held) in sorted(self._holders.items()):
            table = held.table(lookup.table)
            if table is None:
                continue
            if column not in table.stored_names:
                raise UserError(
                    f"table {table.name} of {schema} has no column {column}, by which its rows are looked up",
                    hint=f"leave it out, or add a column {column}",
                )
            names = listed(table.stored_names)
            sql = (
                f'SELECT {names} FROM "{schema}".{quoted(table.name)} '
                f"WHERE {quoted(column)} IN (SELECT value FROM param.k)"
            )
            for keys in _key_arrays(values, table.column(column)):
                yield _Fragment(site, schema, table, sql, {"k": pa.table({"value": keys})}, lookup)

    def _run(self, fragment: _Fragment) -> _Part:
        found = self._coordinator.execute_on(
            fragment.site, fragment.sql, fragment.table.stored, fragment.keys
        )
        _release()
        return _Part(fragment, found)


@attrs.frozen(eq=False)
class _Part:
    """Rows of one fragment, as they came."""

    fragment: _Fragment
    table: pa.Table


def _answers(found: Iterator[Answer] | _Part) -> Iterator[Answer]:
    if not isinstance(found, _Part):
        yield from found
        return
    fragment = found.fragment
    names = fragment.table.stored_names
    for start in range(0, found.table.num_rows, _ANSWER_ROWS):
        part = found.table.slice(start, _ANSWER_ROWS)
        rows = zip(*(_values(part.column(name)) for name in names), strict=True)
        yield Answer(
            fragment.lookup.table, fragment.schema, names, tuple(_wanted(fragment.lookup, names, rows))
        )


class _SiteSource:
    """A dataset's file, read from a site's datastore through the site."""

    def __init__(self, fetch: Callable[[uuid.UUID], FetchStream], site: str, dataset_id: uuid.UUID) -> None:
        self._fetch = fetch
        self._dataset_id = dataset_id
        self.name = f"dataset {dataset_id} at site {site}"

    @contextmanager
    def open(self) -> Iterator[Iterator[bytes]]:
        with self._fetch(self._dataset_id) as stream:
            yield iter(stream)


def _release() -> None:
    """Give memory back that Arrow keeps for each thread, as much as it once needed."""
    pa.default_memory_pool().release_unused()


def _driving_column(lookup: Lookup) -> tuple[str, PackedIds | list[Any]]:
    """The column whose values go to the sites: the one with the most different values."""
    if isinstance(lookup, RowsByIds):
        return lookup.column, lookup.ids if isinstance(lookup.ids, PackedIds) else PackedIds(lookup.ids)
    if isinstance(lookup, RowsByKeys):
        by_column = {name: {key[place] for key in lookup.keys} for place, name in enumerate(lookup.columns)}
        name = max(by_column, key=lambda name: len(by_column[name]))
        return name, sorted(by_column[name])
    return lookup.column, sorted(lookup.names)


def _wanted(
    lookup: Lookup, names: Sequence[str], rows: Iterator[tuple[Any, ...]]
) -> Iterator[tuple[Any, ...]]:
    """The rows that match all columns of a lookup; the driving column was matched at the site."""
    if not isinstance(lookup, RowsByKeys) or len(lookup.columns) == 1:
        yield from rows  # by timespan, giving more rows than asked is allowed: the closure looks again
        return
    places = [names.index(name) for name in lookup.columns]
    for row in rows:
        if tuple(row[place] for place in places) in lookup.keys:
            yield row


def _key_arrays(values: PackedIds | list[Any], column: ColumnDef) -> Iterator[pa.Array]:
    """The values of a column, at most `KEYS_MAX` at a time."""
    if isinstance(values, PackedIds) != (column.type is LogicalType.UUID) or column.type not in _KEY_TYPES:
        raise UnavailableError(
            f"rows can't be looked up by column {column.name} of type {column.type}",
            hint="use keys of type int64 or string, and ids of type uuid",
        )
    if isinstance(values, PackedIds):
        for data in values.parts(KEYS_MAX):
            buffers = [None, pa.py_buffer(data)]
            storage = pa.Array.from_buffers(pa.binary(ID_BYTES), len(data) // ID_BYTES, buffers)
            yield pa.ExtensionArray.from_storage(pa.uuid(), storage)
    else:
        for start in range(0, len(values), KEYS_MAX):
            yield pa.array(values[start : start + KEYS_MAX], _KEY_TYPES[column.type])


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python values as a registry stores them; a timestamp is its count of nanoseconds."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    return values
