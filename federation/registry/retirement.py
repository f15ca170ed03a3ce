"""Taking datasets out of a registry in two steps: retired, which can be undone, and then purged, which can not.

What a registry says of retired datasets is kept in one file, encoded as an entry of a change log, that is on disk
before the rows go. Their files stay where they are until they are purged.
"""

from __future__ import annotations

import json
import secrets
import uuid
from typing import TYPE_CHECKING, Any

import attrs

from federation.changelog import decode_changes, digest_of, encode_changes
from federation.datastore.durable import fsync_directory, write_file
from federation.errors import ConflictError, CorruptionError, NotFoundError
from federation.killpoints import killpoint
from federation.model.change import Change, Operation
from federation.registry.keyed import select_by_keys
from federation.registry.removal import TABLES_ABOUT, remove_datasets
from federation.registry.transaction import stored_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from federation.registry.registry import Registry
    from federation.registry.transaction import Transaction

__all__ = [
    "PURGED_URI",
    "RETIRED_DIRECTORY",
    "Retired",
    "files_to_delete",
    "forget",
    "list_retired",
    "mark_purged",
    "read_retired",
    "restore",
    "retire",
]

#: below the site's root: what was retired and neither restored nor purged
RETIRED_DIRECTORY = "retired"
#: in place of a file's path: its dataset was purged by the site that the row names
PURGED_URI = "purged:"
_SUFFIX = ".retired"
#: collections of other schemas that may hold a dataset
_ELSEWHERE = ("collection_member", "calibration")


@attrs.frozen
class Retired:
    """Datasets that were retired together: from which schema, when (TAI nanoseconds), why, and files of the site."""

    name: str
    schema: str
    retired_ns: int
    reason: str
    dataset_ids: tuple[uuid.UUID, ...]
    uris: tuple[str, ...]
    size_bytes: int


def retire(tx: Transaction, ids: Iterable[uuid.UUID], directory: Path, reason: str = "") -> Retired:
    """Take datasets, with all that the schema says of them, out of it, and keep that in ``directory``.

    `NotFoundError` names one that is not of this schema, `ConflictError` a schema whose collections hold one.
    """
    wanted = list(dict.fromkeys(ids))
    types = _types(tx, wanted)
    _check_elsewhere(tx, wanted)
    changes = list(_all_said(tx, wanted, set(types.values())))
    files = _own_files(tx, changes)
    retired = Retired(
        secrets.token_hex(4),
        tx.held.schema.name,
        tx.registry.clock(),
        reason,
        tuple(wanted),
        tuple(uri for uri, _ in files),
        sum(size for _, size in files),
    )
    directory.mkdir(parents=True, exist_ok=True)
    body = encode_changes(changes)
    head = {
        "schema": retired.schema,
        "retired_ns": retired.retired_ns,
        "reason": reason,
        "dataset_ids": [str(one) for one in wanted],
        "uris": list(retired.uris),
        "size_bytes": retired.size_bytes,
        "digest": digest_of(body).hex(),
    }
    write_file(directory / f"{retired.name}{_SUFFIX}", json.dumps(head).encode() + b"\n" + body)
    killpoint("retire.written")
    for dataset_type in sorted(set(types.values())):
        remove_datasets(tx, dataset_type, [one for one in wanted if types[one] == dataset_type])
    return retired


def restore(tx: Transaction, directory: Path, name: str) -> int:
    """Put back what was retired; returns how many datasets are there again. `forget` it once that is committed.

    `ConflictError` when others have taken their places, `NotFoundError` when nothing was retired under the name.
    """
    retired, changes = _read(directory, name)
    there = _known(tx, retired.dataset_ids)
    missing = {one.bytes for one in retired.dataset_ids} - {one.bytes for one in there}
    _check_collections(tx, changes)
    for change in changes:
        place = change.columns.index("dataset_id")
        rows = [row for row in change.rows if row[place] in missing]
        if rows:
            kept = Change.from_rows(change.table, Operation.PUT, change.columns, rows)
            columns = dict(zip(kept.columns, kept.values, strict=True))
            try:
                tx.put_columns(change.table, columns, fresh=change.table not in TABLES_ABOUT)
            except ConflictError as error:
                raise ConflictError(
                    f"datasets of {name} can't come back: others have their data IDs in {change.table} by now",
                    hint="retire those first",
                ) from error
    return len(missing)


def files_to_delete(registry: Registry, directory: Path, name: str) -> tuple[str, ...]:
    """The files of what was retired that no schema of the registry names; once they are deleted, `forget` it."""
    retired, _ = _read(directory, name)
    named: set[str] = set()
    for held in registry.held():
        if held.owned:
            with registry.database.read((held.physical,)) as connection:
                tables = tuple(registry.tables_in(connection, held.physical).values())
                table = registry.physical_tables(held.physical, tables)["artifact"]
                keys = [(uri,) for uri in retired.uris]
                named |= {row[0] for row in select_by_keys(connection, table, ("uri",), keys, ("uri",))}
    return tuple(uri for uri in retired.uris if uri not in named)


def mark_purged(tx: Transaction, retired: Retired) -> None:
    """Say in the schema that its datasets are gone for good, for the sites that have copies of their files.

    Nothing is said of one that was registered again.
    """
    there = _known(tx, retired.dataset_ids)
    tx.put(
        "artifact",
        [
            {"dataset_id": one, "site": tx.registry.site, "uri": PURGED_URI, "present": False}
            for one in retired.dataset_ids
            if one not in there
        ],
    )


def forget(directory: Path, name: str) -> None:
    """What was retired under a name is restored or purged."""
    killpoint("retire.before_forget")
    (directory / f"{name}{_SUFFIX}").unlink(missing_ok=True)
    fsync_directory(directory)


def list_retired(directory: Path) -> list[Retired]:
    """All that is retired at a site, oldest first."""
    paths = sorted(directory.glob(f"*{_SUFFIX}")) if directory.exists() else []
    return sorted(
        (read_retired(directory, path.stem) for path in paths), key=lambda one: (one.retired_ns, one.name)
    )


def read_retired(directory: Path, name: str) -> Retired:
    """What was retired under a name; `NotFoundError`, or `CorruptionError` for a damaged file."""
    return _read(directory, name)[0]


def _read(directory: Path, name: str) -> tuple[Retired, tuple[Change, ...]]:
    path = directory / f"{name}{_SUFFIX}"
    try:
        line, _, body = path.read_bytes().partition(b"\n")
        head: dict[str, Any] = json.loads(line)
    except FileNotFoundError:
        raise NotFoundError(
            f"nothing was retired as {name!r}", hint="see federation dataset retired"
        ) from None
    except ValueError as error:
        raise CorruptionError(f"{path} is damaged: {error}", hint="take it from a backup") from error
    if digest_of(body).hex() != head.get("digest"):
        raise CorruptionError(f"{path} is damaged: another digest", hint="take it from a backup")
    retired = Retired(
        name,
        head["schema"],
        head["retired_ns"],
        head["reason"],
        tuple(uuid.UUID(one) for one in head["dataset_ids"]),
        tuple(head["uris"]),
        head["size_bytes"],
    )
    return retired, decode_changes(body)


def _check_collections(tx: Transaction, changes: Iterable[Change]) -> None:
    """Raise when a collection is gone that the datasets were in."""
    names = {
        row[change.columns.index(column)]
        for change in changes
        for column in ("run", "collection")
        if column in change.columns
        for row in change.rows
    }
    missing = sorted(
        names - {key[0] for key in tx.known_keys("collection", ("name",), [(n,) for n in names])}
    )
    if missing:
        raise ConflictError(
            f"collection {missing[0]}, which the datasets were in, is gone",
            hint="register it first: federation collection create",
        )


def _types(tx: Transaction, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    rows = tx.select("dataset", ("dataset_id",), [(one,) for one in ids])
    found = {row["dataset_id"]: row["dataset_type"] for row in rows}
    missing = next((one for one in ids if one not in found), None)
    if missing is not None:
        raise NotFoundError(
            f"dataset {missing} is not of schema {tx.held.schema}", hint="retire it where it was registered"
        )
    return found


def _known(tx: Transaction, ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    return {row["dataset_id"] for row in tx.select("dataset", ("dataset_id",), [(one,) for one in ids])}


def _check_elsewhere(tx: Transaction, ids: Sequence[uuid.UUID]) -> None:
    """Raise when a collection of another schema holds one of the datasets."""
    for held in tx.registry.held():
        if held == tx.held:
            continue
        with tx.registry.database.read((held.physical,)) as connection:
            tables = tuple(tx.registry.tables_in(connection, held.physical).values())
            physical = tx.registry.physical_tables(held.physical, tables)
            for name in _ELSEWHERE:
                keys = [(one,) for one in ids]
                found = next(
                    select_by_keys(
                        connection, physical[name], ("dataset_id",), keys, ("dataset_id", "collection")
                    ),
                    None,
                )
                if found is not None:
                    raise ConflictError(
                        f"dataset {found[0]} is in collection {found[1]} of {held.schema}",
                        hint="take it out of there first: federation collection untag, or decertify",
                    )


def _all_said(tx: Transaction, ids: Sequence[uuid.UUID], dataset_types: set[str]) -> Iterable[Change]:
    """Whole rows of every table that speaks of the datasets, the datasets themselves first."""
    keys = [(one,) for one in ids]
    for name in ("dataset", *sorted(dataset_types), *TABLES_ABOUT):
        table = tx.table(name)
        rows = list(
            select_by_keys(tx.connection, tx.physical(name), ("dataset_id",), keys, table.stored_names)
        )
        if rows:
            values = tuple(
                stored_values(table.column(column).type, list(column_values))
                for column, column_values in zip(table.stored_names, zip(*rows, strict=True), strict=True)
            )
            yield Change(name, Operation.PUT, table.stored_names, values)


def _own_files(tx: Transaction, changes: Iterable[Change]) -> list[tuple[str, int]]:
    """(path below this site's datastore, size) of the datasets' files here."""
    for change in changes:
        if change.table == "artifact":
            rows = (dict(zip(change.columns, row, strict=True)) for row in change.rows)
            return [
                (row["uri"], row["size_bytes"] or 0)
                for row in rows
                if row["site"] == tx.registry.site and row["present"] and "://" not in row["uri"]
            ]
    return []
