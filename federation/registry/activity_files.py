"""Activities as files: YAML (a list), or JSON lines (one object a line)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import yaml

from federation.errors import UserError
from federation.model.timespan import Timespan, parse_tai
from federation.registry.activities import Activity

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["read_activities"]

_KEYS = tuple(field.name for field in attrs.fields(Activity))
_TEXTS = ("version", "run", "host", "status")


def read_activities(path: Path) -> list[Activity]:
    """The activities of a ``.yaml``, ``.yml``, ``.json`` or ``.jsonl`` file.

    Keys are those of `Activity`; ``timespan`` is a list of two TAI times, either of them null when it is not known.
    `UserError` names file, line or number, and key.
    """
    return [_activity(where, raw) for where, raw in _objects(path)]


def _objects(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, value) of each activity in the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not text in UTF-8: {error}", hint="give a YAML or JSON lines file"
        ) from error
    if path.suffix in (".jsonl", ".ndjson"):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield f"{path}:{number}", _json(line, f"{path}:{number}")
        return
    if path.suffix == ".json":
        found = _json(text, str(path))
    elif path.suffix in (".yaml", ".yml"):
        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(
                f"{path} is not YAML: {' '.join(str(error).split())}", hint="correct the file"
            ) from error
    else:
        raise UserError(
            f"{path} does not say its format", hint="name it .yaml, .json or .jsonl (one object a line)"
        )
    if not isinstance(found, list):
        raise UserError(f"{path} holds no list of activities", hint="write a list, one entry an activity")
    for number, raw in enumerate(found, 1):
        yield f"{path}: activity {number}", raw


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{where} is not JSON: {error}", hint="correct the file") from error


def _activity(where: str, raw: Any) -> Activity:
    if not isinstance(raw, Mapping):
        raise UserError(f"{where} is not an object", hint="write keys and values: id, task, inputs, outputs")
    unknown = sorted(str(key) for key in raw if key not in _KEYS)
    if unknown:
        raise UserError(f"{where} has unknown key {unknown[0]!r}", hint="keys: " + ", ".join(_KEYS))
    for key in ("id", "task"):
        if raw.get(key) is None:
            raise UserError(f"{where} has no {key}", hint="every activity needs id and task")
    parameters = raw.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        raise UserError(f"{where}: parameters are not an object", hint="write keys and values")
    return Activity(
        _uuid(raw["id"], f"{where}: id"),
        _text(raw["task"], f"{where}: task"),
        parameters=dict(parameters),
        timespan=_timespan(raw.get("timespan"), f"{where}: timespan"),
        inputs=_uuids(raw.get("inputs"), f"{where}: inputs"),
        outputs=_uuids(raw.get("outputs"), f"{where}: outputs"),
        **{key: _text(raw[key], f"{where}: {key}") for key in _TEXTS if raw.get(key) is not None},
    )


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise UserError(f"{where} = {value!r} is not a text", hint="write a text, in quotes where needed")
    return value


def _uuid(value: Any, where: str) -> uuid.UUID:
    try:
        return uuid.UUID(value if isinstance(value, str) else "")
    except ValueError:
        raise UserError(f"{where} = {value!r} is not a UUID", hint="write it as text") from None


def _uuids(value: Any, where: str) -> list[uuid.UUID]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise UserError(f"{where} = {value!r} is not a list", hint="write a list of dataset ids")
    return [_uuid(item, where) for item in value]


def _timespan(value: Any, where: str) -> Timespan:
    if value is None:
        return Timespan()
    if not isinstance(value, list) or len(value) != 2:
        raise UserError(f"{where} = {value!r} is not a list of two times", hint="write [begin, end] in TAI")
    begin, end = (None if bound is None else _moment(bound, where) for bound in value)
    return Timespan(begin, end)


def _moment(value: Any, where: str) -> int:
    # YAML reads an unquoted time as a datetime
    try:
        return parse_tai(str(value))
    except UserError as error:
        raise UserError(f"{where}: {error.message}", hint=error.hint) from error
