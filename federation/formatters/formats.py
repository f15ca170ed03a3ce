"""All formatters, storage classes and converters that are known, and reading and writing files through them."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from federation.errors import ConflictError, UserError
from federation.formatters.conversions import add_conversions
from federation.formatters.converters import Convert, Converters
from federation.formatters.fits_format import FitsFormatter
from federation.formatters.image_format import PngFormatter
from federation.formatters.parquet_format import ParquetFormatter
from federation.formatters.plain_formats import BytesFormatter, JsonFormatter, TextFormatter, YamlFormatter
from federation.formatters.python_type import known_name, resolve, short_name
from federation.formatters.storage_class import STORAGE_CLASSES, StorageClass

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from federation.formatters.formatter import Formatter

__all__ = ["Formats", "formats"]

#: packages of users name a function of one argument, the `Formats`, under this group
ENTRY_POINTS = "federation.formatters"
_BYTES = "bytes"


class Formats:
    """What can be read and written, by name, suffix and Python type."""

    def __init__(self) -> None:
        self._formatters: dict[str, Formatter] = {}
        self._suffixes: dict[str, Formatter] = {}
        self._storage_classes: dict[str, StorageClass] = {}
        self._converters = Converters()
        self._bytes = BytesFormatter()
        for formatter in (
            FitsFormatter(), ParquetFormatter(), PngFormatter(), YamlFormatter(), JsonFormatter(), TextFormatter(),
            self._bytes,
        ):  # fmt: skip
            self.register_formatter(formatter)
        for storage_class in STORAGE_CLASSES:
            self.register_storage_class(storage_class)
        add_conversions(self._converters)

    # -- what is known ------------------------------------------------------------------------------------------

    def register_formatter(self, formatter: Formatter) -> None:
        """Add a formatter; its suffixes are read by it from now on. `ConflictError` for a name that is taken."""
        if self._formatters.get(formatter.name, formatter) != formatter:
            raise ConflictError(
                f"there is a formatter {formatter.name!r} already", hint="choose another name"
            )
        self._formatters[formatter.name] = formatter
        for suffix in formatter.suffixes:
            if not suffix.startswith(".") or suffix != suffix.lower():
                raise UserError(
                    f"formatter {formatter.name}: {suffix!r} is not a suffix", hint="write it like .fits"
                )
            self._suffixes[suffix] = formatter

    def register_storage_class(self, storage_class: StorageClass) -> None:
        """Add a storage class; `ConflictError` for a name that stands for another one."""
        if self._storage_classes.get(storage_class.name, storage_class) != storage_class:
            raise ConflictError(
                f"there is another storage class {storage_class.name!r} already", hint="choose another name"
            )
        self.formatter(storage_class.formatter)
        self._storage_classes[storage_class.name] = storage_class

    def register_converter(self, source: type | str, target: type | str, convert: Convert) -> None:
        """Add a function that makes ``target`` objects of ``source`` objects, in place of any there is."""
        self._converters.add(self._name(source), self._name(target), convert)

    @property
    def storage_classes(self) -> tuple[StorageClass, ...]:
        """All of them, in the order of their registration."""
        return tuple(self._storage_classes.values())

    @property
    def formatters(self) -> tuple[Formatter, ...]:
        """All of them, in the order of their registration."""
        return tuple(self._formatters.values())

    def storage_class(self, name: str) -> StorageClass | None:
        """The storage class of this name; None for one that nobody has described."""
        return self._storage_classes.get(name)

    def formatter(self, name: str) -> Formatter:
        """The formatter of this name; `UserError` names those there are."""
        found = self._formatters.get(name)
        if found is None:
            raise UserError(f"no formatter {name!r}", hint="formatters: " + ", ".join(self._formatters))
        return found

    def for_name(self, file_name: str) -> Formatter | None:
        """The formatter of a file's suffix, the longest that is known; None when none is."""
        parts = file_name.rpartition("/")[2].lower().split(".")
        for start in range(max(1, len(parts) - 2), len(parts)):
            found = self._suffixes.get("." + ".".join(parts[start:]))
            if found is not None:
                return found
        return None

    def choose(self, recorded: str | None, file_name: str) -> Formatter:
        """What reads a file: the formatter on record if it is one of these, else its suffix's, else bytes."""
        return self._formatters.get(recorded or "") or self.for_name(file_name) or self._bytes

    def check_fits(self, formatter: Formatter, storage_class: str, file_name: str) -> None:
        """Raise `UserError` when a file of the format can't become what the storage class stands for."""
        known = self._storage_classes.get(storage_class)
        if known is None or known.type == _BYTES or known.type in self._converters.reachable(formatter.types):
            return
        raise UserError(
            f"{file_name} (formatter {formatter.name}) is of the wrong storage class: "
            f"{storage_class} is a {short_name(known.type)}",
            hint=f"{formatter.name} gives {self._possible(formatter)}; give another file, type or formatter",
        )

    # -- files --------------------------------------------------------------------------------------------------

    def read(
        self, path: Path, formatter: Formatter, storage_class: str, as_type: type | str | None = None
    ) -> Any:
        """The content of a local file as ``as_type``, else as the storage class says, else as the formatter does.

        `UserError` naming what is possible when the file can't be read as that.
        """
        known = self._storage_classes.get(storage_class)
        usual = known.type if known is not None else formatter.types[0]
        wanted = usual if as_type is None else self._name(as_type)
        if wanted == _BYTES:
            return path.read_bytes()
        found = self._converters.reachable(formatter.types).get(wanted)
        if found is None:
            raise UserError(
                f"{path.name} (storage class {storage_class}, formatter {formatter.name}) "
                f"can't be read as {short_name(wanted)}",
                hint=f"possible: {self._possible(formatter)}",
            )
        source, steps = found
        resolve(wanted)  # says which library is missing before anything is read
        content = formatter.read(path, source)
        for convert in steps:
            content = convert(content)
        return content

    def write(self, content: Any, path: Path, formatter: Formatter, storage_class: str) -> None:
        """Write an object to a local path as a dataset of a storage class.

        `UserError` when the object is of another storage class, or the format can't hold it.
        """
        wanted = self._storage_classes.get(storage_class)
        name = self._type_of(content)
        found = self._converters.reachable([name]) if name else {}
        if wanted is not None and wanted.type not in found:
            raise UserError(
                f"a {type(content).__name__} is of the wrong storage class: {storage_class} is a "
                f"{short_name(wanted.type)}",
                hint="give " + " or ".join(map(short_name, self._sources(wanted.type))),
            )
        targets = [wanted.type] if wanted is not None and wanted.type in formatter.writes else []
        target = next((t for t in (*targets, *formatter.writes) if t in found), None)
        if target is None:
            raise UserError(
                f"formatter {formatter.name} can't write a {type(content).__name__}",
                hint=f"it writes {', '.join(map(short_name, formatter.writes))}",
            )
        for convert in found[target][1]:
            content = convert(content)
        formatter.write(content, target, path)

    # -- types --------------------------------------------------------------------------------------------------

    def _names(self) -> Iterable[str]:
        yield from (known.type for known in self._storage_classes.values())
        yield from (name for formatter in self._formatters.values() for name in formatter.types)
        yield from self._converters.names

    def _name(self, type_: type | str) -> str:
        """The dotted name of a type that a caller gives as itself or as a text."""
        if isinstance(type_, str):
            type_ = resolve(type_)
        known = known_name(type_, self._names())
        if known is not None and resolve(known) is type_:
            return known
        return f"{type_.__module__}.{type_.__qualname__}".removeprefix("builtins.")

    def _type_of(self, content: Any) -> str | None:
        return known_name(type(content), self._names())

    def _possible(self, formatter: Formatter) -> str:
        names = dict.fromkeys(map(short_name, self._converters.reachable(formatter.types)))
        return ", ".join([*(name for name in names if name != _BYTES), _BYTES])

    def _sources(self, target: str) -> list[str]:
        return [
            name
            for name in dict.fromkeys((target, *self._converters.names))
            if target in self._converters.reachable([name])
        ]


@lru_cache(maxsize=1)
def formats() -> Formats:
    """The formats of this process: those of the package, and those that installed packages bring."""
    found = Formats()
    for entry_point in entry_points(group=ENTRY_POINTS):
        entry_point.load()(found)
    return found
