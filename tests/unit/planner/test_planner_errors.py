"""A statement that can't be planned is refused with a message, its place in the statement, and a remedy."""

from __future__ import annotations

import pytest
from planner_federation import federation

from federation.errors import QueryError
from federation.planner import PlanOptions, plan
from federation.planner.dialect import FUNCTIONS

#: statement with the refused place between « and », and part of the message or hint
REFUSED = [
    ("SELECT * FROM «rawx", "did you mean raw?"),
    ("SELECT * FROM «sumit.raw", "did you mean summit?"),
    ("SELECT * FROM summit.«rwa", "did you mean raw?"),
    ("SELECT «expsure FROM raw", "did you mean exposure?"),
    ("SELECT r.«expsure FROM raw r", "did you mean exposure?"),
    ("SELECT «q.exposure FROM raw r", "FROM has: r"),
    ("SELECT «instrument FROM raw, visit", "raw.instrument or visit.instrument"),
    ("SELECT * FROM «SKYMAp", "skyMap or skymap"),
    ("SELECT * FROM raw r, visit «r", "another alias"),
    ("SELECT exposure FROM raw ORDER BY «7", "no output column 7"),
    ("SELECT * FROM raw WHERE dataset_id = «'xyz'", "is not a UUID"),
    ("SELECT * FROM raw WHERE dataset_id IN («'xyz')", "is not a UUID"),
    ("SELECT UUID «'xyz'", "is not a UUID"),
    ("SELECT * FROM visit WHERE timespan_begin > «'2026-13-01'", "is not a TAI timestamp"),
    ("SELECT * FROM visit WHERE timespan_begin > «'2026-01-01 00:00:00Z'", "without a zone"),
    ("SELECT * FROM visit WHERE timespan_begin BETWEEN '2026-01-01' AND «'9999-12-31'", "out of range"),
    ("SELECT * FROM raw WHERE exposure = «'abc'", "not a whole number"),
    ("SELECT * FROM visit WHERE exposure_time < «'fast'", "not a number"),
    ("SELECT * FROM exposure WHERE can_see_sky = «'maybe'", "TRUE or FALSE"),
    ("SELECT * FROM raw WHERE «run = 5", "string and int64 can't be compared"),
    ("SELECT * FROM raw WHERE «dataset_id > exposure", "uuid and int64"),
    ("SELECT exposure, «run FROM raw GROUP BY exposure", "neither grouped by"),
    ("SELECT «exposure, count(*) FROM raw", "neither grouped by"),
    ("SELECT count(*) FROM raw WHERE «count(*) > 1", "HAVING"),
    ("SELECT max(«count(*)) FROM raw", "inside an aggregate"),
    ("SELECT DISTINCT run FROM raw ORDER BY «exposure", "output columns only"),
    ("SELECT «now()", "write the moment as a literal"),
    ("SELECT «CURRENT_TIMESTAMP", "write the moment as a literal"),
    ("SELECT «random()", "differs from site to site"),
    ("SELECT «lowr(run) FROM raw", "did you mean lower"),
    ("SELECT «pg_sleep(1)", "not allowed"),
    ("«DELETE FROM raw", "queries only read"),
    ("  «UPDATE raw SET exposure = 1", "queries only read"),
    ("«DROP TABLE raw", "not allowed"),
    ("«VACUUM", "not allowed"),
    ("SELECT * INTO «t FROM raw", "queries only read"),
    ("SELECT 1; SELECT «2", "more than one statement"),
    ("WITH d AS (DELETE FROM «raw RETURNING *) SELECT * FROM d", "queries only read"),
    ("SELECT * FROM raw NATURAL JOIN «visit", "USING"),
    ("SELECT * FROM raw LEFT JOIN «visit", "without a condition"),
    ("SELECT * FROM raw a, raw b FULL JOIN «raw c ON b.exposure = c.exposure", "CROSS JOIN"),
    ("SELECT * FROM («raw JOIN visit ON true)", "without parentheses"),
    ("SELECT * FROM «generate_series(1, 2)", "VALUES"),
    ("SELECT «exposure::numeric FROM raw", "double precision"),
    ("SELECT exposure FROM raw WHERE «exposure IN ()", "at least one value"),
    ("SELECT exposure FROM raw UNION SELECT «1, 2", "same number of columns"),
    ("SELECT * FROM (SELECT 1 AS x, 2 AS X) «t", "two columns named 'x'"),
    ("SELECT «timespan_end - timespan_begin FROM visit", "extract(epoch"),
    ("SELECT timespan_end + «INTERVAL '1 fortnight' FROM visit", "units is not known"),
    ("SELECT timespan_end + «INTERVAL '1.5 months' FROM visit", "not a whole number"),
    ("SELECT timespan_end * «INTERVAL '1 day' FROM visit", "may only be added to a timestamp"),
    ("SELECT «INTERVAL '1 day'", "may only be added to a timestamp"),
    ("SELECT DATE «'2261-12-31' + INTERVAL '1 year'", "out of range"),
    ("SELECT extract(year FROM «exposure) FROM raw", "extract takes a timestamp"),
    ("SELECT «timespan_overlaps(1, 2)", "takes 4 arguments"),
    ("SELECT «region_overlaps(region) FROM visit", "region_overlaps(region_1, region_2)"),
    ("SELECT region_overlaps(region, «name) FROM visit", "is visit.name, of type string"),
    ("SELECT «region_overlaps(region, 'abc') FROM visit", "it is of type bytes"),
    ("SELECT «circle(10, 95, 1)", "declination 95 is not between -90 and 90"),
    ("SELECT «circle(10, 5, -1)", "radius -1 is not between 0 and 180"),
    ("SELECT «polygon(0, 0, 1, 1)", "three or more positions"),
    ("SELECT «polygon(0, 0, 1, 0, 2, 0)", "span no polygon"),
    ("SELECT «polygon(0, 0, 1, 0, 2, id) FROM visit", "numbers only"),
    ("SELECT skypix_id(«'htm99', 1, 2)", "healpix0 to healpix17"),
    ("SELECT skypix_id(«name, 1, 2) FROM visit", "write it as a text"),
    ("SELECT «region_overlaps_pixel('htm7', 5, region) FROM visit", "its pixels are 131072 to 262143"),
    ("SELECT * FROM federation.«tabels", "did you mean tables?"),
    ("SELECT exposure\nfrm «raw", "syntax error"),
    ("SELECT exposure FROM raw WHERE «=", "syntax error"),
    ("SELECT «'abc", "does not end"),
    ("SELECT «99999999999999999999", "out of range"),
    ("SELECT * FROM raw WHERE exposure = $«1", "parameters are not supported"),
    ("«", "the statement is empty"),
]


@pytest.mark.parametrize(("marked", "part"), REFUSED, ids=[marked for marked, _ in REFUSED])
def test_points_at_what_is_wrong(marked: str, part: str) -> None:
    sql = marked.replace("«", "")
    with pytest.raises(QueryError) as caught:
        plan(sql, federation(), PlanOptions())
    error = caught.value
    assert part in str(error)
    assert error.hint
    assert "\n" not in str(error)
    assert error.position == marked.index("«")
    assert error.sql == sql


def test_names_are_found_in_any_case_when_that_is_unique() -> None:
    made = plan("SELECT R.EXPOSURE, Count(*) FROM Raw AS r GROUP BY r.Exposure", federation(), PlanOptions())
    assert [column.name for column in made.columns] == ["exposure", "count"]


def test_repeated_output_names_are_numbered() -> None:
    made = plan("SELECT exposure, exposure, detector AS exposure FROM raw", federation(), PlanOptions())
    assert [column.name for column in made.columns] == ["exposure", "exposure_1", "exposure_2"]


#: a call of every function that takes something else than numbers
CALLS = {
    "string_agg": "string_agg(run, ',')",
    "percentile_cont": "percentile_cont(0.5) WITHIN GROUP (ORDER BY detector)",
    "percentile_disc": "percentile_disc(0.5) WITHIN GROUP (ORDER BY detector)",
    "bool_and": "bool_and(detector > 1)",
    "bool_or": "bool_or(detector > 1)",
    "count": "count(*)",
    "coalesce": "coalesce(detector, 1)",
    "position": "position('a' IN run)",
    "date_trunc": "date_trunc('day', TIMESTAMP '2026-01-01')",
    "extract": "extract(year FROM TIMESTAMP '2026-01-01')",
    "date_part": "date_part('year', TIMESTAMP '2026-01-01')",
    "timespan_overlaps": "timespan_overlaps('2026-01-01', '2026-01-02', NULL, NULL)",
    "region_overlaps": "region_overlaps(circle(1, 2, 3), polygon(0, 0, 3, 0, 3, 3))",
    "region_contains": "region_contains(circle(1, 2, 3), detector, 2.5)",
    "region_overlaps_pixel": "region_overlaps_pixel('htm7', 131072 + detector, circle(1, 2, 3))",
    "circle": "circle(detector, 2, 3)",
    "polygon": "polygon(0, 0, 3, 0, 3, 3)",
    "skypix_id": "skypix_id('healpix5', detector, 2)",
    "skypix_region": "skypix_region('healpix5', detector)",
    "pi": "pi()",
    "concat": "concat(run, 'x')",
    "replace": "replace(run, 'a', 'b')",
    "split_part": "split_part(run, '/', 1)",
}
_WINDOWS = {
    *("row_number", "rank", "dense_rank", "percent_rank", "cume_dist"),
    *("ntile", "lag", "lead", "first_value", "last_value"),
}
_TWO = {"corr", "nullif", "greatest", "least", "power", "mod", "atan2"}
_TEXT_TWO = {"strpos": "'a'", "starts_with": "'a'", "left": "2", "right": "2", "substring": "2"}
_TEXT = {"lower", "upper", "length", "trim"}


def call_of(name: str) -> str:
    """An example of the function's use over table raw."""
    if name in CALLS:
        return CALLS[name]
    if name in _WINDOWS:
        argument = (
            "2"
            if name == "ntile"
            else "detector"
            if name in {"lag", "lead", "first_value", "last_value"}
            else ""
        )
        return f"{name}({argument}) OVER (ORDER BY dataset_id)"
    if name in _TWO:
        return f"{name}(detector, 2)"
    if name in _TEXT_TWO:
        return f"{name}(run, {_TEXT_TWO[name]})"
    return f"{name}(run)" if name in _TEXT else f"{name}(detector)"


# metric is a join, not a function of the engine
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "metric"])
def test_every_documented_function_can_be_planned_and_run(name: str, world: object) -> None:
    from planner_oracle import World

    assert isinstance(world, World)
    sql = f"SELECT {call_of(name)} AS v FROM raw WHERE exposure > 3"
    if name in {"sqrt", "ln", "log", "asin", "acos"}:
        sql = f"SELECT {name}(0.5 + detector * 0.01) AS v FROM raw"
    assert world.answer(sql, world.catalog("ncsa"), PlanOptions())
