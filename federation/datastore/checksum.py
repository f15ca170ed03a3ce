"""Checksums of bytes, written ``algorithm:hex``; everything the project writes itself is ``sha256``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from federation.datastore.io_errors import as_federation_error
from federation.errors import CorruptionError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = ["CHUNK_BYTES", "Digester", "digest_file", "of_chunks", "of_file", "parse", "verify"]

#: large enough to keep system calls rare, small enough that eight workers stay below 10 MB
CHUNK_BYTES = 1 << 20
_HEX_LENGTH = {"sha256": 64, "sha512": 128, "sha1": 40, "md5": 32, "blake2b": 128}


def parse(checksum: str) -> tuple[str, str]:
    """(algorithm, lower-case hex) of a checksum; `UserError` for another form or an unknown algorithm.

    >>> parse("md5:D41D8CD98F00B204E9800998ECF8427E")
    ('md5', 'd41d8cd98f00b204e9800998ecf8427e')
    """
    algorithm, _, digits = checksum.partition(":")
    digits = digits.lower()
    if len(digits) != _HEX_LENGTH.get(algorithm) or set(digits) - set("0123456789abcdef"):
        raise UserError(
            f"{checksum!r} is not a checksum", hint="algorithm:hex with one of " + ", ".join(_HEX_LENGTH)
        )
    return algorithm, digits


class Digester:
    """Counts and hashes bytes as they pass: always sha256, and the algorithm of an expected checksum if another."""

    def __init__(self, expected: str | None = None) -> None:
        self.expected = None if expected is None else parse(expected)
        self.size_bytes = 0
        self._sha256 = hashlib.sha256()
        self._other = None
        if self.expected and self.expected[0] != "sha256":
            self._other = hashlib.new(self.expected[0], usedforsecurity=False)

    def update(self, chunk: bytes | memoryview) -> None:
        """Take in the next bytes."""
        self.size_bytes += len(chunk)
        self._sha256.update(chunk)
        if self._other is not None:
            self._other.update(chunk)

    @property
    def checksum(self) -> str:
        """``sha256:hex`` of all bytes so far."""
        return f"sha256:{self._sha256.hexdigest()}"

    def check(self, place: str, size_bytes: int | None = None) -> None:
        """Raise `CorruptionError` naming ``place`` unless size and checksum are the expected ones."""
        if size_bytes is not None and self.size_bytes != size_bytes:
            raise CorruptionError(
                f"{place}: {self.size_bytes} bytes where {size_bytes} were expected",
                hint="the file was cut or changed; restore it or copy it from another site",
            )
        if self.expected is None:
            return
        algorithm, digits = self.expected
        found = (self._other or self._sha256).hexdigest()
        if found != digits:
            raise CorruptionError(
                f"{place}: {algorithm} is {found} where {digits} was expected",
                hint="the file was changed; restore it or copy it from another site",
            )


def of_chunks(chunks: Iterable[bytes]) -> tuple[int, str]:
    """(size in bytes, checksum) of a stream."""
    digester = Digester()
    for chunk in chunks:
        digester.update(chunk)
    return digester.size_bytes, digester.checksum


def of_file(path: Path, on_bytes: Callable[[int], None] | None = None) -> tuple[int, str]:
    """(size in bytes, checksum) of a local file; ``on_bytes`` hears of each chunk's length."""
    return of_chunks(_chunks(path, on_bytes))


def verify(path: Path, checksum: str, size_bytes: int | None = None) -> None:
    """Read a local file and raise `CorruptionError` unless it has this checksum (and size)."""
    digest_file(path, Digester(checksum)).check(str(path), size_bytes)


def digest_file(path: Path, digester: Digester) -> Digester:
    """The digester, after all bytes of a local file went through it."""
    for chunk in _chunks(path, None):
        digester.update(chunk)
    return digester


def _chunks(path: Path, on_bytes: Callable[[int], None] | None) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                if on_bytes is not None:
                    on_bytes(len(chunk))
                yield chunk
    except OSError as error:
        raise as_federation_error(error, "read", str(path)) from error
