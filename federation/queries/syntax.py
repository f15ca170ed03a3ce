"""The parts of a parsed ``where`` expression; each knows its place in the text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

__all__ = [
    "And",
    "Arithmetic",
    "Between",
    "Bind",
    "Compare",
    "In",
    "IsNull",
    "IsTrue",
    "Like",
    "Literal",
    "Name",
    "Negative",
    "Node",
    "Not",
    "Or",
    "Overlaps",
    "Range",
    "RegionCall",
    "Span",
    "TimeLiteral",
    "names_in",
    "walk",
]


@attrs.frozen
class Node:
    """A part of an expression; ``position`` is its first character in the text, 0-based."""

    position: int = attrs.field(kw_only=True, default=0, eq=False)

    def children(self) -> Iterator[Node]:
        """The nodes directly below."""
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            if isinstance(value, Node):
                yield value
            elif isinstance(value, tuple):
                yield from (item for item in value if isinstance(item, Node))


@attrs.frozen
class Name(Node):
    """A dotted name."""

    parts: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.parts)


@attrs.frozen
class Literal(Node):
    """A number, text, truth value, NULL, or any value of the caller's program that was bound."""

    value: Any
    bound: bool = False


@attrs.frozen
class TimeLiteral(Node):
    """``T'...'``: a moment, TAI nanoseconds."""

    tai_ns: int


@attrs.frozen
class Bind(Node):
    """``:name``."""

    name: str


@attrs.frozen
class And(Node):
    """All of two or more."""

    parts: tuple[Node, ...]


@attrs.frozen
class Or(Node):
    """Any of two or more."""

    parts: tuple[Node, ...]


@attrs.frozen
class Not(Node):
    """The opposite."""

    part: Node


@attrs.frozen
class Compare(Node):
    """``left operator right``; the operator is one of ``= <> < <= > >=``."""

    operator: str
    left: Node
    right: Node


@attrs.frozen
class Arithmetic(Node):
    """``left operator right``; the operator is one of ``+ - * / %``."""

    operator: str
    left: Node
    right: Node


@attrs.frozen
class Negative(Node):
    """``-part``."""

    part: Node


@attrs.frozen
class Range(Node):
    """``first..last:step`` inside IN; both ends belong to it."""

    first: int
    last: int
    step: int


@attrs.frozen
class In(Node):
    """``part [NOT] IN (items)``; an item is an expression, a `Range`, or a bound sequence."""

    part: Node
    items: tuple[Node, ...]
    negated: bool = False


@attrs.frozen
class Between(Node):
    """``part [NOT] BETWEEN low AND high``."""

    part: Node
    low: Node
    high: Node
    negated: bool = False


@attrs.frozen
class Like(Node):
    """``part [NOT] LIKE pattern``, or GLOB."""

    part: Node
    pattern: Node
    glob: bool = False
    negated: bool = False


@attrs.frozen
class IsNull(Node):
    """``part IS [NOT] NULL``."""

    part: Node
    negated: bool = False


@attrs.frozen
class IsTrue(Node):
    """``part IS [NOT] TRUE`` or ``FALSE``."""

    part: Node
    value: bool
    negated: bool = False


@attrs.frozen
class Span(Node):
    """``(begin, end)``, a timespan."""

    begin: Node
    end: Node


@attrs.frozen
class RegionCall(Node):
    """``POINT(ra, dec)``, ``CIRCLE(ra, dec, radius)``, ``POLYGON(ra, dec, ...)`` or ``REGION 'text'``; degrees."""

    kind: str
    arguments: tuple[Node, ...] = ()
    text: str = ""


@attrs.frozen
class Overlaps(Node):
    """``left OVERLAPS right``, of regions or of timespans."""

    left: Node
    right: Node


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    todo = [node]
    while todo:
        found = todo.pop()
        yield found
        todo.extend(found.children())


def names_in(node: Node) -> list[Name]:
    """All names in a node, in the order of the text."""
    return sorted((n for n in walk(node) if isinstance(n, Name)), key=lambda name: name.position)
