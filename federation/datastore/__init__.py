"""Files of datasets: stores behind URLs, the names files get, checksums, and resumable transfers between stores."""

from federation.datastore.backend import FileInfo
from federation.datastore.copying import CopyMode
from federation.datastore.journal import TransferJournal
from federation.datastore.paths import artifact_path
from federation.datastore.source import ForeignSource, Source, UrlSource
from federation.datastore.store import Datastore, Stored, StoreSource
from federation.datastore.throttle import Throttle
from federation.datastore.transfer import (
    TransferEvent,
    TransferEventKind,
    TransferFailure,
    TransferItem,
    Transferred,
    TransferReport,
    transfer,
)

__all__ = [
    "CopyMode",
    "Datastore",
    "FileInfo",
    "ForeignSource",
    "Source",
    "StoreSource",
    "Stored",
    "Throttle",
    "TransferEvent",
    "TransferEventKind",
    "TransferFailure",
    "TransferItem",
    "TransferJournal",
    "TransferReport",
    "Transferred",
    "UrlSource",
    "artifact_path",
    "transfer",
]
