"""The relationship diagram of the logical tables, drawn from their definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.model.logical import dataset_type_table, dimension_tables
from federation.model.system_tables import system_tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.model.dataset import DatasetType
    from federation.model.dimension import DimensionUniverse
    from federation.model.logical import TableDef

__all__ = ["relationship_diagram"]


def relationship_diagram(universe: DimensionUniverse, examples: Iterable[DatasetType] = ()) -> str:
    """A Mermaid ``erDiagram`` of the system tables, the universe's dimension tables and those of dataset types."""
    tables = [
        *system_tables(),
        *dimension_tables(universe),
        *(dataset_type_table(universe, t) for t in examples),
    ]
    lines = ["erDiagram"]
    for table in tables:
        lines.append(f"    {_name(table.name)} {{")
        for column in table.columns:
            mark = " PK" if column.name in table.key else ""
            lines.append(f"        {column.type.value} {column.name}{mark}")
        lines.append("    }")
    for table in tables:
        lines.extend(_relations(table))
    return "\n".join(lines)


def _relations(table: TableDef) -> list[str]:
    return [
        f'    {_name(table.name)} }}o--|| {_name(reference.table)} : "{", ".join(reference.columns)}"'
        for reference in table.references
    ]


def _name(table: str) -> str:
    return table.upper()
