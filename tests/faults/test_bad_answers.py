"""What a site sends that is not as it should be is a typed error or the right rows, never wrong ones or fewer."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from federation.config import Address, SiteConfig, render_site
from federation.config.settings import QueryConfig
from federation.errors import CorruptionError, FederationError, LimitError, UnavailableError, UserError
from federation.execution.coordinator import Coordinator
from federation.registry.registry import Registry
from federation.services.site_server import SiteServer
from federation.wire import server as wire_server
from federation.wire.client import SiteClient

ROWS = 300
SQL = "SELECT a.id AS n, b.full_name AS name FROM summit.detector a CROSS JOIN summit.detector b"
RIGHT = ROWS * ROWS


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("answers")
    (root / "sites").mkdir()
    path = root / "sites" / "summit.toml"
    path.write_text(render_site("summit", root / "summit", Address("127.0.0.1", 0)))
    with Registry.create(SiteConfig.load(path)) as made, made.transaction("summit") as tx:
        tx.put("instrument", [{"name": "Cam"}])
        tx.put("detector", [{"instrument": "Cam", "id": n, "full_name": f"d{n}"} for n in range(ROWS)])
    return path


@pytest.fixture(scope="module")
def site(sites: Path) -> Iterator[SiteServer]:
    made = SiteServer(SiteConfig.load(sites))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def coordinator(site: SiteServer) -> Iterator[Coordinator]:
    with SiteClient("summit", site.address) as client, Coordinator("summit", {"summit": client}) as made:
        yield made


def harming(monkeypatch: pytest.MonkeyPatch, harm: Callable[[bytes, int], bytes]) -> None:
    """Let the server send what ``harm`` makes of each part, given its number."""
    real = wire_server.IpcEncoder

    class Harmed(real):  # type: ignore[misc, valid-type]
        count = 0

        def batch(self, batch: pa.RecordBatch) -> list[bytes]:
            parts = []
            for part in super().batch(batch):
                parts.append(harm(part, self.count))
                self.count += 1
            return parts

    monkeypatch.setattr(wire_server, "IpcEncoder", Harmed)


def test_the_answer_is_right_when_nothing_is_wrong(coordinator: Coordinator) -> None:
    assert coordinator.query(SQL).row_count == RIGHT


@pytest.mark.parametrize("number", [0, 1])
def test_a_part_that_is_cut_short(
    number: int, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    harming(monkeypatch, lambda part, n: part[: len(part) // 2] if n == number else part)
    with pytest.raises(CorruptionError):
        coordinator.query(SQL)


def test_a_part_that_is_missing(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    harming(monkeypatch, lambda part, n: b"" if n == 1 else part)
    with pytest.raises(CorruptionError):
        coordinator.query(SQL)


def test_a_part_that_comes_twice(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    harming(monkeypatch, lambda part, n: part + part if n == 1 else part)
    with pytest.raises(CorruptionError):
        coordinator.query(SQL)


def test_noise_instead_of_a_part(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    harming(monkeypatch, lambda part, n: random.Random(n).randbytes(len(part)))
    with pytest.raises(CorruptionError):
        coordinator.query(SQL)


@pytest.mark.parametrize("seed", range(10))
def test_a_bit_that_changes_on_the_way(
    seed: int, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = wire_server.query_pb2.ExecuteResponse
    chance = random.Random(seed)

    def harmed(**values: Any) -> Any:
        data = bytearray(values["arrow"])
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return real(**values | {"arrow": bytes(data)})

    monkeypatch.setattr(wire_server.query_pb2, "ExecuteResponse", harmed)
    with pytest.raises(CorruptionError, match="bytes are not what was sent"):
        coordinator.query(SQL)


def test_other_columns_than_were_asked_for(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    real = wire_server.IpcEncoder

    class Other(real):  # type: ignore[misc, valid-type]
        def __init__(self, schema: pa.Schema, *args: Any) -> None:
            super().__init__(pa.schema([pa.field("n", pa.int64()), pa.field("other", pa.int64())]), *args)

        def batch(self, batch: pa.RecordBatch) -> list[bytes]:
            numbers = pa.array(range(batch.num_rows), pa.int64())
            return super().batch(pa.record_batch([numbers, numbers], names=["n", "other"]))

    monkeypatch.setattr(wire_server, "IpcEncoder", Other)
    with pytest.raises(CorruptionError, match="other"):
        coordinator.query(SQL)


def test_an_end_that_says_nothing(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_server, "end_metadata", lambda _end: ())
    with pytest.raises(CorruptionError, match="ends before its end"):
        coordinator.query(SQL)


def test_rows_that_the_site_itself_lost(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    real = wire_server.IpcEncoder

    class Losing(real):  # type: ignore[misc, valid-type]
        def batch(self, batch: pa.RecordBatch) -> list[bytes]:
            return super().batch(batch.slice(1))

    monkeypatch.setattr(wire_server, "IpcEncoder", Losing)
    with pytest.raises(CorruptionError, match="announced"):
        coordinator.query(SQL)


class Slow:
    """A site whose rows stop coming after the first, until nobody waits any more."""

    def __init__(self, site: SiteServer) -> None:
        self._site, self.has_ended = site, threading.Event()

    def execute(self, call: Any) -> Any:
        positions, schema, batches = self._site._executor.execute(call)

        def slowly() -> Iterator[pa.RecordBatch]:
            try:
                yield next(batches)
                while call.is_active():
                    threading.Event().wait(0.02)
            finally:
                batches.close()
                self.has_ended.set()

        return positions, schema, slowly()


def test_a_site_that_stops_in_the_middle_ends_with_the_time(
    site: SiteServer, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(site)
    monkeypatch.setattr(site, "execute", slow.execute)
    with pytest.raises(LimitError, match="too long"):
        coordinator.query(SQL, timeout_s=1.0)
    assert slow.has_ended.wait(30)


def test_a_site_that_stops_in_the_middle_of_a_stream(
    site: SiteServer, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(site)
    monkeypatch.setattr(site, "execute", slow.execute)
    with (
        pytest.raises(LimitError, match="too long"),
        coordinator.stream(SQL, timeout_s=1.0) as batches,
    ):
        assert sum(batch.num_rows for batch in batches) < RIGHT
    assert slow.has_ended.wait(30)


def test_a_site_that_is_killed_in_the_middle_of_a_stream(sites: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "federation", "site", "serve", str(_elsewhere(sites, tmp_path))],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split(" serves ")[1].split()[0]
            with SiteClient("summit", address) as client, Coordinator("summit", {"summit": client}) as made:
                sql = SQL.replace("SELECT", "SELECT c.id AS m,") + " CROSS JOIN summit.detector c"
                with pytest.raises(UnavailableError):
                    _read_and(process.kill, made, sql)
        finally:
            process.kill()


def _read_and(then: Callable[[], None], coordinator: Coordinator, sql: str) -> None:
    with coordinator.stream(sql) as batches:
        for number, _batch in enumerate(batches):
            if number == 1:
                then()


def _elsewhere(sites: Path, root: Path) -> Path:
    """The same registry as a site file of its own, so that two servers don't hold one."""
    path = root / "summit.toml"
    path.write_text(render_site("summit", root / "summit", Address("127.0.0.1", 0)))
    with Registry.create(SiteConfig.load(path)) as made, made.transaction("summit") as tx:
        tx.put("instrument", [{"name": "Cam"}])
        tx.put("detector", [{"instrument": "Cam", "id": n} for n in range(ROWS)])
    return path


# -- limits ------------------------------------------------------------------------------------------------------


def test_an_answer_over_the_limit_is_an_error_or_cut_and_says_so(coordinator: Coordinator) -> None:
    with pytest.raises(LimitError, match="more than 10 rows"):
        coordinator.query(SQL, row_count_max=10)
    cut = coordinator.query(SQL, row_count_max=10, on_limit="truncate")
    assert (cut.row_count, cut.is_truncated) == (10, True)
    assert "more than 10 rows" in cut.truncation
    whole = coordinator.query(SQL, row_count_max=RIGHT, on_limit="truncate")
    assert (whole.row_count, whole.is_truncated, whole.truncation) == (RIGHT, False, "")
    with pytest.raises(UserError, match="on_limit"):
        coordinator.query(SQL, on_limit="cut")


def test_bytes_are_limited_as_rows_are(coordinator: Coordinator) -> None:
    sql = "SELECT id, count(*) OVER () AS n FROM detector"  # of the local engine
    with pytest.raises(LimitError, match="more than 160 bytes"):
        coordinator.query(sql, byte_count_max=160)
    cut = coordinator.query(sql, byte_count_max=160, on_limit="truncate")
    assert cut.is_truncated
    assert 0 < cut.row_count <= 10
    assert cut.to_pylist()[0]["n"] == ROWS


def test_what_does_not_fit_into_memory_goes_to_disk(site: SiteServer, tmp_path: Path) -> None:
    sql = "SELECT count(*) AS n, max(m) AS m FROM (SELECT a.id AS m, row_number() OVER (ORDER BY b.full_name) AS r "
    sql += "FROM summit.detector a CROSS JOIN summit.detector b CROSS JOIN (VALUES (1), (2)) AS v (x)) AS s"
    wide = (
        f"SELECT x.name AS name, y.n AS n FROM ({SQL}) AS x CROSS JOIN (SELECT 1 AS n) AS y ORDER BY 1, x.n"
    )
    config = QueryConfig(memory_limit="24MB", spill_limit="200MB", spill_directory=tmp_path)
    with (
        SiteClient("summit", site.address) as client,
        Coordinator("summit", {"summit": client}, config) as made,
    ):
        assert made.query(sql).to_pylist() == [{"n": 2 * RIGHT, "m": ROWS - 1}]
        assert made.query(wide).row_count == RIGHT
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_not_enough_is_an_error(site: SiteServer, tmp_path: Path) -> None:
    config = QueryConfig(memory_limit="1MB", spill_limit="1MB", spill_directory=tmp_path)
    with (
        SiteClient("summit", site.address) as client,
        Coordinator("summit", {"summit": client}, config) as made,
        pytest.raises(LimitError, match=r"spill_limit|memory"),
    ):
        made.query(SQL)
    assert not list(tmp_path.iterdir())


def test_a_spill_directory_that_is_not_there_is_named(site: SiteServer, tmp_path: Path) -> None:
    config = QueryConfig(memory_limit="1MB", spill_directory=tmp_path / "none")
    with (
        SiteClient("summit", site.address) as client,
        Coordinator("summit", {"summit": client}, config) as made,
        pytest.raises(FederationError, match="spill_directory"),
    ):
        made.query("SELECT id, count(*) OVER () AS n FROM detector")
