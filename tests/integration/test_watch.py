"""A watch gives what is committed as typed events, at least once, and goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port

import federation
from federation.cli.main import main
from federation.config import Address, SiteConfig, render_site
from federation.errors import EpochError, LogGapError, NotFoundError, UnavailableError, UserError
from federation.model import events
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import Field
from federation.model.logical import LogicalType
from federation.model.position import SchemaId
from federation.model.timespan import Timespan
from federation.registry import collections, dataset_types, datasets, dimensions
from federation.registry.artifacts import Artifact, record
from federation.registry.registry import Registry
from federation.registry.removal import remove_datasets
from federation.services.site_server import SiteServer

FLAT = DatasetType("flat", ("detector",), "Exposure", True, (Field("noise", LogicalType.FLOAT64),))


def put_flat(registry: Registry, number: int) -> uuid.UUID:
    """One transaction with a record, a dataset and its file; the dataset's id."""
    with registry.transaction(registry.site) as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        dimensions.insert_records(
            tx, "detector", [{"instrument": "Cam", "id": number, "full_name": f"d{number}"}]
        )
        dataset_types.declare(tx, FLAT)
        collections.register(tx, Collection("run/a", CollectionType.RUN))
        collections.register(tx, Collection("cal", CollectionType.CALIBRATION))
        data_id = {"instrument": "Cam", "detector": number}
        new = datasets.NewDataset("flat", "run/a", data_id, metadata={"noise": number / 4})
        (ref,) = datasets.insert_datasets(tx, [new]).refs
        record(tx, [Artifact(ref.id, f"flat/{number}.fits", 7, "sha256:00", None)])
    return ref.id


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Sites base and summit, made and empty; nothing runs."""
    for name in ("FEDERATION_SITE", "FEDERATION_SITES"):
        monkeypatch.delenv(name, raising=False)
    directory = tmp_path / "sites"
    directory.mkdir()
    for name in ("base", "summit"):
        address = Address("127.0.0.1", free_port())
        (directory / f"{name}.toml").write_text(render_site(name, f"../{name}", address))
        Registry.create(SiteConfig.load(directory / f"{name}.toml")).close()
    return directory


@pytest.fixture
def summit(sites: Path) -> Iterator[Registry]:
    """The summit's registry, while its server runs."""
    config = SiteConfig.load(sites / "summit.toml")
    server = SiteServer(config)
    server.start()
    with Registry.open(config) as registry:
        yield registry
    server.stop()


def kinds(found: list[events.Event]) -> list[str]:
    return [event.kind for event in found]


class TestEvents:
    def test_tell_of_everything_that_a_transaction_did(self, sites: Path, summit: Registry) -> None:
        identity = put_flat(summit, 3)
        with federation.watch("summit/summit", site="base", sites=sites, start="start", once=True) as watch:
            found = list(watch)

        assert {event.position.lsn for event in found} == {1}
        assert [event.last for event in found] == [False] * (len(found) - 1) + [True]
        (added,) = [event for event in found if isinstance(event, events.DatasetAdded)]
        assert (added.dataset_id, added.dataset_type, added.run) == (identity, "flat", "run/a")
        assert added.data_id == {"instrument": "Cam", "detector": 3}
        assert added.metadata == {"noise": 0.75}
        (arrived,) = [event for event in found if isinstance(event, events.FileArrived)]
        assert (arrived.dataset_id, arrived.dataset_type, arrived.run) == (identity, "flat", "run/a")
        assert (arrived.site, arrived.uri, arrived.size_bytes) == ("summit", "flat/3.fits", 7)
        (declared,) = [event for event in found if isinstance(event, events.DatasetTypeDeclared)]
        assert (declared.dataset_type, declared.dimensions) == ("flat", ("instrument", "detector"))
        records = [event for event in found if isinstance(event, events.RecordInserted)]
        assert [(event.element, event.record["full_name"]) for event in records[1:]] == [("detector", "d3")]
        assert "rows_changed" not in kinds(found)

    def test_tell_of_what_is_changed_and_removed_later(self, sites: Path, summit: Registry) -> None:
        identity = put_flat(summit, 1)
        with federation.watch("summit/summit", site="base", sites=sites) as watch:
            with summit.transaction("summit") as tx:
                collections.certify(tx, "cal", Timespan(10, None), [identity])
            with summit.transaction("summit") as tx:
                remove_datasets(tx, "flat", [identity])
            certified = next(watch)
            removed = [next(watch) for _ in range(3)]

        assert isinstance(certified, events.Certified)
        assert (certified.collection, certified.dataset_type) == ("cal", "flat")
        assert (certified.begin_tai_ns, certified.end_tai_ns, certified.last) == (10, None, True)
        assert kinds(removed) == ["file_removed", "decertified", "dataset_removed"]
        assert isinstance(removed[2], events.DatasetRemoved)
        assert (removed[2].dataset_id, removed[2].dataset_type) == (identity, "flat")

    def test_name_the_dataset_type_of_a_file_that_comes_later(self, sites: Path, summit: Registry) -> None:
        identity = put_flat(summit, 1)
        with federation.watch("summit/summit", site="base", sites=sites) as watch:
            with summit.transaction("summit") as tx:
                record(tx, [Artifact(identity, "flat/moved.fits", 7, "sha256:00", None)])
            arrived = next(watch)
        assert isinstance(arrived, events.FileArrived)
        assert (arrived.uri, arrived.dataset_type, arrived.run) == ("flat/moved.fits", "flat", "run/a")

    def test_come_from_several_schemas_at_once(self, sites: Path, summit: Registry) -> None:
        config = SiteConfig.load(sites / "base.toml")
        server = SiteServer(config)
        server.start()
        try:
            with (
                Registry.open(config) as base,
                federation.connect("base", sites=sites) as session,
                session.watch("base", "summit/summit", events=["dataset_added"]) as watch,
            ):
                put_flat(summit, 1)
                put_flat(base, 2)
                found = [next(watch), next(watch)]
            assert {event.position.site for event in found} == {"base", "summit"}
        finally:
            server.stop()


class TestFilters:
    @pytest.mark.parametrize(
        ("chosen", "expected"),
        [
            ({"events": ["dataset_added"]}, ["dataset_added"]),
            ({"tables": ["artifact"]}, ["file_arrived"]),
            ({"tables": ["det*"]}, ["record_inserted"]),
            ({"dataset_types": ["flat"]}, ["dataset_type_declared", "dataset_added", "file_arrived"]),
            ({"collections": ["run/*"]}, ["collection_changed", "dataset_added", "file_arrived"]),
            ({"dataset_types": ["raw"]}, []),
        ],
    )
    def test_choose_what_is_given(
        self, sites: Path, summit: Registry, chosen: dict[str, Any], expected: list[str]
    ) -> None:
        put_flat(summit, 1)
        with federation.watch(
            "summit/summit", site="base", sites=sites, start="start", once=True, **chosen
        ) as watch:
            found = list(watch)
            assert sorted(kinds(found)) == sorted(expected)
            assert [event.last for event in found][-1:] == [True] * bool(expected)
            assert watch.positions[0].lsn == 1

    def test_refuse_a_kind_of_event_that_there_is_not(self, sites: Path) -> None:
        with pytest.raises(UserError, match="no event is called 'dataset'"):
            federation.watch("summit/summit", site="base", sites=sites, events=["dataset"])


class TestResuming:
    def test_goes_on_after_a_position(self, sites: Path, summit: Registry) -> None:
        for number in (1, 2, 3):
            put_flat(summit, number)
        with federation.watch("summit/summit", site="base", sites=sites, start="start", once=True) as watch:
            positions = [event.position for event in watch if event.last]
        assert [position.lsn for position in positions] == [1, 2, 3]
        with federation.watch(
            "summit/summit", site="base", sites=sites, start=str(positions[1]), once=True
        ) as watch:
            assert {event.position.lsn for event in watch} == {3}

    def test_keeps_what_was_read_and_no_more(self, sites: Path, summit: Registry, tmp_path: Path) -> None:
        state = tmp_path / "state.json"
        for number in (1, 2, 3):
            put_flat(summit, number)
        options: dict[str, Any] = {
            "site": "base", "sites": sites, "start": "start", "state": state, "events": ["dataset_added"]
        }  # fmt: skip
        with federation.watch("summit/summit", **options) as watch:
            assert next(watch).position.lsn == 1
            assert next(watch).position.lsn == 2  # the first has been read now, the second not yet
        with federation.watch("summit/summit", **options, once=True) as watch:
            assert [event.position.lsn for event in watch] == [2, 3]
        with federation.watch("summit/summit", **options, once=True) as watch:
            assert list(watch) == []
        put_flat(summit, 4)
        with federation.watch("summit/summit", **options, once=True) as watch:
            assert [event.position.lsn for event in watch] == [4]

    def test_survives_a_restart_of_the_server(self, sites: Path) -> None:
        config = SiteConfig.load(sites / "summit.toml")
        server = SiteServer(config)
        server.start()
        with Registry.open(config) as registry:
            put_flat(registry, 1)
            with federation.watch(
                "summit/summit", site="base", sites=sites, start="start", events=["dataset_added"]
            ) as watch:
                assert next(watch).position.lsn == 1
                server.stop()
                put_flat(registry, 2)
                server = SiteServer(config)
                server.start()
                assert next(watch).position.lsn == 2
        server.stop()

    def test_reads_a_registry_without_a_server(self, sites: Path) -> None:
        with Registry.open(SiteConfig.load(sites / "summit.toml")) as registry:
            put_flat(registry, 1)
            with federation.watch(
                site="summit", sites=sites, start="start", local=True, dataset_types=["flat"]
            ) as watch:
                assert isinstance(next(watch), events.DatasetTypeDeclared)
                assert isinstance(next(watch), events.DatasetAdded)
                next(watch)
                put_flat(registry, 2)
                assert isinstance(added := next(watch), events.DatasetAdded)
                assert added.data_id["detector"] == 2


class TestRelays:
    def test_give_the_same_events_while_the_owner_is_away(self, sites: Path) -> None:
        path = sites / "base.toml"
        summit = SiteConfig.load(sites / "summit.toml")
        path.write_text(
            path.read_text()
            + f'\n[[peer]]\nname = "summit"\naddress = "{summit.listen}"\nfollow = ["*"]\nrelay = true\n'
        )
        owner, relay = SiteServer(summit), SiteServer(SiteConfig.load(path))
        relay.start()
        owner.start()
        try:
            with federation.connect("base", sites=sites) as session:
                put_flat(owner.registry, 1)
                with session.watch("summit/summit", start="start", once=True) as watch:
                    told = [(event.kind, event.position) for event in watch]
                eventually(lambda: lsn_at(relay) == 1)
                owner.stop()
                with session.watch("summit/summit", start="start", via="base", once=True) as watch:
                    assert [(event.kind, event.position) for event in watch] == told
        finally:
            owner.stop()
            relay.stop()


def lsn_at(server: SiteServer) -> int:
    held = server.registry.find(SchemaId("summit", "summit"))
    return server.registry.position(held.schema).lsn if held is not None else 0


def eventually(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


class TestErrors:
    def test_another_history_is_a_typed_refusal_with_a_remedy(self, sites: Path, summit: Registry) -> None:
        put_flat(summit, 1)
        with (
            federation.watch(
                "summit/summit", site="base", sites=sites, start="summit/summit@0123456789abcdef:1"
            ) as watch,
            pytest.raises(EpochError) as caught,
        ):
            next(watch)
        assert "summit/summit@0123456789abcdef:1 is not of the log's history" in caught.value.message
        assert "--from now" in caught.value.hint

    def test_a_position_that_is_no_longer_kept_is_one_too(self, sites: Path, summit: Registry) -> None:
        for number in (1, 2, 3):
            put_flat(summit, number)
        first = str(summit.position(summit.held()[0].schema)).replace(":3", ":1")
        with summit.database.write("summit") as connection:
            connection.exec_driver_sql("DELETE FROM summit.change_log WHERE lsn <= 2")
        with (
            federation.watch("summit/summit", site="base", sites=sites, start=first) as watch,
            pytest.raises(LogGapError) as caught,
        ):
            next(watch)
        assert f"what follows {first} is no longer kept" in caught.value.message

    def test_a_server_that_is_down_is_told_at_once(self, sites: Path) -> None:
        with pytest.raises(UnavailableError):
            federation.watch("summit/summit", site="base", sites=sites)
        with (
            federation.watch(
                "summit/summit", site="base", sites=sites, start="summit/summit@0123456789abcdef:1"
            ) as watch,
            pytest.raises(UnavailableError, match="site summit"),
        ):
            next(watch)

    def test_a_schema_that_nobody_has(self, sites: Path, summit: Registry) -> None:
        with pytest.raises(NotFoundError, match="summit/alice"):
            federation.watch("summit/alice", site="base", sites=sites)

    def test_a_state_file_that_is_something_else(self, sites: Path, tmp_path: Path) -> None:
        (tmp_path / "state").write_text("[]")
        with pytest.raises(UserError, match="does not hold the positions of a watch"):
            federation.watch("summit/summit", site="base", sites=sites, state=tmp_path / "state")


class TestCommandLine:
    def test_prints_one_json_object_a_line(
        self, sites: Path, summit: Registry, capsys: pytest.CaptureFixture[str]
    ) -> None:
        identity = put_flat(summit, 1)
        arguments = [
            "watch",
            "summit/summit",
            "--site",
            "base",
            "--sites",
            str(sites),
            "--from",
            "start",
            "--once",
        ]
        assert main([*arguments, "--json", "--event", "dataset_added"]) == 0
        shown = capsys.readouterr()
        (line,) = [json.loads(line) for line in shown.out.splitlines()]
        assert line["event"] == "dataset_added"
        assert line["dataset_id"] == str(identity)
        assert line["last"] is True
        assert line["data_id"] == {"instrument": "Cam", "detector": 1}
        assert shown.err == f"1 event; to go on: --from {line['position']}\n"
        assert main([*arguments, "--event", "dataset_added"]) == 0
        assert f"{line['position']}  dataset_added  dataset_id={identity}" in capsys.readouterr().out

    def test_an_error_is_a_line_too(
        self, sites: Path, summit: Registry, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["watch", "summit/summit", "--site", "base", "--sites", str(sites), "--json"]
        assert main([*arguments, "--from", "summit/summit@ffff:9"]) == 6
        line = json.loads(capsys.readouterr().out)
        assert (line["event"], line["code"]) == ("error", "epoch")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ends_cleanly_when_it_is_interrupted(
        self, sites: Path, summit: Registry, tmp_path: Path, number: signal.Signals
    ) -> None:
        put_flat(summit, 1)
        state = tmp_path / "state"
        command = [
            sys.executable, "-m", "federation", "watch", "summit/summit", "--site", "base", "--sites", sites,
            "--from", "start", "--json", "--event", "dataset_added", "--state", state,
        ]  # fmt: skip
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # where these tests run in the background of a shell, SIGINT is ignored, and children inherit that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["event"] == "dataset_added"
            put_flat(summit, 2)
            assert json.loads(process.stdout.readline())["data_id"]["detector"] == 2
            os.kill(process.pid, number)
            rest, told = process.communicate(timeout=60)
        assert (process.returncode, rest) == (0, "")
        assert told.startswith("2 events; to go on: --from summit/summit@")
        assert json.loads(state.read_text())["positions"]["summit/summit"]["lsn"] in (1, 2)

    def test_loses_nothing_when_it_is_killed(self, sites: Path, summit: Registry, tmp_path: Path) -> None:
        state = tmp_path / "state"
        command = [
            sys.executable, "-m", "federation", "watch", "summit/summit", "--site", "base", "--sites", sites,
            "--from", "start", "--json", "--event", "dataset_added", "--state", state,
        ]  # fmt: skip
        put_flat(summit, 1)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["position"].endswith(":1")
            eventually(state.exists)  # the first was read, and nothing more is there
            for number in (2, 3):
                put_flat(summit, number)
            process.stdout.readline()
            process.kill()
        put_flat(summit, 4)
        done = subprocess.run([*command, "--once"], stdout=subprocess.PIPE, text=True, check=True)
        seen = [json.loads(line)["data_id"]["detector"] for line in done.stdout.splitlines()]
        assert seen in ([2, 3, 4], [3, 4])
