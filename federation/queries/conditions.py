"""Conditions of an expression as SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import QueryError
from federation.model.logical import LogicalType
from federation.model.timespan import Timespan
from federation.queries import syntax
from federation.queries.names import ElementField
from federation.queries.patterns import glob_sql, like_sql
from federation.queries.regions import Sky, overlap_sql, sky_of
from federation.queries.sql import one_of, timestamp
from federation.queries.values import Values

if TYPE_CHECKING:
    from federation.queries.values import Value

__all__ = ["Conditions"]

_L = LogicalType
#: a stepped range with at most so many members is written out, so that sites can evaluate it
_LISTED_MAX = 1000
#: so many conditions are written side by side
_CHAIN_MAX = 100


@attrs.frozen(eq=False)
class Conditions:
    """Writes conditions over `values`."""

    values: Values

    def _error(self, message: str, node: syntax.Node, hint: str) -> QueryError:
        return self.values.error(message, node, hint)

    def of(self, node: syntax.Node) -> str:
        """The condition as SQL, in parentheses where it needs them; `QueryError` points at what can't be one."""
        match node:
            case syntax.And(parts=parts):
                return _chained("AND", list(map(self.of, parts)))
            case syntax.Or(parts=parts):
                return _chained("OR", list(map(self.of, parts)))
            case syntax.Not(part=part):
                return f"(NOT {self.of(part)})"
            case syntax.Compare():
                return self._compare(node)
            case syntax.In():
                return _negated(self._in(node), node.negated)
            case syntax.Between():
                value, low, high = self.values.alike([node.part, node.low, node.high])
                self._ordered(value, node.part)
                return _negated(f"{value.sql} BETWEEN {low.sql} AND {high.sql}", node.negated)
            case syntax.Like():
                return _negated(self._like(node), node.negated)
            case syntax.IsNull():
                return self._is_null(node)
            case syntax.IsTrue():
                word = f"IS {'NOT ' * node.negated}{'TRUE' if node.value else 'FALSE'}"
                return f"({self._truth(node.part)} {word})"
            case syntax.Overlaps():
                return self._overlaps(node)
        return self._truth(node)

    def _truth(self, node: syntax.Node) -> str:
        if isinstance(node, (syntax.Name, syntax.Literal)):
            value = self.values.of(node)
            if value.type is _L.BOOL:
                return value.sql
            shown = str(node) if isinstance(node, syntax.Name) else value.sql
            raise self._error(f"{shown} is no condition", node, "compare it: name = value")
        if isinstance(
            node, (syntax.Arithmetic, syntax.Negative, syntax.Span, syntax.RegionCall, syntax.TimeLiteral)
        ):
            raise self._error("a value alone is no condition", node, "compare it: name = value")
        return self.of(node)

    def _ordered(self, value: Value, node: syntax.Node) -> None:
        if value.type in {_L.BYTES, _L.BOOL}:
            raise self._error(f"{value.type} has no order", node, "compare it with = or <>")

    def _compare(self, node: syntax.Compare) -> str:
        for side in (node.left, node.right):
            if isinstance(side, syntax.Literal) and side.value is None:
                raise self._error(
                    "a comparison with NULL is never true", side, "write IS NULL or IS NOT NULL"
                )
        left, right = self.values.alike([node.left, node.right])
        if node.operator not in {"=", "<>"}:
            self._ordered(left, node.left)
        return f"{left.sql} {node.operator} {right.sql}"

    def _is_null(self, node: syntax.IsNull) -> str:
        word = "IS NOT NULL" if node.negated else "IS NULL"
        if isinstance(node.part, syntax.Name):
            meaning = self.values.names.resolve(node.part, self.values.text)
            if meaning.type is None:
                begin, end = self._span(node.part) or ("", "")
                return _negated(f"({begin} IS NULL AND {end} IS NULL)", node.negated)
        return f"({self.values.of(node.part).sql} {word})"

    def _in(self, node: syntax.In) -> str:
        ranges = [item for item in node.items if isinstance(item, syntax.Range)]
        singles = [item for item in node.items if not isinstance(item, syntax.Range)]
        part, *found = self.values.alike([node.part, *singles])
        if ranges and part.type is not _L.INT64:
            raise self._error(
                f"a range needs whole numbers, not {part.type}", ranges[0], "write single values"
            )
        listed = [value.sql for value in found if value.type is not None]
        conditions = []
        for item in ranges:
            count = (item.last - item.first) // item.step + 1
            if item.step > 1 and count <= _LISTED_MAX:
                listed.extend(map(str, range(item.first, item.last + 1, item.step)))
                continue
            between = f"{part.sql} BETWEEN {item.first} AND {item.last}"
            if item.step > 1:
                between = f"({between} AND ({part.sql} - {item.first}) % {item.step} = 0)"
            conditions.append(between)
        if listed:
            conditions.insert(0, one_of(part.sql, list(dict.fromkeys(listed))))
        if not conditions:
            return "FALSE"
        return conditions[0] if len(conditions) == 1 else "(" + " OR ".join(conditions) + ")"

    def _like(self, node: syntax.Like) -> str:
        part, pattern = self.values.of(node.part), self.values.of(node.pattern)
        word = "GLOB" if node.glob else "LIKE"
        if part.type is not _L.STRING:
            raise self._error(
                f"{word} needs a text, not {part.type}", node.part, "compare it with =, < or IN"
            )
        if not isinstance(pattern.constant, str):
            raise self._error(f"the pattern of {word} is no text", node.pattern, "write it in single quotes")
        if not node.glob and pattern.constant.replace("\\\\", "").endswith("\\"):
            raise self._error(
                "the pattern ends with a backslash", node.pattern, "write two for a backslash itself"
            )
        return (glob_sql if node.glob else like_sql)(part.sql, pattern.constant)

    # -- regions and timespans --------------------------------------------------------------------------------

    def _overlaps(self, node: syntax.Overlaps) -> str:
        left_sky, right_sky = self._sky(node.left), self._sky(node.right)
        if left_sky and right_sky:
            if left_sky.is_point and right_sky.is_point:
                raise self._error("two points", node, "name a region: visit.region OVERLAPS POINT(ra, dec)")
            return overlap_sql(left_sky, right_sky)
        left, right = self._span(node.left), self._span(node.right)
        for side, span, sky in ((node.left, left, left_sky), (node.right, right, right_sky)):
            if span is None and sky is None:
                moment = self.values.of(side)
                if moment.type is _L.STRING and isinstance(moment.constant, str):
                    moment = self.values.alike([syntax.TimeLiteral(0), side])[1]
                if moment.type is not _L.TIMESTAMP:
                    raise self._error(
                        "OVERLAPS needs regions or timespans",
                        side,
                        "write visit.timespan OVERLAPS (T'...', T'...') or visit.region OVERLAPS POINT(ra, dec)",
                    )
                return self._contains(right if side is node.left else left, moment.sql, node)
        if left is None or right is None:
            raise self._error("a region and a timespan can't overlap", node, "compare two of one kind")
        overlap = f"timespan_overlaps({left[0]}, {left[1]}, {right[0]}, {right[1]})"
        return self._guarded(overlap, node)

    def _contains(self, span: tuple[str, str] | None, moment: str, node: syntax.Overlaps) -> str:
        if span is None:
            raise self._error("two moments, or a moment and a region", node, "name a timespan")
        begin, end = span
        inside = f"(({begin} IS NULL OR {begin} <= {moment}) AND ({end} IS NULL OR {moment} < {end}))"
        return self._guarded(inside, node)

    def _guarded(self, condition: str, node: syntax.Overlaps) -> str:
        """A record that is not there has no timespan, rather than an unbounded one."""
        guards = []
        for side in (node.left, node.right):
            if isinstance(side, syntax.Name):
                meaning = self.values.names.resolve(side, self.values.text)
                if isinstance(meaning, ElementField) and self.values.columns.is_optional(meaning.element):
                    element = self.values.names.universe[meaning.element]
                    key = self.values.names.universe.table_key(element.name)[-1]
                    guards.append(f"{self.values.columns.of_element(element.name, key)} IS NOT NULL")
        return "(" + " AND ".join([condition, *guards]) + ")"

    def _sky(self, node: syntax.Node) -> Sky | None:
        if isinstance(node, syntax.Name):
            meaning = self.values.names.resolve(node, self.values.text)
            if isinstance(meaning, ElementField) and meaning.field == "region":
                return Sky((self.values.sql_of(meaning),))
            return None
        return sky_of(node, self.values.text)

    def _span(self, node: syntax.Node) -> tuple[str, str] | None:
        match node:
            case syntax.Name():
                meaning = self.values.names.resolve(node, self.values.text)
                if meaning.type is not None:
                    return None
                begin, end = (attrs.evolve(meaning, field=f"timespan_{e}") for e in ("begin", "end"))
                return self.values.sql_of(begin), self.values.sql_of(end)
            case syntax.Span():
                return self._bound(node.begin), self._bound(node.end)
            case syntax.Literal(value=Timespan() as span):
                if span.is_empty:
                    return timestamp(0), timestamp(0)
                begin_sql = "NULL" if span.begin is None else timestamp(span.begin)
                return begin_sql, "NULL" if span.end is None else timestamp(span.end)
        return None

    def _bound(self, node: syntax.Node) -> str:
        value = self.values.alike([syntax.TimeLiteral(0), node])[1]
        if value.type not in {None, _L.TIMESTAMP}:
            raise self._error("a timespan reaches from moment to moment", node, "write T'...' or NULL")
        return value.sql


def _chained(word: str, conditions: list[str]) -> str:
    """Conditions in parentheses; many are nested, because a chain counts as one level for each in SQLite."""
    while len(conditions) > _CHAIN_MAX:
        starts = range(0, len(conditions), _CHAIN_MAX)
        conditions = [f"({f' {word} '.join(conditions[n : n + _CHAIN_MAX])})" for n in starts]
    return f"({f' {word} '.join(conditions)})"


def _negated(condition: str, negated: bool) -> str:
    return f"(NOT ({condition}))" if negated else condition
