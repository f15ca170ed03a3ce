"""Which site reads each schema: its owner, or a replica that is fresh enough, with as few sites as possible."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import attrs

from federation.errors import UnavailableError
from federation.model.position import Position
from federation.planner.plan import Missing
from federation.planner.states import is_at, lacks, why_not_held

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.model.catalog import SchemaCatalog, TableStats
    from federation.model.position import SchemaId
    from federation.planner.draft import Arm, Draft, Relation

__all__ = ["Holders", "route_schemas"]

#: federations of more sites than this are covered greedily, not by trying every combination
_EXHAUSTIVE_SITES = 10


def route_schemas(draft: Draft) -> None:
    """Rule: drop arms that have no rows, and give every other arm the site that reads it."""
    holders = Holders(draft)
    for relation in draft.relations.values():
        if relation.literal is None:
            _check_unknown_sites(draft, relation)
            relation.arms = tuple(arm for arm in relation.arms if _keep(draft, holders, arm))
    chosen = _choose(draft, holders)
    for relation in draft.relations.values():
        relation.arms = tuple(_routed(arm, *chosen[arm.schema]) for arm in relation.arms)
        if len(relation.arms) > 1:
            order = " > ".join(str(arm.schema) for arm in relation.arms)
            draft.decide(
                f"{relation.table}: {len(relation.arms)} schemas may have rows, the nearest wins for "
                f"({', '.join(relation.key)}): {order}"
            )


@attrs.define
class Holders:
    """Who may read a schema, given what the statement needs of it."""

    draft: Draft
    needed: dict[SchemaId, dict[str, set[str]]] = attrs.field(init=False)
    _admissible: dict[SchemaId, dict[str, SchemaCatalog]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.needed = {}
        for relation in self.draft.relations.values():
            for arm in relation.arms:
                tables = self.needed.setdefault(arm.schema, {})
                tables.setdefault(arm.table.name, set()).update(arm.table.column_names)

    def admissible(self, schema: SchemaId) -> dict[str, SchemaCatalog]:
        """Sites that may read the schema, nearest first, with their copies."""
        known = self._admissible.get(schema)
        if known is None:
            known = {
                site: held
                for site, held in self.draft.catalog.holders(schema)
                if self._is_fresh(site, held) and self._has_tables(held)
            }
            self._admissible[schema] = known
        return known

    def note_unread(self, schema: SchemaId) -> None:
        """Record the state of a schema by which it is known to give no row."""
        if schema in self.draft.consulted:
            return
        copies = self.admissible(schema)
        held = copies.get(schema.site) or min(
            copies.values(), key=lambda copy: copy.staleness_s or 0.0, default=None
        )
        if held is not None:
            self.draft.consulted[schema] = Position(schema.site, schema.name, held.epoch, held.lsn)

    def _is_fresh(self, site: str, held: SchemaCatalog) -> bool:
        options = self.draft.options
        if options.as_of is not None:
            return any(is_at(held, wanted) for wanted in options.as_of)
        if any(lacks(held, wanted) for wanted in options.after):
            return False
        if site == held.schema.site:
            return True
        return held.staleness_s is not None and held.staleness_s <= self.draft.options.max_staleness_s

    def _has_tables(self, held: SchemaCatalog) -> bool:
        for name, columns in self.needed.get(held.schema, {}).items():
            table = held.table(name)
            if table is None or name in held.partial_tables or not columns <= set(table.column_names):
                return False
        return True

    def stats(self, arm: Arm) -> TableStats | None:
        """The freshest admissible statistics of the arm's table."""
        copies = self.admissible(arm.schema)
        if arm.schema.site in copies:
            return copies[arm.schema.site].stats.get(arm.table.name)
        held = min(copies.values(), key=lambda copy: copy.staleness_s or 0.0, default=None)
        return held.stats.get(arm.table.name) if held else None


def _check_unknown_sites(draft: Draft, relation: Relation) -> None:
    """A bare name covers all schemas, so a site of which nothing fresh is known may hide rows of it."""
    if relation.qualified:
        return
    name = relation.table
    known = draft.catalog.schemas
    for site, reason in draft.catalog.unreachable.items():
        if not any(schema.site == site for schema in known):
            _give_up(draft, Missing(site, None, name, _silent(site, reason)), ())
    present = {arm.schema for arm in relation.arms}
    for schema in known:
        if schema in present or draft.catalog.site(schema.site) is not None:
            continue
        copies = draft.catalog.holders(schema)
        fresh = any(
            held.staleness_s is not None and held.staleness_s <= draft.options.max_staleness_s
            for _, held in copies
        )
        if not fresh:
            reason = draft.catalog.unreachable.get(schema.site, "it is not a site of this federation")
            _give_up(
                draft,
                Missing(schema.site, schema, name, _silent(schema.site, reason)),
                copies,
            )


def _keep(draft: Draft, holders: Holders, arm: Arm) -> bool:
    """Whether an arm must be read; `UnavailableError` when it must but nobody can."""
    if not holders.admissible(arm.schema):
        elsewhere = why_not_held(draft, arm.schema)
        if elsewhere is not None:
            reason, remedy = elsewhere
            _give_up(draft, Missing(arm.schema.site, arm.schema, arm.table.name, reason), (), remedy)
            return False
        owner = draft.catalog.site(arm.schema.site)
        if owner is None:
            reason = draft.catalog.unreachable.get(arm.schema.site, "it is not a site of this federation")
            text = _silent(arm.schema.site, reason)
        else:
            text = f"site {arm.schema.site} no longer holds schema {arm.schema.name} as it is known"
        _give_up(
            draft,
            Missing(arm.schema.site, arm.schema, arm.table.name, text),
            draft.catalog.holders(arm.schema),
        )
        return False
    stats = holders.stats(arm)
    if stats is not None and stats.row_count == 0:
        draft.decide(f"{arm.schema} is not read for {arm.table.name}: it has no rows there")
        holders.note_unread(arm.schema)
        return False
    return True


def _give_up(
    draft: Draft, missing: Missing, copies: Iterable[tuple[str, SchemaCatalog]], remedy: str = ""
) -> None:
    if draft.options.partial:
        if missing not in draft.missing:
            draft.missing.append(missing)
        return
    ages = sorted(
        (held.staleness_s, site)
        for site, held in copies
        if held.staleness_s is not None and missing.table not in held.partial_tables
    )
    remedy = f"{remedy}; --partial answers without it" if remedy else "--partial answers without it"
    if ages:
        age, site = ages[0]
        remedy = (
            f"--max-staleness {_allowance_s(age)} accepts the replica at {site}, {age:.1f} s old; " + remedy
        )
    raise UnavailableError(f"table {missing.table}: {missing.reason}", hint=remedy)


def _silent(site: str, reason: str) -> str:
    """That a site does not answer, said once: most reasons begin with that themselves."""
    return reason if reason.startswith(f"site {site} ") else f"site {site} does not answer: {reason}"


def _allowance_s(age_s: float) -> int:
    """Whole minutes that a replica of this age still meets one minute later, when somebody has typed the query anew."""
    return 60 * (math.ceil(age_s / 60) + 1)


def _choose(draft: Draft, holders: Holders) -> dict[SchemaId, tuple[str, SchemaCatalog]]:
    """The site that reads each schema: as few sites as can be, home among them, then in order of nearness."""
    schemas = list(
        dict.fromkeys(arm.schema for relation in draft.relations.values() for arm in relation.arms)
    )
    admissible = {schema: holders.admissible(schema) for schema in schemas}
    order = [site.site for site in draft.catalog.sites]
    order.sort(key=lambda site: site != draft.catalog.home)
    used = _cover(order, [set(copies) for copies in admissible.values()])
    nearness = {site: place for place, site in enumerate(order)}
    chosen: dict[SchemaId, tuple[str, SchemaCatalog]] = {}
    for schema, copies in admissible.items():
        candidates = [site for site in copies if site in used]
        site = min(candidates, key=lambda s: (s != draft.catalog.home, s != schema.site, nearness[s]))
        chosen[schema] = (site, copies[site])
        if site == schema.site:
            draft.decide(f"{schema} is read at {site}, its owner")
        else:
            age, limit = copies[site].staleness_s or 0.0, draft.options.max_staleness_s
            draft.decide(
                f"{schema} is read from its replica at {site}: {age:.1f} s old, {limit:.1f} s allowed"
            )
    return chosen


def _cover(order: list[str], wanted: list[set[str]]) -> set[str]:
    """The smallest set of sites that has one of each ``wanted`` set; nearer sites first among equals."""
    # who alone has something is needed whatever else there is
    needed = {next(iter(sites)) for sites in wanted if len(sites) == 1}
    wanted = [sites for sites in wanted if not sites & needed]
    return needed | _smallest(order, wanted) if wanted else needed


def _smallest(order: list[str], wanted: list[set[str]]) -> set[str]:
    useful = [site for site in order if any(site in sites for sites in wanted)]
    if len(useful) <= _EXHAUSTIVE_SITES:
        for size in range(len(useful) + 1):
            for combination in itertools.combinations(useful, size):
                if all(sites & set(combination) for sites in wanted):
                    return set(combination)
    covered: set[str] = set()
    while any(not sites & covered for sites in wanted):
        open_ = [sites for sites in wanted if not sites & covered]
        covered.add(max(useful, key=lambda site: sum(site in sites for sites in open_)))
    return covered


def _routed(arm: Arm, site: str, held: SchemaCatalog) -> Arm:
    stats = held.stats.get(arm.table.name)
    return attrs.evolve(
        arm,
        table=held.table(arm.table.name) or arm.table,
        site=site,
        is_replica=site != arm.schema.site,
        staleness_s=held.staleness_s or 0.0,
        row_count=stats.row_count if stats else None,
        row_bytes=stats.row_bytes if stats else 64.0,
        stats=stats.columns if stats else {},
    )
