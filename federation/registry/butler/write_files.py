"""Files of an export: where an importer finds them, which of the Butler's formatters reads them, and their copies."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from federation.datastore import Datastore, TransferItem, TransferJournal, artifact_path, transfer
from federation.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from federation.registry.butler.write_source import FileRow

__all__ = ["ExportFiles", "TransferMode", "butler_formatter"]

#: ``none`` names files as recorded, ``direct`` by absolute URL, ``copy`` copies them below a directory
TransferMode = Literal["none", "direct", "copy"]

_FORMATTERS = "lsst.daf.butler.formatters."
#: formatters that come with the Butler itself; for others the Butler's configuration decides by storage class
_BY_SUFFIX = {
    ".ecsv": "astropyTable.AstropyTableFormatter",
    ".json": "json.JsonFormatter",
    ".parq": "parquet.ParquetFormatter",
    ".parquet": "parquet.ParquetFormatter",
    ".pickle": "pickle.PickleFormatter",
    ".pkl": "pickle.PickleFormatter",
    ".yaml": "yaml.YamlFormatter",
    ".yml": "yaml.YamlFormatter",
}
_BY_STORAGE_CLASS = {
    "ButlerLogRecords": "logs.ButlerLogRecordsFormatter",
    "Packages": "packages.PackagesFormatter",
    "Plot": "matplotlib.MatplotlibFormatter",
}


def butler_formatter(recorded: str | None, storage_class: str, uri: str) -> str | None:
    """The formatter's name in a Butler: as recorded where that is a Python class, else by storage class and suffix.

    >>> butler_formatter("json", "StructuredDataDict", "run/a/x.json")
    'lsst.daf.butler.formatters.json.JsonFormatter'
    >>> butler_formatter(None, "Exposure", "run/a/x.fits") is None
    True
    """
    if recorded is not None and recorded.startswith("lsst."):
        return recorded
    name = _BY_STORAGE_CLASS.get(storage_class) or _BY_SUFFIX.get(PurePosixPath(uri).suffix)
    return None if name is None else _FORMATTERS + name


class ExportFiles:
    """Names the files of datasets as a transfer mode has it; with ``copy``, `copy` brings them below the directory."""

    def __init__(self, mode: TransferMode, datastore: Datastore | None, directory: Path | None) -> None:
        if (mode == "copy") != (directory is not None):
            raise UsageError(
                "a directory is for transfer 'copy', which needs one", hint="give both or neither"
            )
        if mode != "none" and datastore is None:
            raise UsageError(f"transfer {mode!r} needs the site's datastore", hint="give it")
        self._mode = mode
        self._datastore = datastore
        self._directory = directory
        self._items: dict[str, TransferItem] = {}
        self.count = 0

    def path(self, dataset_type: str, row: FileRow, data_id: Mapping[str, Any]) -> str | None:
        """What the export calls the file of a dataset, None without one; `NotFoundError` for one that isn't here."""
        if self._mode == "none":
            self.count += row.uri is not None
            return row.uri
        if row.uri is None or not row.present:
            raise NotFoundError(
                f"dataset {row.dataset_id} ({dataset_type}) has no file at this site",
                hint="choose datasets whose files are here, or export without files: --transfer none",
            )
        assert self._datastore is not None
        self.count += 1
        if self._mode == "direct":
            return self._datastore.resolve(row.uri)
        target = row.uri
        if "://" in row.uri:
            suffix = PurePosixPath(row.uri).suffix
            target = artifact_path(dataset_type, row.run, data_id, row.dataset_id, suffix)
        source = self._datastore.source_of(row.uri)
        self._items.setdefault(
            row.uri, TransferItem(row.uri, (source,), target, row.size_bytes, row.checksum)
        )
        return self._items[row.uri].target_path

    def copy(self) -> int:
        """Copy every file named so far, verified; those that are there already stay. Returns bytes written."""
        if self._directory is None or not self._items:
            return 0
        self._directory.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory() as scratch,
            TransferJournal(Path(scratch) / "journal.sqlite") as journal,
        ):
            report = transfer(list(self._items.values()), Datastore(str(self._directory)), journal=journal)
        report.raise_for_failure()
        return report.size_bytes
