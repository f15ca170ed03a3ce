"""Reads one table of a TOML file key by key, with errors that name file, key, value and remedy."""

from __future__ import annotations

import difflib
import math
import tomllib
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

__all__ = ["TomlTable", "did_you_mean"]

#: more words than this don't help in a one-line message
LISTED_MAX = 20


def did_you_mean(word: str, known: Collection[str]) -> str:
    """The remedy for a wrong word: the nearest known one, or all of them.

    >>> did_you_mean("adress", ["name", "address"])
    "did you mean 'address'?"
    """
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(known)}" if len(known) <= LISTED_MAX else "see docs/reference/site-toml.md"


@attrs.frozen
class TomlTable:
    """A table of ``file``; ``label`` names it in messages (``""`` at the top, else like ``[query]``)."""

    file: Path
    label: str
    values: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str, file: Path) -> TomlTable:
        """The top table of a TOML text; `ConfigError` with line and column when it is not one."""
        try:
            return cls(file, "", tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{file}: not a TOML file: {error}", hint="correct the line named") from error

    def only(self, known: Collection[str]) -> TomlTable:
        """This table, if it has no key but the ``known`` ones."""
        for key in self.values:
            if key not in known:
                place = f" in {self.label}" if self.label else ""
                raise ConfigError(f"{self.file}: unknown key {key!r}{place}", hint=did_you_mean(key, known))
        return self

    def error(self, key: str, problem: str, *, hint: str, shown: str | None = None) -> ConfigError:
        """An error about the value of ``key``; ``shown`` replaces a value that should not be printed."""
        place = f"{self.label} {key}" if self.label else key
        value = _literal(self.values.get(key)) if shown is None else shown
        return ConfigError(f"{self.file}: {place} = {value} {problem}", hint=hint)

    def has(self, key: str) -> bool:
        return key in self.values

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty; ``default`` where the key is missing, an error where that is None too."""
        if key not in self.values:
            if default is not None:
                return default
            place = f" in {self.label}" if self.label else ""
            raise ConfigError(f"{self.file}: key {key!r} is missing{place}", hint=f'add {key} = "..."')
        value = self.values[key]
        if not isinstance(value, str):
            raise self.error(key, "is not a text", hint=f'write {key} = "..." with quotes')
        if not value:
            raise self.error(key, "is empty", hint="give a value or leave the key out")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of different texts; empty where the key is missing."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.error(key, "is not a list of texts", hint=f'write {key} = ["...", "..."]')
        if len(set(value)) < len(value):
            raise self.error(key, "names something twice", hint="leave the repeated entry out")
        return tuple(value)

    def integer(self, key: str, default: int, *, minimum: int) -> int:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise self.error(
                key, f"is not an integer of at least {minimum}", hint=f"the default is {key} = {default}"
            )
        return value

    def number(self, key: str, default: float, *, minimum: float) -> float:
        """A float, of at least ``minimum``; inf is allowed, nan is not."""
        value = self.values.get(key, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or math.isnan(value)
            or value < minimum
        ):
            raise self.error(
                key, f"is not a number of at least {minimum:g}", hint=f"the default is {key} = {default}"
            )
        return float(value)

    def table(self, key: str, known: Collection[str]) -> TomlTable:
        """The table ``[key]`` with only ``known`` keys; an empty one where it is missing."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, "is not a table", hint=f"write a line [{key}] and the keys below it")
        return TomlTable(self.file, f"[{key}]", value).only(known)

    def tables(self, key: str, known: Collection[str]) -> tuple[TomlTable, ...]:
        """The tables ``[[key]]``, in order, each with only ``known`` keys."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.error(key, "is not a list of tables", hint=f"write [[{key}]], with two brackets")
        return tuple(
            TomlTable(self.file, f"[[{key}]] {number}", item).only(known)
            for number, item in enumerate(value, 1)
        )


def _literal(value: Any) -> str:
    """A value as a message shows it: as TOML writes it, one line of bounded length."""
    text = " ".join(_toml(value).split())
    return text if len(text) <= 120 else text[:117] + "..."


def _toml(value: Any) -> str:
    match value:
        case str():
            return f'"{value}"'
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(_toml(item) for item in value)}]"
        case dict():
            inside = ", ".join(f"{key} = {_toml(item)}" for key, item in value.items())
            return f"{{ {inside} }}" if inside else "{}"
    return str(value)
