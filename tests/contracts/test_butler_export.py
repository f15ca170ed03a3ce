"""Exporting from registries of both kinds to files that the real Butler imports."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

pytest.importorskip("lsst.daf.butler")

from butler_content import content, import_file, new_butler, registry_data

import federation
from federation.datastore import Datastore
from federation.errors import NotFoundError, UsageError, UserError
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse, Field
from federation.model.logical import LogicalType
from federation.model.position import SchemaId
from federation.model.timespan import Timespan
from federation.registry import collections, dataset_types, dimensions
from federation.registry.butler.content import ButlerExport
from federation.registry.butler.importing import import_export
from federation.registry.butler.reading import merge_exports, read_export
from federation.registry.butler.writing import ExportReport, write_export
from federation.registry.datasets import NewDataset, insert_datasets
from federation.registry.registry import Registry
from federation.storage import SqliteDatabase

UNIVERSE = DimensionUniverse.default()
BASE = SchemaId("base", "base")


@pytest.fixture
def export_root(shared_data: Path) -> Path:
    return shared_data / "data" / "butler-export"


@pytest.fixture
def demo(export_root: Path, registry: Registry) -> ButlerExport:
    """Imported: every type of collection, two generations of validity ranges, regions at RA 0 and near the pole."""
    export = read_export(export_root / "export.yaml", UNIVERSE)
    import_export(registry, export, schema="base", datastore_root=str(export_root))
    return export


def exported(registry: Registry, path: Path, **choice: object) -> tuple[ExportReport, ButlerExport]:
    report = write_export(registry, path, **{"schema": BASE, **choice})  # type: ignore[arg-type]
    return report, read_export(path, UNIVERSE)


def calibration(export: ButlerExport) -> set[tuple[str, Timespan, uuid.UUID]]:
    return {(item.collection, item.timespan, i) for item in export.validity for i in item.dataset_ids}


@pytest.mark.parametrize(
    "names",
    [
        ("base", "datasets"),
        ("base", "spatial"),
        ("ci_hsc-subset", "ci_hsc-subset-skymap"),
        ("hsc-rc2-subset-v0",),
        ("lsstcam-subset",),
    ],
    ids="+".join,
)
def test_what_the_butler_ships_comes_back_to_it_as_it_was(names: tuple[str, ...], tmp_path: Path) -> None:
    files = [registry_data(name) for name in names]
    with Registry.create_in(SqliteDatabase(tmp_path / "registry"), "base", UNIVERSE) as registry:
        import_export(
            registry, merge_exports([read_export(f, UNIVERSE) for f in files], UNIVERSE), schema="base"
        )
        write_export(registry, tmp_path / "export.yaml", schema=BASE)
    ours, theirs = new_butler(tmp_path / "ours"), new_butler(tmp_path / "theirs")
    import_file(ours, tmp_path / "export.yaml")
    import_file(theirs, *files)
    assert content(ours) == content(theirs)


@pytest.mark.parametrize(
    ("open_database", "transfer"), [("sqlite", "copy"), ("postgresql", "direct")], indirect=["open_database"]
)
def test_the_butler_reads_the_files(
    registry: Registry, demo: ButlerExport, export_root: Path, tmp_path: Path, transfer: str
) -> None:
    target = tmp_path / "out"
    report, _ = exported(
        registry,
        target / "export.yaml",
        transfer=transfer,
        directory=target if transfer == "copy" else None,
        datastore=Datastore(str(tmp_path / "store")),
    )
    assert report.files == len(demo.datasets)
    ours, theirs = new_butler(tmp_path / "ours"), new_butler(tmp_path / "theirs")
    directory = target if transfer == "copy" else None
    import_file(ours, target / "export.yaml", directory=directory, transfer=transfer)
    import_file(theirs, export_root / "export.yaml", directory=export_root, transfer="copy")
    assert content(ours) == content(theirs)
    for dataset in demo.datasets[::20]:
        assert ours.get(ours.get_dataset(dataset.dataset_id)) == theirs.get(
            theirs.get_dataset(dataset.dataset_id)
        )


def test_a_copy_that_is_there_already_stays(registry: Registry, demo: ButlerExport, tmp_path: Path) -> None:
    choice = {
        "transfer": "copy",
        "directory": tmp_path / "out",
        "datastore": Datastore(str(tmp_path / "store")),
    }
    first, _ = exported(registry, tmp_path / "out" / "export.yaml", **choice)
    again, _ = exported(registry, tmp_path / "out" / "export.yaml", **choice)
    assert first.copied_bytes > 0 == again.copied_bytes


def test_reading_it_back_changes_nothing(registry: Registry, demo: ButlerExport, tmp_path: Path) -> None:
    report, export = exported(registry, tmp_path / "export.yaml")
    assert report.datasets == len(demo.datasets)
    assert {d.dataset_id: d.data_id for d in export.datasets} == {
        d.dataset_id: d.data_id for d in demo.datasets
    }
    assert calibration(export) == calibration(demo)
    assert not import_export(registry, export, schema="base").changed


def test_the_same_content_is_the_same_file(registry: Registry, demo: ButlerExport, tmp_path: Path) -> None:
    exported(registry, tmp_path / "one.yaml")
    exported(registry, tmp_path / "two.yaml")
    assert (tmp_path / "one.yaml").read_bytes() == (tmp_path / "two.yaml").read_bytes()


def test_chosen_types_bring_the_records_and_collections_they_need(
    registry: Registry, demo: ButlerExport, tmp_path: Path
) -> None:
    report, export = exported(registry, tmp_path / "export.yaml", dataset_types=["raw"])
    raws = [dataset for dataset in demo.datasets if dataset.dataset_type == "raw"]
    assert {d.dataset_id for d in export.datasets} == {d.dataset_id for d in raws}
    assert {t.name for t in export.dataset_types} == {"raw"}
    assert {c.name for c in export.collections} >= {d.run for d in raws}
    assert not any(c.type is CollectionType.CALIBRATION for c in export.collections)
    exposures = {row["id"] for row in export.dimension_records["exposure"]}
    assert exposures == {d.data_id["exposure"] for d in raws}
    butler = new_butler(tmp_path / "butler")
    import_file(butler, tmp_path / "export.yaml")
    assert report.datasets == len(content(butler)["datasets"])


def test_chosen_ids_are_all_that_is_written(registry: Registry, demo: ButlerExport, tmp_path: Path) -> None:
    ids = [demo.datasets[0].dataset_id, demo.datasets[-1].dataset_id]
    report, export = exported(registry, tmp_path / "export.yaml", ids=ids)
    assert {dataset.dataset_id for dataset in export.datasets} == set(ids)
    assert report.datasets == 2
    butler = new_butler(tmp_path / "butler")
    import_file(butler, tmp_path / "export.yaml")
    with pytest.raises(NotFoundError, match="is not known at base"):
        exported(registry, tmp_path / "none.yaml", ids=[uuid.UUID(int=1)])
    assert not (tmp_path / "none.yaml").exists()


def test_a_chain_brings_all_that_it_leads_to(registry: Registry, demo: ButlerExport, tmp_path: Path) -> None:
    (chain, *_) = [c for c in demo.collections if c.type is CollectionType.CHAINED]
    with registry.transaction("base") as tx:
        collections.register(tx, Collection("top", CollectionType.CHAINED, children=(chain.name,)))
    _, export = exported(registry, tmp_path / "export.yaml", collections=["top"])
    written = {collection.name: collection for collection in export.collections}
    assert written["top"].children == (chain.name,)
    assert set(chain.children) <= written.keys()
    runs = [c.name for c in written.values() if c.type is CollectionType.RUN]
    assert {d.dataset_id for d in export.datasets} >= {d.dataset_id for d in demo.datasets if d.run in runs}
    import_file(new_butler(tmp_path / "butler"), tmp_path / "export.yaml")


def test_a_users_schema_brings_what_it_refers_to_elsewhere(
    registry: Registry, demo: ButlerExport, tmp_path: Path
) -> None:
    registry.create_schema("alice")
    raw = next(dataset for dataset in demo.datasets if dataset.dataset_type == "raw")
    with registry.transaction("alice") as tx:
        collections.register(tx, Collection("u/alice/good", CollectionType.TAGGED))
        collections.tag(tx, "u/alice/good", [raw.dataset_id])
        collections.register(
            tx, Collection("u/alice", CollectionType.CHAINED, children=("u/alice/good", raw.run))
        )
    _, export = exported(
        registry, tmp_path / "export.yaml", schema=SchemaId("base", "alice"), collections=["u/alice/good"]
    )
    assert [dataset.dataset_id for dataset in export.datasets] == [raw.dataset_id]
    assert export.tags == {"u/alice/good": (raw.dataset_id,)}
    assert raw.run in {collection.name for collection in export.collections}
    import_file(new_butler(tmp_path / "butler"), tmp_path / "export.yaml")


def test_values_that_yaml_could_mistake_arrive(registry: Registry, tmp_path: Path) -> None:
    names = ["yes", "1e5", "0x10", "2026-01-01", "a: b", "#x", "é☃", "tab\t", "null", "~", "'q'", "[a]", "-"]
    with registry.transaction("base") as tx:
        dimensions.insert_records(tx, "instrument", [{"name": name, "class_name": name} for name in names])
        visit = {
            "name": "no",
            "region": None,
            "timespan_begin": 0,
            "timespan_end": None,
            "exposure_time": 1e-05,
        }
        dimensions.insert_records(tx, "day_obs", [{"instrument": "yes", "id": 20260101}])
        dimensions.insert_records(tx, "physical_filter", [{"instrument": "yes", "name": "1", "band": "off"}])
        dimensions.insert_records(
            tx,
            "visit",
            [{"instrument": "yes", "id": 1, "physical_filter": "1", "day_obs": 20260101, **visit}],
        )
    _, export = exported(registry, tmp_path / "export.yaml")
    assert {row["name"] for row in export.dimension_records["instrument"]} == set(names)
    (record,) = export.dimension_records["visit"]
    assert {name: record[name] for name in visit} == visit
    import_file(new_butler(tmp_path / "butler"), tmp_path / "export.yaml")


def test_metadata_columns_are_left_out_and_told(registry: Registry, tmp_path: Path) -> None:
    kind = DatasetType(
        "src", ("detector",), "StructuredDataDict", metadata=(Field("nrows", LogicalType.INT64),)
    )
    with registry.transaction("base") as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        dimensions.insert_records(tx, "detector", [{"instrument": "Cam", "id": 1, "full_name": "d1"}])
        dataset_types.declare(tx, kind)
        collections.register(tx, Collection("run", CollectionType.RUN))
        new = NewDataset("src", "run", {"instrument": "Cam", "detector": 1}, metadata={"nrows": 7})
        insert_datasets(tx, [new])
    report, export = exported(registry, tmp_path / "export.yaml")
    assert report.warnings == ("src: metadata columns nrows are left out: a Butler has none",)
    assert len(export.datasets) == 1


def test_a_child_that_nobody_here_has_is_refused_or_left_out(registry: Registry, tmp_path: Path) -> None:
    with registry.transaction("base") as tx:
        collections.register(tx, Collection("all", CollectionType.CHAINED, children=("elsewhere",)))
    with pytest.raises(NotFoundError, match="chain 'all' searches 'elsewhere'"):
        exported(registry, tmp_path / "export.yaml")
    assert not (tmp_path / "export.yaml").exists()
    report, export = exported(registry, tmp_path / "export.yaml", leave_out=True)
    assert [collection.children for collection in export.collections] == [()]
    assert "'elsewhere' is left out" in report.warnings[0]


def test_what_the_universe_has_beyond_a_butlers_is_refused_or_left_out(tmp_path: Path) -> None:
    text = UNIVERSE.source.replace(
        '{ name = "tract_max", type = "int"',
        '{ name = "epoch", type = "float" }, { name = "tract_max", type = "int"',
    )
    universe = DimensionUniverse.parse(text)
    with Registry.create_in(SqliteDatabase(tmp_path / "registry"), "base", universe) as registry:
        with registry.transaction("base") as tx:
            dimensions.insert_records(tx, "skymap", [{"name": "m", "hash": b"h", "epoch": 2000.0}])
        with pytest.raises(UserError, match=r"column skymap\.epoch of base has no place in a Butler"):
            exported(registry, tmp_path / "export.yaml")
        report, export = exported(registry, tmp_path / "export.yaml", leave_out=True)
    assert report.warnings == ("column skymap.epoch is left out: a Butler's universe lacks it",)
    assert [row["name"] for row in export.dimension_records["skymap"]] == ["m"]


def test_another_universe_is_refused(tmp_path: Path) -> None:
    universe = DimensionUniverse.parse(
        UNIVERSE.source.replace('namespace = "daf_butler"', 'namespace = "mine"')
    )
    with (
        Registry.create_in(SqliteDatabase(tmp_path / "registry"), "base", universe) as registry,
        pytest.raises(UserError, match="universe mine version 8 can't be exported"),
    ):
        exported(registry, tmp_path / "export.yaml")


def test_a_file_that_is_not_here_is_named(registry: Registry, tmp_path: Path, export_root: Path) -> None:
    import_export(registry, read_export(export_root / "export.yaml", UNIVERSE), schema="base")
    with pytest.raises(NotFoundError, match="has no file at this site"):
        exported(
            registry,
            tmp_path / "export.yaml",
            transfer="copy",
            directory=tmp_path,
            datastore=Datastore(str(tmp_path / "store")),
        )
    assert not (tmp_path / "export.yaml").exists()


def test_patterns_that_match_nothing_are_named(
    registry: Registry, demo: ButlerExport, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="no collection of base/base matches 'nix\\*'"):
        exported(registry, tmp_path / "export.yaml", collections=["nix*"])
    with pytest.raises(NotFoundError, match="no dataset type of base matches 'nix'"):
        exported(registry, tmp_path / "export.yaml", dataset_types=["nix"])
    with pytest.raises(UsageError, match="directory"):
        exported(registry, tmp_path / "export.yaml", transfer="copy", datastore=Datastore(str(tmp_path)))


def test_a_record_that_a_butler_would_refuse_is_named(registry: Registry, tmp_path: Path) -> None:
    with registry.transaction("base") as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        dimensions.insert_records(tx, "exposure", [{"instrument": "Cam", "id": 7}])
    with pytest.raises(UserError, match=r"exposure record .*'id': 7.* has no physical_filter"):
        exported(registry, tmp_path / "export.yaml")


def test_a_condition_chooses_what_it_finds_in_the_registry(export_root: Path, tmp_path: Path) -> None:
    sites = tmp_path / "sites"
    federation.init_site("base", sites=sites, root=tmp_path / "base")
    federation.import_butler([export_root / "export.yaml"], site="base", sites=sites)
    target = tmp_path / "export.yaml"
    where = "exposure = 1000 AND detector < 2"
    report = federation.export_butler(target, site="base", sites=sites, dataset_types=["ra*"], where=where)
    assert report.datasets == 2
    found = read_export(target, UNIVERSE).datasets
    assert {(d.data_id["exposure"], d.data_id["detector"]) for d in found} == {(1000, 0), (1000, 1)}
    with pytest.raises(UsageError, match="a condition without a dataset type"):
        federation.export_butler(target, site="base", sites=sites, where=where)
