"""Files that follow their rows by policy, and files that are brought or sent to a site in one command."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import federation
from federation.cli.main import main
from federation.config import Address, FilePolicy, PeerConfig, SiteConfig, find_site, render_site
from federation.datastore import Datastore
from federation.errors import CorruptionError, NotFoundError, UnavailableError
from federation.model.dataset import deterministic_id
from federation.registry.registry import Registry
from federation.registry.retirement import PURGED_URI
from federation.replication.files import FilePuller
from federation.services.site_server import SiteServer
from federation.transfer_verbs import transfer
from federation.wire.messages import FileSlice

FILES = 6


def data_id(number: int) -> dict[str, object]:
    return {"instrument": "C", "detector": number}


def identity(number: int) -> uuid.UUID:
    return deterministic_id("flat", f"flats/{number % 2}", data_id(number))


def content(number: int) -> bytes:
    return bytes([number]) * (1000 + number)


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        threading.Event().wait(0.02)


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    """Site summit with six flats in two runs; base follows its rows."""
    directory = tmp_path / "sites"
    directory.mkdir()
    write_site(directory, "summit")
    Registry.create(find_site("summit", directory)).close()
    for number in range(FILES):
        file = tmp_path / f"flat{number}.dat"
        file.write_bytes(content(number))
        records = {"instrument": [{"name": "C"}], "detector": [{"instrument": "C", "id": number}]}
        described = {"data_id": data_id(number), "records": records}
        file.with_name(file.name + ".json").write_text(json.dumps(described))
        what = ["--run", f"flats/{number % 2}", "--dataset-type", "flat", "--declare", "detector:Packages"]
        ingested = main(["ingest", "--sites", str(directory), "--site", "summit", *what, str(file)])
        assert ingested == 0
    return directory


def write_site(directory: Path, name: str, *policies: FilePolicy, summit: str = "") -> SiteConfig:
    """A site file; with ``summit``, an address, it follows that site."""
    peers = [PeerConfig("summit", Address.parse(summit), ("*",))] if summit else []
    path = directory / f"{name}.toml"
    path.write_text(render_site(name, directory.parent / name, "127.0.0.1:0", "sqlite", peers, policies))
    return SiteConfig.load(path)


@contextlib.contextmanager
def served(config: SiteConfig) -> Iterator[SiteServer]:
    """Serve a site, and let its file say where."""
    server = SiteServer(config)
    server.start()
    text = config.path.read_text()
    config.path.write_text(text.replace('listen = "127.0.0.1:0"', f'listen = "{server.address}"'))
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def base_follows(sites: Path, *policies: FilePolicy) -> Iterator[SiteServer]:
    """Both sites serve, and base's rows are as summit's."""
    with served(find_site("summit", sites)) as summit:
        config = write_site(sites, "base", *policies, summit=summit.address)
        Registry.create(config).close()
        with served(config) as base:
            yield base


def here(server: SiteServer) -> set[int]:
    """Which files the site has recorded as its own."""
    found = set()
    for number in range(FILES):
        with contextlib.suppress(NotFoundError):
            assert b"".join(server.fetch(identity(number), 0).data) == content(number)
            found.add(number)
    return found


def test_a_policy_chooses_by_collection(sites: Path) -> None:
    with base_follows(sites, FilePolicy(("flat",), collections=("flats/1",))) as base:
        eventually(lambda: here(base) == {1, 3, 5}, "files of one run")


def test_a_policy_reaches_through_chains_and_tags(sites: Path) -> None:
    arguments = ["--sites", str(sites), "--site", "summit"]
    assert main(["collection", "create", "chosen", "--type", "TAGGED", *arguments]) == 0
    assert main(["collection", "tag", "chosen", "--id", str(identity(2)), *arguments]) == 0
    assert main(["collection", "create", "all", "--type", "CHAINED", *arguments]) == 0
    assert main(["collection", "chain", "all", "chosen", "flats/1", *arguments]) == 0
    with base_follows(sites, FilePolicy(("*",), collections=("al?",))) as base:
        eventually(lambda: here(base) == {1, 2, 3, 5}, "files that a chain leads to")


def test_a_policy_may_name_another_datastore(sites: Path, tmp_path: Path) -> None:
    store = f"file://{tmp_path / 'archive'}"
    with base_follows(sites, FilePolicy(("flat",), datastore_url=store)) as base:
        eventually(lambda: here(base) == set(range(FILES)), "all files")
        assert len([file for file in (tmp_path / "archive").rglob("*") if file.is_file()]) == FILES
        with federation.connect("base", sites) as session:
            rows = list(session.query("SELECT uri FROM artifact WHERE site = 'base' AND present"))
    assert {row["uri"].startswith(store) for row in rows} == {True}


def test_higher_priority_comes_first_and_rates_are_kept(sites: Path) -> None:
    with served(find_site("summit", sites)) as summit:
        slow = FilePolicy(("*",), rate_bytes_s=1e6)
        fast = FilePolicy(("flat",), collections=("flats/1",), priority=5)
        config = write_site(sites, "base", slow, fast, summit=summit.address)
        Registry.create(config).close()
        assert main(["replica", "run", "base", "--once", "--sites", str(sites)]) == 0
        came: list[str] = []

        class Noting(Datastore):
            def put_stream(self, source, relative_path, **options):  # type: ignore[no-untyped-def]
                came.append(relative_path)
                return super().put_stream(source, relative_path, **options)

        with Registry.open(config) as registry, federation.connect("base", sites) as session:
            clients = {"summit": session.coordinator.clients["summit"]}
            store = Noting(config.datastore_url)
            puller = FilePuller(registry, clients, config.replicate_files, store)  # type: ignore[arg-type]
            assert puller.pull() == FILES
    assert all("flats/1" in path for path in sorted(came[:3]))


@pytest.mark.parametrize("push", [False, True])
def test_one_command_brings_chosen_files_and_says_what_it_did(
    sites: Path, push: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    how = ["--push"] if push else []
    with base_follows(sites) as base:
        arguments = ["transfer", "--to", "base", "--sites", str(sites), "--site", "base", *how]
        assert main([*arguments, "--collection", "flats/0"]) == 0
        assert capsys.readouterr().out.startswith("3 files came to base, 3.0 kB")
        assert here(base) == {0, 2, 4}
        assert main([*arguments, "--dataset-type", "flat", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["brought"], report["were_there"]) == (3, 3)
        assert here(base) == set(range(FILES))


def test_a_file_that_changed_at_its_source_is_refused_by_name(
    sites: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = find_site("summit", sites).root / "datastore"
    (damaged,) = (file for file in store.rglob("*") if file.is_file() and file.read_bytes() == content(3))
    damaged.chmod(0o644)
    damaged.write_bytes(content(3)[:-1] + b"x")
    with base_follows(sites) as base:
        for how in ([], ["--push"]):
            arguments = ["transfer", "--to", "base", "--dataset-type", "flat", "--site", "base", *how]
            assert main([*arguments, "--sites", str(sites)]) == CorruptionError.exit_code
            assert "1 failed" in capsys.readouterr().out
        assert here(base) == set(range(FILES)) - {3}


def test_a_transfer_to_nowhere_names_the_sites(sites: Path) -> None:
    with base_follows(sites), pytest.raises(NotFoundError, match="no site 'bse'"):
        transfer("bse", site="base", sites=sites, members=["flats/0"])


def test_a_site_without_the_rows_refuses_a_file(sites: Path) -> None:
    with (
        served(find_site("summit", sites)) as summit,
        federation.connect("summit", sites) as session,
    ):
        client = session.coordinator.clients["summit"]
        with pytest.raises(NotFoundError, match="knows no file of dataset"):
            client.store(FileSlice(uuid.uuid4(), 3, "", iter([b"abc"])))  # type: ignore[union-attr]
        assert summit.address


def test_a_source_that_is_away_is_named(sites: Path) -> None:
    with served(find_site("summit", sites)) as summit:
        config = write_site(sites, "base", FilePolicy(("*",)), summit=summit.address)
        Registry.create(config).close()
        assert main(["replica", "run", "base", "--once", "--sites", str(sites)]) == 0
    with served(config) as base:
        (found,) = base.bring([identity(0)])
        assert isinstance(found.error, UnavailableError)
        assert "summit" in found.error.message


def test_a_file_that_could_not_be_pulled_may_be_sent(sites: Path) -> None:
    with served(find_site("summit", sites)) as summit:
        config = write_site(sites, "base", FilePolicy(("*",)), summit=summit.address)
        Registry.create(config).close()
        assert main(["replica", "run", "base", "--once", "--sites", str(sites)]) == 0
    with served(config) as base:
        (found,) = base.bring([identity(0)])
        assert isinstance(found.error, UnavailableError)
        sent = base.store(FileSlice(identity(0), 0, "", iter([content(0)])), None)
        assert (sent.error, sent.size_bytes) == (None, len(content(0)))
        assert here(base) == {0}


@pytest.mark.parametrize("policy", ["keep", "remove"])
def test_copies_of_purged_datasets_follow_the_policy(sites: Path, policy: str) -> None:
    with served(find_site("summit", sites)) as summit:
        config = write_site(sites, "base", FilePolicy(("flat",)), summit=summit.address)
        config.path.write_text(config.path.read_text() + f'\n[datastore]\npurged_copies = "{policy}"\n')
        config = SiteConfig.load(config.path)
        Registry.create(config).close()
        with served(config) as base:
            eventually(lambda: here(base) == set(range(FILES)), "all files at base")
            retired = federation.retire_datasets(site="summit", run="flats/1", sites=sites)
            marked = sa.text(f"SELECT count(*) FROM summit__summit.artifact WHERE uri = '{PURGED_URI}'")
            ((_, deleted),) = federation.purge_retired([retired.name], site="summit", sites=sites)
            assert deleted == FILES // 2

            def told() -> bool:
                with base.registry.database.read(("summit__summit",)) as connection:
                    return bool(connection.execute(marked).scalar_one() == FILES // 2)

            eventually(told, "base has heard of the purge")
            left = {0, 2, 4} if policy == "remove" else set(range(FILES))
            eventually(lambda: here(base) == left, "copies as the policy wants them")
            eventually(lambda: len(list(base.datastore.backend.walk())) == len(left), "files as the rows say")
