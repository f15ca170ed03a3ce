"""Two sites in this process with datasets, files, provenance and calibrations, as a source of snapshots."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from federation.datastore import Datastore
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.model.timespan import Timespan
from federation.registry import artifacts, collections, dataset_types, datasets, dimensions, provenance
from federation.registry.registry import Registry
from federation.snapshot.source import FederatedSource
from federation.storage import SqliteDatabase

UNIVERSE = DimensionUniverse.default()
NIGHT = 20250101
EXPOSURES = 4


def content(name: str) -> bytes:
    """What the file of that name holds: different for each, some tens of kilobytes."""
    return hashlib.sha256(name.encode()).digest() * 2000


@attrs.frozen
class Sites:
    """``summit`` owns raws and a bias, ``base`` what was made from raws 0 and 1."""

    summit: Registry
    base: Registry
    stores: dict[str, Datastore]
    raws: tuple[uuid.UUID, ...]
    bias: uuid.UUID
    calexps: tuple[uuid.UUID, ...]

    @contextmanager
    def source(self) -> Iterator[FederatedSource]:
        clients = {registry.site: LocalSite(registry) for registry in (self.base, self.summit)}
        with Coordinator("base", clients) as coordinator:
            yield FederatedSource(coordinator, stores=self.stores)

    def close(self) -> None:
        self.summit.close()
        self.base.close()


def make_sites(root: Path) -> Sites:
    """Make the sites below ``root``, or open those that are there."""
    registries = {
        name: Registry.create_in(SqliteDatabase(root / name / "registry"), name, UNIVERSE)
        for name in ("summit", "base")
    }
    stores = {name: Datastore(str(root / name / "files")) for name in registries}
    with registries["summit"].transaction("summit") as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        dimensions.insert_records(tx, "physical_filter", [{"instrument": "Cam", "name": "r_1", "band": "r"}])
        dimensions.insert_records(tx, "detector", [{"instrument": "Cam", "id": 0, "full_name": "R00_S00"}])
        dimensions.insert_records(tx, "day_obs", [{"instrument": "Cam", "id": NIGHT}])
        dimensions.insert_records(tx, "group", [{"instrument": "Cam", "name": "g"}])
        dimensions.insert_records(
            tx,
            "exposure",
            [
                {
                    "instrument": "Cam", "id": n, "obs_id": f"o{n}", "day_obs": NIGHT, "physical_filter": "r_1",
                    "group": "g", "timespan_begin": 100 * n, "timespan_end": 100 * n + 50,
                }
                for n in range(EXPOSURES)
            ],
        )  # fmt: skip
        dataset_types.declare(tx, DatasetType("raw", ("exposure", "detector"), "Exposure"))
        dataset_types.declare(tx, DatasetType("bias", ("detector",), "Exposure", is_calibration=True))
        for run in ("Cam/raw/all", "Cam/calib/run"):
            collections.register(tx, Collection(run, CollectionType.RUN))
        collections.register(tx, Collection("Cam/calib", CollectionType.CALIBRATION))
        raws = tuple(
            ref.id
            for ref in datasets.insert_datasets(
                tx,
                [
                    datasets.NewDataset(
                        "raw", "Cam/raw/all", {"instrument": "Cam", "detector": 0, "exposure": n}, once=True
                    )
                    for n in range(EXPOSURES)
                ],
            ).refs
        )
        bias = (
            datasets.insert_datasets(
                tx,
                [
                    datasets.NewDataset(
                        "bias", "Cam/calib/run", {"instrument": "Cam", "detector": 0}, once=True
                    )
                ],
            )
            .refs[0]
            .id
        )
        collections.certify(tx, "Cam/calib", Timespan(0, 1000), [bias])
        names = {**{f"raw/{n}.fits": i for n, i in enumerate(raws)}, "bias.fits": bias}
        artifacts.record(tx, [_store(stores["summit"], name, i) for name, i in names.items()])
    with registries["base"].transaction("base") as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        dimensions.insert_records(tx, "physical_filter", [{"instrument": "Cam", "name": "r_1", "band": "r"}])
        dimensions.insert_records(tx, "detector", [{"instrument": "Cam", "id": 0, "full_name": "R00_S00"}])
        dimensions.insert_records(tx, "day_obs", [{"instrument": "Cam", "id": NIGHT}])
        dimensions.insert_records(
            tx,
            "visit",
            [
                {
                    "instrument": "Cam", "id": n, "name": f"v{n}", "day_obs": NIGHT, "physical_filter": "r_1",
                    "timespan_begin": 100 * n, "timespan_end": 100 * n + 50,
                }
                for n in range(2)
            ],
        )  # fmt: skip
        dataset_types.declare(tx, DatasetType("calexp", ("visit", "detector"), "Exposure"))
        collections.register(tx, Collection("run/one", CollectionType.RUN))
        calexps = tuple(
            ref.id
            for ref in datasets.insert_datasets(
                tx,
                [
                    datasets.NewDataset(
                        "calexp", "run/one", {"instrument": "Cam", "detector": 0, "visit": n}, once=True
                    )
                    for n in range(2)
                ],
            ).refs
        )
        provenance.add_edges(tx, [(calexps[n], raws[n], "isr") for n in range(2)])
        artifacts.record(tx, [_store(stores["base"], f"calexp/{n}.fits", i) for n, i in enumerate(calexps)])
    return Sites(registries["summit"], registries["base"], stores, raws, bias, calexps)


def _store(store: Datastore, name: str, dataset_id: uuid.UUID) -> artifacts.Artifact:
    stored = store.put_stream([content(name)], name)
    return artifacts.Artifact(dataset_id, name, stored.size_bytes, stored.checksum)
