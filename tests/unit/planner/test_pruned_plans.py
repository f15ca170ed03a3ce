"""Schemas that are left out by what is certain of their rows: plans as recorded, and the rule by itself.

The federation: three telescopes' sites with raws of different instruments and exposures, an archive with all of them.
``UPDATE_GOLDEN=1 pytest tests/unit/planner/test_pruned_plans.py`` writes the files anew; look at the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from federation.model.catalog import ColumnStats, FederationCatalog, SchemaCatalog, SiteCatalog, TableStats
from federation.model.logical import ColumnDef, LogicalType, TableDef, TableKind
from federation.model.position import Position, SchemaId
from federation.model.timespan import parse_tai
from federation.planner import PlanOptions, explain_text, plan

L = LogicalType
PLANS = Path(__file__).parents[2] / "golden" / "pruned"
STATEMENTS = sorted(PLANS.glob("*.sql"))

RAW = TableDef(
    "raw",
    TableKind.DATASET_TYPE,
    (
        ColumnDef("dataset_id", L.UUID, key_determined=True),
        ColumnDef("instrument", L.STRING, key_determined=True),
        ColumnDef("exposure", L.INT64, key_determined=True),
        ColumnDef("seeing", L.FLOAT64),
        ColumnDef("taken", L.TIMESTAMP, key_determined=True),
    ),
    ("dataset_id",),
    "raw",
)
LOGS = attrs.evolve(
    RAW, name="log", physical_name="log", columns=(*RAW.columns[1:3], ColumnDef("note", L.STRING))
)
LOGS = attrs.evolve(LOGS, key=("instrument", "exposure"))


def exact(low: int | str | float, high: int | str | float, *values: int | str) -> ColumnStats:
    common = tuple((value, 1 / len(values)) for value in values)
    distinct = float(len(values)) if values else 100.0
    return ColumnStats(distinct, 0.0, low, high, True, common, is_complete=bool(values))


def schema(site: str, first: int, *instruments: str, is_current: bool = True) -> SchemaCatalog:
    columns = {
        "instrument": exact(min(instruments), max(instruments), *sorted(instruments)),
        "exposure": exact(first, first + 999),
        "seeing": exact(0.5, 1.5),
        "taken": exact(parse_tai("2026-01-01") + first, parse_tai("2026-01-02") + first),
    }
    stats = {
        "raw": TableStats(1000, columns=columns, is_current=is_current),
        "log": TableStats(
            50, columns={name: columns[name] for name in ("instrument", "exposure")}, is_current=is_current
        ),
    }
    return SchemaCatalog(SchemaId(site, site), "e1", first + 7, first + 7, 0.0, (RAW, LOGS), stats)


def federation(*, is_current: bool = True) -> FederationCatalog:
    held = {
        "archive": schema("archive", 0, "Cam", "Dam", "Eam", is_current=is_current),
        "north": schema("north", 1000, "Cam", is_current=is_current),
        "south": schema("south", 2000, "Dam", is_current=is_current),
        "west": schema("west", 5000, "Dam", "Eam", is_current=is_current),
    }
    return FederationCatalog("archive", tuple(SiteCatalog(site, "v1", (one,)) for site, one in held.items()))


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_plan_is_as_recorded(path: Path) -> None:
    text = explain_text(plan(path.read_text().strip(), federation()))
    recorded = path.with_suffix(".txt")
    if os.environ.get("UPDATE_GOLDEN"):
        recorded.write_text(text)
    assert text == recorded.read_text()


def sites_read(sql: str, catalog: FederationCatalog | None = None) -> list[str]:
    return sorted({fragment.site for fragment in plan(sql, catalog or federation()).fragments})


@pytest.mark.parametrize(
    ("condition", "sites"),
    [
        ("instrument = 'Cam'", ["archive", "north"]),
        ("instrument IN ('Cam', 'nowhere')", ["archive", "north"]),
        ("instrument = 'Nam'", []),
        ("exposure = 1500", ["north"]),
        ("1500 = exposure", ["north"]),
        ("exposure < 1000", ["archive"]),
        ("exposure <= 1000", ["archive", "north"]),
        ("exposure >= 2999", ["south", "west"]),
        ("2999 < exposure", ["west"]),
        ("exposure BETWEEN 1999 AND 2000", ["north", "south"]),
        ("exposure = 10 OR exposure = 5001", ["archive", "west"]),
        ("exposure > 1500 AND instrument = 'Cam'", ["north"]),
        ("taken < '2026-01-01 00:00:00.000000900'", ["archive"]),
        # these say nothing for certain, or rows of one key may differ in them
        ("NOT exposure = 1500", ["archive", "north", "south", "west"]),
        ("exposure + 1 = 1500", ["archive", "north", "south", "west"]),
        ("instrument LIKE 'C%'", ["archive", "north", "south", "west"]),
        ("seeing > 2.0", ["archive", "north", "south", "west"]),
        ("exposure = 1500 OR seeing > 2.0", ["archive", "north", "south", "west"]),
    ],
)
def test_only_sites_are_read_that_may_have_a_row(condition: str, sites: list[str]) -> None:
    assert sites_read(f"SELECT dataset_id FROM raw WHERE {condition}") == sites


def test_nearer_rows_hide_others_also_where_they_fail_a_condition() -> None:
    # of one schema the condition decides, of several it may not
    assert sites_read("SELECT dataset_id FROM north.raw WHERE seeing > 2.0") == []
    assert len(sites_read("SELECT dataset_id FROM raw WHERE seeing > 2.0")) == 4


def test_sites_without_partners_in_a_join_are_left_out() -> None:
    sql = "SELECT r.dataset_id, l.note FROM raw r JOIN north.log l ON l.exposure = r.exposure"
    assert sites_read(sql) == ["north"]
    sql = "SELECT r.dataset_id, l.note FROM raw r JOIN south.log l ON l.instrument = r.instrument"
    assert sites_read(sql) == ["archive", "south", "west"]
    # a row without partner stays in an outer join
    sql = "SELECT r.dataset_id, l.note FROM raw r LEFT JOIN north.log l ON l.exposure = r.exposure"
    assert len(sites_read(sql)) == 4


def test_a_relation_that_is_read_twice_goes_only_where_both_can_do_without() -> None:
    sql = (
        "SELECT dataset_id FROM raw WHERE exposure = 1500"
        " UNION ALL SELECT dataset_id FROM raw WHERE exposure = 2500"
    )
    assert sites_read(sql) == ["north", "south"]


def test_what_was_certain_at_an_older_position_is_so_no_longer() -> None:
    sql = "SELECT dataset_id FROM raw WHERE exposure = 1500"
    assert len(sites_read(sql, federation(is_current=False))) == 4


def test_the_plan_tells_the_states_by_which_schemas_were_left_out() -> None:
    made = plan("SELECT dataset_id FROM raw WHERE exposure = 1500", federation())
    assert set(made.consulted) == {
        Position("archive", "archive", "e1", 7),
        Position("south", "south", "e1", 2007),
        Position("west", "west", "e1", 5007),
    }


def test_without_the_rule_all_sites_are_read() -> None:
    options = PlanOptions(rules_off=frozenset({"prune", "skip_empty", "fold_conditions"}))
    made = plan("SELECT dataset_id FROM raw WHERE exposure = 1500", federation(), options)
    assert len({fragment.site for fragment in made.fragments}) == 4


def test_as_of_takes_the_states_of_schemas_that_were_left_out_too() -> None:
    made = plan("SELECT dataset_id FROM raw WHERE exposure = 1500", federation())
    vector = (*made.consulted, Position("north", "north", "e1", 1007))
    again = plan("SELECT dataset_id FROM raw WHERE exposure = 1500", federation(), PlanOptions(as_of=vector))
    assert again.fragments == made.fragments
