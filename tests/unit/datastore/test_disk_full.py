"""A disk that fills: an error that says how much is free, and no half-written file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.datastore import Datastore, TransferItem, TransferJournal, UrlSource, transfer
from federation.errors import LimitError

BLOCK = b"x" * 100_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    mount_point = tmp_path / "small"
    mount_point.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount_point)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield mount_point
    subprocess.run(["umount", str(mount_point)], check=True)


def test_stops_a_file_that_does_not_fit(small_disk: Path, names_below) -> None:
    store = Datastore(str(small_disk))
    with pytest.raises(LimitError, match=r"a/big.*no space left, \d+ bytes free") as caught:
        store.put_stream((BLOCK for _ in range(20)), "a/big")
    assert "free some space" in caught.value.hint
    assert names_below(store) == []


def test_keeps_what_fitted_and_reports_the_rest(small_disk: Path, tmp_path: Path, names_below) -> None:
    source = tmp_path / "block"
    source.write_bytes(BLOCK)
    # sizes unknown, so that the check before the start can't tell
    items = [TransferItem(str(n), (UrlSource(str(source)),), f"{n:02}") for n in range(30)]
    store = Datastore(str(small_disk))
    with TransferJournal(tmp_path / "journal.sqlite") as journal:
        report = transfer(items, store, journal=journal, workers=2)
        assert 5 <= len(report.done) <= 10
        assert len(report.done) + len(report.failed) == 30
        assert all(isinstance(failure.error, LimitError) for failure in report.failed)
        assert names_below(store) == [file.target_path for file in report.done]


def test_is_foreseen_where_sizes_are_known(small_disk: Path, tmp_path: Path, names_below) -> None:
    source = tmp_path / "block"
    source.write_bytes(BLOCK)
    items = [TransferItem(str(n), (UrlSource(str(source)),), f"{n:02}", len(BLOCK)) for n in range(30)]
    store = Datastore(str(small_disk))
    with (
        TransferJournal(tmp_path / "journal.sqlite") as journal,
        pytest.raises(LimitError, match=r"1048576 bytes free, 30 files need 3150000"),
    ):
        transfer(items, store, journal=journal)
    assert names_below(store) == []


LIMITED = """
import resource, sys
from federation.datastore import Datastore
from federation.errors import LimitError
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    Datastore(sys.argv[1]).put_stream((b"x" * 100_000 for _ in range(20)), "a/big")
except LimitError as error:
    print(error)
"""


def test_is_told_from_a_limit_on_file_size(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "store")], capture_output=True, text=True, check=True
    )
    assert "a/big" in done.stdout
    assert "ulimit" in done.stdout
    assert list((tmp_path / "store" / "a").iterdir()) == []
