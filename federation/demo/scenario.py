"""The night: what happens in which order, with what the sites answer on the way."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from federation import api, snapshot_verbs
from federation.datastore import Datastore
from federation.demo import images, lsstcam
from federation.errors import FederationError, UnavailableError
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import Field
from federation.model.logical import LogicalType
from federation.model.timespan import Timespan, parse_tai
from federation.registry import collections, dataset_types, dimensions
from federation.registry.files.ingest import FileToIngest, ingest_files
from federation.registry.registry import Registry

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from federation.api import Session
    from federation.config import SiteConfig
    from federation.demo.fleet import Fleet
    from federation.demo.lsstcam import Exposure

__all__ = ["JOIN", "Arrival", "Night"]

RAW = DatasetType("raw", ("exposure", "detector"), "Exposure")
BIAS = DatasetType("bias", ("detector",), "ExposureF", is_calibration=True)
_QUALITY = (Field("psf_fwhm", LogicalType.FLOAT64, unit="arcsec"), Field("source_count", LogicalType.INT64))
CALEXP = DatasetType("calexp", ("visit", "detector"), "ExposureF", metadata=_QUALITY)
RAW_RUN, BIAS_RUN = "LSSTCam/raw/all", "LSSTCam/calib/20251201"
CALIBRATIONS = "LSSTCam/calib"
CALEXP_RUN, ALICE_RUN = "LSSTCam/runs/nightly", "u/alice/reprocessed"
WAIT_S = 90.0

#: exposures are the summit's, validity of calibrations base's, processed images ncsa's
JOIN = """
SELECT e.physical_filter, count(*) AS images, round(avg(c.psf_fwhm), 3) AS mean_fwhm, max(c.source_count) AS sources
FROM summit.raw r
JOIN summit.exposure e ON e.instrument = r.instrument AND e.id = r.exposure
JOIN ncsa.calexp c ON c.instrument = r.instrument AND c.visit = r.exposure AND c.detector = r.detector
JOIN base.bias b ON b.instrument = r.instrument AND b.detector = r.detector
JOIN base.calibration k ON k.dataset_id = b.dataset_id AND e.timespan_begin >= k.timespan_begin
WHERE c.psf_fwhm < 0.75
GROUP BY e.physical_filter ORDER BY mean_fwhm, e.physical_filter
""".strip()


@attrs.frozen
class Arrival:
    """How long it took until everything that was ingested elsewhere had arrived, in seconds."""

    rows_s: float
    files_s: float


@attrs.define
class Night:
    """Does the steps of the demo on a running fleet."""

    fleet: Fleet
    exposures: tuple[Exposure, ...]
    processed_visits: int = 2
    raw_ids: dict[tuple[int, int], uuid.UUID] = attrs.field(factory=dict)
    bias_ids: dict[int, uuid.UUID] = attrs.field(factory=dict)
    expected_files: int = 0
    _made_at_ncsa: int = attrs.field(default=0, init=False)

    def _config(self, site: str) -> SiteConfig:
        return self.fleet.configs[site]

    def _incoming(self, name: str) -> Path:
        directory = self.fleet.directory / "incoming" / name
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def _ingest(
        self,
        site: str,
        files: Sequence[FileToIngest],
        type_: DatasetType,
        run: str,
        schema: str | None = None,
        *,
        once: bool = True,
    ) -> dict[tuple[int, int], uuid.UUID]:
        config = self._config(site)
        name = schema or site
        with Registry.open(config) as registry:
            with registry.transaction(name) as tx:
                dataset_types.declare(tx, type_)
            report = ingest_files(
                registry,
                Datastore(config.datastore_url, config.datastore_options),
                schema=name,
                run=run,
                dataset_type=type_.name,
                files=files,
                mode="move",
                once=once,
            )
        if site != "ncsa":
            self.expected_files += len(report.new)
        first = type_.dimensions[0]
        ids = dict.fromkeys((*report.new, *report.known))
        return {
            (file.data_id.get(first, 0), file.data_id["detector"]): identity
            for file, identity in zip(files, ids, strict=True)
        }

    def prepare(self) -> None:
        """Records that exist before the night, at the summit."""
        with Registry.open(self._config("summit")) as registry, registry.transaction("summit") as tx:
            for element, rows in lsstcam.instrument_records():
                dimensions.insert_records(tx, element, rows)

    def expose(self, exposures: Sequence[Exposure]) -> int:
        """Take exposures: write a raw for each detector and ingest them at the summit; returns how many raws."""
        count = 0
        for exposure in exposures:
            with Registry.open(self._config("summit")) as registry, registry.transaction("summit") as tx:
                for element, row in exposure.records():
                    dimensions.insert_records(tx, element, [row])
            files = []
            for detector in lsstcam.detectors():
                path = self._incoming("summit") / f"{exposure.obs_id}_{detector.full_name}.fits"
                path.unlink(missing_ok=True)
                images.write_raw(path, exposure, detector)
                data_id = {"instrument": lsstcam.INSTRUMENT, "exposure": exposure.id, "detector": detector.id}
                files.append(FileToIngest(str(path), data_id))
            self.raw_ids |= self._ingest("summit", files, RAW, RAW_RUN)
            count += len(files)
        return count

    def calibrate(self) -> int:
        """Make a bias for each detector at base and certify them; returns how many."""
        files = []
        for detector in lsstcam.detectors():
            path = self._incoming("base") / f"bias_{detector.full_name}.fits"
            path.unlink(missing_ok=True)
            images.write_bias(path, detector)
            files.append(FileToIngest(str(path), {"instrument": lsstcam.INSTRUMENT, "detector": detector.id}))
        ids = self._ingest("base", files, BIAS, BIAS_RUN)
        self.bias_ids = {detector: identity for (_, detector), identity in ids.items()}
        with Registry.open(self._config("base")) as registry, registry.transaction("base") as tx:
            collections.register(tx, Collection(CALIBRATIONS, CollectionType.CALIBRATION))
            valid = Timespan(parse_tai("2025-12-01 12:00:00"), None)
            collections.certify(tx, CALIBRATIONS, valid, list(self.bias_ids.values()))
        return len(files)

    def wait_instrument(self, site: str) -> None:
        """Wait until the camera's records have come from the summit."""
        self._wait(f"the camera's records at {site}", lambda: self._known(site, "summit") >= 1)

    def wait_arrival(self) -> Arrival:
        """Wait until ncsa holds every row and file of the other sites; returns how long each took."""
        began = time.monotonic()
        heads = {name: self._head(name) for name in ("summit", "base")}
        self._wait("rows at ncsa", lambda: all(self._known("ncsa", name) >= heads[name] for name in heads))
        rows_s = time.monotonic() - began
        self._wait("files at ncsa", lambda: self._files("ncsa") >= self.expected_files)
        return Arrival(round(rows_s, 2), round(time.monotonic() - began, 2))

    def _head(self, site: str) -> int:
        client = self.fleet.client(site)
        try:
            return next(s.lsn for s in client.status().schemas if s.owned and s.schema.name == site)
        finally:
            client.close()

    def _known(self, site: str, schema: str) -> int:
        client = self.fleet.client(site)
        try:
            return next((s.lsn for s in client.status().schemas if s.schema.name == schema), 0)
        finally:
            client.close()

    def _files(self, site: str) -> int:
        """Files of the other sites' datasets in the site's datastore."""
        with self.session(site) as session:
            sql = f"SELECT count(*) AS n FROM {site}.artifact WHERE present"
            total = int(session.query(sql).to_pylist()[0]["n"])
        return total - self._made_at_ncsa

    def _wait(self, what: str, done: Any) -> None:
        deadline = time.monotonic() + WAIT_S
        while not done():
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{what} did not arrive within {WAIT_S:.0f} s",
                    hint=f"look into the logs in {self.fleet.directory}",
                )
            time.sleep(0.1)

    def process(self) -> int:
        """Calibrate the images of the first visits at ncsa, a few again in alice's schema; returns how many."""
        count = 0
        with Registry.open(self._config("ncsa")) as registry:
            registry.create_schema("alice")
        chosen = self.exposures[: self.processed_visits]
        for exposure in chosen:
            count += self._process(exposure, lsstcam.detectors(), None, CALEXP_RUN)
        center = [detector for detector in lsstcam.detectors() if detector.raft == "R22"]
        return count + self._process(chosen[0], center, "alice", ALICE_RUN)

    def _process(
        self, exposure: Exposure, detectors: Sequence[lsstcam.Detector], schema: str | None, run: str
    ) -> int:
        files = []
        raws = {d.id: self.raw_ids[exposure.id, d.id] for d in detectors}
        paths = self._local_paths("ncsa", [*raws.values(), *(self.bias_ids[d.id] for d in detectors)])
        for detector in detectors:
            raw, bias = raws[detector.id], self.bias_ids[detector.id]
            path = self._incoming("ncsa") / f"calexp_{exposure.obs_id}_{detector.full_name}.fits"
            path.unlink(missing_ok=True)
            measured = images.process(paths[raw], paths[bias], path)
            files.append(
                FileToIngest(
                    str(path),
                    {"instrument": lsstcam.INSTRUMENT, "visit": exposure.id, "detector": detector.id},
                    metadata={"psf_fwhm": measured.psf_fwhm_arcsec, "source_count": measured.source_count},
                    inputs=(raw, bias),
                    task="isr",
                )
            )
        self._ingest("ncsa", files, CALEXP, run, schema, once=False)
        if schema is None:
            self._made_at_ncsa += len(files)
        return len(files)

    def _local_paths(self, site: str, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Path]:
        config = self._config(site)
        datastore = Datastore(config.datastore_url, config.datastore_options)
        with Registry.open(config) as registry, registry.transaction(site) as tx:
            rows = tx.select("artifact", ("dataset_id",), [(i,) for i in ids])
        return {
            row["dataset_id"]: Path(datastore.resolve(row["uri"]).removeprefix("file://")) for row in rows
        }

    def session(self, site: str) -> Session:
        """A session whose home is the site."""
        return api.connect(site=str(self._config(site).path), sites=str(self.fleet.sites))

    def refused(self, sql: str) -> str:
        """The message of a query that must fail."""
        with self.session("ncsa") as session:
            try:
                session.query(sql)
            except FederationError as error:
                return str(error)
        raise AssertionError("a query of a site that is cut off must fail")

    def snapshot(self, target: Path, sql: str) -> Any:
        """Take a snapshot of the datasets that the statement names, with all that they depend on."""
        return snapshot_verbs.create_snapshot(
            target,
            site=self._config("ncsa").path,
            sites=self.fleet.sites,
            sql=sql,
            calibrations=[CALIBRATIONS],
        )

    def verify_snapshot(self, target: Path) -> Any:
        """Check every byte of a snapshot."""
        report = snapshot_verbs.verify_snapshot(target)
        report.raise_for_problem()
        return report
