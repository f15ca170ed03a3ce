"""Taking a copy of a schema into a replica: rows and watermark in one transaction, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.changelog import decode_changes, move_to
from federation.changelog.epochs import restart_epochs
from federation.changelog.floor import Floor, set_floor
from federation.changelog.log import locked_state, log_tables
from federation.changelog.merging import merged_changes
from federation.changelog.replica_source import add_former_epoch, set_filter
from federation.errors import CorruptionError, UnavailableError
from federation.killpoints import killpoint
from federation.registry.bulk import delete_columns, insert_columns
from federation.registry.filling import Filling
from federation.registry.registry import DECLARING
from federation.replication.digests import key_columns
from federation.replication.replica_tables import ReplicaTables
from federation.replication.row_match import RowMatch, chosen_rows, in_buckets
from federation.replication.scan import scan_columns, with_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from federation.changelog import LogState
    from federation.model.change import Change
    from federation.model.log_filter import LogFilter
    from federation.model.logical import TableDef
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema

    Columns = Sequence[Sequence[Any]]
    #: gives the bodies of a copy's parts in order, each time it is called
    Bodies = Callable[[], Iterable[bytes]]

__all__ = ["CopyTarget", "Mended", "apply_difference", "apply_whole", "is_empty", "mend_rows"]


@attrs.frozen
class CopyTarget:
    """Which replica a copy goes into, from where to where it moves, and what was left out of the copy."""

    held: HeldSchema
    previous: LogState
    filter: LogFilter


@attrs.define
class Mended:
    """Rows of one table that a copy put in and took away: ``missing`` and ``changed`` were put, ``extra`` deleted."""

    missing: int = 0
    changed: int = 0
    extra: int = 0

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed or self.extra)


def is_empty(registry: Registry, held: HeldSchema) -> bool:
    """Whether a schema has no row at all."""
    with registry.database.read((held.physical,)) as connection:
        tables = registry.tables_in(connection, held.physical)
        physical = registry.physical_tables(held.physical, tuple(tables.values()))
        return not with_rows(connection, physical)


def apply_whole(
    registry: Registry, target: CopyTarget, bodies: Iterable[bytes], state: Callable[[], LogState]
) -> LogState:
    """Fill an empty replica with a copy; ``bodies`` may still be arriving, ``state`` tells of which moment they are."""
    registry.check_writable()
    held = target.held
    with registry.database.write(held.physical) as connection:
        _lock(connection, target)
        killpoint("copy.before_rows")
        made, filling = ReplicaTables(registry, held, connection), Filling(connection)
        try:
            for body in bodies:
                for change in merged_changes([body], apart=DECLARING):
                    table = made.table_of(change)
                    made.declare_from(change)
                    filling.insert(made.physical(table.name), table, change.columns, change.values)
            filling.finish()
        except sa.exc.IntegrityError as error:
            raise CorruptionError(
                f"the copy of {held.schema} holds rows twice, or the replica was not empty",
                hint="it is asked for again",
            ) from error
        _move(connection, target, found := state())
    killpoint("copy.after_commit")
    return found


def apply_difference(
    registry: Registry,
    target: CopyTarget,
    bodies: Bodies,
    stale: Mapping[str, Sequence[int]],
    bucket_count: int,
    state: LogState,
) -> dict[str, Mended]:
    """Make the rows of stale buckets those of a copy, writing only what differs, and move the watermark.

    ``stale`` must be the buckets that differ from the replica as it is at ``target.previous``.
    """
    registry.check_writable()
    with registry.database.write(target.held.physical) as connection:
        _lock(connection, target)
        killpoint("copy.before_rows")
        mended = mend_rows(registry, target.held, connection, bodies, stale, bucket_count)
        _move(connection, target, state)
    killpoint("copy.after_commit")
    return mended


def _lock(connection: sa.Connection, target: CopyTarget) -> None:
    if locked_state(connection, target.held.physical) != target.previous:
        raise UnavailableError(
            f"another process has moved the replica of {target.held.schema} meanwhile",
            hint="it is taken up from there",
        )


def _move(connection: sa.Connection, target: CopyTarget, state: LogState) -> None:
    physical = target.held.physical
    if state.epoch != target.previous.epoch:
        add_former_epoch(connection, physical, target.previous.epoch)
        restart_epochs(connection, physical, state, 0)
    set_filter(connection, physical, target.filter, is_copied=True)
    # a relay's entries end before the copy: what follows it does not continue them
    connection.execute(log_tables(physical).log.delete())
    set_floor(connection, physical, Floor(state.lsn, state.chain, state.lsn))
    killpoint("copy.before_watermark")
    if not move_to(connection, physical, target.previous, state):
        raise UnavailableError(f"another process follows {target.held.schema} too", hint="end one of the two")
    killpoint("bootstrap.before_commit")


def mend_rows(
    registry: Registry,
    held: HeldSchema,
    connection: sa.Connection,
    bodies: Bodies,
    stale: Mapping[str, Sequence[int]],
    bucket_count: int,
    leave: Callable[[TableDef, Columns], Columns] = lambda _table, columns: columns,
) -> dict[str, Mended]:
    """Make the rows of stale buckets those of ``bodies``; ``leave`` takes out of some rows those not to be touched.

    Rows that are alike are not written. What is wrong is deleted before anything is put, since a row may have taken
    another's unique values. Returns what was done by table, tables without change left out.
    """
    made = ReplicaTables(registry, held, connection)
    mended: dict[str, Mended] = {}
    # declarations first: their rows make tables, also those that are stale
    for name in sorted(stale, key=lambda name: name not in DECLARING):
        if not stale[name]:
            continue
        if name not in made.tables:
            continue  # dropped at the source, and here now that its declaration is gone
        table, done = made.tables[name], Mended()

        physical = made.physical(name)

        def replica(table: TableDef = table, physical: sa.Table = physical) -> Iterator[Columns]:
            chunks = scan_columns(connection, physical, table)
            for columns in in_buckets(table, chunks, bucket_count, stale[table.name]):
                yield leave(table, columns)

        match = RowMatch(table, replica())
        wanted: list[tuple[int, list[int]]] = []
        for number, change in _of_table(bodies, name):
            missing, changed = match.compare(leave(table, _whole(table, change)))
            done.missing += len(missing)
            done.changed += len(changed)
            wanted.append((number, sorted([*missing, *changed])))
        done.extra = match.extra_count
        if done.extra or done.changed:
            wrong = [
                chosen_rows(key_columns(table, columns), places)
                for columns in replica()
                if (places := match.extras(columns, with_changed=True))
            ]
            for keys in wrong:
                delete_columns(connection, made.physical(name), table, keys)
        places_of = dict(wanted)
        for number, change in _of_table(bodies, name):
            if places_of[number]:
                rows = chosen_rows(leave(table, _whole(table, change)), places_of[number])
                made.declare_from(_with_rows(table, change, rows))
                insert_columns(connection, made.physical(name), table, table.stored_names, rows)
        if done:
            mended[name] = done
        if name in DECLARING:  # what was declared no longer is not there any more
            made = ReplicaTables(registry, held, connection)
    return mended


def _of_table(bodies: Bodies, name: str) -> Iterator[tuple[int, Change]]:
    number = 0
    for body in bodies():
        for change in decode_changes(body):
            number += 1
            if change.table == name:
                yield number, change


def _whole(table: TableDef, change: Change) -> Columns:
    """The values of ``table.stored``; a column that the source does not know is NULL."""
    known = dict(zip(change.columns, change.values, strict=True))
    return [known.get(name, [None] * change.row_count) for name in table.stored_names]


def _with_rows(table: TableDef, change: Change, rows: tuple[list[Any], ...]) -> Change:
    return attrs.evolve(change, columns=table.stored_names, values=rows)
