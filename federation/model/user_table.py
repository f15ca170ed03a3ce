"""Tables that users declare: their columns with units and meanings, kept as JSON in the ``user_table`` table."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import UserError
from federation.model.logical import ColumnDef, LogicalType, TableDef, TableKind

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["UserTable"]

#: PostgreSQL cuts identifiers at 63 bytes; a physical table adds the prefix "ut_"
NAME_LENGTH_MAX = 59
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@attrs.frozen
class UserTable:
    """A table of a user's schema; ``key`` names the columns that identify a row, at least one."""

    name: str
    columns: tuple[ColumnDef, ...]
    key: tuple[str, ...]
    doc: str = ""

    def __attrs_post_init__(self) -> None:
        for what, name in [("table", self.name), *(("column", column.name) for column in self.columns)]:
            if not _NAME.match(name) or len(name) > NAME_LENGTH_MAX:
                raise UserError(
                    f"{what} name {name!r} is not an identifier of at most {NAME_LENGTH_MAX} characters",
                    hint="use letters, digits and _, not starting with a digit",
                )
        names = [column.name for column in self.columns]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise UserError(f"table {self.name} has two columns {doubled[0]!r}", hint="rename one")
        if not self.key or not set(self.key) <= set(names):
            raise UserError(
                f"table {self.name}: key {', '.join(self.key) or '(none)'} is not among its columns",
                hint="its columns: " + ", ".join(names),
            )

    def to_row(self) -> dict[str, Any]:
        """As a row of the ``user_table`` table."""
        columns = [
            {
                "name": column.name,
                "type": column.type.value,
                "nullable": column.nullable,
                "doc": column.doc,
                "unit": column.unit,
                "ucd": column.ucd,
            }
            for column in self.columns
        ]
        definition = {"columns": columns, "key": list(self.key), "doc": self.doc}
        return {"name": self.name, "definition": json.dumps(definition, sort_keys=True, ensure_ascii=False)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> UserTable:
        """From a row of the ``user_table`` table."""
        definition = json.loads(row["definition"])
        columns = tuple(
            ColumnDef(
                column["name"],
                LogicalType(column["type"]),
                nullable=column["nullable"],
                key_determined=column["name"] in definition["key"],
                doc=column["doc"],
                unit=column["unit"],
                ucd=column["ucd"],
            )
            for column in definition["columns"]
        )
        return cls(row["name"], columns, tuple(definition["key"]), definition["doc"])

    def table(self) -> TableDef:
        """Its logical table."""
        return TableDef(
            self.name,
            TableKind.USER,
            self.columns,
            key=self.key,
            physical_name=f"ut_{self.name}",
            doc=self.doc,
        )
