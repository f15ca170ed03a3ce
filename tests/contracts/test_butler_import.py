"""Importing exports of the Rubin Data Butler into registries of both kinds."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import attrs
import pytest

from federation.datastore import Datastore
from federation.errors import ConflictError, FederationError, NotFoundError, UserError
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse, Field
from federation.model.logical import LogicalType
from federation.registry import collections, dataset_types
from federation.registry.butler.content import ButlerExport
from federation.registry.butler.importing import import_export
from federation.registry.butler.reading import merge_exports, read_export, select
from federation.registry.registry import Registry

UNIVERSE = DimensionUniverse.default()
SITE = "base"


def shipped(*names: str) -> ButlerExport:
    spec = importlib.util.find_spec("lsst.daf") and importlib.util.find_spec("lsst.daf.butler")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("lsst-daf-butler, whose export files are read here, is not installed")
    directory = Path(spec.submodule_search_locations[0]) / "tests" / "registry_data"
    return merge_exports([read_export(directory / f"{name}.yaml", UNIVERSE) for name in names], UNIVERSE)


@pytest.fixture
def export_root(shared_data: Path) -> Path:
    return shared_data / "data" / "butler-export"


@pytest.fixture
def demo(export_root: Path) -> ButlerExport:
    return read_export(export_root / "export.yaml", UNIVERSE)


def lsn(registry: Registry) -> int:
    return count(registry, "change_log")


def count(registry: Registry, table: str) -> int:
    with registry.database.read((SITE,)) as connection:
        return int(connection.exec_driver_sql(f'SELECT count(*) FROM "{SITE}"."{table}"').scalar_one())


def rows(registry: Registry, table: str, key: str, values: list[object]) -> list[dict[str, object]]:
    with registry.transaction(SITE) as tx:
        return tx.select(table, (key,), [(value,) for value in values])


@pytest.mark.parametrize(
    ("names", "datasets"),
    [
        (("base",), 0),
        (("base", "datasets"), 13),
        (("base", "spatial"), 0),
        (("ci_hsc-subset",), 33),
        (("ci_hsc-subset", "ci_hsc-subset-skymap"), 34),
        (("hsc-rc2-subset-v0",), 0),
        (("lsstcam-subset",), 0),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
)
def test_imports_what_the_butler_ships_once(
    registry: Registry, names: tuple[str, ...], datasets: int
) -> None:
    export = shipped(*names)
    first = import_export(registry, export, schema=SITE)
    assert first.changed
    assert first.records > 0
    assert first.datasets == first.files_absent == count(registry, "dataset") == datasets
    again = import_export(registry, export, schema=SITE)
    assert again == attrs.evolve(
        first,
        records=0,
        dataset_types=0,
        collections=0,
        datasets=0,
        members=0,
        validity_ranges=0,
        changed=False,
    )
    assert lsn(registry) == 1


def test_a_file_may_come_after_the_one_that_declares_what_it_uses(registry: Registry) -> None:
    import_export(registry, shipped("base"), schema=SITE)
    assert import_export(registry, shipped("datasets"), schema=SITE).datasets == 13


def test_a_file_that_comes_before_the_one_it_needs_is_refused_by_name(registry: Registry) -> None:
    with pytest.raises(NotFoundError, match="dataset type 'bias' is declared neither") as raised:
        import_export(registry, shipped("datasets"), schema=SITE)
    assert "base.yaml datasets.yaml" in raised.value.hint
    assert lsn(registry) == 0


def test_a_run_that_nobody_declares_is_refused_by_name(registry: Registry) -> None:
    export = attrs.evolve(shipped("base", "datasets"), collections=())
    with pytest.raises(NotFoundError, match="RUN 'imported_g' is declared neither"):
        import_export(registry, export, schema=SITE)
    assert lsn(registry) == 0


def test_records_every_file_below_the_datastore_root(
    registry: Registry, demo: ButlerExport, export_root: Path
) -> None:
    report = import_export(registry, demo, schema=SITE, datastore_root=str(export_root))
    assert (report.datasets, report.files_present, report.files_absent) == (
        len(demo.datasets),
        len(demo.datasets),
        0,
    )
    assert report.members == sum(map(len, demo.tags.values()))
    assert report.validity_ranges == sum(len(item.dataset_ids) for item in demo.validity)
    dataset = demo.datasets[0]
    (row,) = rows(registry, "artifact", "dataset_id", [dataset.dataset_id])
    file = export_root / str(dataset.path)
    assert (row["uri"], row["size_bytes"], row["present"]) == (f"file://{file}", file.stat().st_size, True)
    assert str(row["checksum"]).startswith("sha256:")
    assert not import_export(registry, demo, schema=SITE, datastore_root=str(export_root)).changed


def test_files_that_were_absent_become_present(
    registry: Registry, demo: ButlerExport, export_root: Path
) -> None:
    assert import_export(registry, demo, schema=SITE).files_absent == len(demo.datasets)
    assert import_export(registry, demo, schema=SITE, datastore_root=str(export_root)).changed
    assert not import_export(registry, demo, schema=SITE).changed
    present = rows(registry, "artifact", "present", [True])
    assert len(present) == len(demo.datasets)


def test_copies_files_into_the_datastore_of_the_site(
    registry: Registry, demo: ButlerExport, export_root: Path, tmp_path: Path
) -> None:
    store = Datastore(str(tmp_path / "store"))
    for changed in (True, False):
        report = import_export(
            registry, demo, schema=SITE, datastore_root=str(export_root), datastore=store, transfer="copy"
        )
        assert report.changed is changed
    for row in rows(registry, "artifact", "present", [True]):
        assert store.size(str(row["uri"])) == row["size_bytes"]


def test_a_missing_file_is_named_and_nothing_is_imported(
    registry: Registry, demo: ButlerExport, export_root: Path, tmp_path: Path
) -> None:
    shutil.copytree(export_root, tmp_path / "root")
    gone = tmp_path / "root" / str(demo.datasets[3].path)
    gone.unlink()
    with pytest.raises(UserError, match=gone.name):
        import_export(registry, demo, schema=SITE, datastore_root=str(tmp_path / "root"))
    assert lsn(registry) == 0


def test_a_copy_that_fails_leaves_no_files(
    registry: Registry, demo: ButlerExport, export_root: Path, tmp_path: Path
) -> None:
    broken = attrs.evolve(demo, dimension_records={})
    with pytest.raises(FederationError, match="record"):
        import_export(
            registry, broken, schema=SITE, datastore_root=str(export_root),
            datastore=Datastore(str(tmp_path / "store")), transfer="copy",
        )  # fmt: skip
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    assert lsn(registry) == 0


@pytest.mark.parametrize("path", ["../secret.yaml", "/etc/passwd", "a/../../b"])
def test_refuses_paths_that_leave_the_root(
    registry: Registry, demo: ButlerExport, export_root: Path, path: str
) -> None:
    first, *rest = demo.datasets
    export = attrs.evolve(demo, datasets=(attrs.evolve(first, path=path), *rest))
    for root in (None, str(export_root)):
        with pytest.raises(UserError, match="path"):
            import_export(registry, export, schema=SITE, datastore_root=root)
    assert lsn(registry) == 0


def test_several_datasets_may_share_a_file(registry: Registry, demo: ButlerExport, export_root: Path) -> None:
    first, second, *rest = demo.datasets
    export = attrs.evolve(demo, datasets=(first, attrs.evolve(second, path=first.path), *rest))
    import_export(registry, export, schema=SITE, datastore_root=str(export_root))
    one, other = rows(registry, "artifact", "dataset_id", [first.dataset_id, second.dataset_id])
    assert (one["uri"], one["checksum"]) == (other["uri"], other["checksum"])


def test_imports_a_choice(registry: Registry, demo: ButlerExport, export_root: Path) -> None:
    chosen = select(demo, dataset_types=["raw"])
    report = import_export(registry, chosen, schema=SITE, datastore_root=str(export_root))
    assert report.datasets == sum(dataset.dataset_type == "raw" for dataset in demo.datasets) > 0
    assert report.validity_ranges == 0


def test_a_collection_of_another_type_is_a_conflict(registry: Registry) -> None:
    with registry.transaction(SITE) as tx:
        collections.register(tx, Collection("imported_g", CollectionType.TAGGED))
    with pytest.raises(ConflictError, match="imported_g"):
        import_export(registry, shipped("base", "datasets"), schema=SITE)
    assert lsn(registry) == 1


def test_documentation_that_a_collection_has_here_stays(registry: Registry) -> None:
    with registry.transaction(SITE) as tx:
        collections.register(tx, Collection("imported_g", CollectionType.RUN, doc="ours"))
    assert import_export(registry, shipped("base", "datasets"), schema=SITE).changed
    assert [row["doc"] for row in rows(registry, "collection", "name", ["imported_g"])] == ["ours"]


def test_metadata_columns_that_a_dataset_type_has_here_stay(registry: Registry) -> None:
    export = shipped("base", "datasets")
    (bias,) = (item for item in export.dataset_types if item.name == "bias")
    mine: DatasetType = attrs.evolve(bias, metadata=(Field("level", LogicalType.FLOAT64),))
    with registry.transaction(SITE) as tx:
        dataset_types.declare(tx, mine)
    import_export(registry, export, schema=SITE)
    assert rows(registry, "dataset_type", "name", ["bias"])[0]["metadata"] == "level:float64"


def test_a_user_schema_takes_dataset_types_of_the_main_one(registry: Registry) -> None:
    import_export(registry, shipped("base"), schema=SITE)
    registry.create_schema("alice")
    export = attrs.evolve(shipped("datasets"), dataset_types=())
    assert import_export(registry, export, schema="alice").datasets == 13
