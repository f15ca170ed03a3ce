"""Schemas that hold no row which the statement could use are not read: by what is certain of their columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.planner.expand import below_shadowing, column
from federation.planner.facts import Fact, Ranges, excludes, facts_of
from federation.planner.pushdown import conditions_of
from federation.planner.routing import Holders
from federation.planner.scopes import sources_of, tables_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from federation.model.position import SchemaId
    from federation.planner.draft import Draft, Relation

__all__ = ["prune"]

#: by schema, why it has no row for one place where the statement reads a table
_Reasons = dict["SchemaId", str]


@attrs.frozen
class _Place:
    """One place where the statement reads a relation, with the conditions that its rows must meet."""

    relation: Relation
    filters: tuple[exp.Expr, ...]
    #: (column here, relation and column there) that are equal in every row of the result
    equal: tuple[tuple[str, Relation, str], ...]


def prune(draft: Draft) -> None:
    """Rule: leave out schemas whose rows in a table contradict the statement's conditions.

    Bounds and lists of values count only where a site says that they hold of all rows at the position of its catalog.
    Conditions on columns in which rows of one key may differ decide nothing where a nearer row hides others.
    """
    holders = Holders(draft)
    known: dict[tuple[SchemaId, str], Mapping[str, Fact]] = {}
    facts = {}
    for name, relation in draft.relations.items():
        for arm in relation.arms:
            table = arm.schema, arm.table.name
            if table not in known:
                known[table] = facts_of(holders.stats(arm))
            facts[name, arm.schema] = known[table]
    if not any(facts.values()):
        return
    places: dict[str, list[_Place]] = {}
    for place in _places(draft):
        places.setdefault(place.relation.name, []).append(place)
    uses = [table.name for table in tables_of(draft.tree)]
    for name, found in places.items():
        # a relation that is read at several places goes only where all of them can do without it
        if len(found) == uses.count(name):
            _leave_out(draft, holders, found, facts)


def _places(draft: Draft) -> Iterator[_Place]:
    for select in draft.tree.find_all(exp.Select):
        relations = {
            alias: relation
            for alias, source in sources_of(select).items()
            if isinstance(source, exp.Table)
            and (relation := draft.relations.get(source.name)) is not None
            and relation.literal is None
        }
        if not relations:
            continue
        conditions = conditions_of(select)
        equal: dict[str, list[tuple[str, Relation, str]]] = {alias: [] for alias in relations}
        for _, condition in conditions.joins:
            one, other = condition.this, condition.args.get("expression")
            if not (
                isinstance(condition, exp.EQ)
                and isinstance(one, exp.Column)
                and isinstance(other, exp.Column)
            ):
                continue
            for here, there in ((one, other), (other, one)):
                if here.table in relations and there.table in relations:
                    equal[here.table].append((here.name, relations[there.table], there.name))
        for alias, relation in relations.items():
            yield _Place(relation, conditions.filters.get(alias, ()), tuple(equal[alias]))


def _leave_out(
    draft: Draft,
    holders: Holders,
    places: list[_Place],
    facts: Mapping[tuple[str, SchemaId], Mapping[str, Fact]],
) -> None:
    relation = places[0].relation
    reasons = [_reasons(place, facts) for place in places]
    gone = {
        arm.schema: reasons[0][arm.schema]
        for arm in relation.arms
        if all(arm.schema in one for one in reasons)
    }
    if not gone:
        return
    for schema, reason in gone.items():
        draft.decide(f"{schema} is not read for {relation.table}: {reason}")
        holders.note_unread(schema)
    relation.arms = tuple(arm for arm in relation.arms if arm.schema not in gone)


def _reasons(place: _Place, facts: Mapping[tuple[str, SchemaId], Mapping[str, Fact]]) -> _Reasons:
    relation = place.relation
    usable = below_shadowing(relation, place.filters)
    others = {}
    for name, other, other_name in place.equal:
        theirs = [facts[other.name, one.schema].get(other_name) for one in other.arms]
        certain = [fact for fact in theirs if fact is not None]
        if certain and len(certain) == len(theirs) and below_shadowing(relation, [column(name, "")]):
            others[name, other.table, other_name] = Ranges.of(certain)
    found: _Reasons = {}
    shown: dict[int, str] = {}
    for arm in relation.arms:
        known = facts[relation.name, arm.schema]
        condition = next((one for one in usable if excludes(known, one)), None)
        if condition is not None:
            shown[id(condition)] = shown.get(id(condition)) or _shown(condition)
            found[arm.schema] = f"no row there has {shown[id(condition)]}"
            continue
        for (name, table, other_name), ranges in others.items():
            if name in known and ranges.are_apart_from(known[name]):
                found.setdefault(
                    arm.schema, f"{name} there and {other_name} of {table} have no value in common"
                )
    return found


def _shown(condition: exp.Expr) -> str:
    text = condition.sql("postgres").replace('"', "")
    return text if len(text) <= 100 else text[:97] + "..."
