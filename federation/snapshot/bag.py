"""A snapshot's directory as a BagIt bag (RFC 8493): written so that other tools verify it, extended in one step.

``data/`` holds the payload, listed in ``manifest-sha256.txt`` with the checksums that the transfer computed; every
other file is listed in ``tagmanifest-sha256.txt``, which is written last: a directory without it is no bag yet.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from federation.datastore import checksum as checksums
from federation.datastore.durable import fsync_directory, make_directories, write_file
from federation.datastore.io_errors import as_federation_error
from federation.errors import ConflictError, CorruptionError, UserError
from federation.registry.keyed import chunks
from federation.snapshot import bag_text
from federation.snapshot.bag_text import BAG_INFO, BAGIT, MANIFEST, PAYLOAD, TAG_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["COMMIT", "PayloadFile", "extend_bag", "recover_bag", "remove_surplus", "walk_files", "write_bag"]

#: in a staging directory: the extension is complete and must be carried out
COMMIT = "COMMIT"
#: lines of a manifest that are written at a time
_LINES = 1000


@attrs.frozen
class PayloadFile:
    """A file below ``data/``: its path in the bag, with ``data/``, and what it must be (``sha256:hex``)."""

    path: str
    size_bytes: int
    checksum: str


def write_bag(directory: Path, payload: Iterable[PayloadFile], info: Mapping[str, str]) -> None:
    """Make a bag of ``directory``, whose payload and other files are in place and durable.

    ``info`` gives the tags of ``bag-info.txt`` (Source-Organization, External-Identifier, Bagging-Date, ...);
    Payload-Oxum is added. ``payload`` comes in order of path and is gone through once, so that it may be long. Raises
    `CorruptionError` when ``data/`` does not hold exactly the payload, by name and size; the bytes are not read again.
    """
    make_directories(directory / PAYLOAD)
    write_file(directory / BAGIT, bag_text.BAGIT_CONTENT)
    size_bytes = file_count = 0

    def lines() -> Iterator[bytes]:
        nonlocal size_bytes, file_count
        for file in _checked_payload(directory, payload):
            size_bytes, file_count = size_bytes + file.size_bytes, file_count + 1
            yield bag_text.manifest_line(file.path, file.checksum)

    write_file(directory / MANIFEST, map(b"".join, chunks(lines(), _LINES)))
    oxum = bag_text.oxum(size_bytes, file_count)
    write_file(directory / BAG_INFO, bag_text.render_info({**info, bag_text.OXUM: oxum}))
    tags = {path: checksums.of_file(directory / path)[1] for path in _tag_files(directory)}
    write_file(directory / TAG_MANIFEST, bag_text.render_manifest(tags))


def extend_bag(
    directory: Path,
    staging: Path,
    payload: Iterable[PayloadFile],
    *,
    tag_files: Iterable[str] = (),
    info: Mapping[str, str] | None = None,
) -> None:
    """Add payload, already in place in ``directory``, and replace ``tag_files`` by those that wait in ``staging``.

    ``staging`` is a directory on the same file system, outside the bag; ``tag_files`` are paths relative to both.
    ``info`` replaces tags of ``bag-info.txt``. Other files' manifest lines are kept as they are, nothing is read
    again but the new tag files. All manifests change together: a kill before the commit mark leaves the old bag, one
    after it is completed by `recover_bag`. Raises `ConflictError` for a path the bag has with another checksum.
    """
    recover_bag(directory, staging)
    lines = bag_text.parse_manifest((directory / MANIFEST).read_bytes(), MANIFEST)
    tags = bag_text.parse_manifest((directory / TAG_MANIFEST).read_bytes(), TAG_MANIFEST)
    old_info = bag_text.parse_info((directory / BAG_INFO).read_bytes())
    size_bytes, file_count = bag_text.parse_oxum(old_info.get(bag_text.OXUM, ""))
    added = []
    for file in sorted(payload, key=lambda file: file.path):
        if lines.get(file.path, file.checksum) != file.checksum:
            raise ConflictError(
                f"{file.path} is {lines[file.path]} in the bag and {file.checksum} in its extension",
                hint="two contents under one name; give the new file another path",
            )
        if file.path not in lines:
            _check_present(directory, file)
            added.append(file)
    new_lines = (directory / MANIFEST).read_bytes() + bag_text.render_manifest(
        {file.path: file.checksum for file in added}
    )
    oxum = bag_text.oxum(size_bytes + sum(file.size_bytes for file in added), file_count + len(added))
    staged = {
        MANIFEST: new_lines,
        BAG_INFO: bag_text.render_info({**old_info, **(info or {}), bag_text.OXUM: oxum}),
    }
    for path, content in staged.items():
        write_file(staging / path, content)
    moved = [*tag_files, *staged]
    for path in moved:
        if path not in staged:  # those are durable
            _fsync_file(staging / path)
        tags[bag_text.check_path(path)] = checksums.of_file(staging / path)[1]
    write_file(staging / TAG_MANIFEST, bag_text.render_manifest(tags))
    # the tag manifest last: until it is in place, verification sees an unfinished extension, not a different bag
    write_file(staging / COMMIT, "".join(f"{path}\n" for path in (*moved, TAG_MANIFEST)).encode())
    recover_bag(directory, staging)


def recover_bag(directory: Path, staging: Path) -> bool:
    """Carry out an extension that was committed in ``staging`` and cut short; whether there was one."""
    commit = staging / COMMIT
    try:
        paths = commit.read_text().splitlines()
    except FileNotFoundError:
        return False
    for path in paths:
        source, target = staging / path, directory / bag_text.check_path(path)
        if source.exists():  # else it was moved before the cut
            make_directories(target.parent)
            source.replace(target)
            fsync_directory(target.parent)
    commit.unlink()
    fsync_directory(staging)
    return True


def remove_surplus(directory: Path) -> list[str]:
    """Remove files below ``data/`` that the manifest does not name, as an abandoned extension leaves; their paths."""
    listed = bag_text.parse_manifest((directory / MANIFEST).read_bytes(), MANIFEST)
    surplus = [f"{PAYLOAD}/{path}" for path, _ in walk_files(directory / PAYLOAD)]
    surplus = [path for path in surplus if path not in listed]
    for path in surplus:
        (directory / path).unlink()
    return surplus


def walk_files(directory: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """(path with ``/``, entry) of everything below a directory that is no directory itself, in order of path.

    Symbolic links are given as they are and not followed.
    """
    try:
        # as its paths will be compared: "a-b" is before "a/b"
        entries = sorted(
            os.scandir(directory),
            key=lambda one: f"{one.name}/" if one.is_dir(follow_symlinks=False) else one.name,
        )
    except OSError as error:
        raise as_federation_error(error, "read", str(directory)) from error
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            for path, below in walk_files(Path(entry.path)):
                yield f"{entry.name}/{path}", below
        else:
            yield entry.name, entry


def _tag_files(directory: Path) -> Iterator[str]:
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            if entry.name != PAYLOAD:
                for path, _below in walk_files(Path(entry.path)):
                    yield bag_text.check_path(f"{entry.name}/{path}")
        elif entry.name != TAG_MANIFEST:
            yield bag_text.check_path(entry.name)


def _checked_payload(directory: Path, payload: Iterable[PayloadFile]) -> Iterator[PayloadFile]:
    """The payload, while it is compared with what is below ``data/``; both come in the same order."""
    present = (f"{PAYLOAD}/{path}" for path, _entry in walk_files(directory / PAYLOAD))
    found, last = next(present, None), ""
    for file in payload:
        if file.path == last:
            raise UserError(f"payload {file.path} is listed twice", hint="give each file a path of its own")
        if file.path < last:
            raise UserError(f"payload {file.path} comes after {last}", hint="give the files in order of path")
        _check_present(directory, file)
        if found is not None and found < file.path:
            break
        if found == file.path:
            found = next(present, None)
        last = file.path
        yield file
    if found is not None:
        raise CorruptionError(
            f"{directory}/{found} is no file of this snapshot", hint="remove it, then run again"
        )


def _check_present(directory: Path, file: PayloadFile) -> None:
    bag_text.check_path(file.path)
    if not file.path.startswith(f"{PAYLOAD}/"):
        raise UserError(f"payload {file.path!r} is not below {PAYLOAD}/", hint=f"put it below {PAYLOAD}/")
    if checksums.parse(file.checksum)[0] != "sha256":
        raise UserError(f"payload {file.path} has checksum {file.checksum}", hint="a bag keeps sha256 only")
    path = directory / file.path
    try:
        found = path.lstat().st_size
    except OSError as error:
        raise as_federation_error(error, "read", str(path)) from error
    if found != file.size_bytes or path.is_symlink():
        raise CorruptionError(
            f"{path} has {found} bytes, not {file.size_bytes}", hint="remove it, then run again"
        )


def _fsync_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    except OSError as error:
        raise as_federation_error(error, "read", str(path)) from error
