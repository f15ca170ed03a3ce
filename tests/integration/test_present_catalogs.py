"""Catalogs that come with fragments: a near site is not asked twice, and what has changed is never missed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from served_registries import BOUND_S, Served

from federation.errors import QueryError
from federation.execution.coordinator import Coordinator
from federation.model.catalog import SiteCatalog
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.registry import dataset_types
from federation.registry.registry import Registry
from federation.storage import SqliteDatabase
from federation.wire.client import SiteClient
from federation.wire.interceptors import Call
from federation.wire.messages import ExecuteCall
from federation.wire.server import SiteServer, build_server

TWO_SITES = "SELECT d.id, e.id AS other FROM summit.detector d JOIN base.detector e ON e.id = d.id + 0"


class Counted:
    """Counts calls, by method."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    def began(self, call: Call) -> None:
        self.methods.append(call.method)

    def ended(self, call: Call) -> None:
        pass

    def count(self, method: str) -> int:
        return self.methods.count(method)


class Slow(Served):
    """A site whose fragments wait until it was asked for its catalog by a call of its own."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self.is_slow = False
        self.has_answered = threading.Event()

    def get_catalog(self, known_version: str, user: str) -> tuple[str, str, SiteCatalog | None]:
        answer = super().get_catalog(known_version, user)
        self.has_answered.set()
        return answer

    def execute(self, call: ExecuteCall):  # type: ignore[no-untyped-def]
        if self.is_slow:
            assert self.has_answered.wait(BOUND_S)
        return super().execute(call)


@attrs.frozen
class Sites:
    registries: dict[str, Registry]
    services: dict[str, Slow]
    counted: dict[str, Counted]
    coordinator: Coordinator

    def forget(self) -> None:
        for one in self.counted.values():
            one.methods.clear()


def put_detectors(registry: Registry, numbers: range) -> None:
    with registry.transaction(registry.site) as tx:
        tx.put("instrument", [{"name": "Cam"}])
        tx.put("detector", [{"instrument": "Cam", "id": n} for n in numbers])


@pytest.fixture
def sites(tmp_path: Path, universe: DimensionUniverse) -> Iterator[Sites]:
    registries = {
        name: Registry.create_in(SqliteDatabase(tmp_path / name), name, universe)
        for name in ("summit", "base")
    }
    services = {name: Slow(registry) for name, registry in registries.items()}
    counted = {name: Counted() for name in registries}
    servers: dict[str, SiteServer] = {
        name: build_server(service, "127.0.0.1:0", workers=8, observer=counted[name])  # type: ignore[arg-type]
        for name, service in services.items()
    }
    for server in servers.values():
        server.start()
    for registry in registries.values():
        put_detectors(registry, range(3))
    clients = {name: SiteClient(name, server.address) for name, server in servers.items()}
    for client in clients.values():
        # whatever this machine does meanwhile
        client._pace.quickest_s = 0.0
    with Coordinator("base", clients) as coordinator:
        yield Sites(registries, services, counted, coordinator)
    for client in clients.values():
        client.close()
    for server in servers.values():
        server.stop(0)
    for registry in registries.values():
        registry.close()


def test_a_near_site_is_asked_with_its_fragment_alone(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("federation.execution.site_catalogs._LATE_S", BOUND_S)
    assert sites.coordinator.query(TWO_SITES).row_count == 3
    sites.forget()
    assert sites.coordinator.query(TWO_SITES).row_count == 3
    assert [one.count("Query/Execute") for one in sites.counted.values()] == [1, 1]
    assert [one.count("Query/GetCatalog") for one in sites.counted.values()] == [0, 0]
    # the other site's catalog decides, too
    one = "SELECT count(*) AS n FROM summit.detector"
    assert sites.coordinator.query(one).to_pylist() == [{"n": 3}]
    sites.forget()
    assert sites.coordinator.query(one).to_pylist() == [{"n": 3}]
    assert sites.counted["summit"].methods == ["Query/Execute"]
    assert sites.counted["base"].methods == ["Query/GetCatalog"]


def test_what_was_written_and_declared_is_seen_at_once(sites: Sites) -> None:
    empty = "SELECT count(*) AS n FROM summit.visit"
    assert sites.coordinator.query(empty).to_pylist() == [{"n": 0}]
    for count in range(4, 7):
        put_detectors(sites.registries["summit"], range(count))
        put_detectors(sites.registries["base"], range(count))
        assert sites.coordinator.query(TWO_SITES).row_count == count
    both = "SELECT count(*) AS n FROM detector"
    assert sites.coordinator.query(both).to_pylist() == [{"n": 6}]
    with pytest.raises(QueryError, match="flat"):
        sites.coordinator.query("SELECT * FROM summit.flat")
    with sites.registries["summit"].transaction("summit") as tx:
        dataset_types.declare(tx, DatasetType("flat", ("detector",), "Exposure"))
    assert sites.coordinator.query("SELECT * FROM summit.flat").row_count == 0


def test_a_fragment_that_is_slow_holds_no_catalog_back(sites: Sites) -> None:
    assert sites.coordinator.query(TWO_SITES).row_count == 3
    sites.forget()
    slow = sites.services["summit"]
    slow.has_answered.clear()
    slow.is_slow = True
    assert sites.coordinator.query(TWO_SITES).row_count == 3
    assert sites.counted["summit"].count("Query/GetCatalog") == 1


def test_a_stream_is_confirmed_by_its_first_rows(sites: Sites) -> None:
    sql = "SELECT id FROM summit.detector"
    for count in (3, 3, 5):
        put_detectors(sites.registries["summit"], range(count))
        with sites.coordinator.stream(sql) as rows:
            assert sum(batch.num_rows for batch in rows) == count
