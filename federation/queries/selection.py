"""What a query asks for, as a value: methods of queries return changed copies of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from federation.errors import QueryError, UserError
from federation.queries import syntax
from federation.queries.bind import bind_values, value_node
from federation.queries.parser import parse_name, parse_where

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["Condition", "OrderKey", "Options", "Search", "Selection", "conditions_from", "order_key"]


@attrs.frozen
class Condition:
    """One condition and the text that it was written as, ``""`` for a value of the caller's program."""

    node: syntax.Node
    text: str


@attrs.frozen
class OrderKey:
    """A name to order by."""

    name: syntax.Name
    descending: bool
    text: str


@attrs.frozen
class Search:
    """Datasets of a type in collections (names or patterns; None: wherever they are)."""

    dataset_type: str
    collections: tuple[str, ...] | None
    find_first: bool


@attrs.frozen
class Options:
    """How a query is answered, as `Session.query` takes it."""

    max_staleness_s: float | None = None
    partial: bool = False
    chain: tuple[str, ...] = ()
    timeout_s: float | None = None


@attrs.frozen
class Selection:
    """Datasets (``target`` dataset), data IDs or dimension records, and which of them.

    ``dimensions`` are those of data IDs; ``element`` is that of records.
    """

    target: str
    searches: tuple[Search, ...] = ()
    dimensions: tuple[str, ...] = ()
    element: str = ""
    conditions: tuple[Condition, ...] = ()
    order: tuple[OrderKey, ...] = ()
    row_limit: int | None = None
    expanded: bool = False


def conditions_from(
    parts: tuple[str | Mapping[str, Any], ...],
    bind: Mapping[str, Any] | None,
    data_id: Mapping[str, Any],
    dimensions: Container[str],
) -> tuple[Condition, ...]:
    """Conditions of expressions, of mappings from names to values, and of keyword data ID values."""
    found: list[Condition] = []
    for part in parts:
        if isinstance(part, Mapping):
            found.extend(_equal(name, value) for name, value in part.items())
            continue
        if not isinstance(part, str):
            raise UserError(
                f"{part!r} is no condition", hint="pass an expression as text, or a data ID as a mapping"
            )
        node = parse_where(part)
        if node is not None:
            found.append(Condition(bind_values(node, bind or {}, dimensions, part), part))
    found.extend(_equal(name, value) for name, value in data_id.items())
    return tuple(found)


def _equal(name: str, value: Any) -> Condition:
    left = parse_name(name)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple, set, frozenset, range)):
        items = tuple(_value(name, item) for item in value)
        return Condition(syntax.In(left, items), "")
    return Condition(syntax.Compare("=", left, _value(name, value)), "")


def _value(name: str, value: Any) -> syntax.Node:
    node = value_node(value)
    if node is None or value is None:
        raise UserError(
            f"{name}={value!r}: a {type(value).__name__} is no value of a data ID",
            hint="pass a number or a text, or a list of them",
        )
    return node


def order_key(text: str) -> OrderKey:
    """``"visit"``, or ``"-visit"`` for the greatest first."""
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{text!r} is nothing to order by", hint='pass names: "visit", or "-visit"')
    stripped = text.strip()
    descending = stripped.startswith("-")
    name = stripped[1:].strip() if descending else stripped
    try:
        return OrderKey(parse_name(name), descending, name)
    except QueryError as error:
        error.hint = 'order by names: "visit", "-visit", "visit.timespan.begin"'
        raise
