"""Artifacts: the files of datasets that this site's datastore holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import ConflictError

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from federation.registry.transaction import Transaction

__all__ = ["Artifact", "record"]


@attrs.frozen
class Artifact:
    """A file of a dataset; without ``checksum`` it is known by name but not present."""

    dataset_id: uuid.UUID
    uri: str
    size_bytes: int | None = None
    checksum: str | None = None
    formatter: str | None = None


def record(tx: Transaction, artifacts: Sequence[Artifact]) -> int:
    """Record files at this site; returns how many rows changed.

    One that was not present may become present; `ConflictError` when the content differs from what is recorded here
    or elsewhere for the dataset.
    """
    site = tx.registry.site
    ids = [(artifact.dataset_id,) for artifact in artifacts]
    there = {
        row["dataset_id"]: row for row in tx.select("artifact", ("dataset_id",), ids) if row["site"] == site
    }
    checksums = {
        row["dataset_id"]: row["checksum"]
        for row in tx.known("artifact", ("dataset_id",), ids).values()
        if row["checksum"]
    }
    rows = []
    for artifact in artifacts:
        known = checksums.get(artifact.dataset_id)
        if known is not None and artifact.checksum is not None and known != artifact.checksum:
            raise ConflictError(
                f"dataset {artifact.dataset_id}: {artifact.uri} has checksum {artifact.checksum}, recorded is {known}",
                hint="one identity has one content; register the other content as a new dataset",
            )
        row = {
            "dataset_id": artifact.dataset_id,
            "site": site,
            "uri": artifact.uri,
            "size_bytes": artifact.size_bytes,
            "checksum": artifact.checksum,
            "formatter": artifact.formatter,
            "present": artifact.checksum is not None,
        }
        old = there.get(artifact.dataset_id)
        if old is not None and ((old["present"] and not row["present"]) or old == row):
            continue
        rows.append(row)
    tx.put("artifact", rows)
    return len(rows)
