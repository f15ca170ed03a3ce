"""Makes watches of logs: which schemas, from where, from which position on."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs

from federation.changelog import LogState
from federation.errors import NotFoundError, UserError
from federation.model.event_filter import EVERYTHING, EventFilter
from federation.model.events import event_kinds
from federation.model.position import Position, SchemaId
from federation.registry.views import views
from federation.replication.event_decoder import EventDecoder
from federation.replication.snapshots import stamp_all
from federation.replication.standing import log_standing
from federation.replication.watch import BEGINNING, LocalLog, Watch, WatchedLog
from federation.replication.watch_state import WatchState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.replication.watch import LogSource
    from federation.session import Session
    from federation.wire.client import SiteClient

__all__ = ["parse_start", "watch_registry", "watch_session"]

#: datasets whose type and run are asked for in one query
_ASKED_MAX = 500

#: "now", "start", or the position after which each schema is read
Start = str | tuple[Position, ...]

_PLACES = "now, start, or SITE/SCHEMA@EPOCH:LSN"


def parse_start(texts: Iterable[str]) -> Start:
    """What ``--from`` says: ``now``, ``start``, or positions; `UserError` for a mixture."""
    given = tuple(texts)
    words = [text for text in given if text in ("now", "start")]
    if words and len(given) > 1:
        raise UserError(f"--from {words[0]} stands alone", hint="or give one position for each schema")
    if words:
        return words[0]
    for text in given:
        if "@" not in text:
            raise UserError(f"{text!r} is no place to begin", hint=_PLACES)
    return tuple(Position.parse(text) for text in given)


def event_filter(
    events: Sequence[str] = (),
    tables: Sequence[str] = (),
    dataset_types: Sequence[str] = (),
    collections: Sequence[str] = (),
) -> EventFilter:
    """The filter; `UserError` for a kind of event that there is not."""
    unknown = sorted(set(events) - set(event_kinds()))
    if unknown:
        raise UserError(f"no event is called {unknown[0]!r}", hint="events: " + ", ".join(event_kinds()))
    return EventFilter(tuple(events), tuple(tables), tuple(dataset_types), tuple(collections))


def watch_session(
    session: Session,
    schemas: Sequence[str | SchemaId] = (),
    *,
    start: Start = "now",
    via: str | None = None,
    events: EventFilter = EVERYTHING,
    state: Path | None = None,
    once: bool = False,
) -> Watch:
    """A watch over gRPC: each log from its owner's server, or from that of site ``via``.

    ``schemas`` are ``SITE/NAME``, or the name of a schema of the home site, whose own one it is without any.
    """
    wanted = [_schema(text, session.home) for text in schemas] or [SchemaId(session.home, session.home)]
    begin = _Start(start, WatchState(state) if state is not None else None, wanted)
    logs = []
    for schema in dict.fromkeys(wanted):
        client = session.client(via or schema.site)
        decoder = EventDecoder(
            schema, session.universe, _declared_at(client, schema), lambda ids: _names(session, ids)
        )
        logs.append(
            begin.log(schema, client, decoder, functools.partial(_kept_at, client, schema), once=once)
        )
    return Watch(
        logs,
        reader=f"{session.home}:watch",
        fingerprint=session.universe.fingerprint,
        filter=events,
        state=begin.file,
        once=once,
    )


def watch_registry(
    registry: Registry,
    schemas: Sequence[str | SchemaId] = (),
    *,
    start: Start = "now",
    events: EventFilter = EVERYTHING,
    state: Path | None = None,
    once: bool = False,
) -> Watch:
    """A watch of logs in a registry that is open here, whether or not a server runs."""
    wanted = [_schema(text, registry.site) for text in schemas] or [SchemaId(registry.site, registry.site)]
    begin = _Start(start, WatchState(state) if state is not None else None, wanted)
    logs = []
    for schema in dict.fromkeys(wanted):
        registry.get(schema)
        decoder = EventDecoder(
            schema,
            registry.universe,
            functools.partial(registry.tables, schema),
            lambda ids: _names_here(registry, ids),
        )
        kept = functools.partial(_kept_here, registry, schema)
        logs.append(begin.log(schema, LocalLog(registry), decoder, kept, once=once))
    return Watch(
        logs,
        reader=f"{registry.site}:watch",
        fingerprint=registry.universe.fingerprint,
        filter=events,
        state=begin.file,
        once=once,
    )


class _Start:
    """Where each log begins: at what the state file says, else at the position that was given."""

    def __init__(self, start: Start, file: WatchState | None, wanted: Sequence[SchemaId]) -> None:
        self.file = file
        self._start = start
        self._kept = file.load() if file is not None else {}
        given = {} if isinstance(start, str) else {position.schema_id: position for position in start}
        if isinstance(start, str) and start not in ("now", "start"):
            raise UserError(f"{start!r} is no place to begin", hint=_PLACES)
        stray = sorted(set(given) - set(wanted))
        if stray:
            raise UserError(
                f"position {given[stray[0]]} is of no schema that is watched",
                hint=f"watch {stray[0]}, or leave the position out",
            )
        self._given = given

    def log(
        self,
        schema: SchemaId,
        source: LogSource,
        decoder: EventDecoder,
        kept: Callable[[], _Kept],
        *,
        once: bool,
    ) -> WatchedLog:
        """A log from its beginning on; what is kept of it is asked only where that is needed."""
        known = self._kept.get(schema)
        if known is None and schema in self._given:
            known = _after(self._given[schema].epoch, self._given[schema].lsn)
        if known is not None and not once:
            return WatchedLog(schema, source, decoder, known)
        found = kept()
        if known is None:
            known = _after(found.epoch, found.first_lsn - 1 if self._start == "start" else found.lsn)
        return WatchedLog(schema, source, decoder, known, found.lsn)


@attrs.frozen
class _Kept:
    """The entries of a log that are kept: from ``first_lsn`` to ``lsn``."""

    epoch: str
    first_lsn: int
    lsn: int


def _after(epoch: str, lsn: int) -> LogState:
    """The position at an lsn, of which only the source knows the chain hash."""
    return LogState(epoch, lsn, b"") if lsn > 0 else BEGINNING


def _schema(given: str | SchemaId, home: str) -> SchemaId:
    if isinstance(given, SchemaId):
        return given
    site, slash, name = given.partition("/")
    return SchemaId(site, name) if slash else SchemaId(home, given)


def _kept_at(client: SiteClient, schema: SchemaId) -> _Kept:
    held = {one.schema: one for one in client.status().schemas}
    if schema not in held:
        raise NotFoundError(
            f"site {client.site} holds no schema {schema}", hint="it holds: " + ", ".join(map(str, held))
        )
    found = held[schema]
    return _Kept(found.epoch, found.first_lsn, found.lsn)


def _kept_here(registry: Registry, schema: SchemaId) -> _Kept:
    held = registry.get(schema)
    stamp_all(registry, held)
    position, log = registry.position(schema), log_standing(registry, held)
    return _Kept(position.epoch, log.first_lsn, position.lsn)


def _declared_at(client: SiteClient, schema: SchemaId) -> Callable[[], Mapping[str, TableDef]]:
    def declared() -> Mapping[str, TableDef]:
        catalog = client.get_catalog()
        held = catalog.schema(schema) if catalog is not None else None
        return {table.name: table for table in held.tables} if held is not None else {}

    return declared


def _names(session: Session, ids: Collection[bytes]) -> Mapping[bytes, tuple[str, str]]:
    """Type and run of datasets, from any site that answers."""
    found: dict[bytes, tuple[str, str]] = {}
    for chunk in _chunks(ids):
        listed = ", ".join(f"UUID '{UUID(bytes=identity)}'" for identity in chunk)
        rows: Any = session.query(
            f"SELECT dataset_id, dataset_type, run FROM dataset WHERE dataset_id IN ({listed})",
            max_staleness_s=float("inf"),
            partial=True,
        ).to_pylist()
        for row in rows:
            identity = row["dataset_id"]
            found[identity.bytes if isinstance(identity, UUID) else identity] = (
                row["dataset_type"],
                row["run"],
            )
    return found


def _names_here(registry: Registry, ids: Collection[bytes]) -> Mapping[bytes, tuple[str, str]]:
    found: dict[bytes, tuple[str, str]] = {}
    for view in views(registry):
        missing = [identity for identity in ids if identity not in found]
        for identity, kind, run in view.of_datasets("dataset", missing, ("dataset_type", "run")):
            found[bytes(identity)] = (kind, run)
    return found


def _chunks(ids: Collection[bytes]) -> Iterator[list[bytes]]:
    every = list(ids)
    return (every[begin : begin + _ASKED_MAX] for begin in range(0, len(every), _ASKED_MAX))
