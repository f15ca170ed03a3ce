"""Which tables of dimension records a query reads, and how they are joined.

An element is joined by the dimensions that it shares with what was joined before it. Elements that share none, but
have regions or timespans, are related by their overlap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import QueryError
from federation.queries.sql import column, literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from federation.model.dimension import DimensionElement, DimensionGroup, DimensionUniverse

__all__ = ["Base", "Joins", "join", "relations_in"]


@attrs.frozen
class Base:
    """Something that gives dimension values and is not an element's table: datasets of a type, or listed pixels.

    ``columns`` is where its dimensions are; ``source`` stands in FROM; ``further`` are (source, condition) of tables
    that are joined to it.
    """

    source: str
    columns: Mapping[str, str]
    further: tuple[tuple[str, str], ...] = ()


@attrs.define
class Joins:
    """FROM as text, and where every dimension is; ``optional`` elements may lack a record."""

    text: str = ""
    keys: dict[str, str] = attrs.field(factory=dict)
    optional: set[str] = attrs.field(factory=set)
    conditions: list[str] = attrs.field(factory=list)

    def add(self, source: str, on: list[str], kind: str = "") -> None:
        """Join a source."""
        if not self.text:
            self.text = source
            self.conditions.extend(on)
        elif on:
            self.text += f" {kind}JOIN {source} ON {' AND '.join(on)}"
        else:
            self.text += f" CROSS JOIN {source}"


def dimensions_of(element: DimensionElement) -> tuple[str, ...]:
    """What identifies a record of the element."""
    return (*element.required, element.name) if element.is_dimension else element.required


def relations_in(universe: DimensionUniverse, names: Collection[str]) -> list[DimensionElement]:
    """Relations without key, region and timespan whose dimensions are all there: they say what belongs together."""
    return [
        element
        for element in universe.elements
        if not element.is_dimension
        and not element.has_region
        and not element.has_timespan
        and set(element.required) <= set(names)
    ]


def join(
    universe: DimensionUniverse,
    group: DimensionGroup,
    bases: Iterable[Base],
    mentioned: Collection[str],
    wanted: Collection[str],
    related: Collection[frozenset[str]],
) -> Joins:
    """Join ``bases``, the ``mentioned`` elements, and what else gives the dimensions of ``group``.

    All required dimensions are given, and of the implied ones those ``wanted``. ``related`` are pairs of elements
    that the caller's own conditions relate, which need no overlap. `QueryError` when it is not clear how regions or
    timespans of more than two families belong together.
    """
    bases = list(bases)
    covered = [set(base.columns) for base in bases]
    needed = {element.name: element for element in map(universe.__getitem__, mentioned)}
    for element in relations_in(universe, group.names):
        if not any(set(element.required) <= dims for dims in covered):
            needed[element.name] = element
    overlaps = _overlaps(universe, group, covered, related)
    for pair in overlaps:
        needed |= {element.name: element for element in pair.elements if not element.is_skypix}
    _complete(universe, group, set().union(*covered), wanted, needed)
    joins = Joins()
    for base in bases:
        shared = [f"{where} = {joins.keys[dim]}" for dim, where in base.columns.items() if dim in joins.keys]
        joins.add(base.source, shared)
        for source, condition in base.further:
            joins.add(source, [condition])
        joins.keys = {**base.columns, **joins.keys}
    waiting = [needed[name] for name in universe.sort(needed)]
    joined: set[str] = {element.name for element in universe.elements if element.is_skypix}
    while waiting:
        element = min(waiting, key=lambda element: _distance(group, joins, element))
        waiting.remove(element)
        _join_element(group, joins, element, overlaps, joined)
    return joins


def _distance(group: DimensionGroup, joins: Joins, element: DimensionElement) -> tuple[bool, int]:
    """How well an element's records are fixed by what is joined already: the smallest is joined next."""
    known = [dimension in joins.keys for dimension in dimensions_of(element)]
    if all(known):
        distance = 0
    elif not element.is_dimension and not element.has_region and (any(known) or not joins.keys):
        distance = 1
    else:
        distance = 2 if any(known) else 3
    return element.name in group.implied, distance


def _complete(
    universe: DimensionUniverse,
    group: DimensionGroup,
    given: set[str],
    wanted: Collection[str],
    needed: dict[str, DimensionElement],
) -> None:
    """Add the elements that give the dimensions which nothing joined so far gives."""

    def give(element: DimensionElement) -> None:
        needed[element.name] = element
        if element.name not in group.implied:
            given.update(dimensions_of(element))
        given.update(element.implied)

    def want(dimension: str) -> None:
        if dimension in given:
            return
        if dimension in group.required:
            if universe[dimension].is_skypix:
                raise QueryError(
                    f"nothing gives values of {dimension!r}",
                    hint=f"list pixels ({dimension} = ... or {dimension} IN (...)), or name datasets that have it",
                )
            give(universe[dimension])
            return
        source = next(
            element for element in map(universe.__getitem__, group.names) if dimension in element.implied
        )
        want(source.name)
        give(source)

    for element in list(needed.values()):
        if element.name not in group.implied:
            give(element)
    # what depends on others first: it gives them too
    for dimension in reversed(group.required):
        want(dimension)
    for element in list(needed.values()):
        if element.name in group.implied:
            want(element.name)
            given.update(element.implied)
    for dimension in wanted:
        want(dimension)


def _join_element(
    group: DimensionGroup,
    joins: Joins,
    element: DimensionElement,
    overlaps: list[_Overlap],
    joined: set[str],
) -> None:
    own = {dimension: column(element.name, dimension) for dimension in (*element.required, *element.implied)}
    if element.primary_key is not None:
        own[element.name] = column(element.name, element.primary_key.name)
    identity = dimensions_of(element)
    on = [f"{own[dimension]} = {joins.keys[dimension]}" for dimension in identity if dimension in joins.keys]
    if any(dimension not in joins.keys for dimension in identity):
        # not identified by what is there: an implied value that is there too must be the same
        on += [f"{own[d]} = {joins.keys[d]}" for d in element.implied if d in joins.keys]
    joined.add(element.name)
    is_optional = element.name in group.implied
    for pair in overlaps:
        names = {other.name for other in pair.elements}
        if element.name in names and names <= joined:
            on.append(pair.sql(joins.keys))
    joins.add(column(element.name), on, "LEFT " if is_optional else "")
    if is_optional:
        joins.optional.add(element.name)
    joins.keys = {**own, **joins.keys}


@attrs.frozen
class _Overlap:
    """Two elements that are related by their regions, or by their timespans."""

    elements: tuple[DimensionElement, DimensionElement]
    in_time: bool

    def sql(self, keys: Mapping[str, str]) -> str:
        left, right = self.elements
        if self.in_time:
            bounds = (column(e.name, f"timespan_{end}") for e in (left, right) for end in ("begin", "end"))
            return f"timespan_overlaps({', '.join(bounds)})"
        if left.is_skypix or right.is_skypix:
            pixel, other = (left, right) if left.is_skypix else (right, left)
            region = column(other.name, "region")
            return f"region_overlaps_pixel({literal(pixel.name)}, {keys[pixel.name]}, {region})"
        return f"region_overlaps({column(left.name, 'region')}, {column(right.name, 'region')})"


def _overlaps(
    universe: DimensionUniverse,
    group: DimensionGroup,
    covered: list[set[str]],
    related: Collection[frozenset[str]],
) -> list[_Overlap]:
    found = []
    for in_time in (False, True):
        families = _families(universe, group, in_time)
        apart = [
            (left, right)
            for number, left in enumerate(families)
            for right in families[number + 1 :]
            if not any({*dimensions_of(left[-1]), *dimensions_of(right[-1])} <= dims for dims in covered)
            and not any(frozenset((a.name, b.name)) in related for a in left for b in right)
        ]
        if not apart:
            continue
        if len(families) > 2:
            names = [family[-1].name for family in families]
            what = "timespan" if in_time else "region"
            raise QueryError(
                f"{', '.join(names)} could be related by their {what}s in several ways",
                hint=f"say which: {names[0]}.{what} OVERLAPS {names[1]}.{what}",
            )
        found.append(_Overlap((apart[0][0][-1], apart[0][1][-1]), in_time))
    return found


def _families(
    universe: DimensionUniverse, group: DimensionGroup, in_time: bool
) -> list[list[DimensionElement]]:
    """Elements with regions or timespans, those that dimensions relate together, the most specific last."""
    names = set(group.names)
    members = [
        element
        for element in universe.elements
        if set(dimensions_of(element)) <= names
        and (element.has_timespan if in_time else element.has_region or element.is_skypix)
    ]
    relations = [set(element.required) for element in relations_in(universe, names)]
    families: list[list[DimensionElement]] = []
    for element in members:
        close = [f for f in families if any(_are_related(universe, element, o, relations) for o in f)]
        merged = [other for family in close for other in family] + [element]
        families = [family for family in families if family not in close] + [merged]
    order = {name: place for place, name in enumerate(e.name for e in universe.elements)}
    for family in families:
        family.sort(key=lambda element: (len(_closure(universe, element)), order[element.name]))
    return sorted(families, key=lambda family: order[family[-1].name])


def _closure(universe: DimensionUniverse, element: DimensionElement) -> set[str]:
    """The dimensions that a record of the element fixes."""
    return set(universe.group(dimensions_of(element)).names)


def _are_related(
    universe: DimensionUniverse, a: DimensionElement, b: DimensionElement, relations: list[set[str]]
) -> bool:
    mine, others = set(dimensions_of(a)), set(dimensions_of(b))
    return (
        mine <= _closure(universe, b)
        or others <= _closure(universe, a)
        or any(a.name in relation and b.name in relation for relation in relations)
    )
