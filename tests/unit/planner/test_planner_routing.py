"""Which site reads what, and what happens when a site does not answer."""

from __future__ import annotations

import attrs
import pytest
from planner_federation import BASE, SUMMIT, federation

from federation.errors import QueryError, UnavailableError
from federation.planner import Plan, PlanOptions, plan

JOIN = "SELECT r.exposure, b.run FROM raw r JOIN bias b ON b.detector = r.detector"


def sites(made: Plan) -> list[str]:
    return [fragment.site for fragment in made.fragments]


def test_reads_the_owner_by_default() -> None:
    assert sites(plan(JOIN, federation(home="base"), PlanOptions())) == ["summit", "base"]


def test_reads_a_replica_that_is_fresh_enough() -> None:
    made = plan(JOIN, federation(home="base"), PlanOptions(max_staleness_s=4))
    assert sites(made) == ["base"]
    assert [(s.schema, s.is_replica, s.staleness_s) for s in made.fragments[0].inputs] == [
        (SUMMIT, True, 4.0),
        (BASE, False, 0.0),
    ]


def test_uses_as_few_sites_as_it_can_even_when_home_holds_nothing() -> None:
    assert sites(plan(JOIN, federation(home="ncsa"), PlanOptions(max_staleness_s=60))) == ["base"]


def test_a_replica_that_was_never_complete_is_not_read() -> None:
    catalog = federation(home="base", summit_at_base_s=None)
    assert sites(plan(JOIN, catalog, PlanOptions(max_staleness_s=1e9))) == ["summit", "base"]


def test_a_site_that_is_down_is_named_with_the_replica_that_would_do() -> None:
    with pytest.raises(UnavailableError, match="site summit does not answer: connection refused") as caught:
        plan("SELECT * FROM summit.raw", federation(summit="connection refused"), PlanOptions())
    assert "--max-staleness 120 accepts the replica at base, 4.0 s old" in caught.value.hint
    assert "--partial" in caught.value.hint


def test_a_reason_that_names_the_site_is_not_said_twice() -> None:
    reason = "site summit at summit:1 does not answer: Connection refused"
    with pytest.raises(UnavailableError) as caught:
        plan("SELECT * FROM summit.raw", federation(summit=reason), PlanOptions())
    assert caught.value.message == f"table raw: {reason}"


def test_a_fresh_replica_stands_in_for_a_site_that_is_down() -> None:
    made = plan("SELECT exposure FROM raw", federation(summit="timeout"), PlanOptions(max_staleness_s=10))
    assert sites(made) == ["base"]
    assert made.missing == ()


def test_a_bare_name_needs_every_site() -> None:
    with pytest.raises(UnavailableError, match="base"):
        plan("SELECT * FROM calexp", federation(base="timeout"), PlanOptions())


def test_a_qualified_name_needs_its_own_site_only() -> None:
    assert sites(plan("SELECT * FROM ncsa.calexp", federation(base="timeout"), PlanOptions())) == ["ncsa"]


def test_a_partial_answer_says_what_is_missing() -> None:
    made = plan("SELECT * FROM dataset", federation(base="timeout"), PlanOptions(partial=True))
    assert "base" not in sites(made)
    assert [(missing.site, missing.schema, missing.table) for missing in made.missing] == [
        ("base", None, "dataset")
    ]


def test_a_partial_answer_without_any_site_has_no_rows_but_its_columns() -> None:
    made = plan("SELECT exposure FROM summit.raw", federation(summit="timeout"), PlanOptions(partial=True))
    assert made.fragments == ()
    assert [(missing.site, missing.schema) for missing in made.missing] == [("summit", SUMMIT)]
    assert [column.name for column in made.columns] == ["exposure"]


def test_a_stale_copy_does_not_vouch_for_a_table_that_it_lacks() -> None:
    catalog = federation(summit="timeout")
    with pytest.raises(UnavailableError, match="summit"):
        plan("SELECT * FROM calexp", catalog, PlanOptions())
    assert sites(plan("SELECT * FROM calexp", catalog, PlanOptions(max_staleness_s=5))) == ["ncsa"]


def test_arms_without_rows_are_not_read() -> None:
    made = plan("SELECT id FROM visit", federation(), PlanOptions())
    assert sites(made) == ["ncsa"]
    assert "summit/summit is not read for visit: it has no rows there" in made.decisions


def test_tables_without_statistics_are_read() -> None:
    catalog = federation()
    ncsa = catalog.sites[0]
    blind = attrs.evolve(ncsa, schemas=tuple(attrs.evolve(schema, stats={}) for schema in ncsa.schemas))
    catalog = attrs.evolve(catalog, sites=(blind, *catalog.sites[1:]))
    made = plan("SELECT name FROM ncsa.skymap", catalog, PlanOptions())
    assert made.fragments[0].row_count_estimate is None


def test_a_table_that_is_empty_everywhere_needs_no_site() -> None:
    made = plan('SELECT count(*) FROM "group"', federation(), PlanOptions())
    assert made.fragments == ()


def test_the_callers_chain_comes_first() -> None:
    made = plan("SELECT dataset_id FROM calexp", federation(home="summit"), PlanOptions(chain=("alice",)))
    assert any("ncsa/alice > ncsa/ncsa" in decision for decision in made.decisions)
    made = plan("SELECT dataset_id FROM calexp", federation(home="summit"), PlanOptions())
    assert any("ncsa/ncsa > ncsa/alice" in decision for decision in made.decisions)


def test_an_unknown_schema_in_the_chain_is_an_error() -> None:
    with pytest.raises(QueryError, match=r"did you mean alice"):
        plan("SELECT dataset_id FROM calexp", federation(), PlanOptions(chain=("alcie",)))


def test_a_schema_name_of_two_sites_must_say_which() -> None:
    catalog = federation()
    base = catalog.site("base")
    ncsa = catalog.site("ncsa")
    assert base is not None
    assert ncsa is not None
    other = attrs.evolve(ncsa.schemas[1], schema=attrs.evolve(BASE, name="alice"))
    catalog = attrs.evolve(catalog, sites=(ncsa, attrs.evolve(base, schemas=(*base.schemas, other))))
    with pytest.raises(QueryError, match=r'"alice@ncsa"\.calexp'):
        plan("SELECT * FROM alice.calexp", catalog, PlanOptions())
    assert sites(plan('SELECT * FROM "alice@base".calexp', catalog, PlanOptions())) == ["base"]
    assert sites(plan("SELECT * FROM ncsa.alice.calexp", catalog, PlanOptions())) == ["ncsa"]


def test_a_table_that_only_some_know_in_full_is_read_from_those() -> None:
    catalog = federation(home="base")
    base = catalog.site("base")
    assert base is not None
    old = base.schemas[1]
    tables = tuple(t if t.name != "raw" else attrs.evolve(t, columns=t.columns[:-1]) for t in old.tables)
    behind = attrs.evolve(base, schemas=(base.schemas[0], attrs.evolve(old, tables=tables)))
    catalog = attrs.evolve(catalog, sites=(behind, *catalog.sites[1:]))
    assert sites(plan("SELECT * FROM raw", catalog, PlanOptions(max_staleness_s=60))) == ["summit"]


def test_identical_scans_are_one_fragment() -> None:
    made = plan(
        "SELECT count(*) FROM summit.raw a, summit.raw b, visit v WHERE a.exposure > b.exposure AND v.id = a.exposure",
        federation(),
        PlanOptions(),
    )
    assert sites(made) == ["summit", "ncsa"]


def test_virtual_tables_need_no_site() -> None:
    made = plan(
        "SELECT site, reachable FROM federation.sites ORDER BY site",
        federation(base="timeout"),
        PlanOptions(),
    )
    assert made.fragments == ()
    assert made.literal_tables[0].rows[-1] == ("base", False, "timeout")


def test_estimates_follow_the_statistics() -> None:
    made = plan("SELECT exposure FROM summit.raw WHERE run = 'x'", federation(), PlanOptions())
    assert (made.fragments[0].row_count_estimate, made.fragments[0].byte_estimate) == (20_000, 160_000)
