"""``snapshot.json``: what a snapshot is, of when, and how much is in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from federation.datastore.io_errors import as_federation_error
from federation.errors import CorruptionError, NotFoundError, UserError
from federation.model.position import Position
from federation.model.timespan import format_tai, parse_tai
from federation.snapshot.file_names import FILE_NAME

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FORMAT_VERSION", "Counts", "Increment", "Refusal", "SnapshotManifest"]

FORMAT_VERSION = 2
#: the oldest that is still read
_OLDEST = 1


@attrs.frozen
class Counts:
    """How much there is; ``row_count`` by logical table."""

    dataset_count: int
    file_count: int
    size_bytes: int
    row_count: dict[str, int] = attrs.field(factory=dict)


@attrs.frozen
class Refusal:
    """Something that was left out because who made the snapshot may not read it: why, and who can change that."""

    what: str
    reason: str
    remedy: str = ""


@attrs.frozen
class Increment:
    """What one creation or change of a snapshot added: chosen by ``selection``, as of ``positions``.

    ``kind`` is ``create``, ``extend``, ``fetch`` or ``refresh``. ``request`` is the selection as plain values; None in
    snapshots of format 1. ``missing`` names per table the keys that something refers to and no site that could be read
    has, ``refused`` what was left out.
    """

    created_tai: int
    selection: str
    positions: tuple[Position, ...]
    added: Counts
    kind: str = "create"
    request: dict[str, Any] | None = None
    missing: dict[str, tuple[str, ...]] = attrs.field(factory=dict)
    refused: tuple[Refusal, ...] = ()


@attrs.frozen
class SnapshotManifest:
    """A snapshot's description of itself.

    ``created_tai`` is TAI nanoseconds; ``positions`` say how far each schema's change log had been applied to what
    was read; ``selection`` is the text the user gave; ``universe`` the fingerprint of the dimension universe;
    ``registry_files`` the SQLite files below the snapshot. ``increments`` begins with the creation, in order of time.
    """

    name: str
    site: str
    created_tai: int
    positions: tuple[Position, ...]
    selection: str
    counts: Counts
    universe: str = ""
    registry_files: tuple[str, ...] = ()
    increments: tuple[Increment, ...] = ()

    def extended(self, increment: Increment, counts: Counts) -> SnapshotManifest:
        """This manifest after an extension: its positions replace older ones of the same schema."""
        positions = {position.schema_id: position for position in (*self.positions, *increment.positions)}
        return attrs.evolve(
            self,
            positions=tuple(positions[schema] for schema in sorted(positions)),
            counts=counts,
            increments=(*self.increments, increment),
        )

    def to_json(self) -> bytes:
        """The content of ``snapshot.json``: UTF-8, indented, ending with a newline."""
        document = msgspec.to_builtins(_Document.of(self))
        return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, where: str = FILE_NAME) -> SnapshotManifest:
        """Read ``snapshot.json``.

        `UserError` for a format this version does not know, `CorruptionError` naming key and problem for anything
        that is not what `to_json` writes.
        """
        try:
            raw = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CorruptionError(
                f"{where} is not JSON: {error}", hint="run: federation snapshot verify"
            ) from error
        version = raw.get("format_version") if isinstance(raw, dict) else None
        if type(version) is not int:
            raise CorruptionError(
                f"{where} has no format_version", hint="is this the directory of a snapshot?"
            )
        if not _OLDEST <= version <= FORMAT_VERSION:
            remedy = "install a newer federation" if version > FORMAT_VERSION else "make the snapshot again"
            raise UserError(
                f"{where} has format {version}, this is software for format {FORMAT_VERSION}", hint=remedy
            )
        try:
            return msgspec.convert(raw, _Document).manifest()
        except (msgspec.ValidationError, UserError) as error:
            raise CorruptionError(f"{where}: {error}", hint="run: federation snapshot verify") from error

    @classmethod
    def load(cls, directory: Path) -> SnapshotManifest:
        """Read the manifest of the snapshot in ``directory``; `NotFoundError` when there is none."""
        path = directory / FILE_NAME
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"{directory} has no {FILE_NAME}", hint="name the directory") from error
        except OSError as error:
            raise as_federation_error(error, "read", str(path)) from error
        return cls.from_json(content, str(path))


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _Counts(_Strict):
    datasets: int
    files: int
    bytes: int
    rows: dict[str, int]

    @classmethod
    def of(cls, counts: Counts) -> _Counts:
        rows = dict(sorted(counts.row_count.items()))
        return cls(counts.dataset_count, counts.file_count, counts.size_bytes, rows)

    def counts(self) -> Counts:
        return Counts(self.datasets, self.files, self.bytes, self.rows)


class _Refusal(_Strict):
    what: str
    reason: str
    remedy: str


class _Increment(_Strict):
    created_tai: str
    selection: str
    positions: list[str]
    added: _Counts
    kind: str = "create"
    request: dict[str, Any] | None = None
    missing: dict[str, list[str]] = {}
    refused: list[_Refusal] = []

    @classmethod
    def of(cls, increment: Increment) -> _Increment:
        return cls(
            format_tai(increment.created_tai),
            increment.selection,
            [str(position) for position in increment.positions],
            _Counts.of(increment.added),
            increment.kind,
            increment.request,
            {table: list(keys) for table, keys in sorted(increment.missing.items())},
            [_Refusal(one.what, one.reason, one.remedy) for one in increment.refused],
        )

    def increment(self) -> Increment:
        return Increment(
            parse_tai(self.created_tai),
            self.selection,
            _positions(self.positions),
            self.added.counts(),
            self.kind,
            self.request,
            {table: tuple(keys) for table, keys in self.missing.items()},
            tuple(Refusal(one.what, one.reason, one.remedy) for one in self.refused),
        )


class _Document(_Strict):
    format_version: int
    name: str
    site: str
    created_tai: str
    selection: str
    universe: str
    positions: list[str]
    registry_files: list[str]
    counts: _Counts
    increments: list[_Increment]

    @classmethod
    def of(cls, manifest: SnapshotManifest) -> _Document:
        return cls(
            FORMAT_VERSION,
            manifest.name,
            manifest.site,
            format_tai(manifest.created_tai),
            manifest.selection,
            manifest.universe,
            [str(position) for position in manifest.positions],
            list(manifest.registry_files),
            _Counts.of(manifest.counts),
            [_Increment.of(increment) for increment in manifest.increments],
        )

    def manifest(self) -> SnapshotManifest:
        return SnapshotManifest(
            self.name,
            self.site,
            parse_tai(self.created_tai),
            _positions(self.positions),
            self.selection,
            self.counts.counts(),
            self.universe,
            tuple(self.registry_files),
            tuple(increment.increment() for increment in self.increments),
        )


def _positions(texts: list[str]) -> tuple[Position, ...]:
    return tuple(Position.parse(text) for text in texts)


def summary(manifest: SnapshotManifest) -> dict[str, Any]:
    """What a command prints of a snapshot, as plain values."""
    return {
        "name": manifest.name,
        "site": manifest.site,
        "created_tai": format_tai(manifest.created_tai),
        "datasets": manifest.counts.dataset_count,
        "files": manifest.counts.file_count,
        "bytes": manifest.counts.size_bytes,
    }
