"""Checksums: written one way, compared without mercy."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from federation.datastore import checksum
from federation.errors import CorruptionError, NotFoundError, UserError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 1_000_000)
    return path


def test_of_a_file_and_of_its_stream_agree(file: Path) -> None:
    expected = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
    assert checksum.of_file(file) == (3_000_000, expected)
    assert checksum.of_chunks([file.read_bytes()]) == (3_000_000, expected)


def test_progress_adds_up_to_the_size(file: Path) -> None:
    seen: list[int] = []
    checksum.of_file(file, seen.append)
    assert sum(seen) == 3_000_000
    assert len(seen) > 1


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1", "md5", "blake2b"])
def test_verifies_by_any_usual_algorithm(file: Path, algorithm: str) -> None:
    digest = hashlib.new(algorithm, file.read_bytes()).hexdigest()
    checksum.verify(file, f"{algorithm}:{digest}", 3_000_000)
    with pytest.raises(CorruptionError, match=algorithm):
        checksum.verify(file, f"{algorithm}:{'0' * len(digest)}")


def test_finds_one_changed_byte(file: Path) -> None:
    _, before = checksum.of_file(file)
    content = bytearray(file.read_bytes())
    content[1_500_000] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptionError, match=before.removeprefix("sha256:")):
        checksum.verify(file, before)


def test_finds_a_cut_file(file: Path) -> None:
    _, before = checksum.of_file(file)
    with pytest.raises(CorruptionError, match="3000000 bytes where 3000001"):
        checksum.verify(file, before, 3_000_001)


@pytest.mark.parametrize("text", ["", "sha256", "sha256:", "sha256:xyz", "crc32:00000000", "a" * 64])
def test_refuses_what_is_no_checksum(file: Path, text: str) -> None:
    with pytest.raises(UserError, match="not a checksum"):
        checksum.verify(file, text)


def test_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="gone"):
        checksum.of_file(tmp_path / "gone")
