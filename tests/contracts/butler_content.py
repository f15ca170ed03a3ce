"""What a repository of the real Butler holds, as plain values that can be compared."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from lsst.daf.butler import Butler, CollectionType

__all__ = ["content", "import_file", "new_butler", "registry_data"]


def registry_data(name: str) -> Path:
    """An export file that the Butler's package ships."""
    import lsst.daf.butler.tests.registry_data as shipped

    return Path(shipped.__path__[0]) / f"{name}.yaml"


def new_butler(root: Path) -> Butler:
    """An empty repository."""
    return Butler.from_config(Butler.makeRepo(str(root)), writeable=True)


def import_file(
    butler: Butler, *files: Path, directory: Path | None = None, transfer: str | None = None
) -> None:
    """Import files in turn; without ``transfer`` their rows only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old files
        for file in files:
            butler.import_(
                filename=str(file),
                directory=None if directory is None else str(directory),
                transfer=transfer,
                without_datastore=transfer is None,
            )


def _timespan(span: Any) -> tuple[int, int] | None:
    return None if span is None else span.nsec


def _record(record: Any) -> tuple[tuple[str, Any], ...]:
    values = record.toDict()
    if "timespan" in values:
        values["timespan"] = _timespan(values["timespan"])
    if values.get("region") is not None:
        values["region"] = values["region"].encode()
    return tuple(values.items())


def content(butler: Butler) -> dict[str, Any]:
    """Dimension records, dataset types, collections, datasets and associations of a repository."""
    found: dict[str, Any] = {}
    for element in butler.dimensions.elements:
        if element.has_own_table:
            records = butler.registry.queryDimensionRecords(element.name)
            found[f"records of {element.name}"] = {_record(record) for record in records}
    types = list(butler.registry.queryDatasetTypes(...))
    found["dataset types"] = {
        (t.name, tuple(t.dimensions.names), t.storageClass_name, t.isCalibration()) for t in types
    }
    collections = butler.collections.query_info("*", include_chains=True, include_doc=True)
    found["collections"] = {(c.name, c.type.name, c.doc or "", tuple(c.children)) for c in collections}
    datasets, members = set(), set()
    for dataset_type in types:
        associations = butler.registry.queryDatasetAssociations(
            dataset_type, collections=..., flattenChains=False
        )
        for one in associations:
            kind = butler.collections.get_info(one.collection).type
            identity = one.ref.id
            if kind is CollectionType.RUN:
                data_id = tuple(sorted(one.ref.dataId.required.items()))
                datasets.add((identity, dataset_type.name, one.ref.run, data_id))
            else:
                members.add((one.collection, identity, _timespan(one.timespan)))
    found["datasets"] = datasets
    found["associations"] = members
    return found
