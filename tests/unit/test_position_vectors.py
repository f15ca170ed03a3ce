"""Position vectors as texts: lists of positions, and what a query wrote."""

from __future__ import annotations

import json

import pytest

from federation.errors import UserError
from federation.model.position import Position
from federation.model.position_vector import parse_positions

BASE, NCSA = Position("base", "base", "e1", 7), Position("ncsa", "alice", "beef", 12)


@pytest.mark.parametrize(
    "text",
    [
        f"{BASE},{NCSA}",
        f"{BASE}\n{NCSA}\n",
        f"  {BASE} , {NCSA} {BASE}",
        json.dumps([str(BASE), str(NCSA)]),
        json.dumps({"rows": [], "positions": [str(BASE), str(NCSA)]}),
    ],
)
def test_positions_are_read_as_they_are_written(text: str) -> None:
    assert dict.fromkeys(parse_positions(text)) == dict.fromkeys((BASE, NCSA))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no position"),
        ("yesterday", "'yesterday' is not a position"),
        ("base/base@e1", "is not a position"),
        ("{", "no JSON"),
        ('{"rows": []}', "no list of positions"),
        ("[1]", "no list of positions"),
        (f"{BASE}, base/base@e1:8", "two positions of base/base"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        parse_positions(text)
    assert refused.value.hint
