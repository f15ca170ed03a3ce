"""Values of the caller's program put in the place of their names."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from lsst.sphgeom import LonLat, Region, UnitVector3d

from federation.errors import QueryError
from federation.model.suggestion import suggest
from federation.model.timespan import Timespan
from federation.queries import syntax
from federation.queries.times import is_astropy_time, tai_ns

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["bind_values", "value_node"]

_SCALARS = (type(None), bool, int, float, str, uuid.UUID, Timespan, Region, LonLat, UnitVector3d)


def bind_values(
    node: syntax.Node, bind: Mapping[str, Any], dimensions: Container[str], sql: str
) -> syntax.Node:
    """``node`` without `Bind` nodes and without names that ``bind`` gives a value.

    `QueryError` for a name without value, a value that can't be part of a condition, and a bound name that is a
    dimension's.
    """
    for name in bind:
        if name in dimensions:
            raise QueryError(
                f"bind value {name!r} has the name of a dimension",
                hint=f"give it another name, as in bind={{'my_{name}': ...}}",
                sql=sql,
            )
    return _bound(node, bind, sql)


def _bound(node: syntax.Node, bind: Mapping[str, Any], sql: str) -> syntax.Node:
    if isinstance(node, syntax.Bind):
        if node.name not in bind:
            raise QueryError(
                f"no value for :{node.name}",
                hint=suggest(node.name, bind, "bound are") if bind else f"pass bind={{'{node.name}': ...}}",
                sql=sql,
                position=node.position,
            )
        return _single(bind[node.name], node, sql)
    if isinstance(node, syntax.Name):
        if len(node.parts) == 1 and node.parts[0] in bind:
            return _single(bind[node.parts[0]], node, sql)
        return node
    if isinstance(node, syntax.In):
        items: list[syntax.Node] = []
        for item in node.items:
            items.extend(_many(item, bind, sql))
        return attrs.evolve(node, part=_bound(node.part, bind, sql), items=tuple(items))
    changes: dict[str, Any] = {}
    for field in attrs.fields(type(node)):
        value = getattr(node, field.name)
        if isinstance(value, syntax.Node):
            changes[field.name] = _bound(value, bind, sql)
        elif isinstance(value, tuple) and value and isinstance(value[0], syntax.Node):
            changes[field.name] = tuple(_bound(item, bind, sql) for item in value)
    return attrs.evolve(node, **changes) if changes else node


def _bound_name(node: syntax.Node) -> str | None:
    if isinstance(node, syntax.Bind):
        return node.name
    return node.parts[0] if isinstance(node, syntax.Name) and len(node.parts) == 1 else None


def _many(item: syntax.Node, bind: Mapping[str, Any], sql: str) -> list[syntax.Node]:
    """The items of IN that one item stands for: those of a bound sequence, or itself."""
    name = _bound_name(item)
    value: Any = bind.get(name) if name is not None else None
    if not _is_sequence(value):
        return [_bound(item, bind, sql)]
    if isinstance(value, range) and len(value) and abs(value.step) >= 1:
        ordered = value if value.step > 0 else value[::-1]
        return [syntax.Range(ordered[0], ordered[-1], ordered.step, position=item.position)]
    values = value.tolist() if isinstance(value, np.ndarray) else value
    return [_single(one, item, sql) for one in values]


def _is_sequence(value: object) -> bool:
    is_single = isinstance(value, (str, bytes, Mapping, *_SCALARS)) or is_astropy_time(value)
    return isinstance(value, Iterable) and not is_single


def _single(value: Any, node: syntax.Node, sql: str) -> syntax.Node:
    if _is_sequence(value):
        raise QueryError(
            f"{_bound_name(node)!r} is bound to a sequence",
            hint="a sequence stands after IN: visit IN (my_visits)",
            sql=sql,
            position=node.position,
        )
    made = value_node(value, node.position)
    if made is None:
        raise QueryError(
            f"{_bound_name(node)!r} is bound to a {type(value).__name__}, which can't be part of a condition",
            hint="bind numbers, texts, truth values, UUIDs, astropy times, Timespan, lsst.sphgeom regions",
            sql=sql,
            position=node.position,
        )
    return made


def value_node(value: Any, position: int = 0) -> syntax.Node | None:
    """A value as a part of a condition; None when it can't be one."""
    if isinstance(value, np.generic):
        value = value.item()
    if is_astropy_time(value):
        return syntax.TimeLiteral(tai_ns(value), position=position) if value.isscalar else None
    if isinstance(value, _SCALARS):
        return syntax.Literal(value, bound=True, position=position)
    return None
