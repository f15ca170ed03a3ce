"""The value that planning rules pass on: the statement's tree and what is known of its tables so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.errors import QueryError
from federation.planner.position import position_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.model.catalog import ColumnStats, FederationCatalog
    from federation.model.logical import ColumnDef, LogicalType, TableDef
    from federation.model.position import Position, SchemaId
    from federation.planner.plan import (
        FindFirst,
        Fragment,
        LiteralTable,
        Missing,
        OutputColumn,
        PairTable,
        PlanOptions,
        RegionMatch,
    )
    from federation.planner.profiles import Profile

__all__ = ["Arm", "CutQuery", "Draft", "PairQuery", "Relation"]


@attrs.frozen
class Arm:
    """One schema's part of a logical table; ``site`` is where it will be read, ``""`` until it is routed."""

    schema: SchemaId
    table: TableDef
    level: int
    site: str = ""
    is_replica: bool = False
    staleness_s: float = 0.0
    row_count: int | None = None
    row_bytes: float = 64.0
    #: what is known of the columns' values
    stats: Mapping[str, ColumnStats] = attrs.field(factory=dict, eq=False)


@attrs.define
class Relation:
    """One logical table as the statement names it: the chain's arms, nearest first, and the columns they have.

    ``name`` stands for it in the tree. ``qualified`` says that the statement named the schema. A relation with
    ``literal`` is a virtual table, whose rows the planner knows.
    """

    name: str
    table: str
    columns: tuple[ColumnDef, ...]
    key: tuple[str, ...]
    arms: tuple[Arm, ...]
    qualified: bool
    position: int | None
    literal: LiteralTable | None = None

    @property
    def sites(self) -> frozenset[str]:
        return frozenset(arm.site for arm in self.arms)


@attrs.define
class PairQuery:
    """A table of pairs to be made before the local statement runs, as trees; see `PairTable`."""

    name: str
    kind: str
    left: exp.Expr
    right: exp.Expr


@attrs.frozen(eq=False)
class CutQuery:
    """A fragment's statement over the schemas' tables as a tree, and what its rows look like."""

    tree: exp.Query
    profile: Profile


@attrs.define
class Draft:
    """A statement under planning. Rules change it in place; nothing outside a call of `plan` sees it."""

    sql: str
    catalog: FederationCatalog
    options: PlanOptions
    tree: exp.Expr = attrs.field(factory=exp.Select)
    relations: dict[str, Relation] = attrs.field(factory=dict)
    #: (metric, type) by relation and hidden column: columns of the statement that stand for metrics
    metrics: dict[str, dict[str, tuple[str, LogicalType]]] = attrs.field(factory=dict)
    columns: tuple[OutputColumn, ...] = ()
    fragments: list[Fragment] = attrs.field(factory=list)
    cut: dict[str, CutQuery] = attrs.field(factory=dict)
    decisions: list[str] = attrs.field(factory=list)
    #: the rule that made each of the decisions, and the one that is at work
    deciders: list[str] = attrs.field(factory=list)
    rule: str = ""
    missing: list[Missing] = attrs.field(factory=list)
    consulted: dict[SchemaId, Position] = attrs.field(factory=dict)
    literal_tables: dict[str, LiteralTable] = attrs.field(factory=dict)
    pair_queries: list[PairQuery] = attrs.field(factory=list)
    pair_tables: list[PairTable] = attrs.field(factory=list)
    find_first: FindFirst | None = None
    region_match: RegionMatch | None = None
    local_sql: str = ""

    def decide(self, reason: str) -> None:
        """Record why the plan is as it is, once."""
        if reason not in self.decisions:
            self.decisions.append(reason)
            self.deciders.append(self.rule)

    def error(self, message: str, node: exp.Expr | None = None, *, hint: str = "") -> QueryError:
        """A `QueryError` that points at ``node`` in the statement."""
        return QueryError(
            message, hint=hint, sql=self.sql, position=position_of(node) if node is not None else None
        )
