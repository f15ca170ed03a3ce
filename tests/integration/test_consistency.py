"""What states of the sites a query reads: one of each schema, not behind what was written, or as of recorded ones."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from free_ports import free_port
from served_registries import BOUND_S, Served, Watched

import federation
from federation.cli.main import main
from federation.config import Address, PeerConfig, SiteConfig, render_site
from federation.errors import NotFoundError, QueryError, UnavailableError
from federation.execution.coordinator import Coordinator
from federation.execution.read_positions import MovedError
from federation.model.dimension import DimensionUniverse
from federation.model.position import Position, SchemaId
from federation.registry.registry import Registry
from federation.services.site_server import SiteServer
from federation.storage import SqliteDatabase
from federation.wire.client import SiteClient
from federation.wire.server import build_server

COUNT = "SELECT count(*) AS n FROM summit.detector"
TWO_READS = (
    "SELECT (SELECT count(*) FROM summit.detector) AS detectors, (SELECT count(*) FROM base.detector) AS theirs,"
    " (SELECT count(*) FROM summit.instrument) AS instruments"
)


def put_detectors(registry: Registry, first: int, count: int) -> None:
    with registry.transaction(registry.site) as tx:
        tx.put("instrument", [{"name": f"Cam{first}"}])
        tx.put("detector", [{"instrument": "Cam", "id": n} for n in range(first, first + count)])


class WrittenBetween(Watched):
    """A site that is written to after its first fragment was read and before its second, as often as asked."""

    def __init__(self, client: SiteClient, registry: Registry, times: int) -> None:
        super().__init__(client)
        self._registry, self._left = registry, times
        self._numbers = itertools.count()
        self._has_read = threading.Event()
        self._lock = threading.Lock()

    def execute(self, sql: str, *args: Any, **more: Any) -> Any:
        with self._lock:
            number = next(self._numbers)
        if number % 2 == 0:
            rows = super().execute(sql, *args, **more)
            assert rows.positions
            self._has_read.set()
            return rows
        assert self._has_read.wait(BOUND_S)
        self._has_read.clear()
        if self._left:
            self._left -= 1
            put_detectors(self._registry, 100 + number, 1)
        return super().execute(sql, *args, **more)


@pytest.fixture
def registries(tmp_path: Path, universe: DimensionUniverse) -> Iterator[dict[str, Registry]]:
    made = {}
    for name in ("summit", "base"):
        made[name] = Registry.create_in(SqliteDatabase(tmp_path / name), name, universe)
        put_detectors(made[name], 0, 2)
    yield made
    for registry in made.values():
        registry.close()


@pytest.mark.parametrize(("times", "detectors"), [(0, 2), (1, 3), (3, 5)])
def test_all_fragments_read_one_state_of_a_schema(
    times: int, detectors: int, registries: dict[str, Registry]
) -> None:
    servers = {name: build_server(Served(one), "127.0.0.1:0", workers=8) for name, one in registries.items()}  # type: ignore[arg-type]
    for server in servers.values():
        server.start()
    clients = {
        "base": Watched(SiteClient("base", servers["base"].address)),
        "summit": WrittenBetween(
            SiteClient("summit", servers["summit"].address), registries["summit"], times
        ),
    }
    with Coordinator("base", clients) as coordinator:  # type: ignore[arg-type]
        result = coordinator.query(TWO_READS)
    # a detector and an instrument are written together, and seen together
    assert result.to_pylist() == [{"detectors": detectors, "theirs": 2, "instruments": 1 + times}]
    assert sorted(position.schema for position in result.positions) == ["base", "summit"]
    assert clients["summit"].fragments == 2 * (times + 1)
    for client in clients.values():
        client.close()
    for server in servers.values():
        server.stop(0)


def test_a_schema_that_never_rests_is_an_error_that_says_so(registries: dict[str, Registry]) -> None:
    servers = {name: build_server(Served(one), "127.0.0.1:0", workers=8) for name, one in registries.items()}  # type: ignore[arg-type]
    for server in servers.values():
        server.start()
    clients = {
        "base": Watched(SiteClient("base", servers["base"].address)),
        "summit": WrittenBetween(SiteClient("summit", servers["summit"].address), registries["summit"], 99),
    }
    with (
        Coordinator("base", clients) as coordinator,  # type: ignore[arg-type]
        pytest.raises(MovedError, match="summit/summit was written to while it was read"),
    ):
        coordinator.query(TWO_READS)
    for client in clients.values():
        client.close()
    for server in servers.values():
        server.stop(0)


@attrs.define
class Sites:
    """The summit, and base which follows it, as servers; ``directory`` has their site files."""

    directory: Path
    configs: dict[str, SiteConfig]
    servers: dict[str, SiteServer] = attrs.field(factory=dict)

    def start(self, name: str) -> None:
        self.servers[name] = SiteServer(self.configs[name])
        self.servers[name].start()

    def stop(self, name: str) -> None:
        self.servers.pop(name).stop()

    def put(self, first: int, count: int) -> tuple[Position, ...]:
        with Registry.open(self.configs["summit"]) as registry:
            put_detectors(registry, first, count)
        return federation.positions("summit", sites=self.directory)

    def wait_for(self, wanted: Position) -> None:
        deadline = time.monotonic() + BOUND_S
        while not any(
            (held.schema, held.lsn) == (wanted.schema_id, wanted.lsn)
            for held in self.servers["base"].status().schemas
        ):
            assert time.monotonic() < deadline, f"base does not reach {wanted}"
            threading.Event().wait(0.02)


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    ports = {name: free_port() for name in ("summit", "base")}
    peers = {
        "summit": [PeerConfig("base", Address("127.0.0.1", ports["base"]))],
        "base": [PeerConfig("summit", Address("127.0.0.1", ports["summit"]), follow=("*",))],
    }
    directory = tmp_path / "sites"
    directory.mkdir()
    configs = {}
    for name, port in ports.items():
        path = directory / f"{name}.toml"
        path.write_text(render_site(name, tmp_path / name, f"127.0.0.1:{port}", "sqlite", peers[name]))
        configs[name] = SiteConfig.load(path)
        Registry.create(configs[name]).close()
    made = Sites(directory, configs)
    for name in configs:
        made.start(name)
    yield made
    for name in list(made.servers):
        made.stop(name)


def test_a_session_reads_what_it_has_written_through_a_replica_or_not_at_all(sites: Sites) -> None:
    (first,) = sites.put(0, 3)
    sites.wait_for(first)
    with federation.connect("base", sites=sites.directory) as session:
        result = session.query(COUNT, max_staleness_s=3600)
        assert (result.to_pylist(), result.fragments[0].site) == ([{"n": 3}], "base")
        (second,) = sites.put(3, 1)
        # whether base has it by now or not: what is read has it
        assert session.query(COUNT, max_staleness_s=3600, after=[second]).to_pylist() == [{"n": 4}]
        sites.wait_for(second)
        session.remember([second])
        result = session.query(COUNT, max_staleness_s=3600)
        assert (result.to_pylist(), result.fragments[0].site) == ([{"n": 4}], "base")
        # a position that base has not: the owner is asked, and without it nobody
        later = attrs.evolve(second, lsn=second.lsn + 1)
        with pytest.raises(
            UnavailableError, match=f"no site holds summit/summit up to .*:{later.lsn}; .*base"
        ):
            session.query(COUNT, max_staleness_s=3600, after=[later])
        sites.stop("summit")
        assert session.query(COUNT, max_staleness_s=3600).to_pylist() == [{"n": 4}]
        with pytest.raises(UnavailableError, match="no copy of summit/summit that answers has"):
            session.query(COUNT, max_staleness_s=3600, after=[later])


def test_an_answer_can_be_asked_for_again_as_of_its_positions(sites: Sites) -> None:
    (first,) = sites.put(0, 3)
    sites.wait_for(first)
    # base stays where it is while the summit goes on
    sites.stop("base")
    with Registry.open(sites.configs["summit"]) as registry:
        put_detectors(registry, 3, 1)
    (second,) = federation.positions("summit", ("summit",), sites.directory)
    with federation.connect("summit", sites=sites.directory) as session:
        result = session.query(COUNT, as_of=[second], partial=True)
        assert (result.to_pylist(), result.positions) == ([{"n": 4}], (second,))
        assert session.query(COUNT, as_of=result.vector, partial=True).to_pylist() == [{"n": 4}]
        with pytest.raises(UnavailableError) as refused:
            session.query(COUNT, as_of=[first])
        assert refused.value.message == (
            f"table detector: no site holds summit/summit as of {first.epoch}:{first.lsn}; "
            f"summit holds it at {second.epoch}:{second.lsn}"
        )
        assert "snapshot" in refused.value.hint


def test_as_of_is_served_by_a_replica_that_is_still_there(sites: Sites) -> None:
    (first,) = sites.put(0, 3)
    sites.wait_for(first)
    with federation.connect("base", sites=sites.directory) as session:
        # an old replica is none too old when it is at the position
        assert session.query(COUNT, as_of=[first], max_staleness_s=0).to_pylist() == [{"n": 3}]
        with pytest.raises(QueryError, match="say nothing of base/base"):
            session.query("SELECT count(*) FROM detector", as_of=[first])
        with pytest.raises(UnavailableError, match="no site holds summit/summit as of beef:"):
            session.query(COUNT, as_of=[attrs.evolve(first, epoch="beef")])


def test_positions_on_the_command_line(sites: Sites, capsys: pytest.CaptureFixture[str]) -> None:
    (first,) = sites.put(0, 3)
    where = ("--sites", str(sites.directory))
    assert main(["positions", "--site", "summit", *where]) == 0
    assert capsys.readouterr().out.strip() == str(first)
    written = sites.directory.parent / "written"
    written.write_text(f"{first}\n")
    assert main(["query", COUNT, "--site", "base", "--json", "--after", str(written), *where]) == 0
    answer = sites.directory.parent / "answer.json"
    answer.write_text(capsys.readouterr().out)
    assert json.loads(answer.read_text())["positions"] == [str(first)]
    assert main(["query", COUNT, "--site", "base", "--format", "csv", "--as-of", str(answer), *where]) == 0
    assert capsys.readouterr().out.split() == ["n", "3"]
    assert main(["query", COUNT, "--site", "base", "--as-of", "summit/summit@x:1", *where]) == 4
    assert "no site holds summit/summit as of x:1" in capsys.readouterr().err
    assert main(["query", COUNT, "--site", "base", "--as-of", "yesterday", *where]) == 3
    assert "is not a position" in capsys.readouterr().err


def test_positions_are_of_schemas_that_the_site_owns(sites: Sites) -> None:
    assert [one.schema_id for one in federation.positions("base", sites=sites.directory)] == [
        SchemaId("base", "base")
    ]
    with pytest.raises(NotFoundError, match="does not hold schema base/nosuch"):
        federation.positions("base", ("nosuch",), sites.directory)
