"""Regions in an expression as calls of SQL's region functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from lsst.sphgeom import Circle, ConvexPolygon, LonLat, Region, UnionRegion, UnitVector3d

from federation.errors import QueryError
from federation.queries import syntax
from federation.queries.sql import literal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Sky", "overlap_sql", "sky_of"]

_COUNTS = {"POINT": (2, 2), "CIRCLE": (3, 3), "POLYGON": (6, None)}
_USAGE = {
    "POINT": "POINT(ra, dec), in degrees",
    "CIRCLE": "CIRCLE(ra, dec, radius), in degrees",
    "POLYGON": "POLYGON(ra, dec, ra, dec, ra, dec), in degrees, counter-clockwise",
}


@attrs.frozen
class Sky:
    """A part of the sky: a SQL region, or a point with ``is_point``, as ``ra, dec``; several are their union."""

    parts: tuple[str, ...]
    is_point: bool = False


def sky_of(node: syntax.Node, sql: str) -> Sky | None:
    """The part of the sky that a literal or bound node stands for; None when it is none."""
    if isinstance(node, syntax.RegionCall):
        return _text(node, sql) if node.kind == "REGION" else _call(node, sql)
    if isinstance(node, syntax.Literal):
        if isinstance(node.value, (LonLat, UnitVector3d)):
            return _point(node.value)
        if isinstance(node.value, Region):
            return _region(node.value, node, sql)
    return None


def overlap_sql(left: Sky, right: Sky) -> str:
    """The condition that two parts of the sky share a point."""
    found = []
    for a in left.parts:
        for b in right.parts:
            if left.is_point or right.is_point:
                region, point = (b, a) if left.is_point else (a, b)
                found.append(f"region_contains({region}, {point})")
            else:
                found.append(f"region_overlaps({a}, {b})")
    return found[0] if len(found) == 1 else "(" + " OR ".join(found) + ")"


def _call(node: syntax.RegionCall, sql: str) -> Sky:
    low, high = _COUNTS[node.kind]
    count = len(node.arguments)
    if count < low or (high is not None and count > high) or (high is None and count % 2):
        raise QueryError(
            f"{node.kind} takes {low} numbers{'' if high else ' or more, in pairs'}, not {count}",
            hint=_USAGE[node.kind],
            sql=sql,
            position=node.position,
        )
    return _numbers(node.kind, [_number(argument, node, sql) for argument in node.arguments])


def _number(node: syntax.Node, call: syntax.RegionCall, sql: str) -> float:
    value = node.value if isinstance(node, syntax.Literal) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise QueryError(
            f"{call.kind} takes numbers only", hint=_USAGE[call.kind], sql=sql, position=node.position
        )
    return value


def _numbers(kind: str, values: Sequence[float]) -> Sky:
    shown = ", ".join(literal(float(value)) for value in values)
    if kind == "POINT":
        return Sky((shown,), is_point=True)
    return Sky((f"{kind.lower()}({shown})",))


def _text(node: syntax.RegionCall, sql: str) -> Sky:
    """``REGION 'CIRCLE 12.5 -30 0.2'``, as in the POS parameter of the Virtual Observatory."""
    words = node.text.split()
    if words and words[0].upper() in _COUNTS:
        try:
            values = tuple(syntax.Literal(float(word)) for word in words[1:])
        except ValueError as error:
            raise _bad_text(node, sql) from error
        call = syntax.RegionCall(words[0].upper(), values, position=node.position)
        return _call(call, sql)
    raise _bad_text(node, sql)


def _bad_text(node: syntax.RegionCall, sql: str) -> QueryError:
    return QueryError(
        f"{node.text!r} is not a region",
        hint="write 'POINT ra dec', 'CIRCLE ra dec radius' or 'POLYGON ra dec ra dec ra dec', in degrees",
        sql=sql,
        position=node.position,
    )


def _point(value: Any) -> Sky:
    return _numbers("POINT", _position(value))


def _position(value: Any) -> tuple[float, float]:
    lonlat = value if isinstance(value, LonLat) else LonLat(value)
    return lonlat.getLon().asDegrees(), lonlat.getLat().asDegrees()


def _region(region: Any, node: syntax.Node, sql: str) -> Sky:
    if isinstance(region, Circle) and not region.isEmpty():
        radius = min(region.getOpeningAngle().asDegrees(), 180.0)
        return _numbers("CIRCLE", (*_position(region.getCenter()), radius))
    if isinstance(region, ConvexPolygon):
        corners = [angle for vertex in region.getVertices() for angle in _position(vertex)]
        return _numbers("POLYGON", corners)
    if isinstance(region, UnionRegion):
        parts = [_region(region.cloneOperand(n), node, sql).parts for n in range(region.nOperands())]
        return Sky(tuple(part for found in parts for part in found))
    raise QueryError(
        f"a region of type {type(region).__name__} can't be part of a condition",
        hint="use a Circle, a ConvexPolygon or a UnionRegion of them, for a Box its getBoundingCircle()",
        sql=sql,
        position=node.position,
    )
