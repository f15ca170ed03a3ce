"""Rules that rewrite a statement before it is cut: where they apply and where they must not; the rows stay the same."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import attrs
import pytest
from planner_federation import BASE, NCSA, RAW, SUMMIT, federation, tables
from planner_oracle import Rows, World, agree_where_the_key_decides, make_rows

from federation.model.catalog import ColumnStats, FederationCatalog, SchemaCatalog, SiteCatalog
from federation.model.logical import LogicalType, TableDef
from federation.model.position import SchemaId
from federation.planner import Plan, PlanOptions, explain_text, plan
from federation.planner.pipeline import OPTIONAL_RULES

CHAIN = (NCSA, SUMMIT, BASE)
PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "planner-rules.md").read_text()


def planned(sql: str, *off: str) -> Plan:
    return plan(sql, federation(), PlanOptions(rules_off=frozenset(off)))


def texts(made: Plan) -> str:
    return "\n".join([*(fragment.sql for fragment in made.fragments), made.local_sql])


def reads(made: Plan) -> list[str]:
    return sorted(table for fragment in made.fragments for _, table in fragment.sources)


JOIN = "FROM ncsa.calexp c JOIN summit.exposure e ON e.id = c.visit"


@pytest.mark.parametrize(
    ("sql", "part"),
    [
        (f"SELECT e.seq_num, count(*) {JOIN} GROUP BY e.seq_num", "COUNT(*)"),
        (f"SELECT e.seq_num, sum(c.psf_fwhm) {JOIN} GROUP BY e.seq_num", 'SUM("calexp"."psf_fwhm")'),
        (f"SELECT sum(c.detector), max(c.run) {JOIN}", 'SUM("calexp"."detector")'),
        (f"SELECT e.seq_num {JOIN} GROUP BY e.seq_num", 'GROUP BY "calexp"."visit"'),
        (f"SELECT DISTINCT e.seq_num {JOIN}", 'GROUP BY "calexp"."visit"'),
        (
            f"SELECT count(*) FILTER (WHERE c.psf_fwhm > 1) {JOIN}",
            'COUNT(CASE WHEN "calexp"."psf_fwhm" > 1 THEN 1 END)',
        ),
        ("SELECT lower(run), count(*) FROM summit.raw GROUP BY 1", 'GROUP BY "raw"."run"'),
        (f"SELECT count(*) {JOIN.replace('ON e.id = c.visit', 'ON TRUE')}", "HAVING COUNT(*) > 0"),
    ],
)
def test_groups_rows_at_their_site(sql: str, part: str) -> None:
    assert part in " ".join(" ".join(f.sql for f in planned(sql).fragments).split())
    assert part not in " ".join(f.sql for f in planned(sql, "aggregate_early").fragments)


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT e.seq_num, median(c.psf_fwhm) {JOIN} GROUP BY e.seq_num",
        f"SELECT e.seq_num, sum(c.psf_fwhm * e.exposure_time) {JOIN} GROUP BY e.seq_num",
        f"SELECT c.dataset_id, count(*) {JOIN} GROUP BY c.dataset_id",
        f"SELECT e.seq_num, c.psf_fwhm, count(*) {JOIN} GROUP BY e.seq_num, c.psf_fwhm",
        "SELECT e.seq_num, count(*) FROM ncsa.calexp c FULL JOIN summit.exposure e ON e.id = c.visit GROUP BY 1",
        "SELECT run, count(*) FROM dataset GROUP BY run",
    ],
)
def test_does_not_group_early_what_needs_every_row(sql: str) -> None:
    assert not any(
        "is grouped by" in decision and "calexp" in decision for decision in planned(sql).decisions
    )
    assert not any(
        "dataset (" in decision and "is grouped by" in decision for decision in planned(sql).decisions
    )


def test_does_not_group_where_moving_rows_costs_nothing() -> None:
    near = federation()
    sites = tuple(attrs.evolve(site, is_in_process=site.site == "ncsa") for site in near.sites)
    made = plan(f"SELECT e.seq_num, count(*) {JOIN} GROUP BY e.seq_num", attrs.evolve(near, sites=sites))
    assert not any("calexp (c) is grouped by" in decision for decision in made.decisions)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT r.run FROM summit.raw r JOIN ncsa.calexp c ON c.visit = r.exposure WHERE FALSE",
        "SELECT r.run FROM summit.raw r JOIN ncsa.calexp c ON c.visit = r.exposure WHERE 1 = 2 OR 'a' > 'b'",
        "SELECT count(*) FROM summit.raw WHERE exposure > 5 AND exposure <= 5",
        "SELECT count(*) FROM summit.raw WHERE run IN ('a', 'b') AND run = 'c'",
        "SELECT run FROM summit.raw WHERE exposure = NULL",
        "SELECT q.n FROM (SELECT run, 3 AS n FROM summit.raw) q WHERE q.n IS NULL",
        "SELECT r.run FROM summit.raw r JOIN base.dataset_type t ON t.name = r.run",
        "SELECT r.run FROM summit.raw r LEFT JOIN ncsa.calexp c ON c.visit = r.exposure LIMIT 0",
        "SELECT q.n FROM (SELECT run, count(*) AS n FROM summit.raw GROUP BY run) q WHERE q.run = 'a' AND q.run = 'b'",
    ],
)
def test_reads_nothing_where_nothing_can_come_of_it(sql: str) -> None:
    assert reads(planned(sql)) == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM summit.raw WHERE exposure > 3 AND exposure >= 5 AND exposure <= 5",
        "SELECT count(*) FROM summit.raw WHERE exposure = 5 OR exposure = 6 AND exposure = 7",
        "SELECT r.run FROM summit.raw r LEFT JOIN base.dataset_type t ON t.name = r.run",
        "SELECT r.run FROM summit.raw r WHERE 1 = 1 AND NOT (2 > 3)",
        "SELECT q.n FROM (SELECT run, 3 AS n FROM summit.raw) q WHERE q.n IS NOT NULL",
        "SELECT count(*) FROM summit.raw WHERE 1 / 0 = 1",
    ],
)
def test_reads_what_rows_may_come_of(sql: str) -> None:
    assert "raw" in reads(planned(sql))


def test_an_aggregate_of_nothing_is_still_a_row(world: World) -> None:
    sql = "SELECT count(*), sum(exposure), max(run) FROM raw WHERE exposure = 1 AND exposure = 2"
    assert world.answer(sql, world.catalog("ncsa"), PlanOptions()) == [(0, None, None)]


@pytest.mark.parametrize(
    ("inner", "condition", "enters"),
    [
        (
            "SELECT run, exposure AS n FROM summit.raw UNION SELECT run, visit FROM ncsa.calexp",
            "q.n = 3",
            True,
        ),
        (
            "SELECT run, exposure AS n FROM summit.raw EXCEPT SELECT run, visit FROM ncsa.calexp",
            "q.n = 3",
            True,
        ),
        ("SELECT run, exposure AS n FROM summit.raw ORDER BY n LIMIT 5", "q.n = 3", False),
        ("SELECT DISTINCT ON (run) run, exposure AS n FROM summit.raw ORDER BY run", "q.n = 3", False),
        ("SELECT run, max(exposure) AS n FROM summit.raw GROUP BY run", "q.run = 'a'", True),
        ("SELECT run, max(exposure) AS n FROM summit.raw GROUP BY run", "q.n = 3", False),
        (
            "SELECT run, rank() OVER (PARTITION BY run ORDER BY exposure) AS n FROM summit.raw",
            "q.run = 'a'",
            True,
        ),
        (
            "SELECT run, rank() OVER (PARTITION BY detector ORDER BY run) AS n FROM summit.raw",
            "q.run = 'a'",
            False,
        ),
    ],
)
def test_a_condition_moves_into_a_sub_select_only_below_what_it_commutes_with(
    inner: str, condition: str, enters: bool
) -> None:
    made = planned(f"SELECT upper(q.run), q.n FROM ({inner}) q WHERE {condition}")
    assert any("moves into q" in decision for decision in made.decisions) == enters


@pytest.mark.parametrize(
    ("where", "becomes"),
    [
        ("c.detector = 3", "inner"),
        ("c.detector + 1 > 3 OR c.run = 'a'", "inner"),
        ("c.detector IS NOT NULL", "inner"),
        ("NOT (c.detector = 3)", "inner"),
        ("NOT (c.detector IS NULL)", "inner"),
        ("NOT (c.detector IS NOT NULL)", "outer"),
        ("c.detector IS NULL", "outer"),
        ("coalesce(c.detector, 3) = 3", "outer"),
        ("c.detector = 3 OR r.detector = 3", "outer"),
        ("c.detector IS DISTINCT FROM 3", "outer"),
        ("c.detector NOT IN (SELECT detector FROM base.bias)", "outer"),
    ],
)
def test_an_outer_join_becomes_an_inner_one_only_by_a_condition_that_drops_nulls(
    where: str, becomes: str
) -> None:
    sql = (
        f"SELECT r.run, c.run FROM summit.raw r LEFT JOIN ncsa.calexp c ON c.visit = r.exposure WHERE {where}"
    )
    assert ("LEFT JOIN" in planned(sql).local_sql) == (becomes == "outer")


@pytest.mark.parametrize(
    ("sql", "is_limited"),
    [
        ("SELECT lower(run) FROM summit.raw ORDER BY exposure LIMIT 3", True),
        (
            "SELECT lower(r.run), c.run FROM summit.raw r LEFT JOIN ncsa.calexp c ON c.visit = r.exposure LIMIT 3",
            True,
        ),
        ("SELECT r.run, c.run FROM summit.raw r JOIN ncsa.calexp c ON c.visit = r.exposure LIMIT 3", False),
        ("SELECT lower(run), rank() OVER (ORDER BY run) FROM summit.raw ORDER BY exposure LIMIT 3", False),
        ("SELECT lower(run) FROM summit.raw WHERE lower(run) = 'a' ORDER BY exposure LIMIT 3", False),
        ("SELECT lower(run) FROM summit.raw ORDER BY lower(run) LIMIT 3", False),
        ("SELECT run, count(*) FROM dataset GROUP BY run ORDER BY run LIMIT 3", False),
        ("SELECT run FROM dataset ORDER BY dataset_id LIMIT 3", False),
    ],
)
def test_asks_for_the_first_rows_only_where_others_cannot_come_before(sql: str, is_limited: bool) -> None:
    assert any("LIMIT 3" in fragment.sql for fragment in planned(sql).fragments) == is_limited


def test_unused_columns_of_sub_selects_do_not_travel() -> None:
    made = planned(
        "SELECT upper(q.run) FROM (SELECT dataset_id, run, exposure FROM summit.raw UNION ALL "
        "SELECT dataset_id, run, visit FROM ncsa.calexp) q"
    )
    assert [[column.name for column in fragment.columns] for fragment in made.fragments] == [["run"], ["run"]]


def with_detectors(stats: ColumnStats) -> FederationCatalog:
    """The federation, with something known of the detectors of calexps."""
    near = federation()
    ncsa = near.sites[0].schemas[0]
    tables_ = dict(ncsa.stats)
    tables_["calexp"] = attrs.evolve(tables_["calexp"], columns={"detector": stats})
    return with_schema(near, attrs.evolve(ncsa, stats=tables_))


def test_a_site_gives_different_values_for_in() -> None:
    catalog = with_detectors(ColumnStats(distinct_count=189))
    made = plan("SELECT run FROM base.bias WHERE detector NOT IN (SELECT detector FROM ncsa.calexp)", catalog)
    assert any("SELECT DISTINCT" in " ".join(fragment.sql.split()) for fragment in made.fragments)


@pytest.mark.parametrize(("high", "is_early"), [(200, True), (2**62, False), (None, False)])
def test_a_mean_of_whole_numbers_is_made_of_sums_where_they_are_certain_to_fit(
    high: int | None, is_early: bool
) -> None:
    sql = f"SELECT e.seq_num, avg(c.detector) {JOIN} GROUP BY e.seq_num"
    made = plan(sql, with_detectors(ColumnStats(low=None if high is None else 0, high=high)))
    assert any('SUM("calexp"."detector")' in fragment.sql for fragment in made.fragments) == is_early


def with_schema(catalog: FederationCatalog, schema: SchemaCatalog) -> FederationCatalog:
    first, *others = catalog.sites
    return attrs.evolve(catalog, sites=(attrs.evolve(first, schemas=(schema, *first.schemas[1:])), *others))


def test_every_optional_rule_can_be_left_out() -> None:
    everything = [rule.__name__ for rule in OPTIONAL_RULES]
    made = planned(f"SELECT e.seq_num, count(*) {JOIN} GROUP BY e.seq_num", *everything)
    assert reads(made) == ["calexp", "exposure"]


@pytest.mark.parametrize(
    ("sql", "shown"), re.findall(r"```sql\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)
)
def test_the_page_shows_parts_of_plans_as_they_are(sql: str, shown: str) -> None:
    explained = explain_text(planned(sql)).splitlines()
    assert [line for line in shown.splitlines() if line not in explained] == []


def test_the_page_names_rules_that_can_be_left_out() -> None:
    written = re.findall(r"^`([a-z_]+)`\.", PAGE, re.MULTILINE)
    assert len(set(written)) > 9
    assert set(written) <= {rule.__name__ for rule in OPTIONAL_RULES}


# --- chains of schemas that share no key


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three sites whose datasets have ids of their own range each."""
    directory: Path = tmp_path_factory.mktemp("apart")
    own: dict[SchemaId, tuple[TableDef, ...]] = {}
    rows: dict[tuple[SchemaId, str], Rows] = {}
    for number, schema in enumerate(CHAIN):
        table = next(table for table in tables(RAW) if table.name == "dataset")
        own[schema] = (table,)
        ids = [uuid.UUID(int=1000 * number + n) for n in range(60)]
        rows[schema, table.name] = make_rows(table, 25, number, dataset_id=ids)
    agree_where_the_key_decides(own, rows)
    made = World(own, rows, {schema.site: (schema,) for schema in CHAIN}, directory)
    made.open_sites()
    return made


def with_truth(world: World, *, is_current: bool = True) -> FederationCatalog:
    """The world's catalog, with the range of every column that has no NULL."""
    catalog = world.catalog("ncsa")
    sites: list[SiteCatalog] = []
    for site in catalog.sites:
        schemas = []
        for held in site.schemas:
            stats = dict(held.stats)
            for table in held.tables:
                names = table.stored_names
                columns = {}
                for position, name in enumerate(names):
                    values = [row[position] for row in world.rows[held.schema, table.name]]
                    if (
                        not values
                        or None in values
                        or table.column(name).type
                        not in {
                            LogicalType.UUID,
                            LogicalType.STRING,
                        }
                    ):
                        continue
                    shown = [value if isinstance(value, int) else str(value) for value in values]
                    columns[name] = ColumnStats(
                        len(set(shown)), low=min(shown), high=max(shown), is_exact=True
                    )
                stats[table.name] = attrs.evolve(stats[table.name], columns=columns, is_current=is_current)
            schemas.append(attrs.evolve(held, stats=stats))
        sites.append(attrs.evolve(site, schemas=tuple(schemas)))
    return attrs.evolve(catalog, sites=tuple(sites))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT dataset_id, run, origin FROM dataset",
        "SELECT run, count(*) AS n FROM dataset GROUP BY run",
        "SELECT run, dataset_id FROM dataset WHERE run > 'a' ORDER BY run DESC, dataset_id LIMIT 4",
        "SELECT origin, count(DISTINCT dataset_type) FROM dataset GROUP BY origin",
        "SELECT a.run, b.origin FROM dataset a JOIN dataset b ON b.dataset_id = a.dataset_id WHERE b.run = 'a'",
    ],
)
def test_schemas_that_share_no_key_are_a_union(sql: str, apart: World) -> None:
    catalog = with_truth(apart)
    expected = apart.oracle(CHAIN).execute(sql).fetchall()

    made = plan(sql, catalog)

    assert "ROW_NUMBER" not in made.local_sql
    assert any("no row hides another" in decision for decision in made.decisions)
    for off in ("", "split_disjoint", "aggregate_early"):
        answer = apart.answer(sql, catalog, PlanOptions(rules_off=frozenset({off})))
        assert sorted(map(repr, answer)) == sorted(map(repr, expected))


def test_partial_aggregates_of_schemas_that_share_no_key_come_from_each_site(apart: World) -> None:
    made = plan("SELECT run, count(*) AS n FROM dataset GROUP BY run", with_truth(apart))
    assert len(made.fragments) == 3
    assert all("COUNT(*)" in fragment.sql for fragment in made.fragments)


def test_schemas_are_not_taken_apart_by_what_is_not_certain(apart: World, world: World) -> None:
    sql = "SELECT dataset_id, run FROM dataset"
    assert "ROW_NUMBER" in plan(sql, with_truth(apart, is_current=False)).local_sql
    assert "ROW_NUMBER" in plan(sql, with_truth(world)).local_sql
