"""Dataset types and datasets, and the rule that makes the identity of those that exist once per data ID."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from federation.errors import UserError
from federation.model.dimension import Field
from federation.model.logical import LogicalType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.model.data_id import DataId

__all__ = ["DatasetRef", "DatasetType", "deterministic_id", "uuid7s"]

#: uuid5(NAMESPACE_DNS, "lsst.org"): the Rubin Data Butler's namespace for deterministic dataset ids
DATASET_ID_NAMESPACE = uuid.UUID("840b31d9-05cd-5161-b2c8-00d32b280d0f")
#: PostgreSQL cuts identifiers at 63 bytes; a physical table adds the prefix "ds_"
NAME_LENGTH_MAX = 59
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@attrs.frozen
class DatasetType:
    """What datasets of this name are: their dimensions (as declared), storage class and metadata columns."""

    name: str
    dimensions: tuple[str, ...]
    storage_class: str
    is_calibration: bool = False
    metadata: tuple[Field, ...] = ()

    def __attrs_post_init__(self) -> None:
        if not _NAME.match(self.name) or len(self.name) > NAME_LENGTH_MAX:
            raise UserError(
                f"dataset type name {self.name!r} is not an identifier of at most {NAME_LENGTH_MAX} characters",
                hint="use letters, digits and _, not starting with a digit",
            )

    def metadata_text(self) -> str:
        """Metadata columns as they are kept in the ``dataset_type`` table.

        >>> DatasetType("src", ("visit",), "Table", metadata=(Field("nrows", LogicalType.INT64),)).metadata_text()
        'nrows:int64'
        """
        return ",".join(f"{field.name}:{field.type.value}" for field in self.metadata)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> DatasetType:
        """From a row of the ``dataset_type`` table."""
        return cls(
            row["name"],
            tuple(filter(None, row["dimensions"].split(","))),
            row["storage_class"],
            bool(row["is_calibration"]),
            tuple(
                Field(name, LogicalType(type_))
                for name, _, type_ in (
                    item.partition(":") for item in filter(None, row["metadata"].split(","))
                )
            ),
        )

    def to_row(self) -> dict[str, Any]:
        """As a row of the ``dataset_type`` table."""
        return {
            "name": self.name,
            "dimensions": ",".join(self.dimensions),
            "storage_class": self.storage_class,
            "is_calibration": self.is_calibration,
            "metadata": self.metadata_text(),
        }


@attrs.frozen
class DatasetRef:
    """One dataset: identity, type, data ID and the RUN it was made in."""

    id: uuid.UUID
    dataset_type: str
    data_id: DataId
    run: str


def deterministic_id(dataset_type: str, run: str, data_id: Mapping[str, Any]) -> uuid.UUID:
    """The UUIDv5 of a dataset that exists once per dataset type, run and data ID, as raws do.

    ``data_id`` holds the required dimensions only. The rule is the Rubin Data Butler's ``DATAID_TYPE_RUN``
    (``DatasetIdFactory.makeDatasetId`` of lsst-daf-butler): keys in alphabetical order, joined by commas.
    """
    items = [("dataset_type", dataset_type), ("run", run), *sorted(data_id.items())]
    return uuid.uuid5(DATASET_ID_NAMESPACE, ",".join(f"{key}={value}" for key, value in items))


def uuid7s(unix_ms: int, random: bytes) -> list[bytes]:
    """Time-ordered UUIDs (RFC 9562, version 7) of 16 bytes, one for each 10 of the random bytes."""
    drawn = np.frombuffer(random, np.uint8).reshape(-1, 10)
    out = np.empty((len(drawn), 16), np.uint8)
    out[:, :6] = np.frombuffer((unix_ms & (1 << 48) - 1).to_bytes(6, "big"), np.uint8)
    out[:, 6:] = drawn
    out[:, 6] = out[:, 6] & 0x0F | 0x70  # version
    out[:, 8] = out[:, 8] & 0x3F | 0x80  # variant
    joined = out.tobytes()
    return [joined[place : place + 16] for place in range(0, len(joined), 16)]
