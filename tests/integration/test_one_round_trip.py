"""A query begins by what is known of the sites while they are asked whether it holds, over real servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from served_registries import BOUND_S, Served, Watched

from federation.errors import QueryError, UnavailableError
from federation.execution.coordinator import Coordinator
from federation.execution.site_catalogs import AT_ONCE
from federation.model.dimension import DimensionUniverse
from federation.registry.registry import Registry
from federation.registry.user_tables import create_table, drop_table
from federation.storage import SqliteDatabase
from federation.wire.client import SiteClient
from federation.wire.server import build_server

COUNT = "SELECT count(*) AS n FROM detector"


def put_detectors(registry: Registry, first: int, count: int) -> None:
    with registry.transaction(registry.site) as tx:
        tx.put("detector", [{"instrument": "Cam", "id": n} for n in range(first, first + count)])


@pytest.fixture
def registries(tmp_path: Path, universe: DimensionUniverse) -> Iterator[dict[str, Registry]]:
    made = {
        name: Registry.create_in(SqliteDatabase(tmp_path / name), name, universe)
        for name in ("summit", "base")
    }
    put_detectors(made["summit"], 0, 5)
    yield made
    for registry in made.values():
        registry.close()


@pytest.fixture
def clients(registries: dict[str, Registry]) -> Iterator[dict[str, Watched]]:
    servers = {
        name: build_server(Served(registry), "127.0.0.1:0", workers=24)  # type: ignore[arg-type]
        for name, registry in registries.items()
    }
    for server in servers.values():
        server.start()
    yield {name: Watched(SiteClient(name, server.address)) for name, server in servers.items()}
    for server in servers.values():
        server.stop(0)


@pytest.fixture
def coordinator(clients: dict[str, Watched]) -> Iterator[Coordinator]:
    with Coordinator("base", clients) as made:  # type: ignore[arg-type]
        yield made
    for client in clients.values():
        client.close()


def warm(coordinator: Coordinator, clients: dict[str, Watched], sql: str = COUNT) -> None:
    """Let the coordinator know its sites, and count from here."""
    coordinator.query(sql)
    for client in clients.values():
        client.forget()


def test_fragments_go_out_before_the_catalogs_are_back(
    coordinator: Coordinator, clients: dict[str, Watched]
) -> None:
    warm(coordinator, clients)
    has_begun = []
    for client in clients.values():
        client.before_catalog = lambda: has_begun.append(clients["summit"].has_executed.wait(BOUND_S))
    assert coordinator.query(COUNT).to_pylist() == [{"n": 5}]
    assert has_begun == [True, True]
    assert [(one.catalogs, one.fragments) for one in clients.values()] == [(1, 1), (1, 0)]


def test_a_commit_that_changes_no_plan_costs_no_second_run(
    coordinator: Coordinator, clients: dict[str, Watched], registries: dict[str, Registry]
) -> None:
    warm(coordinator, clients)
    put_detectors(registries["summit"], 5, 1)
    assert coordinator.query(COUNT).to_pylist() == [{"n": 6}]
    assert clients["summit"].fragments == 1


def test_rows_in_a_table_that_was_empty_are_found(
    coordinator: Coordinator, clients: dict[str, Watched], registries: dict[str, Registry]
) -> None:
    warm(coordinator, clients)
    put_detectors(registries["base"], 7, 2)
    result = coordinator.query(COUNT)
    assert result.to_pylist() == [{"n": 7}]
    assert {position.schema for position in result.positions} == {"summit", "base"}


def test_a_commit_after_the_fragment_was_read_does_not_mix_plans(
    coordinator: Coordinator, clients: dict[str, Watched], registries: dict[str, Registry]
) -> None:
    warm(coordinator, clients)

    def put_behind_its_back() -> None:
        assert clients["summit"].has_executed.wait(BOUND_S)
        clients["base"].before_catalog = lambda: None
        put_detectors(registries["base"], 7, 2)

    clients["base"].before_catalog = put_behind_its_back
    assert coordinator.query(COUNT).to_pylist() == [{"n": 7}]


def test_a_table_made_anew_between_plan_and_run_is_planned_for_again(
    coordinator: Coordinator, clients: dict[str, Watched], registries: dict[str, Registry]
) -> None:
    summit = registries["summit"]
    create_table(summit, "summit", "marks", pa.table({"id": [1, 2], "size": [5, 6]}), key=("id",))
    sql = "SELECT size FROM summit.marks ORDER BY size"
    warm(coordinator, clients, sql)
    drop_table(summit, "summit", "marks")
    create_table(summit, "summit", "marks", pa.table({"id": [1], "size": ["large"]}), key=("id",))
    assert coordinator.query(sql).to_pylist() == [{"size": "large"}]
    drop_table(summit, "summit", "marks")
    with pytest.raises(QueryError, match="no table 'marks'"):
        coordinator.query(sql)


def test_a_table_that_changes_after_the_catalog_was_confirmed_is_planned_for_once_more(
    coordinator: Coordinator, clients: dict[str, Watched], registries: dict[str, Registry]
) -> None:
    summit = registries["summit"]
    create_table(summit, "summit", "marks", pa.table({"id": [1, 2], "size": [5, 6]}), key=("id",))

    def make_anew() -> None:
        clients["summit"].before_fragment = lambda: None
        drop_table(summit, "summit", "marks")
        create_table(summit, "summit", "marks", pa.table({"id": [1], "size": ["large"]}), key=("id",))

    clients["summit"].before_fragment = make_anew
    assert coordinator.query("SELECT size FROM summit.marks").to_pylist() == [{"size": "large"}]
    assert clients["summit"].fragments == 2


def test_a_replica_that_has_grown_too_old_is_not_believed(
    tmp_path: Path, universe: DimensionUniverse
) -> None:
    # base's copy of the summit's schema is empty, so that it shows who was read
    with (
        Registry.create_in(SqliteDatabase(tmp_path / "s"), "summit", universe) as summit,
        Registry.create_in(SqliteDatabase(tmp_path / "b"), "base", universe) as base,
    ):
        put_detectors(summit, 0, 5)
        replica = base.ensure_replica(summit.held()[0].schema)
        served = {"summit": Served(summit), "base": Served(base)}
        servers = {name: build_server(one, "127.0.0.1:0", workers=8) for name, one in served.items()}  # type: ignore[arg-type]
        for server in servers.values():
            server.start()
        clients = {name: Watched(SiteClient(name, server.address)) for name, server in servers.items()}
        with Coordinator("base", clients) as coordinator:  # type: ignore[arg-type]
            assert replica.physical == "summit__summit"
            assert coordinator.query(COUNT, max_staleness_s=60).to_pylist() == [{"n": 0}]
            served["base"].replica_age_s = 600.0
            assert coordinator.query(COUNT, max_staleness_s=60).to_pylist() == [{"n": 5}]
            assert coordinator.query(COUNT, max_staleness_s=3600).to_pylist() == [{"n": 0}]
        for client in clients.values():
            client.close()
        for server in servers.values():
            server.stop(0)


def test_no_row_is_handed_out_before_the_catalog_is_confirmed(
    coordinator: Coordinator, clients: dict[str, Watched], registries: dict[str, Registry]
) -> None:
    sql = "SELECT id FROM detector"
    warm(coordinator, clients, sql)
    has_row = threading.Event()
    too_early = []

    def put_late() -> None:
        clients["base"].before_catalog = lambda: None
        assert clients["summit"].has_executed.wait(BOUND_S)
        too_early.append(has_row.wait(0.3))
        put_detectors(registries["base"], 7, 2)

    clients["base"].before_catalog = put_late
    found = []
    with coordinator.stream(sql) as stream:
        for batch in stream:
            has_row.set()
            found += batch.column("id").to_pylist()
    assert too_early == [False]
    assert sorted(found) == [0, 1, 2, 3, 4, 7, 8]


def test_queries_at_one_time_share_what_they_ask(
    coordinator: Coordinator, clients: dict[str, Watched]
) -> None:
    warm(coordinator, clients)
    together = 12
    have_asked = threading.Event()
    lock = threading.Lock()

    def count() -> None:
        with lock:
            if clients["summit"].fragments >= together:
                have_asked.set()

    for client in clients.values():
        client.before_catalog = lambda: assert_soon(have_asked)
        client.before_fragment = count
    with ThreadPoolExecutor(together) as pool:
        answers = list(pool.map(lambda _: coordinator.query(COUNT).to_pylist(), range(together)))
    assert answers == [[{"n": 5}]] * together
    # those under way, and one for all who came later
    assert all(client.catalogs <= AT_ONCE + 1 for client in clients.values())


def assert_soon(event: threading.Event) -> None:
    assert event.wait(BOUND_S)


def test_a_site_that_was_down_is_found_when_it_is_back(
    coordinator: Coordinator, clients: dict[str, Watched], registries: dict[str, Registry]
) -> None:
    put_detectors(registries["base"], 7, 2)

    def is_down() -> None:
        raise UnavailableError("site summit does not answer: off", hint="switch it on")

    clients["summit"].before_catalog = is_down
    with pytest.raises(UnavailableError, match="off"):
        coordinator.query(COUNT)
    assert coordinator.query(COUNT, partial=True).to_pylist() == [{"n": 2}]
    clients["summit"].before_catalog = lambda: None
    result = coordinator.query(COUNT, partial=True)
    assert (result.to_pylist(), result.missing) == ([{"n": 7}], ())
