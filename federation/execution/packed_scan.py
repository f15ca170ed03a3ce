"""A scan of one SQLite table as statements that have SQLite itself write many rows' values together; no I/O.

The driver takes longer to make Python objects of a row than SQLite takes to find it. Rows lie in the order of the
primary key, so those that agree in all of it but its last column follow each other, and ``GROUP BY`` these columns
needs no sorting: one row for all detectors of a visit, with their values as texts that are parsed as arrays.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs
from sqlglot import exp

from federation.execution.constants import fixed_columns
from federation.model.logical import LogicalType, TableKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federation.model.logical import ColumnDef, TableDef

__all__ = ["PackedColumn", "PackedScan", "Packing", "packed_scan"]

#: parts of a SELECT that are about its rows as a whole
_WHOLE = (
    "distinct",
    "group",
    "having",
    "joins",
    "laterals",
    "limit",
    "offset",
    "order",
    "qualify",
    "windows",
    "with_",
)


class Packing(enum.Enum):
    """How the values of one column arrive, for each group of rows."""

    #: a value for the whole group: a column of its key
    SHARED = enum.auto()
    #: decimal numbers with commas between them
    NUMBERS = enum.auto()
    #: hexadecimal digits, 32 for each UUID
    HEX = enum.auto()
    #: a JSON array, where there may be NULLs, and of texts
    JSON = enum.auto()


@attrs.frozen
class PackedColumn:
    """One column of a packed statement, in place ``number`` of its rows."""

    type: LogicalType
    packing: Packing
    number: int


@attrs.frozen
class PackedScan:
    """Statements that give the rows of one scan, in the order of the table's key.

    Columns of the key that the condition does not fix, but for the last of them, tell one group from the next.
    ``ordered`` gives the rows, with these columns in ``prefix_places``; some may stand behind the scan's own columns.
    ``ordered_rest`` takes their values as parameters and gives what comes behind that group. So does ``packed_rest``,
    one row for each group: how many rows it has, the columns that tell it, and the others packed. ``columns`` says
    where each of the scan's columns is in that.
    """

    ordered: str
    ordered_rest: str
    packed_rest: str
    columns: tuple[PackedColumn, ...]
    prefix_places: tuple[int, ...]

    @property
    def hidden_count(self) -> int:
        """Columns of ``ordered`` that are not the scan's."""
        return sum(place >= len(self.columns) for place in self.prefix_places)


def packed_scan(
    tree: exp.Expr, tables: Mapping[tuple[str, str], TableDef], write: Callable[[exp.Expr], str]
) -> PackedScan | None:
    """The packed form of a lowered statement; None where it is more than a scan, or a column can't be packed.

    ``tables`` are those in the database, by physical schema and name; ``write`` makes SQL of a tree.
    """
    if not isinstance(tree, exp.Select) or any(tree.args.get(part) for part in _WHOLE):
        return None
    table = tree.args["from_"].this
    if not isinstance(table, exp.Table):
        return None
    known = tables.get((table.db, table.name))
    if known is None or known.kind is TableKind.USER:  # whose rows lie in the order in which they came
        return None
    alias = table.alias
    fixed = fixed_columns(tree)
    key = [name for name in known.clustering or known.key if (alias, name) not in fixed]
    prefix = key[:-1]
    if not prefix:
        return None
    columns: list[PackedColumn] = []
    packed: list[exp.Expr] = []
    for select in tree.selects:
        shown = select.unalias()
        if not isinstance(shown, exp.Column):
            return None
        column = known.column(shown.name)
        if column.name in prefix:
            columns.append(PackedColumn(column.type, Packing.SHARED, 1 + prefix.index(column.name)))
            continue
        packing = _packing(column, known)
        if packing is None:
            return None
        columns.append(PackedColumn(column.type, packing, 1 + len(prefix) + len(packed)))
        packed.append(_pack(shown, packing))
    if not packed:
        return None
    outputs = [select.unalias().name for select in tree.selects]
    hidden = [name for name in prefix if name not in outputs]
    places = tuple((outputs + hidden).index(name) for name in prefix)
    of_prefix = [_column(alias, name) for name in prefix]
    selects = [*tree.selects, *(_column(alias, name) for name in hidden)]
    ordered = _ordered(tree, selects, [_column(alias, name) for name in key])
    groups = _ordered(tree, [_count(), *of_prefix, *packed], of_prefix)
    groups.set("group", exp.Group(expressions=[one.copy() for one in of_prefix]))
    return PackedScan(
        write(ordered),
        write(_behind(ordered, of_prefix)),
        write(_behind(groups, of_prefix)),
        tuple(columns),
        places,
    )


def _packing(column: ColumnDef, table: TableDef) -> Packing | None:
    """How values of a column are packed; None for those that a text does not hold exactly, or only at length."""
    is_null_possible = column.nullable and column.name not in table.key
    match column.type:
        case LogicalType.INT64 | LogicalType.TIMESTAMP:
            return Packing.JSON if is_null_possible else Packing.NUMBERS
        case LogicalType.BOOL | LogicalType.STRING:
            return Packing.JSON
        case LogicalType.UUID:
            return None if is_null_possible else Packing.HEX
        case _:
            return None


def _pack(column: exp.Column, packing: Packing) -> exp.Expr:
    value = column.copy()
    match packing:
        case Packing.NUMBERS:
            return exp.Anonymous(this="group_concat", expressions=[value])
        case Packing.HEX:
            digits = exp.Anonymous(this="hex", expressions=[value])
            return exp.Anonymous(this="group_concat", expressions=[digits, exp.Literal.string("")])
        case _:
            return exp.Anonymous(this="json_group_array", expressions=[value])


def _count() -> exp.Expr:
    return exp.Anonymous(this="count", expressions=[exp.Star()])


def _column(table: str, name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True), table=exp.to_identifier(table, quoted=True))


def _ordered(tree: exp.Select, selects: list[exp.Expr], order: list[exp.Column]) -> exp.Select:
    """The scan with other outputs, in an order."""
    made = tree.copy()
    made.set("expressions", [one.copy() for one in selects])
    # where NULLs come first on SQLite by itself: no column of a key has any
    terms = [exp.Ordered(this=one.copy(), desc=False, nulls_first=True) for one in order]
    made.set("order", exp.Order(expressions=terms))
    return made


def _behind(tree: exp.Select, prefix: list[exp.Column]) -> exp.Select:
    """What comes behind the group whose key the parameters are."""
    made = tree.copy()
    condition = exp.GT(
        this=exp.Tuple(expressions=[one.copy() for one in prefix]),
        expression=exp.Tuple(expressions=[exp.Placeholder() for _ in prefix]),
    )
    return made.where(condition, copy=False)
