"""The language of ``where``: words, grammar, times, patterns, and where an error points."""

from __future__ import annotations

import fnmatch
import re

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import QueryError, UserError
from federation.model.timespan import parse_tai
from federation.queries import syntax
from federation.queries.parser import parse_name, parse_where
from federation.queries.patterns import glob_sql, like_sql
from federation.queries.sql import column, literal
from federation.queries.times import parse_time
from federation.queries.tokens import tokenize


def name(text: str) -> syntax.Name:
    return syntax.Name(tuple(text.split(".")))


def value(of: object) -> syntax.Literal:
    return syntax.Literal(of)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("visit = 5", syntax.Compare("=", name("visit"), value(5))),
        ("visit == -5", syntax.Compare("=", name("visit"), value(-5))),
        ("a.b != 'it''s'", syntax.Compare("<>", name("a.b"), value("it's"))),
        ('"from".x <= .5e1', syntax.Compare("<=", name("from.x"), value(5.0))),
        ("a IN (1..5:2, 9)", syntax.In(name("a"), (syntax.Range(1, 5, 2), value(9)))),
        ("a not in (-3..-1)", syntax.In(name("a"), (syntax.Range(-3, -1, 1),), negated=True)),
        ("a IN :wanted", syntax.In(name("a"), (syntax.Bind("wanted"),))),
        ("a IN (wanted)", syntax.In(name("a"), (name("wanted"),))),
        ("a BETWEEN 1 AND 2", syntax.Between(name("a"), value(1), value(2))),
        ("a NOT LIKE 'x%'", syntax.Like(name("a"), value("x%"), negated=True)),
        ("GLOB(a, 'x*')", syntax.Like(name("a"), value("x*"), glob=True)),
        ("a IS NOT NULL", syntax.IsNull(name("a"), negated=True)),
        ("a IS FALSE", syntax.IsTrue(name("a"), value=False)),
        ("a.region OVERLAPS POINT(1, -2)", syntax.Overlaps(
            name("a.region"), syntax.RegionCall("POINT", (value(1), value(-2))))),
        ("r OVERLAPS region 'CIRCLE 1 2 3'", syntax.Overlaps(
            name("r"), syntax.RegionCall("REGION", text="CIRCLE 1 2 3"))),
        ("t OVERLAPS (T'1970-01-01', NULL)", syntax.Overlaps(
            name("t"), syntax.Span(syntax.TimeLiteral(0), value(None)))),
        ("a OR b AND NOT c", syntax.Or((name("a"), syntax.And((name("b"), syntax.Not(name("c"))))))),
        ("a + 2 * -b > 1", syntax.Compare(
            ">",
            syntax.Arithmetic("+", name("a"), syntax.Arithmetic("*", value(2), syntax.Negative(name("b")))),
            value(1))),
        ("exposure.group = :g", syntax.Compare("=", name("exposure.group"), syntax.Bind("g"))),
    ],
)  # fmt: skip
def test_an_expression_has_one_tree(text: str, tree: syntax.Node) -> None:
    assert parse_where(text) == tree


def test_an_empty_expression_is_no_condition() -> None:
    assert parse_where(" \n") is None


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("visit = ", 8, "ends too early"),
        ("visit = 5 detector = 3", 10, "unexpected 'detector'"),
        ("visit = (5", 10, "ends too early"),
        ("visit = 'open", 8, "does not end"),
        ("visit = $1", 8, "'$' has no meaning"),
        ("visit IN (5..1)", 10, "the range 5..1 is empty"),
        ("visit IN (1..5:0)", 15, "step of a range"),
        ("visit IN ()", 10, "unexpected ')'"),
        ("visit IS 5", 9, "unexpected '5'"),
        ("visit = 99999999999999999999", 8, "out of range"),
        ("visit > 1e999", 8, "out of range"),
        ("t > T'yesterday'", 4, "'yesterday' is not a moment"),
        ("AND visit = 5", 0, "unexpected 'AND'"),
        ("visit BETWEEN 1", 15, "ends too early"),
        ("(" * 100 + "a" + ")" * 100, 60, "nested more than 60 levels"),
    ],
)
def test_a_syntax_error_points_at_the_place(text: str, position: int, message: str) -> None:
    with pytest.raises(QueryError, match=re.escape(message)) as caught:
        parse_where(text)

    assert (caught.value.sql, caught.value.position) == (text, position)
    assert caught.value.hint
    assert "^" in caught.value.marked()


@given(st.text(alphabet="visit.= <>()'\"0123:IN,ANDORT%*[]-é\n\0", max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    error = None
    try:
        parse_where(text)
    except QueryError as caught:
        error = caught

    if error is not None:
        assert error.hint
        assert error.position is not None
        assert 0 <= error.position <= len(text)


def test_words_know_their_place() -> None:
    assert [(t.kind, t.text, t.position) for t in tokenize("a.b in(1..2)")] == [
        ("name", "a", 0), ("symbol", ".", 1), ("name", "b", 2), ("keyword", "IN", 4), ("symbol", "(", 6),
        ("number", "1", 7), ("symbol", "..", 8), ("number", "2", 10), ("symbol", ")", 11), ("end", "", 12),
    ]  # fmt: skip


def test_a_name_to_order_by_is_a_name_only() -> None:
    assert parse_name("visit.timespan.begin") == name("visit.timespan.begin")
    with pytest.raises(QueryError, match="unexpected"):
        parse_name("visit + 1")


@pytest.mark.parametrize(
    ("text", "tai"),
    [
        ("2025-01-01T00:00:00", "2025-01-01"),
        ("2025-01-01 00:00:00.000000001/tai", "2025-01-01 00:00:00.000000001"),
        ("2025-01-01T00:00:00/utc", "2025-01-01 00:00:37"),
        ("1998-12-31/UTC", "1998-12-31 00:00:31"),
        ("mjd/60676.5/tai", "2025-01-01 12:00:00"),
        ("mjd/60676/utc", "2025-01-01 00:00:37"),
        ("jd/2460676.5", "2025-01-01"),
    ],
)
def test_a_time_has_a_format_and_a_scale(text: str, tai: str) -> None:
    assert parse_time(text) == parse_tai(tai)


@pytest.mark.parametrize(
    "text", ["", "2025-13-01", "mjd/soon", "2025-01-01/gps", "mjd/1e9", "unix/5", "1200-01-01"]
)
def test_a_bad_time_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_time(text)
    assert caught.value.hint


@given(
    st.lists(st.text(alphabet="ab_%\\*[é\U0010ffff\ud7ff", max_size=4), max_size=8),
    st.text(alphabet="ab_%*?[]!\\é\U0010ffff\ud7ff", max_size=5),
)
@settings(max_examples=200, deadline=None)
def test_glob_means_what_fnmatch_means(texts: list[str], pattern: str) -> None:
    rows = ", ".join(f"({literal(text)})" for text in [*texts, pattern])
    condition = re.sub(r"(LIKE '.*')", r"\1 ESCAPE '\\'", glob_sql("v", pattern), flags=re.DOTALL)
    condition = re.sub(r"^v ~ ('.*')$", r"regexp_full_match(v, \1)", condition, flags=re.DOTALL)

    found = duckdb.sql(f"SELECT v FROM (VALUES {rows}) AS t(v) WHERE {condition}").fetchall()

    assert sorted(v for (v,) in found) == sorted(
        t for t in [*texts, pattern] if fnmatch.fnmatchcase(t, pattern)
    )


@pytest.mark.parametrize(
    ("pattern", "sql"),
    [
        ("abc%", "(v >= 'abc' AND v < 'abd')"),
        ("a_c%", "v LIKE 'a_c%'"),
        (r"a\%%", r"v LIKE 'a\%%'"),
        ("%", "v IS NOT NULL"),
        ("\ud7ff%", "(v >= '\ud7ff' AND v < '\ue000')"),
    ],
)
def test_a_fixed_beginning_becomes_a_range(pattern: str, sql: str) -> None:
    assert like_sql("v", pattern) == sql


def test_names_and_values_are_quoted() -> None:
    assert column('a"b', "c") == '"a""b"."c"'
    assert literal("it's") == "'it''s'"
    assert literal(1e20) == "1e+20"
    assert literal(2.0) == "2.0"
    for bad in (float("nan"), 2**63, object(), "\0"):
        with pytest.raises(UserError):
            literal(bad)
