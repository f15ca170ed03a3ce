"""A user's table on its way into the site's schema: proposed, reviewed, promoted, in the end perhaps retired."""

from __future__ import annotations

import enum
import hashlib
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import sqlalchemy as sa

from federation.errors import ConflictError, ForbiddenError, NotFoundError, UserError
from federation.model.position import SchemaId
from federation.model.user_table import UserTable
from federation.registry.grants import Privilege, check, check_user, is_operator, operator, read_grants
from federation.registry.transaction import stored_values
from federation.registry.user_tables import check_free, drop_rows_and_table, find_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from federation.registry.registry import Registry
    from federation.registry.transaction import Transaction

__all__ = ["Action", "Proposal", "State", "next_state", "promote", "proposals", "propose", "retire", "review"]

_BATCH_ROWS = 10_000


class State(enum.StrEnum):
    """How far a proposal is."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REJECTED = "rejected"
    PROMOTED = "promoted"
    RETIRED = "retired"


class Action(enum.StrEnum):
    """What somebody does to a proposal."""

    PROPOSE = "propose"
    APPROVE = "approve"
    REJECT = "reject"
    PROMOTE = "promote"
    RETIRE = "retire"


_STEPS: Mapping[tuple[State | None, Action], State] = {
    (None, Action.PROPOSE): State.PROPOSED,
    (State.REJECTED, Action.PROPOSE): State.PROPOSED,
    (State.RETIRED, Action.PROPOSE): State.PROPOSED,
    (State.PROPOSED, Action.APPROVE): State.APPROVED,
    (State.PROPOSED, Action.REJECT): State.REJECTED,
    (State.APPROVED, Action.APPROVE): State.APPROVED,  # what was changed since is approved anew
    (State.APPROVED, Action.REJECT): State.REJECTED,
    (State.APPROVED, Action.PROMOTE): State.PROMOTED,
    (State.PROMOTED, Action.RETIRE): State.RETIRED,
}


def next_state(state: State | None, action: Action, table: str) -> State:
    """The state after an action; None is that of a table that was never proposed. `UserError` for a wrong step.

    >>> next_state(State.APPROVED, Action.PROMOTE, "alice.quality").value
    'promoted'
    """
    found = _STEPS.get((state, action))
    if found is None:
        possible = [step.value for before, step in _STEPS if before is state]
        raise UserError(
            f"{table} is {state or 'not proposed'}: it can't be {_PAST[action]}",
            hint="possible now: " + ", ".join(possible),
        )
    return found


_PAST: Mapping[Action, str] = {
    Action.PROPOSE: "proposed",
    Action.APPROVE: "approved",
    Action.REJECT: "rejected",
    Action.PROMOTE: "promoted",
    Action.RETIRE: "retired",
}


@attrs.frozen
class Proposal:
    """The proposal of table ``name`` of schema ``owner``; ``changed`` is when, in TAI nanoseconds.

    ``digest`` stands for definition and rows as they were approved, None before that.
    """

    owner: str
    name: str
    state: State
    comment: str
    digest: str | None
    actor: str
    changed: int

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}"


def proposals(registry: Registry) -> tuple[Proposal, ...]:
    """Every proposal at the site, by schema and table."""
    held = registry.get(SchemaId(registry.site, registry.site))
    with registry.database.read((held.physical,)) as connection:
        tables = registry.tables_in(connection, held.physical)
        if "table_proposal" not in tables:  # a registry of an older format
            return ()
        physical = registry.physical_tables(held.physical, tuple(tables.values()))["table_proposal"]
        rows = connection.execute(sa.select(physical).order_by(physical.c.owner, physical.c.name))
        return tuple(_of_row(dict(row._mapping)) for row in rows)


def _of_row(row: Mapping[str, Any]) -> Proposal:
    return Proposal(
        row["owner"],
        row["name"],
        State(row["state"]),
        row["comment"] or "",
        row["digest"],
        row["actor"],
        row["changed"],
    )


def _find(tx: Transaction, owner: str, name: str) -> Proposal | None:
    rows = tx.select("table_proposal", ("owner", "name"), [(owner, name)])
    return _of_row(rows[0]) if rows else None


def _step(
    tx: Transaction, owner: str, name: str, action: Action, user: str | None, comment: str, digest: str | None
) -> Proposal:
    known = _find(tx, owner, name)
    state = next_state(None if known is None else known.state, action, f"{owner}.{name}")
    made = Proposal(
        owner,
        name,
        state,
        comment or (known.comment if known is not None else ""),
        digest,
        operator() if user is None else check_user(user),
        tx.registry.clock(),
    )
    tx.put("table_proposal", [attrs.asdict(made) | {"state": state.value}])
    return made


def _check_reviewer(registry: Registry, user: str | None, action: str) -> None:
    """The operator reviews, and who may share the site's schema."""
    if is_operator(user):
        return
    assert user is not None
    if not read_grants(registry).may(check_user(user), Privilege.SHARE, registry.site):
        raise ForbiddenError(
            f"user {user} may not {action} tables for schema {registry.site}",
            hint=f"a reviewer needs: federation schema grant share {registry.site} {user} --site {registry.site}",
        )


def propose(
    registry: Registry, owner: str, name: str, *, comment: str = "", user: str | None = None
) -> Proposal:
    """Propose a table of schema ``owner`` for the site's schema; who may write that schema may propose."""
    check(registry, user, Privilege.WRITE, owner)
    if owner == registry.site:
        raise UserError(
            f"table {name} is in the site's schema {owner} already", hint="propose a table of another schema"
        )
    find_table(registry, owner, name)
    with registry.transaction(registry.site) as tx:
        return _step(tx, owner, name, Action.PROPOSE, user, comment, None)


def review(
    registry: Registry, owner: str, name: str, *, approve: bool, comment: str = "", user: str | None = None
) -> Proposal:
    """Approve or reject a proposal; approved is what the table holds now."""
    _check_reviewer(registry, user, "review")
    with registry.transaction(registry.site) as tx:
        action = Action.APPROVE if approve else Action.REJECT
        _check_step(tx, owner, name, action)
        digest = None
        if approve:
            with registry.database.read((registry.get(SchemaId(registry.site, owner)).physical,)) as source:
                digest = _digest(_Source(registry, owner, name, source))
        return _step(tx, owner, name, action, user, comment, digest)


def promote(
    registry: Registry, owner: str, name: str, *, comment: str = "", user: str | None = None
) -> tuple[Proposal, int]:
    """Copy an approved table with its rows into the site's schema, in one transaction; the original stays.

    Gives the number of rows too. `ConflictError` when the name is taken or the table differs from what was approved.
    """
    _check_reviewer(registry, user, "promote")
    with registry.transaction(registry.site) as tx:
        known = _check_step(tx, owner, name, Action.PROMOTE)
        assert known is not None
        with registry.database.read((registry.get(SchemaId(registry.site, owner)).physical,)) as connection:
            source = _Source(registry, owner, name, connection)
            check_free(tx, source.table)
            if _digest(source) != known.digest:
                raise ConflictError(
                    f"table {known} has changed since it was approved",
                    hint=f"look at it and run: federation schema review {known} --approve",
                )
            tx.add_table(source.table.table())
            tx.put("user_table", [source.table.to_row()])
            count = 0
            for columns in source.batches():
                count += len(next(iter(columns.values())))
                tx.put_columns(name, columns, fresh=True)
        return _step(tx, owner, name, Action.PROMOTE, user, comment, known.digest), count


def retire(
    registry: Registry, owner: str, name: str, *, comment: str = "", user: str | None = None
) -> tuple[Proposal, int]:
    """Take a promoted table out of the site's schema; its rows are logged as deleted. The user's own stays.

    Gives the number of rows too.
    """
    _check_reviewer(registry, user, "retire")
    with registry.transaction(registry.site) as tx:
        _check_step(tx, owner, name, Action.RETIRE)
        count = drop_rows_and_table(tx, name)
        return _step(tx, owner, name, Action.RETIRE, user, comment, None), count


def _check_step(tx: Transaction, owner: str, name: str, action: Action) -> Proposal | None:
    known = _find(tx, owner, name)
    if known is None:
        there = [
            f"{row.owner}.{row.name}"
            for row in tx.connection.execute(sa.select(tx.physical("table_proposal")))
        ]
        raise NotFoundError(
            f"table {owner}.{name} was never proposed at site {tx.registry.site}",
            hint="proposals: " + (", ".join(sorted(there)) or "none"),
        )
    next_state(known.state, action, str(known))
    return known


class _Source:
    """A user's table as one connection sees it: definition, and rows in the order of their keys."""

    def __init__(self, registry: Registry, schema: str, name: str, connection: sa.Connection) -> None:
        held = registry.get(SchemaId(registry.site, schema))
        tables = registry.tables_in(connection, held.physical)
        physical = registry.physical_tables(held.physical, tuple(tables.values()))
        declared = physical["user_table"]
        row = connection.execute(sa.select(declared).where(declared.c.name == name)).first()
        if row is None:
            raise NotFoundError(
                f"schema {schema} no longer has table {name!r}", hint="it was dropped after it was proposed"
            )
        self.table = UserTable.from_row(dict(row._mapping))
        self._physical, self._connection = physical[name], connection

    def batches(self) -> Iterator[dict[str, Any]]:
        """Stored values by column."""
        statement = sa.select(self._physical).order_by(*(self._physical.c[name] for name in self.table.key))
        result = self._connection.execution_options(yield_per=_BATCH_ROWS).execute(statement)
        for rows in result.partitions(_BATCH_ROWS):
            values = zip(*rows, strict=True)
            yield {
                column.name: stored_values(column.type, list(found))
                for column, found in zip(self.table.columns, values, strict=True)
            }


def _digest(source: _Source) -> str:
    """BLAKE2b of definition and rows, 16 bytes in hexadecimal digits."""
    digest = hashlib.blake2b(source.table.to_row()["definition"].encode(), digest_size=16)
    encoder = msgspec.msgpack.Encoder()
    for columns in source.batches():
        digest.update(encoder.encode(list(columns.values())))
    return digest.hexdigest()
