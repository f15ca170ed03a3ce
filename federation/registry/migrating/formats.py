"""Formats of registries: which can be opened, which can be written, and what the older ones lack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from federation.errors import ConflictError, UserError
from federation.model.logical import dimension_tables
from federation.model.system_tables import system_tables
from federation.registry.schemas import FORMAT_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.model.dimension import DimensionUniverse
    from federation.model.logical import TableDef

__all__ = ["ADDED_TABLES", "check_writable", "fixed_tables", "format_of"]

#: system tables by the format that brought them; the others are older than any format that can be opened
ADDED_TABLES: Final[Mapping[int, frozenset[str]]] = {
    2: frozenset(
        {
            "activity",
            "activity_dataset",
            "collection_summary",
            "conflict",
            "group_member",
            "metric",
            "schema_grant",
            "table_proposal",
            "user_table",
        }
    ),
}


def format_of(info: Mapping[str, str], site: str, where: str) -> int:
    """The format of a registry from what it says of itself.

    `ConflictError` for another site's, `UserError` for a format that is neither this software's nor the one before.
    """
    text = info.get("format", "")
    version = int(text) if text.isascii() and text.isdigit() else 0
    if version not in (FORMAT_VERSION, FORMAT_VERSION - 1):
        remedy = (
            "install a newer federation"
            if version > FORMAT_VERSION
            else f"migrate it to format {FORMAT_VERSION - 1} with an older federation first"
        )
        raise UserError(
            f"{where} has registry format {text or 'none'}; this software reads {FORMAT_VERSION - 1} and "
            f"{FORMAT_VERSION}",
            hint=remedy,
        )
    if info["site"] != site:
        raise ConflictError(
            f"{where} belongs to site {info['site']!r}, not {site!r}",
            hint="check root and registry url in the site file",
        )
    return version


def check_writable(version: int, site: str, where: str) -> None:
    """`UserError` for a registry of an older format: it is read only until it is migrated."""
    if version != FORMAT_VERSION:
        raise UserError(
            f"{where} has registry format {version} and can only be read; this software writes {FORMAT_VERSION}",
            hint=f"run: federation registry migrate {site}",
        )


def fixed_tables(universe: DimensionUniverse, version: int = FORMAT_VERSION) -> tuple[TableDef, ...]:
    """The logical tables that every schema of a format has, before any are declared in it."""
    later = {name for added, names in ADDED_TABLES.items() if added > version for name in names}
    return (*(table for table in system_tables() if table.name not in later), *dimension_tables(universe))
