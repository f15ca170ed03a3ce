"""Logical types as sqlglot writes them, and the types of expressions in a qualified tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.optimizer.annotate_types import annotate_types

from federation.model.logical import LogicalType
from federation.planner.region_signatures import REGION_FUNCTIONS

if TYPE_CHECKING:
    from sqlglot.optimizer.annotate_types import TypeAnnotator
    from sqlglot.schema import MappingSchema

__all__ = ["SQL_TYPES", "annotate", "is_date", "is_moment", "logical_type", "sql_type"]

_T = exp.DataType.Type

#: how each logical type is written in the logical dialect
SQL_TYPES: dict[LogicalType, exp.DType] = {
    LogicalType.INT64: _T.BIGINT,
    LogicalType.FLOAT64: _T.DOUBLE,
    LogicalType.BOOL: _T.BOOLEAN,
    LogicalType.STRING: _T.TEXT,
    LogicalType.BYTES: _T.VARBINARY,
    LogicalType.UUID: _T.UUID,
    LogicalType.TIMESTAMP: _T.TIMESTAMP,
}

_LOGICAL: dict[exp.DType, LogicalType] = {
    **{type_: logical for logical, type_ in SQL_TYPES.items()},
    _T.INT: LogicalType.INT64,
    _T.SMALLINT: LogicalType.INT64,
    _T.TINYINT: LogicalType.INT64,
    _T.FLOAT: LogicalType.FLOAT64,
    _T.VARCHAR: LogicalType.STRING,
}


def sql_type(logical: LogicalType) -> exp.DataType:
    """The sqlglot type of a logical one."""
    return exp.DataType(this=SQL_TYPES[logical], nested=False)


def logical_type(node: exp.Expr) -> LogicalType | None:
    """The logical type of an annotated expression; None when it is unknown or has none (an interval, NULL)."""
    return _LOGICAL.get(node.type.this) if node.type is not None else None


def is_date(node: exp.Expr) -> bool:
    """Whether an annotated expression is a calendar day, which only the local engine knows."""
    return node.type is not None and node.type.this is _T.DATE


def is_moment(node: exp.Expr) -> bool:
    """Whether an annotated expression is a timestamp or a calendar day."""
    return is_date(node) or logical_type(node) is LogicalType.TIMESTAMP


def _annotate_extract(annotator: TypeAnnotator, node: exp.Expr) -> exp.Expr:
    return annotator._set_type(node, _T.DOUBLE if node.name.upper() in {"EPOCH", "SECOND"} else _T.BIGINT)


def _annotate_sum(annotator: TypeAnnotator, node: exp.Expr) -> exp.Expr:
    """Sums and differences of moments and intervals; sqlglot gives them the type of an operand."""
    sides = (node.this, node.args["expression"])
    moments = [side for side in sides if is_moment(side)]
    if any(isinstance(side.unnest(), exp.Interval) for side in sides) and moments:
        return annotator._set_type(node, _T.TIMESTAMP)
    if isinstance(node, exp.Sub) and len(moments) == 2:
        days = all(is_date(side) for side in sides)
        return annotator._set_type(node, _T.BIGINT if days else _T.INTERVAL)
    return annotator._annotate_binary(node)  # type: ignore[type-var]


def _annotate_function(annotator: TypeAnnotator, node: exp.Expr) -> exp.Expr:
    signature = REGION_FUNCTIONS.get(node.name.lower())
    return annotator._set_type(node, SQL_TYPES[signature.returns] if signature else _T.UNKNOWN)


#: what sqlglot leaves without a type, or gives that of an operand
_METADATA = {
    **Postgres.EXPRESSION_METADATA,
    exp.TimestampTrunc: {"returns": _T.TIMESTAMP},
    exp.Extract: {"annotator": _annotate_extract},
    exp.Corr: {"returns": _T.DOUBLE},
    exp.Median: {"returns": _T.DOUBLE},
    exp.Atan2: {"returns": _T.DOUBLE},
    exp.Trunc: {"annotator": lambda annotator, node: annotator._annotate_by_args(node, "this")},
    exp.Add: {"annotator": _annotate_sum},
    exp.Sub: {"annotator": _annotate_sum},
    exp.Anonymous: {"annotator": _annotate_function},
}


def annotate(tree: exp.Expr, schema: MappingSchema) -> exp.Expr:
    """Annotate every expression of a qualified tree with its type, in place."""
    return annotate_types(tree, schema, dialect="postgres", expression_metadata=_METADATA)
