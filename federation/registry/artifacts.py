"""Artifacts: the files of datasets that this site's datastore holds."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal

import attrs

from federation.errors import ConflictError, UserError
from federation.registry.conflicts import Conflict, conflict_id, note_conflicts
from federation.registry.views import id_bytes, views

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from federation.registry.transaction import Transaction

__all__ = ["Artifact", "OnConflict", "differ", "record", "record_columns"]

#: what becomes of a content other than the recorded one
OnConflict = Literal["refuse", "record", "ignore"]
_COLUMNS = ("dataset_id", "uri", "size_bytes", "checksum", "formatter")
#: (uri, size_bytes, checksum, formatter)
_File = tuple[str, int | None, str | None, str | None]


@attrs.frozen
class Artifact:
    """A file of a dataset; without ``checksum`` it is known by name but not present."""

    dataset_id: uuid.UUID
    uri: str
    size_bytes: int | None = None
    checksum: str | None = None
    formatter: str | None = None


def differ(one: str, other: str, size_bytes: int | None = None, other_size: int | None = None) -> bool:
    """Whether checksums (``algorithm:hex``), or sizes where the algorithms are two, show two contents.

    >>> differ("sha256:ab", "sha256:AB"), differ("md5:ab", "sha256:cd"), differ("md5:ab", "sha256:cd", 1, 2)
    (False, False, True)
    """
    algorithm, _, digits = one.partition(":")
    other_algorithm, _, other_digits = other.partition(":")
    if algorithm == other_algorithm:
        return digits.lower() != other_digits.lower()
    return size_bytes is not None and other_size is not None and size_bytes != other_size


def record(tx: Transaction, artifacts: Sequence[Artifact], *, on_conflict: OnConflict = "refuse") -> int:
    """Record files at this site; returns how many rows changed.

    One that was not present may become present. Where the content differs from what is recorded here or elsewhere for
    the dataset: `ConflictError`, or with ``record`` a conflict is noted, and with ``record`` and ``ignore`` what is
    recorded stays.
    """
    columns: dict[str, list[Any]] = {
        name: [getattr(artifact, name) for artifact in artifacts] for name in _COLUMNS
    }
    return record_columns(tx, columns, on_conflict=on_conflict)


def record_columns(
    tx: Transaction, columns: Mapping[str, Sequence[Any]], *, on_conflict: OnConflict = "refuse"
) -> int:
    """`record` from one sequence a column, named as the fields of `Artifact`; a dataset id may be its 16 bytes."""
    if on_conflict not in ("refuse", "record", "ignore"):
        raise UserError(f"on_conflict={on_conflict!r} is unknown", hint="refuse, record or ignore")
    ids = id_bytes(columns["dataset_id"])
    there, known = _recorded(tx, ids, columns["checksum"])
    chosen: dict[bytes, _File] = {}
    conflicts: list[tuple[bytes, _File, str]] = []
    files: Iterator[_File] = zip(*(columns[name] for name in _COLUMNS[1:]), strict=True)
    for dataset_id, file in zip(ids, files, strict=True):
        uri, size_bytes, checksum, _ = file
        if checksum is not None:
            old = known.setdefault(dataset_id, (checksum, size_bytes))
            if old[0] != checksum and differ(old[0], checksum, old[1], size_bytes):
                if on_conflict == "refuse":
                    raise ConflictError(
                        f"dataset {uuid.UUID(bytes=dataset_id)}: {uri} has checksum {checksum}, recorded is {old[0]}",
                        hint="one identity has one content; register the other content as a new dataset",
                    )
                conflicts.append((dataset_id, file, old[0]))
                continue
        row = there.get(dataset_id)
        if row is None or not ((row[4] and checksum is None) or row[:4] == file):
            chosen[dataset_id] = file
    if conflicts and on_conflict == "record":
        _note(tx, conflicts)
    _put(tx, chosen, fresh=chosen.keys().isdisjoint(there))
    return len(chosen)


def _recorded(
    tx: Transaction, ids: Sequence[bytes], checksums: Sequence[str | None]
) -> tuple[dict[bytes, tuple[Any, ...]], dict[bytes, tuple[str, int | None]]]:
    """This site's rows (uri, size, checksum, formatter, present), and (checksum, size) known here or elsewhere."""
    there: dict[bytes, tuple[Any, ...]] = {}
    known: dict[bytes, tuple[str, int | None]] = {}
    missing = list(dict.fromkeys(ids))
    names = ("site", *_COLUMNS[1:], "present")
    for view in views(tx) if missing else ():
        for dataset_id, site, *row in view.of_datasets("artifact", missing, names):
            if view.held == tx.held and site == tx.registry.site:
                there[dataset_id] = tuple(row)
            if row[2] is not None:
                known.setdefault(dataset_id, (row[2], row[1]))
        missing = [
            i for i, checksum in zip(ids, checksums, strict=True) if checksum is not None and i not in known
        ]
        if not missing:
            break
    return there, known


def _put(tx: Transaction, files: Mapping[bytes, _File], *, fresh: bool) -> None:
    if not files:
        return
    uris, sizes, checksums, formatters = zip(*files.values(), strict=True)
    columns: dict[str, Sequence[Any]] = {
        "dataset_id": list(files),
        "site": [tx.registry.site] * len(files),
        "uri": uris,
        "size_bytes": sizes,
        "checksum": checksums,
        "formatter": formatters,
        "present": [checksum is not None for checksum in checksums],
    }
    tx.put_columns("artifact", columns, fresh=fresh)


def _note(tx: Transaction, conflicts: Sequence[tuple[bytes, _File, str]]) -> None:
    said: dict[bytes, tuple[str, str]] = {}
    ids = {dataset_id for dataset_id, _, _ in conflicts}
    for view in views(tx):
        for dataset_id, dataset_type, run in view.of_datasets("dataset", ids, ("dataset_type", "run")):
            said.setdefault(dataset_id, (dataset_type, run))
    noticed = tx.registry.clock()
    note_conflicts(
        tx,
        [
            Conflict(
                conflict_id(uuid.UUID(bytes=dataset_id), "checksum", recorded, str(file[2])),
                uuid.UUID(bytes=dataset_id),
                *said.get(dataset_id, ("", "")),
                "checksum",
                recorded,
                str(file[2]),
                file[0],
                tx.registry.site,
                noticed,
            )
            for dataset_id, file, recorded in conflicts
        ],
    )
