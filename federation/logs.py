"""What processes tell of themselves: one JSON object a line on standard error, or plain text on a terminal.

Modules log through the standard library, ``logging.getLogger(__name__).info("call_ended", extra=fields(code="ok"))``:
the message is the name of the event, `fields` are its values. A program that does not call `set_up_logging` decides for
itself what becomes of them.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import IO, Any, Final

from federation.errors import UsageError
from federation.request_context import current_request

__all__ = [
    "LEVELS",
    "JsonFormatter",
    "TextFormatter",
    "fields",
    "hide_secrets",
    "log_as_server",
    "set_up_logging",
]

#: what ``--log-level`` takes
LEVELS: Final = ("debug", "info", "warning", "error")
#: the logger of all of this package
ROOT: Final = "federation"

_URL_PASSWORD = re.compile(r"([A-Za-z][\w+.-]*://[^:/@\s?#]*):[^/\s]+@")
_PARAMETER = re.compile(r"\b((?:ssl)?password|token|secret|signature)=[^&#\s'\"]+", re.IGNORECASE)
_BEARER = re.compile(r"\b(Bearer)\s+[\w.~+/=-]+", re.IGNORECASE)
_SIGNED_TOKEN = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+")
_SECRET_FIELDS = frozenset({"authorization", "password", "secret", "token"})


def fields(**values: Any) -> dict[str, Any]:
    """The ``extra`` of a log call: what the event is about, as values that JSON has."""
    return {"fields": values}


def hide_secrets(text: str) -> str:
    """A text with passwords of URLs and bearer tokens replaced.

    >>> hide_secrets("connect to postgresql://butler:geheim@db/registry with Bearer abc.def")
    'connect to postgresql://butler:***@db/registry with Bearer ***'
    """
    text = _PARAMETER.sub(r"\1=***", _URL_PASSWORD.sub(r"\1:***@", text))
    return _SIGNED_TOKEN.sub("***", _BEARER.sub(r"\1 ***", text))


def _clean(name: str, value: Any) -> Any:
    """A value as it may be logged: of JSON's types, and without secrets."""
    if name in _SECRET_FIELDS:
        return "***"
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, dict):
        return {str(key): _clean(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", item) for item in value]
    return hide_secrets(str(value))


def _told(record: logging.LogRecord) -> dict[str, Any]:
    found = {name: _clean(name, value) for name, value in getattr(record, "fields", {}).items()}
    request_id = current_request()
    return {"request": request_id, **found} if request_id and "request" not in found else found


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC), level, event, logger, process, request, then the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        seconds, milliseconds = divmod(int(record.created * 1000), 1000)
        line = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z",
            "level": record.levelname.lower(),
            "event": hide_secrets(record.getMessage()),
            "logger": record.name,
            "pid": record.process,
            **_told(record),
        }
        if record.exc_info:
            line["traceback"] = hide_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """The same for people: local time, level, event, and ``name=value`` for each field."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        words = "".join(f" {name}={_word(value)}" for name, value in _told(record).items())
        text = f"{clock} {record.levelname.lower():7} {hide_secrets(record.getMessage())}{words}"
        return f"{text}\n{hide_secrets(self.formatException(record.exc_info))}" if record.exc_info else text


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return json.dumps(text, ensure_ascii=False) if not text or any(c.isspace() for c in text) else text


class _ToStandardError(logging.StreamHandler[IO[str]]):
    """Writes to whatever standard error is at the moment."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def set_up_logging(level: str = "") -> None:
    """Let this process log from ``level`` on, by default from warning on; a second call replaces the first.

    Text where standard error is a terminal, else JSON lines. `UsageError` for a level that there is not.
    """
    chosen = level.lower() or "warning"
    if chosen not in LEVELS:
        raise UsageError(f"{level!r} is no log level", hint="levels: " + ", ".join(LEVELS))
    handler = _ToStandardError()
    handler.setFormatter(TextFormatter() if sys.stderr.isatty() else JsonFormatter())
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [handler]
    logger.setLevel(chosen.upper())
    logger.propagate = False
    _Asked.level = level


def log_as_server() -> None:
    """A server tells from info on, unless `set_up_logging` was given another level."""
    if not _Asked.level:
        logging.getLogger(ROOT).setLevel(logging.INFO)


class _Asked:
    """The level that was asked for, empty where none was."""

    level = ""
