"""Which dimension records an export needs, and their text: those of its data IDs and all that these name.

Relations (elements without a key of their own) belong when their dimensions with a region or timespan are all in the
export; one that has a region or timespan itself, when all its dimensions are.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any

from federation.errors import NotFoundError, UserError
from federation.model.logical import dimension_tables
from federation.registry.butler.write_text import record_writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from federation.registry.butler.write_source import ExportSource

__all__ = ["RecordSpool"]

Key = tuple[Any, ...]
_MEMORY_BYTES = 1 << 20


class RecordSpool:
    """Collects keys with `need`, fetches records with `complete`, then gives their entries; a context manager.

    ``left_out`` names (element, column) pairs that are not written.
    """

    def __init__(self, source: ExportSource, left_out: Iterable[tuple[str, str]] = ()) -> None:
        self._source = source
        self._universe = source.registry.universe
        self._stack = ExitStack()
        omitted = set(left_out)
        self._writers: dict[str, Callable[[Mapping[str, Any]], str]] = {
            table.name: record_writer([c for c in table.columns if (table.name, c.name) not in omitted])
            for table in dimension_tables(self._universe)
            if (table.name, "") not in omitted
        }
        self._omitted = omitted
        self._files: dict[str, IO[bytes]] = {}
        self._written: dict[str, set[Key]] = {name: set() for name in self._universe.element_names}
        self._wanted: dict[str, set[Key]] = {name: set() for name in self._universe.element_names}
        #: derived elements have no records in a file, but the record that names them must be there
        self._named: dict[str, set[Any]] = {}
        self.count = 0

    def __enter__(self) -> RecordSpool:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def places(self, dimensions: Sequence[str]) -> list[tuple[set[Key], tuple[int, ...]]]:
        """For data IDs with values of ``dimensions``: where to add keys, and the places of their values."""
        return [
            (
                self._wanted[name],
                tuple(dimensions.index(part) for part in (*self._universe[name].required, name)),
            )
            for name in dimensions
            if not self._universe[name].is_skypix
        ]

    def take_all(self) -> None:
        """Write every record of the home schema."""
        for name in reversed(self._universe.element_names):
            self._write(name, self._source.rows(self._source.home, name))

    def complete(self) -> None:
        """Fetch what is needed, what that needs, and the relations among it."""
        self._follow()
        for element in self._universe.elements:
            if not element.is_dimension and not element.is_skypix and element.name in self._writers:
                self._relations(element.name)
        self._follow()

    def entries(self) -> Iterator[bytes]:
        """The text of all entries, in dependency order."""
        for name in self._universe.element_names:
            file = self._files.get(name)
            if file is None:
                continue
            yield f"- type: dimension\n  element: {name}\n  records:\n".encode()
            file.seek(0)
            while chunk := file.read(_MEMORY_BYTES):
                yield chunk

    def _follow(self) -> None:
        while any(self._wanted[name] - self._written[name] for name in self._wanted):
            for name in reversed(self._universe.element_names):
                self._fetch(name)

    def _fetch(self, name: str) -> None:
        missing = self._wanted[name] - self._written[name]
        if not missing:
            return
        derived_from = self._universe[name].derived_from
        if derived_from:
            self._fetch_naming(name, derived_from, missing)
            return
        found = self._source.find(name, self._universe.table_key(name), missing)
        lost = missing - found.keys()
        if lost:
            values = dict(zip(self._universe.table_key(name), min(lost, key=str), strict=True))
            raise NotFoundError(
                f"no {name} record {values} at {self._source.registry.site}, which the export needs",
                hint="insert it, or follow the site that has it",
            )
        self._write(name, (row for _, row in found.values()))

    def _fetch_naming(self, name: str, source: str, missing: set[Key]) -> None:
        """Records of ``source`` for the values of a derived element that nothing written so far names."""
        self._written[name] |= missing
        values = {key[-1] for key in missing} - self._named.get(name, set())
        for held in self._source.schemas:
            if values:
                rows = list(self._source.select(held, source, (name,), [(value,) for value in values]))
                self._write(source, rows)
                values -= {row[name] for row in rows}

    def _write(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        element, key = self._universe[name], self._universe.table_key(name)
        written, writer = self._written[name], self._writers.get(name)
        named = [
            other
            for other in (*element.required, *element.implied)
            if not self._universe[other].is_skypix
            and {*self._universe[other].required} <= {*element.required, *element.implied}
        ]
        implied = [other for other in element.implied if (name, other) not in self._omitted]
        lines: list[str] = []
        for row in rows:
            identity = tuple(row[column] for column in key)
            if identity in written:
                continue
            written.add(identity)
            for other in implied:
                if row[other] is None:
                    raise UserError(
                        f"{name} record {dict(zip(key, identity, strict=True))} has no {other}, which a Butler needs",
                        hint=f"complete the record: insert it again with its {other}",
                    )
            for other in named:
                columns = (*self._universe[other].required, other)
                if all(row[column] is not None for column in columns):
                    self._wanted[other].add(tuple(row[column] for column in columns))
                    if self._universe[other].derived_from == name:
                        self._named.setdefault(other, set()).add(row[other])
            if not element.derived_from and writer is not None:
                lines.append(writer(row))
            if len(lines) >= 1000:
                self._spool(name, lines)
        self._spool(name, lines)

    def _spool(self, name: str, lines: list[str]) -> None:
        if not lines:
            return
        if name not in self._files:
            file = tempfile.SpooledTemporaryFile(_MEMORY_BYTES)  # noqa: SIM115 - closed by the stack
            self._files[name] = self._stack.enter_context(file)
        self._files[name].write("".join(lines).encode())
        self.count += len(lines)
        lines.clear()

    def _relations(self, name: str) -> None:
        element = self._universe[name]
        required = [self._universe[other] for other in element.required]
        anchors = [other for other in required if other.has_region or other.has_timespan]
        if element.has_region or element.has_timespan or not anchors:
            anchors = required
        keys = {anchor.name: (*anchor.required, anchor.name) for anchor in anchors}
        if any(not self._written[anchor] for anchor in keys):
            return
        # the most specific one selects best
        first = max(keys, key=lambda anchor: (len(self._written[anchor]), anchor))
        for held in self._source.schemas:
            rows = self._source.select(held, name, keys[first], self._written[first])
            self._write(
                name,
                (
                    row
                    for row in rows
                    if all(
                        tuple(row[column] for column in columns) in self._written[anchor]
                        for anchor, columns in keys.items()
                    )
                ),
            )
