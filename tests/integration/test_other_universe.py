"""A universe that has nothing to do with the sky: nothing above the universe file knows a dimension by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from federation.datastore import Datastore
from federation.errors import ConflictError, NotFoundError, QueryError, UserError
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.alternate_keys import resolve_alternate_keys
from federation.model.collection import Collection, CollectionType
from federation.model.data_id import DataId
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse, Field
from federation.model.logical import LogicalType
from federation.model.position import SchemaId
from federation.model.timespan import Timespan
from federation.registry import artifacts, collections, dataset_types, datasets, dimensions, provenance
from federation.registry.catalog import CatalogSource
from federation.registry.registry import Registry
from federation.replication.follower import Follower
from federation.replication.publisher import Publisher
from federation.snapshot.assemble import create_snapshot
from federation.snapshot.consistency import verify_snapshot
from federation.snapshot.open import open_snapshot, snapshot_catalog
from federation.snapshot.selection import Selection
from federation.snapshot.source import FederatedSource
from federation.storage import PostgresDatabase, SqliteDatabase
from federation.wire.client import SiteClient
from federation.wire.server import build_server

UNIVERSE = DimensionUniverse.load(Path(__file__).parents[1] / "data" / "universes" / "sequencing.toml")
READS = DatasetType("reads", ("assay", "well"), "Bytes", metadata=(Field("read_count", LogicalType.INT64),))
VARIANTS = DatasetType("variants", ("well",), "Bytes")
SETTINGS = DatasetType("settings", ("lab",), "Bytes", is_calibration=True)
HOUR_NS = 3_600_000_000_000


def fill_bench(registry: Registry, store: Datastore) -> None:
    """The laboratory's site: plates, assays, what the machines read, and their settings."""
    with registry.transaction(registry.site) as tx:
        dimensions.insert_records(tx, "lab", [{"name": "North", "short_code": "NO"}])
        dimensions.insert_records(tx, "vendor", [{"name": "Acme"}])
        dimensions.insert_records(
            tx,
            "reagent",
            [
                {"vendor": "Acme", "id": n, "catalogue_number": f"A-{n}", "chemistry": "buffer"}
                for n in (1, 2)
            ],
        )
        dimensions.insert_records(
            tx,
            "plate",
            [{"lab": "North", "id": n, "barcode": f"P{n}", "rows": 8, "columns": 12} for n in (1, 2)],
        )
        dimensions.insert_records(
            tx,
            "well",
            [{"lab": "North", "plate": p, "position": w} for p in (1, 2) for w in ("A1", "A2")],
        )
        dimensions.insert_records(
            tx,
            "assay",
            [
                {
                    "lab": "North", "id": n, "run_name": f"run-{n}", "plate": n,
                    "timespan_begin": n * HOUR_NS, "timespan_end": (n + 1) * HOUR_NS,
                }
                for n in (1, 2)
            ],
        )  # fmt: skip
        dimensions.insert_records(
            tx, "assay_reagent", [{"lab": "North", "assay": 1, "vendor": "Acme", "reagent": 2, "amount": 0.5}]
        )
        for dataset_type in (READS, SETTINGS):
            dataset_types.declare(tx, dataset_type)
        collections.register(tx, Collection("machine/reads", CollectionType.RUN))
        collections.register(tx, Collection("machine/settings", CollectionType.RUN))
        collections.register(tx, Collection("settings", CollectionType.CALIBRATION))
        data_ids = [{"lab": "North", "assay": p, "plate": p, "well": w} for p in (1, 2) for w in ("A1", "A2")]
        reads = [
            datasets.NewDataset("reads", "machine/reads", data_id, metadata={"read_count": 100 * n})
            for n, data_id in enumerate(data_ids)
        ]
        made = datasets.insert_datasets(tx, reads).refs
        (settings,) = datasets.insert_datasets(
            tx, [datasets.NewDataset("settings", "machine/settings", {"lab": "North"})]
        ).refs
        collections.certify(tx, "settings", Timespan(0, 10 * HOUR_NS), [settings.id])
        files = []
        for ref in (*made, settings):
            stored = store.put_stream([ref.id.bytes * 100], f"{ref.id}.dat")
            files.append(artifacts.Artifact(ref.id, f"{ref.id}.dat", stored.size_bytes, stored.checksum))
        artifacts.record(tx, files)


@attrs.frozen
class Labs:
    bench: Registry
    cluster: Registry
    stores: dict[str, Datastore]


@pytest.fixture
def labs(tmp_path: Path, fresh_postgres_database: str) -> Iterator[Labs]:
    """The bench on SQLite; the cluster, on PostgreSQL, follows it and makes variants of what it read."""
    stores = {name: Datastore(str(tmp_path / name / "files")) for name in ("bench", "cluster")}
    with (
        Registry.create_in(SqliteDatabase(tmp_path / "bench" / "registry"), "bench", UNIVERSE) as bench,
        Registry.create_in(
            PostgresDatabase(fresh_postgres_database, label="test"), "cluster", UNIVERSE
        ) as cluster,
    ):
        fill_bench(bench, stores["bench"])
        yield Labs(bench, cluster, stores)


class _Publishing:
    def __init__(self, registry: Registry) -> None:
        publisher = self.publisher = Publisher(registry)
        self.follow, self.bootstrap, self.digest = publisher.follow, publisher.bootstrap, publisher.digest


def replicate(labs: Labs) -> None:
    service = _Publishing(labs.bench)
    server = build_server(service, "127.0.0.1:0", workers=4)  # type: ignore[arg-type]
    server.start()
    try:
        with SiteClient("bench", server.address) as client:
            Follower(labs.cluster, client, SchemaId("bench", "bench"), "cluster").run_once()
    finally:
        service.publisher.stop()
        server.stop(0)


def make_variants(labs: Labs) -> None:
    with labs.cluster.transaction("cluster") as tx:
        dimensions.insert_records(tx, "lab", [{"name": "North"}])
        dimensions.insert_records(
            tx, "plate", [{"lab": "North", "id": 1, "barcode": "P1", "rows": 8, "columns": 12}]
        )
        dimensions.insert_records(tx, "well", [{"lab": "North", "plate": 1, "position": "A1"}])
        dataset_types.declare(tx, VARIANTS)
        collections.register(tx, Collection("calls/one", CollectionType.RUN))
        (ref,) = datasets.insert_datasets(
            tx, [datasets.NewDataset("variants", "calls/one", {"lab": "North", "plate": 1, "well": "A1"})]
        ).refs
        stored = labs.stores["cluster"].put_stream([b"variants"], "variants.dat")
        artifacts.record(tx, [artifacts.Artifact(ref.id, "variants.dat", stored.size_bytes, stored.checksum)])
    with Coordinator("bench", {"bench": LocalSite(labs.bench)}) as coordinator:
        (row,) = coordinator.query("SELECT dataset_id FROM reads WHERE assay = 1 AND well = 'A1'").to_pylist()
    with labs.cluster.transaction("cluster") as tx:
        provenance.add_edges(tx, [(ref.id, row["dataset_id"], "call")])


def test_is_queried_over_two_sites_with_replicas_or_without(labs: Labs) -> None:
    make_variants(labs)
    replicate(labs)
    sql = (
        "SELECT r.well, r.read_count, a.run_name FROM reads r"
        " JOIN variants v ON v.lab = r.lab AND v.plate = r.plate AND v.well = r.well"
        " JOIN assay a ON a.lab = r.lab AND a.id = r.assay"
        " JOIN calibration c ON c.dataset_type = 'settings'"
        " AND timespan_overlaps(c.timespan_begin, c.timespan_end, a.timespan_begin, a.timespan_end)"
    )
    catalogs = CatalogSource(labs.cluster)
    ages = {SchemaId("bench", "bench"): 1.0}
    clients = {
        "cluster": LocalSite(labs.cluster, lambda: catalogs.catalog(ages)),
        "bench": LocalSite(labs.bench),
    }

    with Coordinator("cluster", clients) as coordinator:
        fresh = coordinator.query(sql)
        near = coordinator.query(sql, max_staleness_s=3600)
        tables = coordinator.query("SELECT name FROM federation.tables WHERE kind = 'dimension'").to_pylist()

    assert fresh.to_pylist() == near.to_pylist() == [{"well": "A1", "read_count": 0, "run_name": "run-1"}]
    assert {fragment.site for fragment in near.plan.fragments} == {"cluster"}
    assert {row["name"] for row in tables} == set(UNIVERSE.element_names)


def test_a_snapshot_holds_what_a_dataset_depends_on_and_opens(labs: Labs, tmp_path: Path) -> None:
    make_variants(labs)
    clients = {"cluster": LocalSite(labs.cluster), "bench": LocalSite(labs.bench)}
    selection = Selection(sql="SELECT dataset_id FROM variants", calibrations=("settings",))

    with Coordinator("cluster", clients) as coordinator:
        source = FederatedSource(coordinator, stores=labs.stores)
        report = create_snapshot(source, UNIVERSE, tmp_path / "snap", selection)

    assert (report.datasets, report.files, report.missing) == (3, 3, {})
    assert verify_snapshot(tmp_path / "snap").problems == ()
    with open_snapshot(tmp_path / "snap") as registry:
        assert registry.universe.fingerprint == UNIVERSE.fingerprint
        site = LocalSite(registry, lambda: snapshot_catalog(registry))
        with Coordinator(registry.site, {registry.site: site}) as coordinator:
            rows = coordinator.query("SELECT lab, plate, position FROM well").to_pylist()
    assert rows == [{"lab": "North", "plate": 1, "position": "A1"}]


def test_derived_and_implied_values_follow_the_file(labs: Labs) -> None:
    with Coordinator("bench", {"bench": LocalSite(labs.bench)}) as coordinator:
        assert coordinator.query("SELECT name FROM chemistry").to_pylist() == [{"name": "buffer"}]
    bad = {"lab": "North", "assay": 1, "plate": 2, "well": "A1"}
    with labs.bench.transaction("bench") as tx, pytest.raises(UserError, match="plate") as caught:
        datasets.insert_datasets(tx, [datasets.NewDataset("reads", "machine/reads", bad)])
    assert caught.value.hint


def test_bad_records_are_refused_by_its_own_names(labs: Labs) -> None:
    with labs.bench.transaction("bench") as tx:
        with pytest.raises(UserError, match="well refers to plate lab='North', id=9"):
            dimensions.insert_records(tx, "well", [{"lab": "North", "plate": 9, "position": "A1"}])
        with pytest.raises(ConflictError, match="barcode"):
            dimensions.insert_records(
                tx, "plate", [{"lab": "North", "id": 1, "barcode": "other", "rows": 8, "columns": 12}]
            )
        with pytest.raises(NotFoundError, match="'visit'"):
            dimensions.insert_records(tx, "visit", [{"id": 1}])
    with (
        Coordinator("bench", {"bench": LocalSite(labs.bench)}) as coordinator,
        pytest.raises(QueryError, match="exposure"),
    ):
        coordinator.query("SELECT exposure FROM reads")


def test_data_ids_know_its_alternate_keys(labs: Labs) -> None:
    group = UNIVERSE.group(["assay", "well"])
    with Coordinator("bench", {"bench": LocalSite(labs.bench)}) as coordinator:

        def lookup(element: str, columns: dict[str, object]) -> list[dict[str, object]]:
            text = " AND ".join(f"{name} = {value!r}" for name, value in columns.items())
            return coordinator.query(f"SELECT * FROM {element} WHERE {text}").to_pylist()

        values = resolve_alternate_keys(
            UNIVERSE, group, {"run_name": "run-2", "plate.barcode": "P2", "well": "A2"}, lookup
        )

    data_id = DataId.standardize(UNIVERSE, group, values)
    # the well, and so the plate, is asked for: the assay's implied plate is a required dimension here
    assert dict(data_id) == {"lab": "North", "plate": 2, "well": "A2", "assay": 2}
