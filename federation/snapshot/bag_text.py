"""The text files of a BagIt bag: what they are called, and how they are written and read."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from federation.errors import CorruptionError, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BAGIT",
    "BAGIT_CONTENT",
    "BAG_INFO",
    "MANIFEST",
    "OXUM",
    "PAYLOAD",
    "TAG_MANIFEST",
    "check_path",
    "manifest_line",
    "oxum",
    "parse_info",
    "parse_manifest",
    "parse_oxum",
    "render_info",
    "render_manifest",
]

BAGIT = "bagit.txt"
BAG_INFO = "bag-info.txt"
MANIFEST = "manifest-sha256.txt"
TAG_MANIFEST = "tagmanifest-sha256.txt"
PAYLOAD = "data"
OXUM = "Payload-Oxum"
BAGIT_CONTENT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"

_LINE = re.compile(r"([0-9a-f]{64})  (\S(?:.*\S)?)\Z")
_OXUM = re.compile(r"(\d+)\.(\d+)\Z")
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9-]*\Z")


def check_path(path: str) -> str:
    """``path`` if every BagIt tool reads it the same way; `UserError` otherwise.

    Excluded are what the format would have to encode (line ends, ``%``), what tools strip (spaces at the ends, ``*``
    and ``~`` in front), parts that lead elsewhere, and text that is not in Unicode's normal form C.
    """
    parts = path.split("/")
    if (
        not path
        or path != path.strip()
        or path[0] in "/*~#"
        or any(part in ("", ".", "..") for part in parts)
        or any(character in "%\\" or not character.isprintable() for character in path)
        or unicodedata.normalize("NFC", path) != path
    ):
        raise UserError(
            f"file name {path!r} cannot be listed in a bag", hint="use letters, digits and . _ - + ="
        )
    return path


def render_manifest(files: Mapping[str, str]) -> bytes:
    """One line for each path with its ``sha256:hex``, in order of path."""
    return b"".join(manifest_line(path, files[path]) for path in sorted(files))


def manifest_line(path: str, checksum: str) -> bytes:
    """The line of one path."""
    return f"{checksum.removeprefix('sha256:')}  {path}\n".encode()


def parse_manifest(content: bytes, name: str) -> dict[str, str]:
    """``sha256:hex`` by path; `CorruptionError` for anything `render_manifest` would not write as a line."""
    files: dict[str, str] = {}
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError as error:
        raise CorruptionError(f"{name} is not UTF-8: {error}", hint="copy the snapshot again") from error
    if lines.pop() != "":
        raise CorruptionError(f"{name} does not end with a line end", hint="copy the snapshot again")
    for number, line in enumerate(lines, 1):
        match = _LINE.match(line)
        if match is None or match[2] in files:
            raise CorruptionError(f"{name} line {number} is {line!r}", hint="copy the snapshot again")
        files[match[2]] = f"sha256:{match[1]}"
    return files


def render_info(tags: Mapping[str, str]) -> bytes:
    """``bag-info.txt``: one ``Label: value`` line for each tag; line ends in values become spaces."""
    for label in tags:
        if not _LABEL.match(label):
            raise UserError(f"{label!r} cannot label a line of {BAG_INFO}", hint="use letters, digits and -")
    return "".join(f"{label}: {' '.join(tags[label].split())}\n" for label in sorted(tags)).encode()


def parse_info(content: bytes) -> dict[str, str]:
    """Tags of a ``bag-info.txt`` that `render_info` wrote."""
    tags = {}
    for line in content.decode().splitlines():
        label, separator, value = line.partition(": ")
        if not separator and not line.endswith(":"):
            raise CorruptionError(f"{BAG_INFO} has line {line!r}", hint="copy the snapshot again")
        tags[label.removesuffix(":")] = value
    return tags


def oxum(size_bytes: int, file_count: int) -> str:
    """Payload-Oxum: octets and streams of the payload."""
    return f"{size_bytes}.{file_count}"


def parse_oxum(text: str) -> tuple[int, int]:
    """(bytes, files) of a Payload-Oxum."""
    match = _OXUM.match(text)
    if match is None:
        raise CorruptionError(f"{BAG_INFO} has {OXUM} {text!r}", hint="copy the snapshot again")
    return int(match[1]), int(match[2])
