"""Joins over real servers: who is asked when, with which keys, and how much moves."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import duckdb
import pyarrow as pa
import pytest

from federation.errors import QueryError
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.execution.result import Result
from federation.execution.site import SiteExecutor
from federation.model.catalog import SiteCatalog
from federation.model.dimension import DimensionUniverse
from federation.registry.registry import Registry
from federation.registry.user_tables import create_table
from federation.storage import SqliteDatabase
from federation.wire.client import SiteClient
from federation.wire.messages import ExecuteCall
from federation.wire.server import build_server

VISITS, DETECTORS = 8_000, 10
COUNT = VISITS * DETECTORS
NUMBERS = range(COUNT)
PROCESSED = range(0, COUNT, 3)
BOUND_S = 30.0


def visit_of(shot: int) -> int:
    """In no order, as what is in order takes next to no bytes."""
    return shot // DETECTORS * 5_003 % VISITS


SHOTS = pa.table(
    {
        "shot": pa.array(NUMBERS, pa.int64()),
        "visit": pa.array([visit_of(n) for n in NUMBERS], pa.int64()),
        "detector": pa.array([n % DETECTORS for n in NUMBERS], pa.int64()),
        "run": [f"run {n // 1000}" for n in NUMBERS],
    }
)
#: each third shot was processed
IMAGES = pa.table(
    {
        "image": pa.array(PROCESSED, pa.int64()),
        "visit": pa.array([visit_of(n) for n in PROCESSED], pa.int64()),
        "detector": pa.array([n % DETECTORS for n in PROCESSED], pa.int64()),
        "note": [hashlib.md5(str(n).encode(), usedforsecurity=False).hexdigest() for n in PROCESSED],
    }
)
NIGHTS = pa.table(
    {
        "visit": pa.array(range(VISITS), pa.int64()),
        "band": [None if n % 11 == 0 else "ugrizy"[n % 6] for n in range(VISITS)],
        "seeing": [n % 100 / 100 for n in range(VISITS)],
    }
)
TABLES = {
    "summit": ("shots", "shot", SHOTS),
    "base": ("images", "image", IMAGES),
    "ncsa": ("nights", "visit", NIGHTS),
}
JOIN = """SELECT s.shot, i.note FROM summit.shots s
          JOIN base.images i ON i.visit = s.visit AND i.detector = s.detector WHERE s.run = 'run 7'"""


@attrs.frozen
class Served:
    """A registry behind a server; only what queries need."""

    site: LocalSite

    def get_catalog(self, known_version: str, user: str) -> tuple[str, str, SiteCatalog | None]:
        catalog = self.site.get_catalog()
        return catalog.site, catalog.version, None if catalog.version == known_version else catalog

    def execute(self, call: ExecuteCall) -> Any:
        return SiteExecutor(self.site.registry).execute(call)


@attrs.define
class Watched:
    """A client of a site that notes what it is asked, and after which other answers had come."""

    client: SiteClient
    asked: list[tuple[str, str, dict[str, int]]]
    together: threading.Barrier | None = None

    def execute(self, sql: str, columns: Any, keys: Mapping[str, pa.Table] | None = None, **more: Any) -> Any:
        self.asked.append(
            (self.client.site, sql, {name: table.num_rows for name, table in (keys or {}).items()})
        )
        if self.together is not None:
            self.together.wait(BOUND_S)
        return self.client.execute(sql, columns, keys, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


@attrs.define
class Sites:
    """Three sites, each behind a server, and all that they were asked."""

    coordinator: Coordinator
    clients: dict[str, Watched]
    asked: list[tuple[str, str, dict[str, int]]]
    oracle: duckdb.DuckDBPyConnection

    def ask(self, sql: str) -> Result:
        """The answer, equal to that of one database; ``asked`` is of this statement alone."""
        self.asked.clear()
        result = self.coordinator.query(sql)
        expected = self.oracle.execute(sql).fetchall()
        found = [tuple(row.values()) for row in result.table.to_pylist()]
        assert sorted(map(repr, found)) == sorted(map(repr, expected))
        return result

    def whole_bytes(self, result: Result) -> int:
        """What would have moved without keys."""
        total = 0
        for fragment in result.plan.fragments:
            sql = fragment.sql_without([key.name for key in fragment.keys])
            with self.clients[fragment.site].client.execute(sql, fragment.columns) as rows:
                list(rows)
            total += rows.byte_count
        return total


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    root: Path = tmp_path_factory.mktemp("sites")
    asked: list[tuple[str, str, dict[str, int]]] = []
    clients = {}
    oracle = duckdb.connect()
    with ExitStack() as open_:
        for site, (name, key, rows) in TABLES.items():
            registry = Registry.create_in(SqliteDatabase(root / site), site, DimensionUniverse.default())
            open_.enter_context(registry)
            create_table(registry, site, name, rows, key=(key,))
            server = build_server(Served(LocalSite(registry)), "127.0.0.1:0", workers=4)  # type: ignore[arg-type]
            server.start()
            open_.callback(server.stop, 0)
            clients[site] = Watched(open_.enter_context(SiteClient(site, server.address)), asked)
            oracle.register(f"arriving_{name}", rows)
            oracle.execute(f"CREATE SCHEMA {site}")
            oracle.execute(f"CREATE TABLE {site}.{name} AS SELECT * FROM arriving_{name}")
        coordinator = open_.enter_context(Coordinator("ncsa", clients))
        yield Sites(coordinator, clients, asked, oracle)


def test_a_join_takes_two_round_trips_and_moves_what_it_needs(sites: Sites) -> None:
    result = sites.ask(JOIN)
    assert result.row_count > 300
    assert [site for site, _, _ in sites.asked] == ["summit", "base"]
    assert set(result.plan.stages.values()) == {1, 2}
    (count,) = sites.asked[1][2].values()
    assert 0 < count <= 1_000
    moved = sum(stats.byte_count for stats in result.fragments)
    assert moved * 4 < sites.whole_bytes(result)


def test_keys_count_as_bytes_that_moved(sites: Sites) -> None:
    result = sites.ask(JOIN)
    (fragment,) = (one for one in result.plan.fragments if one.keys)
    (stats,) = (one for one in result.fragments if one.id == fragment.id)
    assert [use.is_sent for use in stats.keys] == [True]
    sql = fragment.sql_without([key.name for key in fragment.keys]) + " AND 1 = 0"
    sql = sql if " WHERE " in sql else sql.replace(" AND 1 = 0", " WHERE 1 = 0")
    with sites.clients["base"].client.execute(sql, fragment.columns) as rows:
        list(rows)
    assert stats.byte_count > rows.byte_count + 8 * stats.keys[0].count // 20


def test_three_sites_are_reduced_by_the_smallest(sites: Sites) -> None:
    result = sites.ask(
        """SELECT n.band, s.run, i.note FROM ncsa.nights n JOIN summit.shots s ON s.visit = n.visit
           JOIN base.images i ON i.visit = s.visit AND i.detector = s.detector
           WHERE n.seeing = 0.53 AND n.band = 'g'"""
    )
    assert result.row_count > 10
    assert sites.asked[0][0] == "ncsa"
    assert {site for site, _, _ in sites.asked[1:]} == {"summit", "base"}
    assert all(keys for _, _, keys in sites.asked[1:])
    assert sum(stats.byte_count for stats in result.fragments) * 10 < sites.whole_bytes(result)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT s.shot FROM summit.shots s WHERE s.run = 'run 7' AND NOT EXISTS (SELECT 1 FROM base.images i"
        " WHERE i.visit = s.visit AND i.detector = s.detector)",
        "SELECT s.shot, i.note FROM summit.shots s LEFT JOIN base.images i"
        " ON i.visit = s.visit AND i.detector = s.detector WHERE s.run = 'run 7'",
        "SELECT s.shot FROM summit.shots s WHERE (s.visit, s.detector) IN"
        " (SELECT i.visit, i.detector FROM base.images i WHERE i.image < 90)",
        "SELECT s.shot FROM summit.shots s WHERE s.run = 'run 7' AND EXISTS (SELECT 1 FROM base.images i"
        " WHERE i.visit = s.visit AND i.detector = s.detector)",
    ],
)
def test_every_kind_of_join_moves_less_by_keys(sql: str, sites: Sites) -> None:
    result = sites.ask(sql)
    assert any(use.is_sent for stats in result.fragments for use in stats.keys)
    assert sum(stats.byte_count for stats in result.fragments) * 3 < sites.whole_bytes(result)


def test_sites_that_wait_for_no_keys_are_asked_at_once(sites: Sites) -> None:
    both = threading.Barrier(2)
    sites.coordinator.catalog()
    for site in ("summit", "base"):
        sites.clients[site].together = both
    try:
        # neither is asked before the other one
        result = sites.ask(
            """SELECT count(*) FROM summit.shots s
               FULL JOIN base.images i ON i.visit = s.visit AND i.detector = s.detector"""
        )
    finally:
        for site in ("summit", "base"):
            sites.clients[site].together = None
    assert set(result.plan.stages.values()) == {1}


def test_a_site_for_which_there_are_no_keys_is_not_asked(sites: Sites) -> None:
    result = sites.ask(JOIN.replace("'run 7'", "'run 7' AND s.shot + 0 = -5"))
    assert [site for site, _, _ in sites.asked] == ["summit"]
    assert result.row_count == 0
    assert result.table.schema == sites.coordinator.query(JOIN).table.schema
    (stats,) = (stats for stats in result.fragments if stats.keys)
    assert (stats.site, stats.keys[0].count, stats.byte_count) == ("base", 0, 0)


def test_more_keys_than_were_expected_are_not_sent(sites: Sites) -> None:
    # nothing tells the planner that this holds for all rows
    everything = "s.shot + s.visit = s.visit + s.shot AND s.detector + s.visit = s.visit + s.detector"
    result = sites.ask(JOIN.replace("s.run = 'run 7'", everything))
    (stats,) = (stats for stats in result.fragments if stats.keys)
    (key,) = next(one.keys for one in result.plan.fragments if one.keys)
    assert [use.is_sent for use in stats.keys] == [False]
    assert stats.keys[0].count > key.key_count_max
    assert sites.asked[-1][2] == {}
    assert "param" not in sites.asked[-1][1]


def test_an_error_in_the_first_stage_ends_the_query(sites: Sites) -> None:
    client = sites.clients["summit"]
    before = client.client

    class Refusing:
        """A site whose database refuses every fragment."""

        site = "summit"

        def execute(self, *_: Any, **__: Any) -> Any:
            raise QueryError("a value is out of its range")

        def __getattr__(self, name: str) -> Any:
            return getattr(before, name)

    client.client = Refusing()  # type: ignore[assignment]
    sites.asked.clear()
    try:
        with pytest.raises(QueryError, match="out of its range"):
            sites.coordinator.query(JOIN)
    finally:
        client.client = before
    assert {site for site, _, _ in sites.asked} == {"summit"}
