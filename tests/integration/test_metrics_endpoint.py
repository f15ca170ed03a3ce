"""A site's server tells how it is: figures for a monitoring system, health, reflection, logs with request ids."""

from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import psycopg
import pytest
from free_ports import free_port
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

import federation
from federation.cli.main import main
from federation.cli.output import print_error
from federation.config import Address, PeerConfig, SiteConfig, render_site
from federation.errors import NotFoundError, QueryError, UnavailableError
from federation.logs import JsonFormatter
from federation.model.position import SchemaId
from federation.registry import dimensions
from federation.registry.registry import Registry
from federation.request_context import request
from federation.services.site_server import SiteServer
from federation.wire.client import SiteClient
from federation.wire.messages import FollowFrom
from federation.wire.server import HEALTH_NAMES

METRICS = '\n[metrics]\nlisten = "127.0.0.1:0"\n'


def free_address() -> Address:
    return Address("127.0.0.1", free_port())


def write(registry: Registry, number: int) -> None:
    with registry.transaction(registry.site) as tx:
        dimensions.insert_records(tx, "skymap", [{"name": f"map{number}", "hash": b"h", "tract_max": 1}])


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        threading.Event().wait(0.05)


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Site files of summit and base, which follows it; both have an address for metrics, and a registry."""
    for name in ("FEDERATION_SITE", "FEDERATION_SITES"):
        monkeypatch.delenv(name, raising=False)
    directory = tmp_path / "sites"
    directory.mkdir()
    address = free_address()
    for name, where, peers in (
        ("summit", address, []),
        ("base", free_address(), [PeerConfig("summit", address, ("*",))]),
    ):
        (directory / f"{name}.toml").write_text(render_site(name, f"../{name}", where, peers=peers) + METRICS)
        Registry.create(SiteConfig.load(directory / f"{name}.toml")).close()
    return directory


@pytest.fixture
def serve(sites: Path) -> Iterator[Callable[[str], SiteServer]]:
    """Serves a site in this process until the test ends."""
    servers = []

    def start(name: str) -> SiteServer:
        server = SiteServer(SiteConfig.load(sites / f"{name}.toml"))
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def scrape(server: SiteServer) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Every sample by name and labels."""
    with urllib.request.urlopen(f"http://{server.telemetry.metrics_address}/metrics") as answer:
        text = answer.read().decode()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


class TestFigures:
    def test_tell_how_logs_and_replicas_stand(self, serve: Callable[[str], SiteServer]) -> None:
        summit, base = serve("summit"), serve("base")
        for number in range(3):
            write(summit.registry, number)
        schema = labels(schema="summit/summit")
        eventually(lambda: base.registry.find(SchemaId("summit", "summit")) is not None, "a replica")
        eventually(lambda: base.registry.position(SchemaId("summit", "summit")).lsn == 3, "applied")

        found = scrape(summit)
        assert (
            found["federation_site_info"][
                labels(site="summit", version=federation_version(), registry="sqlite")
            ]
            == 1
        )
        assert found["federation_database_up"][()] == 1
        assert found["federation_schema_lsn"][labels(schema="summit/summit", role="owner")] == 3
        assert found["federation_log_first_lsn"][schema] == 1
        assert found["federation_log_unnumbered_entries"][schema] == 0

        eventually(
            lambda: (
                scrape(base)["federation_replica_state"][labels(schema="summit/summit", state="following")]
                == 1
            ),
            "following",
        )
        found = scrape(base)
        assert found["federation_schema_lsn"][labels(schema="summit/summit", role="replica")] == 3
        assert found["federation_replica_lag_entries"][schema] == 0
        assert found["federation_replica_head_lsn"][schema] == 3
        assert 0 <= found["federation_replica_lag_seconds"][schema] < 30
        assert found["federation_replica_applied_entries_total"][schema] == 3
        assert found["federation_replica_applied_rows_total"][schema] == 3
        assert found["federation_replica_applied_bytes_total"][schema] > 100
        assert found["federation_files_waiting"][schema] == 0
        assert found["process_resident_memory_bytes"][()] > 0

    def test_count_calls_and_bytes_also_of_streams_that_go_on(
        self, serve: Callable[[str], SiteServer], sites: Path
    ) -> None:
        summit = serve("summit")
        write(summit.registry, 1)
        with SiteClient("summit", summit.address) as client:
            client.status()
            with pytest.raises(NotFoundError):
                client.fetch(uuid.uuid4())
            with client.follow(
                FollowFrom(
                    SchemaId("summit", "summit"),
                    "",
                    0,
                    bytes(16),
                    "reader",
                    summit.registry.universe.fingerprint,
                )
            ) as stream:
                assert next(stream).entries
                found = scrape(summit)
                follow = labels(method="ChangeLog/Follow")
                assert found["federation_calls_in_progress"][follow] == 1
                assert found["federation_call_sent_bytes_total"][follow] > 100
                assert found["federation_call_sent_messages_total"][follow] >= 1
                assert found["federation_calls_total"][labels(method="Site/Status", code="ok")] == 1
                assert found["federation_calls_total"][labels(method="Site/Fetch", code="not_found")] == 1
                assert found["federation_errors_total"][labels(code="not_found")] == 1
                assert found["federation_call_duration_seconds_count"][labels(method="Site/Status")] == 1
            eventually(
                lambda: follow not in scrape(summit).get("federation_calls_in_progress", {}), "its end"
            )
            ended = scrape(summit)["federation_calls_total"]
            assert ended[labels(method="ChangeLog/Follow", code="cancelled")] == 1

    def test_are_those_that_the_documentation_names(
        self, serve: Callable[[str], SiteServer], repository: Path
    ) -> None:
        summit = serve("summit")
        with SiteClient("summit", summit.address) as client, pytest.raises(NotFoundError):
            client.fetch(uuid.uuid4())
        with urllib.request.urlopen(f"http://{summit.telemetry.metrics_address}/metrics") as answer:
            exported = re.findall(r"^# TYPE (federation_\w+) (\w+)$", answer.read().decode(), re.MULTILINE)
        page = (repository / "docs" / "reference" / "metrics.md").read_text()
        documented = re.findall(r"^\| `(federation_\w+)` \| (\w+) \|", page, flags=re.MULTILINE)
        exported = [(name, kind) for name, kind in exported if not name.endswith("_created")]
        assert sorted(documented) == sorted(exported)

    def test_an_address_that_is_taken_is_told(self, sites: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            path = sites / "summit.toml"
            path.write_text(path.read_text().replace("127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}"))
            server = SiteServer(SiteConfig.load(path))
            try:
                with pytest.raises(UnavailableError, match="for metrics"):
                    server.start()
            finally:
                server.stop()


def federation_version() -> str:
    from importlib.metadata import version

    return version("federation")


class TestHealth:
    def test_is_that_of_each_service_and_of_the_database(
        self, tmp_path: Path, fresh_postgres_database: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SUMMIT_URL", fresh_postgres_database)
        path = tmp_path / "summit.toml"
        path.write_text(
            render_site("summit", tmp_path / "summit", free_address(), registry_url_env="SUMMIT_URL")
            + METRICS
        )
        config = SiteConfig.load(path)
        Registry.create(config).close()
        server = SiteServer(config)
        server.start()
        try:
            with grpc.insecure_channel(server.address) as channel:
                health = health_pb2_grpc.HealthStub(channel)

                def told(name: str) -> Any:
                    return health.Check(health_pb2.HealthCheckRequest(service=name)).status

                serving = health_pb2.HealthCheckResponse.SERVING
                assert [told(name) for name in HEALTH_NAMES] == [serving] * 4
                database = urlsplit(fresh_postgres_database).path.removeprefix("/")
                with psycopg.connect(postgres_url, autocommit=True) as connection:
                    connection.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
                    connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                        (database,),
                    )
                eventually(lambda: told("federation.wire.v1.Query") != serving, "not serving")
                assert told("") == health_pb2.HealthCheckResponse.NOT_SERVING
                assert scrape(server)["federation_database_up"][()] == 0
                with psycopg.connect(postgres_url, autocommit=True) as connection:
                    connection.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
                eventually(lambda: told("federation.wire.v1.ChangeLog") == serving, "serving again")
                eventually(lambda: scrape(server)["federation_database_up"][()] == 1, "up again")
        finally:
            server.stop()

    def test_reflection_names_the_services(self, serve: Callable[[str], SiteServer]) -> None:
        summit = serve("summit")
        with grpc.insecure_channel(summit.address) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            (answer,) = stub.ServerReflectionInfo(iter([asked]))
        named = {service.name for service in answer.list_services_response.service}
        assert {"federation.wire.v1.ChangeLog", "federation.wire.v1.Site", "grpc.health.v1.Health"} <= named


class TestRequests:
    def test_carry_their_id_to_the_site_and_back(
        self, serve: Callable[[str], SiteServer], sites: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        serve("summit")
        serve("base")
        caplog.set_level(logging.DEBUG, logger="federation")
        caplog.handler.setFormatter(JsonFormatter())
        logging.getLogger("federation").propagate = True
        with (
            federation.connect("base", sites=sites) as session,
            request("3f2a"),
            pytest.raises(NotFoundError) as caught,
        ):
            session.client("summit").fetch(uuid.uuid4())
        assert caught.value.request_id == "3f2a"
        told = [
            line
            for line in map(json.loads, dict.fromkeys(caplog.text.splitlines()))
            if line["event"] == "call_ended"
        ]
        (line,) = [line for line in told if line["method"] == "Site/Fetch"]
        assert (line["request"], line["code"], line["level"]) == ("3f2a", "not_found", "info")
        assert "has no file of dataset" in line["message"]

    def test_are_one_for_all_that_a_query_asks(
        self, serve: Callable[[str], SiteServer], sites: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        summit = serve("summit")
        serve("base")
        write(summit.registry, 1)
        caplog.set_level(logging.DEBUG, logger="federation")
        caplog.handler.setFormatter(JsonFormatter())
        logging.getLogger("federation").propagate = True
        with federation.connect("base", sites=sites) as session:
            session.query("SELECT name FROM skymap")
        told = [
            line
            for line in map(json.loads, dict.fromkeys(caplog.text.splitlines()))
            if line["event"] == "call_ended"
        ]
        asked = {
            (line["method"], line["request"])
            for line in told
            if line["method"] in ("Query/Execute", "Query/GetCatalog")
        }
        assert {method for method, _ in asked} == {"Query/Execute", "Query/GetCatalog"}
        assert len({request_id for _, request_id in asked}) == 1

    def test_are_named_by_the_command_line_and_by_the_log_of_the_server(
        self, sites: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = [sys.executable, "-m", "federation", "site", "serve", "summit", "--sites", str(sites)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                assert "summit serves" in server.stdout.readline()
                arguments = ["watch", "summit/summit", "--site", "summit", "--sites", str(sites)]
                assert main([*arguments, "--from", "summit/summit@ffff:9", "--json"]) == 6
            finally:
                server.terminate()
                _, told = server.communicate(timeout=60)
        shown = capsys.readouterr()
        request_id = json.loads(shown.out)["request"]
        assert shown.err.splitlines()[-1] == f"request {request_id}"
        lines = [json.loads(line) for line in told.splitlines()]
        assert {"server_started", "server_stopped"} <= {line["event"] for line in lines}
        assert all({"time", "level", "event", "logger", "pid"} <= set(line) for line in lines)
        (refused,) = [line for line in lines if line.get("request") == request_id]
        assert (refused["method"], refused["code"], refused["level"]) == (
            "ChangeLog/Follow",
            "epoch",
            "warning",
        )


def test_an_error_names_the_request_that_it_came_of(capsys: pytest.CaptureFixture[str]) -> None:
    error = QueryError("no such column", hint="look again")
    error.request_id = "3f2a"
    print_error(error, as_json=True)
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1] == "request 3f2a"
    assert json.loads(shown.out)["error"]["request"] == "3f2a"
