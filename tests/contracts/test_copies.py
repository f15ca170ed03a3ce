"""Copies: whole or of what differs, taken up again where they broke off, checked, and never half applied."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import psycopg
import pytest
from replicated_rows import SUMMIT, database_of, open_registry, rows, write

from federation.changelog.floor import Floor, set_floor
from federation.changelog.log import log_state, log_tables
from federation.errors import CorruptionError, LimitError, UnavailableError, UserError
from federation.model.dataset import DatasetType
from federation.model.log_filter import LogFilter
from federation.registry import dataset_types
from federation.registry.registry import Registry
from federation.replication import copy_space
from federation.replication.copies import copy_replica
from federation.replication.copy_space import copy_directory
from federation.replication.follower import Follower
from federation.replication.part_file import PartFile
from federation.replication.publisher import Publisher
from federation.replication.snapshots import stamp_all
from federation.replication.spool import Spool
from federation.replication.staged_copy import StagedCopy
from federation.wire.client import SiteClient
from federation.wire.messages import BootstrapFrom, BootstrapPart
from federation.wire.server import build_server


class _Service:
    """A site that publishes; its other calls are for other tests."""

    def __init__(self, registry: Registry) -> None:
        publisher = self.publisher = Publisher(registry)
        self.follow, self.bootstrap, self.digest = publisher.follow, publisher.bootstrap, publisher.digest
        self.acknowledge = publisher.acknowledge


@contextmanager
def serving(registry: Registry) -> Iterator[SiteClient]:
    service = _Service(registry)
    server = build_server(service, "127.0.0.1:0", workers=8)  # type: ignore[arg-type]
    server.start()
    try:
        with SiteClient("summit", server.address) as client:
            yield client
    finally:
        service.publisher.stop()
        server.stop(0)


@pytest.fixture(params=["sqlite", "postgresql"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    kind = request.param
    url = request.getfixturevalue("fresh_postgres_database") if kind == "postgresql" else ""
    with open_registry(database_of(kind, tmp_path / "summit", url), "summit") as registry:
        registry.root = tmp_path / "summit-files"
        yield registry


@pytest.fixture
def replica(source: Registry, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    kind = source.database.kind
    url = request.getfixturevalue("second_postgres_database") if kind == "postgresql" else ""
    with open_registry(database_of(kind, tmp_path / "base", url), "base") as registry:
        registry.root = tmp_path / "base-files"
        registry.ensure_replica(SUMMIT)
        yield registry


@pytest.fixture
def second_postgres_database(postgres_url: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@attrs.define
class _Counted:
    """A client whose copies break off after so many parts, and which remembers what was asked and what came."""

    client: SiteClient
    break_after: int | None = None
    damage_part: int | None = None
    asked: list[BootstrapFrom] = attrs.field(factory=list)
    parts: list[BootstrapPart] = attrs.field(factory=list)

    @contextmanager
    def bootstrap(self, start: BootstrapFrom) -> Iterator[object]:
        self.asked.append(start)
        with self.client.bootstrap(start) as stream:
            outer = self

            class Stream:
                def __iter__(self) -> Iterator[BootstrapPart]:
                    for count, part in enumerate(stream):
                        if count == outer.break_after:
                            raise UnavailableError("the link was cut")
                        outer.parts.append(part)
                        if part.part == outer.damage_part:
                            yield attrs.evolve(part, body=part.body[:-1] + bytes([part.body[-1] ^ 1]))
                        else:
                            yield part

                def cancel(self) -> None:
                    stream.cancel()

            yield Stream()


def copy(replica: Registry, client: object) -> object:
    return copy_replica(replica, replica.get(SUMMIT), client, "base")  # type: ignore[arg-type]


def staged(registry: Registry) -> list[str]:
    return [path.name for path in copy_directory(registry, "received").glob("*.parts")]


def spooled(registry: Registry) -> list[Path]:
    return sorted(copy_directory(registry, "sent").iterdir())


def trim(source: Registry) -> None:
    held = source.get(SUMMIT)
    stamp_all(source, held)
    with source.database.write(held.physical) as connection:
        state = log_state(connection, held.physical)
        connection.execute(log_tables(held.physical).log.delete())
        set_floor(connection, held.physical, Floor(state.lsn, state.chain, state.lsn))


def by_hand(registry: Registry, statement: str) -> None:
    held = registry.get(SUMMIT)
    with registry.database.write(held.physical) as connection:
        connection.exec_driver_sql(statement.replace("HERE.", f'"{held.physical}".'))


def test_an_empty_replica_gets_everything_and_the_log_goes_on_from_there(
    source: Registry, replica: Registry
) -> None:
    write(source, 1, 4)
    with serving(source) as client:
        counted = _Counted(client)
        assert copy(replica, counted).state.lsn == 4  # type: ignore[attr-defined]
        assert [part.part for part in counted.parts] == list(range(1, len(counted.parts) + 1))
        assert [part.last for part in counted.parts] == [False] * (len(counted.parts) - 1) + [True]
        assert rows(replica, SUMMIT) == rows(source, SUMMIT)
        assert staged(replica) == []
        write(source, 5, 2)
        assert Follower(replica, client, SUMMIT, "base").run_once().lsn == 6
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_a_copy_that_broke_off_goes_on_behind_the_last_part(source: Registry, replica: Registry) -> None:
    write(source, 1, 4)
    with serving(source) as client:
        counted = _Counted(client, break_after=3)
        with pytest.raises(UnavailableError, match="cut"):
            copy(replica, counted)
        assert all(not found for found in rows(replica, SUMMIT).values())
        write(source, 5, 2)
        counted.break_after = None
        report = copy(replica, counted)
    assert (counted.asked[1].copy_id, counted.asked[1].after_part) == (counted.parts[0].copy_id, 3)
    assert [part.part for part in counted.parts] == list(range(1, len(counted.parts) + 1))
    assert report.state.lsn == 4  # type: ignore[attr-defined]


def test_a_copy_goes_on_after_its_source_was_started_again(source: Registry, replica: Registry) -> None:
    write(source, 1, 4)
    with serving(source) as client:
        counted = _Counted(client, break_after=3)
        with pytest.raises(UnavailableError, match="cut"):
            copy(replica, counted)
        while not [path for path in spooled(source) if path.suffix == ".parts"]:
            threading.Event().wait(0.01)
    write(source, 5, 2)
    with serving(source) as client:
        counted = attrs.evolve(counted, client=client, break_after=None)
        assert copy(replica, counted).state.lsn == 4  # type: ignore[attr-defined]
        assert counted.parts[3].part == 4
        Follower(replica, client, SUMMIT, "base").run_once()
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_a_copy_that_its_source_has_not_kept_is_begun_again(source: Registry, replica: Registry) -> None:
    write(source, 1, 4)
    with serving(source) as client:
        counted = _Counted(client, break_after=3)
        with pytest.raises(UnavailableError, match="cut"):
            copy(replica, counted)
    for path in spooled(source):
        path.unlink()
    write(source, 5, 2)
    with serving(source) as client:
        counted = attrs.evolve(counted, client=client, break_after=None)
        with pytest.raises(UnavailableError, match="no longer kept"):
            copy(replica, counted)
        assert copy(replica, counted).state.lsn == 6  # type: ignore[attr-defined]
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_a_replica_left_behind_by_a_trimmed_log_gets_only_what_differs(
    source: Registry, replica: Registry
) -> None:
    write(source, 1, 40)
    with serving(source) as client:
        Follower(replica, client, SUMMIT, "base").run_once()
        with source.transaction("summit") as tx:
            tx.put("detector", [{"instrument": "Cam", "id": 2, "full_name": "renamed"}])
            tx.delete("detector", [{"instrument": "Cam", "id": 1}])
            gone = tx.select("flat", ("detector",), [(1,)])[0]
            taken = tx.select("flat", ("detector",), [(2,)])[0]
            tx.delete("flat", [gone])
            # takes over the unique values of the deleted one, and leaves its own to another
            tx.put("flat", [{**taken, "detector": 1}])
            tx.put("flat", [{**gone, "detector": 2}])
            dataset_types.declare(tx, DatasetType("bias", ("detector",), "Exposure"))
        trim(source)
        counted = _Counted(client)
        follower = Follower(replica, client, SUMMIT, "base")
        assert follower.run_once().lsn == 41
        assert rows(replica, SUMMIT) == rows(source, SUMMIT)
        by_hand(replica, "DELETE FROM HERE.detector WHERE id = 7")
        report = copy(replica, counted)
    assert {name: (m.missing, m.changed, m.extra) for name, m in report.mended.items()} == {  # type: ignore[attr-defined]
        "detector": (1, 0, 0)
    }
    assert list(counted.parts[0].stale) == ["detector"]
    assert len(counted.parts[0].stale["detector"]) == 1
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_a_difference_goes_on_after_it_broke_off(source: Registry, replica: Registry) -> None:
    write(source, 1, 6)
    with serving(source) as client:
        Follower(replica, client, SUMMIT, "base").run_once()
        write(source, 7, 3)
        counted = _Counted(client, break_after=3)
        with pytest.raises(UnavailableError, match="cut"):
            copy(replica, counted)
        counted.break_after = None
        report = copy(replica, counted)
    assert counted.asked[1].after_part == 3
    assert report.mended["detector"].missing == 3  # type: ignore[attr-defined]
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_a_damaged_part_is_refused_and_asked_for_again(source: Registry, replica: Registry) -> None:
    write(source, 1, 4)
    with serving(source) as client:
        counted = _Counted(client, damage_part=4)
        with pytest.raises(CorruptionError, match="part 4 of the copy has another digest"):
            copy(replica, counted)
        assert all(not found for found in rows(replica, SUMMIT).values())
        counted.damage_part = None
        copy(replica, counted)
        assert counted.asked[1].after_part == 3
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_a_copy_damaged_on_the_sources_disk_is_made_again(source: Registry, replica: Registry) -> None:
    write(source, 1, 4)
    with serving(source) as client:
        counted = _Counted(client, break_after=1)
        with pytest.raises(UnavailableError, match="cut"):
            copy(replica, counted)
        while not (kept := [path for path in spooled(source) if path.suffix == ".parts"]):
            threading.Event().wait(0.01)
        data = bytearray(kept[0].read_bytes())
        data[-20] ^= 1
        kept[0].write_bytes(data)
        counted.break_after = None
        with pytest.raises(CorruptionError, match="is damaged"):
            copy(replica, counted)
        with pytest.raises(UnavailableError, match="no longer kept"):
            copy(replica, counted)
        copy(replica, counted)
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


def test_a_reader_that_pauses_holds_up_neither_the_database_nor_the_writer(
    source: Registry, replica: Registry
) -> None:
    write(source, 1, 4)
    spool = Spool(source)
    asked = BootstrapFrom(SUMMIT, "base", source.universe.fingerprint)
    parts = spool.parts(source.get(SUMMIT), asked)
    first = next(parts)
    while not [path for path in spooled(source) if path.suffix == ".parts"]:
        threading.Event().wait(0.01)  # all was written, though one part was read
    write(source, 5, 1)
    rest = list(parts)
    assert {part.lsn for part in (first, *rest)} == {4}
    assert rest[-1].last
    spool.stop()


def test_followers_of_one_moment_share_a_copy_and_old_ones_are_removed(source: Registry) -> None:
    write(source, 1, 2)
    spool = Spool(source)
    held, asked = source.get(SUMMIT), BootstrapFrom(SUMMIT, "base", source.universe.fingerprint)
    ids = {part.copy_id for name in ("a", "b") for part in _opened(spool, held, asked, name)}
    assert len(ids) == 1
    write(source, 3, 1)
    assert not ids & {part.copy_id for part in spool.parts(held, asked)}
    spool.stop()
    assert len(spooled(source)) == 2
    Spool(source, keep_s=-1.0).sweep()
    assert spooled(source) == []


def _opened(spool: Spool, held: object, asked: BootstrapFrom, name: str) -> Iterator[BootstrapPart]:
    yield from spool.parts(held, attrs.evolve(asked, follower=name))  # type: ignore[arg-type]


def test_a_copy_is_refused_where_there_is_no_room(
    source: Registry, replica: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(source, 1, 2)
    monkeypatch.setattr(copy_space, "_RESERVE_BYTES", 1 << 60)
    with serving(source) as client, pytest.raises(LimitError, match=r"needs up to \d+ MiB, \d+ MiB are free"):
        copy(replica, client)
    assert all(not found for found in rows(replica, SUMMIT).values())


def test_one_process_at_a_time_copies_into_a_replica(source: Registry, replica: Registry) -> None:
    write(source, 1, 2)
    held = replica.get(SUMMIT)
    asked = BootstrapFrom(SUMMIT, "base", replica.universe.fingerprint)
    with serving(source) as client:
        position = copy(replica, client).state  # type: ignore[attr-defined]
        with (
            StagedCopy(replica, held, client, asked, position),
            pytest.raises(UnavailableError, match="another process copies summit/summit"),
        ):
            copy(replica, client)


def test_what_a_kill_left_behind_a_whole_part_is_cut_off(tmp_path: Path) -> None:
    with PartFile(tmp_path / "a.parts", header={"of": 1}) as file:
        file.append(b"one")
        file.append(b"two" * 100)
        end = file.size_bytes
    with (tmp_path / "a.parts").open("r+b") as raw:
        raw.truncate(end - 5)
    with PartFile(tmp_path / "a.parts") as file:
        assert (file.header, file.part_count, file.read(1)) == ({"of": 1}, 1, b"one")
        file.append(b"three")
        assert file.read(2) == b"three"
    (tmp_path / "b.parts").write_bytes(b"no")
    with pytest.raises(CorruptionError, match="holds no part"):
        PartFile(tmp_path / "b.parts")


def test_a_filtered_copy_leaves_rows_out_and_the_difference_of_another_filter_brings_them(
    source: Registry, replica: Registry
) -> None:
    write(source, 1, 3)
    held = replica.get(SUMMIT)
    with serving(source) as client:
        copy_replica(replica, held, client, "base", LogFilter(dataset_types=("nothing",)))
        found = rows(replica, SUMMIT)
        assert (len(found["detector"]), len(found["dataset"]), len(found["flat"])) == (3, 0, 0)
        report = copy_replica(replica, held, client, "base")
    assert report.mended is not None
    assert (report.mended["flat"].missing, "detector" in report.mended) == (3, False)
    assert rows(replica, SUMMIT) == rows(source, SUMMIT)


@pytest.mark.parametrize(
    "changes", [{"bucket_count": 1 << 20}, {"bucket_count": 4, "have": {"flat": b"1"}},
                {"bucket_count": 4, "only": {"flat": (4,)}}],
)  # fmt: skip
def test_a_request_that_makes_no_sense_is_refused(source: Registry, changes: dict[str, object]) -> None:
    asked = attrs.evolve(BootstrapFrom(SUMMIT, "base", source.universe.fingerprint), **changes)
    with serving(source) as client, client.bootstrap(asked) as parts, pytest.raises(UserError):
        next(parts)
