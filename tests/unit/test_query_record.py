"""Statements without their values, and lines in files of bounded size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from federation.model.statement_shape import statement_shape
from federation.services.rotating_lines import RotatingLines, read_lines


@pytest.mark.parametrize(
    ("sql", "shape"),
    [
        ("SELECT 'a', 7, \"b'c\" FROM t", 'SELECT ?, 7, "b\'c" FROM t'),
        ("SELECT 'it''s; --' AS n", "SELECT ? AS n"),
        ("SELECT E'\\'secret' AS n", "SELECT ? AS n"),
        ("SELECT $$secret$$, $tag$se$$cret$tag$ AS n", "SELECT ?, ? AS n"),
        ("SELECT 1 -- secret\n AS n /* secret\n */", "SELECT 1 AS n"),
        ("SELECT 1 /* secret", "SELECT 1"),
        ("SELECT 'secret", "SELECT ?"),
        ("SELECT $x$secret", "SELECT ?"),
        ("SELECT '--', 'secret' --", "SELECT ?, ?"),
        ("", ""),
    ],
)
def test_a_shape_has_no_text_in_quotes_and_no_comment(sql: str, shape: str) -> None:
    assert statement_shape(sql) == shape


def test_a_long_shape_is_cut() -> None:
    assert statement_shape("SELECT " + "x, " * 100 + "y", 20) == "SELECT x, x, x, x..."


def test_lines_begin_a_new_file_and_one_before_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = RotatingLines(path, "lines", bytes_max=100)
    for number in range(30):
        lines.append({"n": number})
    lines.close()
    kept = [line["n"] for line in read_lines(path)]
    assert kept == list(range(kept[0], 30))
    assert 11 <= len(kept) < 30
    assert sorted(one.name for one in tmp_path.iterdir()) == ["lines", "lines.1"]
    assert all(one.stat().st_size <= 100 for one in tmp_path.iterdir())
    assert path.stat().st_mode & 0o777 == 0o600


def test_lines_go_on_where_the_file_was_taken_away_or_closed(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = RotatingLines(path, "lines")
    lines.append({"n": 1})
    path.unlink()
    lines.append({"n": 2})
    lines.close()
    lines.append({"n": 3})
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [2, 3]


def test_half_a_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text('{"n": 1}\n[]\n{"n": 2')
    assert list(read_lines(path)) == [{"n": 1}]


def test_a_place_that_takes_no_lines_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = RotatingLines(tmp_path / "none" / "lines", "queries")
    lines.append({"n": 1})
    lines.append({"n": 2})
    assert capsys.readouterr().err.count("queries are not recorded") == 1
