"""What of a schema is followed: globs of tables, dataset types and RUN collections, and which tables that leaves whole.

Never left out are definitions (dataset types, collections and their chains, user tables), grants, dimension records,
and the rows of ``dataset`` that the dataset types and collections admit: what is kept finds there what it refers to.
"""

from __future__ import annotations

import fnmatch
import json
from typing import TYPE_CHECKING

import attrs

from federation.model.logical import TableKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.model.logical import TableDef

__all__ = ["DatasetColumns", "LogFilter", "dataset_columns"]

#: system tables that no filter leaves out
_ALWAYS = frozenset(
    {
        *("collection", "collection_chain", "dataset", "dataset_type", "user_table"),
        *("schema_grant", "group_member"),  # who may read what, wherever it is
    }
)
#: tables that come with others, which refer to their rows
_WITH = {"activity": "activity_dataset"}


@attrs.frozen
class LogFilter:
    """What of a schema is followed, as globs of names; an empty tuple leaves nothing out.

    >>> LogFilter(dataset_types=("raw", "calib*")).admits("calibration", "any/run")
    True
    """

    tables: tuple[str, ...] = ()
    dataset_types: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not all(map(_is_open, (self.tables, self.dataset_types, self.collections)))

    def keeps_table(self, name: str, kind: TableKind | None) -> bool:
        """Whether any rows of a table are followed; ``kind`` is None for one that is no longer there."""
        if kind is TableKind.DIMENSION or name in _ALWAYS or _matches(self.tables, name):
            return True
        return name in _WITH and _matches(self.tables, _WITH[name])

    def admits(self, dataset_type: str, run: str) -> bool:
        """Whether datasets of this type in this RUN collection are followed."""
        return self.admits_type(dataset_type) and _matches(self.collections, run)

    def admits_type(self, dataset_type: str) -> bool:
        """Whether some datasets of this type are followed."""
        return _matches(self.dataset_types, dataset_type)

    def partial_tables(self, tables: Iterable[TableDef]) -> frozenset[str]:
        """Names of those tables of which rows may be left out."""
        return frozenset(table.name for table in tables if not self._keeps_whole(table))

    def _keeps_whole(self, table: TableDef) -> bool:
        if not self.keeps_table(table.name, table.kind):
            return False
        found = dataset_columns(table)
        if not _is_open(self.dataset_types) and (
            found.dataset_ids
            or found.dataset_type
            or (table.kind is TableKind.DATASET_TYPE and not self.admits_type(table.name))
        ):
            return False
        return _is_open(self.collections) or not (found.dataset_ids or found.run)

    def to_text(self) -> str:
        """As JSON; empty where nothing is left out."""
        return json.dumps(attrs.asdict(self)) if self else ""

    @classmethod
    def from_text(cls, text: str) -> LogFilter:
        """From `to_text`.

        >>> LogFilter.from_text(LogFilter(("a*",)).to_text())
        LogFilter(tables=('a*',), dataset_types=(), collections=())
        """
        return cls(**{key: tuple(value) for key, value in json.loads(text).items()}) if text else cls()


@attrs.frozen
class DatasetColumns:
    """Where a table's rows say which datasets they are about: ``dataset_type`` and ``run`` columns hold what a filter
    asks for (empty: there is none); of ``dataset_ids`` it must be looked up.
    """

    dataset_type: str = ""
    run: str = ""
    dataset_ids: tuple[str, ...] = ()


def dataset_columns(table: TableDef) -> DatasetColumns:
    """The columns of a table that say which datasets its rows are about."""
    if table.kind is TableKind.DATASET_TYPE:
        return DatasetColumns(run="run")
    if table.kind is not TableKind.SYSTEM:
        return DatasetColumns()
    names = table.column_names
    kind = "dataset_type" if "dataset_type" in names else ""
    run = "run" if kind and "run" in names else ""
    refers = tuple(c for one in table.references if one.table == "dataset" for c in one.columns)
    return DatasetColumns(kind, run, () if run else refers)


def _is_open(patterns: tuple[str, ...]) -> bool:
    return not patterns or "*" in patterns


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return _is_open(patterns) or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
