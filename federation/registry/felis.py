"""Descriptions of tables in the YAML of Felis (https://felis.lsst.io): read, applied to a table, and written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import yaml

from federation.errors import NotFoundError, UserError
from federation.model.logical import LogicalType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from federation.model.logical import ColumnDef, TableDef
    from federation.model.user_table import UserTable

__all__ = ["FelisColumn", "FelisTable", "described", "felis_text", "read_felis"]

#: Felis datatypes that can describe a column of a logical type; the first is the one that is written
_DATATYPES: Mapping[LogicalType, tuple[str, ...]] = {
    LogicalType.INT64: ("long", "int", "short", "byte"),
    LogicalType.FLOAT64: ("double", "float"),
    LogicalType.BOOL: ("boolean",),
    LogicalType.STRING: ("text", "string", "char", "unicode"),
    LogicalType.BYTES: ("binary",),
    LogicalType.UUID: ("char", "string", "text"),
    LogicalType.TIMESTAMP: ("timestamp",),
}
_KNOWN = sorted({name for names in _DATATYPES.values() for name in names})
#: Felis asks for a length where ours is unbounded
_BINARY_LENGTH = 65535


@attrs.frozen
class FelisColumn:
    """What a description says of one column; empty texts where it says nothing."""

    name: str
    datatype: str
    doc: str = ""
    unit: str = ""
    ucd: str = ""
    nullable: bool = True


@attrs.frozen
class FelisTable:
    """What a description says of one table; ``key`` is its primary key, empty where it names none."""

    name: str
    columns: tuple[FelisColumn, ...]
    key: tuple[str, ...] = ()
    doc: str = ""
    place: str = ""


def read_felis(path: Path, table: str) -> FelisTable:
    """The description of a table in a Felis file.

    `NotFoundError` where there is no file or no such table, `UserError` for what is not Felis, with the place.
    """
    if not path.is_file():
        raise NotFoundError(f"no file {path}", hint="check the path")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"{path} is not YAML: {text}", hint="mend the file") from error
    tables = _list(found, "tables", str(path))
    for item in tables:
        if isinstance(item, dict) and item.get("name") == table:
            return _table(item, f"{path}: table {table}")
    names = ", ".join(str(item.get("name")) for item in tables if isinstance(item, dict))
    raise NotFoundError(f"{path} describes no table {table!r}", hint=f"it describes: {names or 'none'}")


def _list(found: Any, key: str, place: str) -> list[Any]:
    items = found.get(key) if isinstance(found, dict) else None
    if not isinstance(items, list):
        raise UserError(f"{place} has no list of {key}", hint="see https://felis.lsst.io for the form")
    return items


def _table(item: Mapping[str, Any], place: str) -> FelisTable:
    columns, names_by_id = [], {}
    for entry in _list(item, "columns", place):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise UserError(
                f"{place} has a column without a name", hint="every column needs name, @id and datatype"
            )
        column = _column(entry, f"{place}, column {entry['name']}")
        columns.append(column)
        names_by_id[str(entry.get("@id"))] = column.name
    given = item.get("primaryKey") or []
    key = []
    for id_ in [given] if isinstance(given, str) else given:
        if id_ not in names_by_id:
            raise UserError(
                f"{place}: primaryKey {id_!r} is the @id of no column", hint="name a column's @id"
            )
        key.append(names_by_id[id_])
    return FelisTable(item["name"], tuple(columns), tuple(key), _text(item, "description", place), place)


def _column(entry: Mapping[str, Any], place: str) -> FelisColumn:
    datatype = entry.get("datatype")
    if datatype not in _KNOWN:
        raise UserError(f"{place}: datatype {datatype!r} is not known", hint="one of: " + ", ".join(_KNOWN))
    unit = _text(entry, "ivoa:unit", place) or _text(entry, "fits:tunit", place)
    ucd = _text(entry, "ivoa:ucd", place)
    if not _is_unit(unit):
        raise UserError(
            f"{place}: {unit!r} is no unit", hint="write it as in deg, mag, km / s, or leave it out"
        )
    _check_ucd(ucd, place)
    nullable = entry.get("nullable", True)
    if not isinstance(nullable, bool):
        raise UserError(f"{place}: nullable = {nullable!r} is not true or false", hint="correct it")
    return FelisColumn(entry["name"], datatype, _text(entry, "description", place), unit, ucd, nullable)


def _text(entry: Mapping[str, Any], key: str, place: str) -> str:
    value = entry.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{place}: {key} = {value!r} is not a text", hint="put it in quotes")
    return " ".join(value.split())


def _is_unit(unit: str) -> bool:
    from astropy import units  # takes a while to import

    try:
        units.Unit(unit)
    except (ValueError, TypeError):
        return False
    return True


def _check_ucd(ucd: str, place: str) -> None:
    if not ucd:
        return
    from astropy.io.votable.ucd import parse_ucd  # takes a while to import

    try:
        parse_ucd(ucd, check_controlled_vocabulary=True, has_colon=";" in ucd)
    except ValueError as error:
        raise UserError(
            f"{place}: {ucd!r} is no UCD: {error}", hint="see https://www.ivoa.net/documents/UCD1+"
        ) from error


def described(table: UserTable, felis: FelisTable) -> UserTable:
    """The table with what the description says; columns that it leaves out stay as they are.

    `UserError` for a column that the table lacks, or a datatype that is not the column's; names the place.
    """
    said = {column.name: column for column in felis.columns}
    known = {column.name: column for column in table.columns}
    unknown = [name for name in said if name not in known]
    if unknown:
        raise UserError(
            f"{felis.place}: table {table.name} has no column {unknown[0]!r}",
            hint="its columns: " + ", ".join(known),
        )
    if felis.key and felis.key != table.key:
        raise UserError(
            f"{felis.place}: primaryKey is {', '.join(felis.key)}, the key of the table {', '.join(table.key)}",
            hint="use one key",
        )
    columns = []
    for column in table.columns:
        entry = said.get(column.name)
        if entry is None:
            columns.append(column)
            continue
        allowed = _DATATYPES[column.type]
        if entry.datatype not in allowed:
            raise UserError(
                f"{felis.place}, column {column.name}: datatype {entry.datatype} does not describe a {column.type}",
                hint="one of: " + ", ".join(allowed),
            )
        columns.append(
            attrs.evolve(
                column,
                doc=entry.doc or column.doc,
                unit=entry.unit or column.unit,
                ucd=entry.ucd or column.ucd,
            )
        )
    return attrs.evolve(table, columns=tuple(columns), doc=felis.doc or table.doc)


def felis_text(schema: str, tables: Iterable[TableDef], doc: str = "") -> str:
    """The tables of a schema as a Felis file."""
    document: dict[str, Any] = {"name": schema, "@id": f"#{schema}"}
    if doc:
        document["description"] = doc
    document["tables"] = [_table_entry(table) for table in tables]
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def _table_entry(table: TableDef) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": table.name, "@id": f"#{table.name}"}
    if table.doc:
        entry["description"] = table.doc
    entry["primaryKey"] = [f"#{table.name}.{name}" for name in table.key]
    entry["columns"] = [_column_entry(table.name, column) for column in table.columns]
    return entry


def _column_entry(table: str, column: ColumnDef) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": column.name,
        "@id": f"#{table}.{column.name}",
        "datatype": _DATATYPES[column.type][0],
    }
    if column.type is LogicalType.UUID:
        entry["length"] = 36
    elif column.type is LogicalType.BYTES:
        entry |= {"length": _BINARY_LENGTH, "votable:arraysize": "*"}
    doc = column.doc
    if column.unit:
        if _is_unit(column.unit):
            entry["ivoa:unit"] = column.unit
        else:  # a free text, such as "ADU per second"
            doc = f"{doc} (unit: {column.unit})".strip()
    if column.ucd:
        entry["ivoa:ucd"] = column.ucd
    if doc:
        entry["description"] = doc
    if not column.nullable:
        entry["nullable"] = False
    return entry
