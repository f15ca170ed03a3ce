"""Formats that are text or bytes: YAML, JSON, plain text, and bytes as they are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from federation.errors import UserError
from federation.formatters.formatter import Formatter

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BytesFormatter", "JsonFormatter", "TextFormatter", "YamlFormatter"]


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8: {error}", hint="read it as bytes") from error


def _structured(content: Any, type_: str, path: Path) -> Any:
    wanted = {"dict": dict, "list": list}[type_]
    if not isinstance(content, wanted):
        raise UserError(f"{path} holds {type(content).__name__}, not {type_}", hint="read it as another type")
    return content


class YamlFormatter(Formatter):
    """YAML: mappings, lists, texts, numbers, dates."""

    name: ClassVar[str] = "yaml"
    suffixes: ClassVar[tuple[str, ...]] = (".yaml", ".yml")
    types: ClassVar[tuple[str, ...]] = ("dict", "list")

    def read(self, path: Path, type_: str) -> Any:
        try:
            content = yaml.safe_load(path.read_bytes())
        except (yaml.YAMLError, ValueError) as error:
            raise UserError(
                f"{path} is not YAML: {' '.join(str(error).split())}", hint="read it as bytes"
            ) from error
        return _structured(content, type_, path)

    def write(self, content: Any, type_: str, path: Path) -> None:  # noqa: ARG002
        try:
            # escaped: PyYAML writes some line ends of Unicode so that they are read back as another
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=False)
        except yaml.YAMLError as error:
            raise UserError(
                f"YAML can't hold this: {' '.join(str(error).split())[:200]}",
                hint="use mappings, lists and plain values",
            ) from error
        path.write_text(text, encoding="utf-8")


class JsonFormatter(Formatter):
    """JSON: mappings by text, lists, texts, numbers."""

    name: ClassVar[str] = "json"
    suffixes: ClassVar[tuple[str, ...]] = (".json",)
    types: ClassVar[tuple[str, ...]] = ("dict", "list")

    def read(self, path: Path, type_: str) -> Any:
        try:
            content = json.loads(_text_of(path))
        except json.JSONDecodeError as error:
            raise UserError(f"{path} is not JSON: {error}", hint="read it as bytes") from error
        return _structured(content, type_, path)

    def write(self, content: Any, type_: str, path: Path) -> None:  # noqa: ARG002
        _check_keys(content)
        try:
            text = json.dumps(content, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"JSON can't hold this: {error}", hint="use mappings by text, lists and plain values"
            ) from error
        path.write_text(text + "\n", encoding="utf-8")


def _check_keys(content: Any) -> None:
    """Refuse mappings whose keys JSON would silently turn into texts."""
    if isinstance(content, dict):
        for key, value in content.items():
            if not isinstance(key, str):
                raise UserError(f"JSON can't hold the key {key!r}", hint="use texts as keys, or YAML")
            _check_keys(value)
    elif isinstance(content, list | tuple):
        for value in content:
            _check_keys(value)


class TextFormatter(Formatter):
    """A text in UTF-8, line ends as they are."""

    name: ClassVar[str] = "text"
    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".log", ".md")
    types: ClassVar[tuple[str, ...]] = ("str",)

    def read(self, path: Path, type_: str) -> Any:  # noqa: ARG002
        return _text_of(path)

    def write(self, content: Any, type_: str, path: Path) -> None:  # noqa: ARG002
        try:
            path.write_bytes(content.encode("utf-8"))
        except UnicodeEncodeError as error:
            raise UserError(f"the text can't be written in UTF-8: {error}", hint="correct it") from error


class BytesFormatter(Formatter):
    """Any file, as bytes."""

    name: ClassVar[str] = "bytes"
    suffixes: ClassVar[tuple[str, ...]] = (".bin",)
    types: ClassVar[tuple[str, ...]] = ("bytes",)

    def read(self, path: Path, type_: str) -> Any:  # noqa: ARG002
        return path.read_bytes()

    def write(self, content: Any, type_: str, path: Path) -> None:  # noqa: ARG002
        path.write_bytes(content)
