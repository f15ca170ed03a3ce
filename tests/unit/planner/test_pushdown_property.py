"""Whatever is pushed to a site, the rows are those of one database: random conditions over random joins."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_federation import ALICE, BASE, NCSA, SUMMIT
from planner_oracle import World

from federation.planner import PlanOptions

INTEGERS = st.integers(-1, 9).map(str)
FLOATS = st.sampled_from(["0.5", "0.75", "1.0", "2", "-1.0"])
TEXTS = st.sampled_from(["'a'", "'A'", "'é'", "'a_b'", "'it''s'", "''"])
UUIDS = st.integers(0, 40).map(lambda n: f"'00000000-0000-0000-0000-0000000000{n:02x}'")
COMPARISONS = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])

#: sources that can stand in FROM, with columns by the kind of their values
SOURCES = {
    "raw": {
        "i": ["exposure", "detector"],
        "t": ["run", "instrument", "origin"],
        "u": ["dataset_id"],
        "f": [],
    },
    "summit.exposure": {
        "i": ["id", "seq_num"],
        "t": ["instrument", "obs_id"],
        "u": [],
        "f": ["exposure_time"],
    },
    "summit.dataset": {"i": [], "t": ["run", "dataset_type"], "u": ["dataset_id"], "f": []},
    "calexp": {"i": ["visit", "detector"], "t": ["run", "origin"], "u": ["dataset_id"], "f": ["psf_fwhm"]},
    "ncsa.visit": {"i": ["id", "seq_num"], "t": ["instrument", "name"], "u": [], "f": ["exposure_time"]},
    "bias": {"i": ["detector"], "t": ["run", "instrument"], "u": ["dataset_id"], "f": []},
    "dataset": {"i": [], "t": ["run", "origin", "dataset_type"], "u": ["dataset_id"], "f": []},
    "detector": {"i": ["id"], "t": ["instrument", "raft"], "u": [], "f": []},
}
VALUES = {"i": INTEGERS, "t": TEXTS, "u": UUIDS, "f": FLOATS}


@st.composite
def conditions(draw: st.DrawFn, aliases: list[tuple[str, str]], depth: int = 2) -> str:
    """A condition over the columns of ``aliases``, given as (alias, source)."""
    if depth and draw(st.integers(0, 2)) == 0:
        parts = draw(st.lists(conditions(aliases, depth - 1), min_size=2, max_size=3))
        return "(" + draw(st.sampled_from([" AND ", " OR "])).join(parts) + ")"
    alias, source = draw(st.sampled_from(aliases))
    kind = draw(st.sampled_from([kind for kind, names in SOURCES[source].items() if names]))
    column = f"{alias}.{draw(st.sampled_from(SOURCES[source][kind]))}"
    values = VALUES[kind]
    form = draw(st.integers(0, 7))
    if form == 0:
        return f"{column} IS {draw(st.sampled_from(['', 'NOT ']))}NULL"
    if form == 1:
        listed = ", ".join(draw(st.lists(st.one_of(values, st.just("NULL")), min_size=1, max_size=4)))
        return f"{column} {draw(st.sampled_from(['', 'NOT ']))}IN ({listed})"
    if form == 2:
        return f"{column} BETWEEN {draw(values)} AND {draw(values)}"
    if form == 3:
        return f"NOT ({column} {draw(COMPARISONS)} {draw(values)})"
    if form == 4:
        return f"coalesce({column}, {draw(values)}) {draw(COMPARISONS)} {draw(values)}"
    if form == 5:
        return f"CASE WHEN {column} {draw(COMPARISONS)} {draw(values)} THEN {column} END IS NOT NULL"
    if form == 6:
        return f"{column} IS DISTINCT FROM {draw(values)}"
    return f"{column} {draw(COMPARISONS)} {draw(values)}"


@st.composite
def statements(draw: st.DrawFn) -> str:
    """SELECT over one to three sources with conditions in ON and WHERE."""
    chosen = draw(st.lists(st.sampled_from(sorted(SOURCES)), min_size=1, max_size=3))
    aliases = [(f"t{number}", source) for number, source in enumerate(chosen)]
    from_ = f"{aliases[0][1]} {aliases[0][0]}"
    for number, (alias, source) in enumerate(aliases[1:], 1):
        side = draw(st.sampled_from(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "JOIN"]))
        before = aliases[:number]
        links = [
            f"{alias}.{own} = {other}.{theirs}"
            for other, name in before
            for kind in "iu"
            for own in SOURCES[source][kind]
            for theirs in SOURCES[name][kind]
        ]
        on = [draw(st.sampled_from(links))] if links else []
        # the oracle's FULL JOIN needs an equality alone
        if side != "FULL JOIN" and draw(st.booleans()):
            on.append(draw(conditions(aliases[: number + 1], 1)))
        if side == "FULL JOIN" and not links:
            side = "JOIN"
        from_ += f" {side} {source} {alias} ON {' AND '.join(on) or 'TRUE'}"
    columns = []
    for alias, source in aliases:
        kind = draw(st.sampled_from([kind for kind, names in SOURCES[source].items() if names]))
        columns.append(f"{alias}.{SOURCES[source][kind][0]} AS {alias}_c")
    where = draw(st.lists(conditions(aliases), max_size=3))
    return f"SELECT {', '.join(columns)} FROM {from_}" + (f" WHERE {' AND '.join(where)}" if where else "")


@pytest.fixture(scope="module")
def oracle(world: World) -> duckdb.DuckDBPyConnection:
    return world.oracle((NCSA, ALICE, SUMMIT, BASE))


@settings(max_examples=150)
@given(sql=statements(), max_staleness_s=st.sampled_from([0.0, 10.0]))
def test_pushing_never_changes_the_rows(
    sql: str, max_staleness_s: float, world: World, oracle: duckdb.DuckDBPyConnection
) -> None:
    catalog = world.catalog("ncsa", 3.0)
    answer = world.answer(sql, catalog, PlanOptions(max_staleness_s=max_staleness_s))
    assert sorted(map(repr, answer)) == sorted(map(repr, oracle.execute(sql).fetchall()))
