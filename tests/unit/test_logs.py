"""Log lines are one JSON object each, carry the request, and hold no secret."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from federation.errors import UsageError
from federation.logs import JsonFormatter, TextFormatter, fields, hide_secrets, log_as_server, set_up_logging
from federation.request_context import RequestPool, current_request, is_request_id, request

LOGGER = logging.getLogger("federation.test")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger("federation")
    before = (root.handlers[:], root.level, root.propagate)
    yield
    root.handlers[:], root.propagate = before[0], before[2]
    root.setLevel(before[1])


def record(formatter: logging.Formatter, event: str, **values: Any) -> str:
    made = LOGGER.makeRecord(LOGGER.name, logging.INFO, "f", 1, event, (), None, extra=fields(**values))
    return formatter.format(made)


def test_a_line_is_one_object_with_what_every_line_has() -> None:
    with request("3f2a"):
        line = json.loads(record(JsonFormatter(), "call_ended", code="ok", seconds=0.5, sites=["a", "b"]))
    assert list(line)[:6] == ["time", "level", "event", "logger", "pid", "request"]
    assert (line["event"], line["request"], line["code"], line["sites"]) == (
        "call_ended",
        "3f2a",
        "ok",
        ["a", "b"],
    )
    assert line["time"].endswith("Z")


def test_on_a_terminal_it_is_text() -> None:
    assert record(TextFormatter(), "replica_state", state="waiting", message="no answer").endswith(
        'info    replica_state state=waiting message="no answer"'
    )


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://butler:geheim@db/registry",
        "cannot reach postgresql://butler:geh@eim@db:5432/x?sslpassword=geheim",
        "authorization: Bearer geheim.geheim-geheim",
        "token eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJnZWhlaW0ifQ.Z2VoZWlt was refused",
    ],
)
def test_secrets_are_taken_out(text: str) -> None:
    assert "geheim" not in hide_secrets(text)
    line = record(
        JsonFormatter(), "event", url=text, nested={"password": "geheim", "list": [text]}, token="geheim"
    )
    assert "geheim" not in line
    assert "eyJhbGciOiJFZERTQSJ9" not in line


def test_levels_are_chosen_and_a_server_tells_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", shown := io.StringIO())
    set_up_logging()
    LOGGER.info("quiet")
    log_as_server()
    LOGGER.info("told")
    set_up_logging("error")
    log_as_server()
    LOGGER.warning("quiet")
    assert [json.loads(line)["event"] for line in shown.getvalue().splitlines()] == ["told"]
    with pytest.raises(UsageError, match="'loud' is no log level"):
        set_up_logging("loud")


def test_a_traceback_is_part_of_the_line() -> None:
    try:
        raise ValueError("postgresql://a:geheim@b/c")
    except ValueError:
        made = LOGGER.makeRecord(LOGGER.name, logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    line = json.loads(JsonFormatter().format(made))
    assert "ValueError" in line["traceback"]
    assert "geheim" not in line["traceback"]


def test_a_request_goes_along_into_the_threads_of_its_pool() -> None:
    with RequestPool(2) as pool:
        with request("a"):
            first = pool.submit(current_request)
        with request("b"), request() as inner:
            second = pool.submit(current_request)
            assert inner == "b"
        assert (first.result(), second.result(), pool.submit(current_request).result()) == ("a", "b", "")


@pytest.mark.parametrize(
    ("text", "good"), [("3f2a", True), ("a-b_C", True), ("", False), ("x\ny", False), ("x" * 65, False)]
)
def test_only_a_word_is_taken_for_an_id_of_a_request(text: str, good: bool) -> None:
    assert is_request_id(text) is good
