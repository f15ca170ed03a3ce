"""Values of an expression as SQL, each with its type: columns, literals, arithmetic."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Protocol

import attrs
from lsst.sphgeom import LonLat, Region, UnitVector3d

from federation.errors import QueryError, UserError
from federation.model.logical import LogicalType
from federation.model.timespan import Timespan
from federation.queries import syntax
from federation.queries.names import DatasetField, ElementField, Key, Names
from federation.queries.sql import literal, timestamp
from federation.queries.times import parse_time

if TYPE_CHECKING:
    from federation.queries.names import Meaning

__all__ = ["Columns", "Value", "Values"]

_L = LogicalType
_NUMBERS = {_L.INT64, _L.FLOAT64}


class Columns(Protocol):
    """Where columns are in the statement that is being written."""

    def key(self, dimension: str) -> str: ...
    def of_element(self, element: str, field: str) -> str: ...
    def of_dataset(self, dataset_type: str, field: str) -> str: ...
    def is_optional(self, element: str) -> bool: ...


@attrs.frozen
class Value:
    """SQL and its type, None for NULL; ``constant`` is the value of a literal or bound value, else ``...``."""

    sql: str
    type: LogicalType | None
    constant: object = ...


@attrs.frozen(eq=False)
class Values:
    """Writes values; ``text`` is the expression, for errors."""

    names: Names
    columns: Columns
    text: str

    def error(self, message: str, node: syntax.Node, hint: str) -> QueryError:
        return QueryError(message, hint=hint, sql=self.text, position=node.position)

    def of(self, node: syntax.Node) -> Value:
        """The value of a node; `QueryError` for a condition, timespan or region."""
        match node:
            case syntax.Name():
                return self._name(node)
            case syntax.TimeLiteral(tai_ns=moment):
                return Value(timestamp(moment), _L.TIMESTAMP, moment)
            case syntax.Literal():
                return self._literal(node)
            case syntax.Negative(part=part):
                value = self._number(part)
                return Value(f"(-{value.sql})", value.type)
            case syntax.Arithmetic():
                return self._arithmetic(node)
        raise self.error(
            "a value is needed here, not a condition or region",
            node,
            "compare columns, numbers, texts or times",
        )

    def _name(self, node: syntax.Name) -> Value:
        meaning = self.names.resolve(node, self.text)
        if meaning.type is None:
            raise self.error(
                f"{node} is a timespan",
                node,
                f"write {node} OVERLAPS (T'...', T'...'), or {node}.begin and {node}.end",
            )
        return Value(self.sql_of(meaning), meaning.type)

    def sql_of(self, meaning: Meaning) -> str:
        """The column of a meaning."""
        match meaning:
            case Key(dimension=dimension):
                return self.columns.key(dimension)
            case ElementField(element=element, field=field):
                return self.columns.of_element(element, field)
            case DatasetField(dataset_type=dataset_type, field=field):
                return self.columns.of_dataset(dataset_type, field)

    def _literal(self, node: syntax.Literal) -> Value:
        value = node.value
        if isinstance(value, (Timespan, Region, LonLat, UnitVector3d)):
            raise self.error(
                f"a {type(value).__name__} can't be compared", node, "write ... OVERLAPS with it"
            )
        kinds: dict[type, LogicalType] = {
            bool: _L.BOOL, int: _L.INT64, float: _L.FLOAT64, str: _L.STRING, uuid.UUID: _L.UUID,
        }  # fmt: skip
        kind = next((k for cls, k in kinds.items() if isinstance(value, cls)), None)
        try:
            return Value(literal(value), kind, value)
        except UserError as error:
            raise self.error(error.message, node, error.hint) from error

    def _number(self, node: syntax.Node) -> Value:
        value = self.of(node)
        if value.type not in _NUMBERS:
            raise self.error(
                f"arithmetic needs numbers, not {value.type or 'NULL'}", node, "compare it as it is"
            )
        return value

    def _arithmetic(self, node: syntax.Arithmetic) -> Value:
        left, right = self._number(node.left), self._number(node.right)
        kind = _L.INT64 if left.type is right.type is _L.INT64 else _L.FLOAT64
        if node.operator == "%" and kind is not _L.INT64:
            raise self.error("% takes whole numbers", node.right, "compare with < and >=")
        return Value(f"({left.sql} {node.operator} {right.sql})", kind)

    def alike(self, nodes: list[syntax.Node]) -> list[Value]:
        """Values that are compared with one another, with texts and numbers read as what they are compared with."""
        values = [self.of(node) for node in nodes]
        kind = next((v.type for v in values if v.type is not None and v.constant is ...), None)
        kind = kind or next((v.type for v in values if v.type is not None), None)
        if kind is None:
            return values
        return [self._as(value, kind, node) for value, node in zip(values, nodes, strict=True)]

    def _as(self, value: Value, kind: LogicalType, node: syntax.Node) -> Value:
        if value.type is None or value.type is kind or {value.type, kind} <= _NUMBERS:
            return value
        constant = value.constant
        try:
            if kind is _L.TIMESTAMP and isinstance(constant, str):
                moment = parse_time(constant)
                return Value(timestamp(moment), kind, moment)
            if kind is _L.UUID and isinstance(constant, str):
                return Value(literal(uuid.UUID(constant)), kind, constant)
        except ValueError as error:
            raise self.error(
                f"{constant!r} is not a UUID", node, "a UUID has 32 hexadecimal digits"
            ) from error
        except UserError as error:
            raise self.error(error.message, node, error.hint) from error
        if kind is _L.TIMESTAMP and type(constant) is int and isinstance(node, syntax.Literal) and node.bound:
            return Value(timestamp(constant), kind, constant)
        raise self.error(
            f"{value.type} can't be compared with {kind}",
            node,
            _REMEDY.get(kind, "write a value of that type"),
        )


_REMEDY = {
    _L.STRING: "write texts in single quotes",
    _L.INT64: "write a number without quotes",
    _L.FLOAT64: "write a number without quotes",
    _L.TIMESTAMP: "write a moment: T'2025-01-31T12:00:00/tai'",
    _L.BOOL: "write TRUE or FALSE",
    _L.BYTES: "regions are compared by OVERLAPS only",
}
