"""Metrics written as columns: which names are metrics, and what is said of those that are none."""

from __future__ import annotations

import pytest
from planner_federation import federation

from federation.errors import QueryError
from federation.planner import Plan, plan


def planned(sql: str) -> Plan:
    return plan(sql, federation())


def reads_metrics(sql: str) -> bool:
    return any(source.table == "metric" for fragment in planned(sql).fragments for source in fragment.inputs)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT seeing FROM raw",
        "SELECT SEEING FROM raw",
        'SELECT r."seeing" FROM raw r',
        "SELECT summit.raw.grade FROM summit.raw",
        "SELECT metric(raw, 'grade') FROM raw",
        "SELECT x.seeing FROM dataset x",
        "SELECT 1 FROM raw ORDER BY seeing",
        "SELECT exposure FROM raw GROUP BY exposure HAVING max(seeing) > 1",
        "SELECT seeing AS s FROM raw WHERE grade = 'good' ORDER BY s",
        "SELECT seeing FROM raw UNION SELECT psf_fwhm FROM calexp ORDER BY seeing",
        "SELECT v.id FROM visit v WHERE v.id IN (SELECT exposure FROM raw WHERE seeing < v.id)",
        "SELECT s.seeing FROM (SELECT seeing FROM raw) s",
        "WITH w AS (SELECT seeing, exposure FROM raw) SELECT w.seeing FROM w JOIN raw USING (exposure)",
        "SELECT r.exposure FROM visit v JOIN raw r ON r.exposure = v.id AND r.seeing > 1 AND r.band = v.name",
        "SELECT r.seeing, band FROM raw r CROSS JOIN (SELECT name FROM visit) v",
        "SELECT r.exposure, (SELECT max(id) FROM visit WHERE id < seeing) FROM raw r",
    ],
)
def test_a_name_that_nothing_else_has_is_the_metric(sql: str) -> None:
    assert reads_metrics(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT band FROM raw",
        "SELECT r.band FROM raw r",
        "SELECT * FROM raw",
        "SELECT psf_fwhm AS seeing FROM calexp ORDER BY seeing",
        "SELECT psf_fwhm AS seeing FROM calexp WHERE seeing > 1",
        "SELECT seeing FROM (SELECT psf_fwhm AS seeing FROM calexp) c CROSS JOIN raw",
        "WITH c AS (SELECT *, psf_fwhm AS seeing FROM calexp), d AS (SELECT * FROM c)"
        " SELECT raw.exposure, seeing FROM raw CROSS JOIN d",
        "SELECT seeing FROM raw CROSS JOIN (VALUES (1)) AS t (seeing)",
    ],
)
def test_a_column_or_output_of_that_name_wins(sql: str) -> None:
    assert not reads_metrics(sql)


def test_each_metric_of_each_table_is_joined_once() -> None:
    sql = (
        "SELECT a.seeing, a.seeing + 1, b.seeing, a.grade FROM summit.raw a JOIN summit.raw b USING (exposure)"
        " WHERE a.seeing > 2"
    )
    assert planned(sql).local_sql.count('"name" =') == 3


def test_outputs_keep_the_names_that_were_written() -> None:
    made = planned("SELECT seeing, CAST(r.grade AS text), metric(r, 'band'), max(seeing) OVER () FROM raw r")
    assert [column.name for column in made.columns] == ["seeing", "grade", "band", "max"]


def test_a_filter_on_a_metric_is_evaluated_at_the_site_that_has_it() -> None:
    made = planned(
        "SELECT r.exposure, v.id FROM summit.raw r JOIN visit v ON v.id = r.exposure WHERE r.grade = 'good'"
    )
    (fragment,) = (fragment for fragment in made.fragments if fragment.site == "summit")
    assert """"r.grade"."value_text" = 'good'""" in fragment.sql
    assert """"r.grade"."name" = 'grade'""" in fragment.sql


def test_a_table_without_the_metric_keeps_its_rows_unless_a_condition_needs_it() -> None:
    assert "LEFT JOIN" in planned("SELECT exposure, seeing FROM raw").local_sql
    assert "LEFT JOIN" in planned("SELECT exposure FROM raw WHERE seeing IS NULL OR seeing > 2").local_sql
    assert "LEFT JOIN" not in planned("SELECT exposure FROM raw WHERE seeing > 2").local_sql


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        ("SELECT seing FROM raw", "unknown column 'seing'", "did you mean seeing?"),
        ("SELECT raw.seing FROM raw", "'raw' has no column 'seing'", "did you mean seeing?"),
        ("SELECT exposre FROM raw", "unknown column 'exposre'", "did you mean exposure"),
        ("SELECT seeing FROM visit", "unknown column 'seeing'", "it is a metric: use it in the SELECT that has"),
        ("SELECT w.seeing FROM (SELECT * FROM raw) w", "'w' has no column 'seeing'", "it is a metric"),
        ("SELECT x.seeing FROM raw", "'x' in x.seeing is not in FROM", "FROM has: raw"),
        (
            "SELECT seeing FROM raw a JOIN raw b ON a.exposure = b.exposure", "metric 'seeing' is ambiguous",
            "write a.seeing or b.seeing",
        ),
        ("SELECT metric(raw, 'seing') FROM raw", "no dataset has a metric 'seing'", "did you mean seeing?"),
        ("SELECT metric(visit, 'seeing') FROM visit", "'visit' is no table of datasets in FROM", "name the table"),
        ("SELECT metric(raw) FROM raw", "metric takes a table of FROM and a name in quotes", "metric(raw, 'psf_fwhm')"),
        ("SELECT metric(raw, seeing) FROM raw", "metric takes a table of FROM", "metric(raw, 'psf_fwhm')"),
        (
            "SELECT 1 FROM visit v LEFT JOIN raw r ON r.exposure = v.id AND r.seeing > 1",
            "a metric can't be in the ON of an outer join that brings its own table", "in a sub-select",
        ),
        ("SELECT max(exposure) FROM raw HAVING seeing > 1", "column 'seeing' is neither grouped", "add it"),
    ],
)  # fmt: skip
def test_errors_point_at_the_name_and_say_what_is_near(sql: str, message: str, hint: str) -> None:
    with pytest.raises(QueryError) as raised:
        planned(sql)
    assert message in raised.value.message
    assert hint in raised.value.hint
    assert raised.value.position is not None
