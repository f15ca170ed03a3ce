"""A small federation for planning: summit (raws), base (calibrations), ncsa (processed) and ncsa/alice (her own)."""

from __future__ import annotations

import attrs

from federation.model.catalog import FederationCatalog, SchemaCatalog, SiteCatalog, TableStats
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse, Field
from federation.model.logical import LogicalType, TableDef, dataset_type_table, dimension_tables
from federation.model.position import SchemaId
from federation.model.system_tables import system_tables

UNIVERSE = DimensionUniverse.default()
SUMMIT, BASE, NCSA = SchemaId("summit", "summit"), SchemaId("base", "base"), SchemaId("ncsa", "ncsa")
ALICE = SchemaId("ncsa", "alice")

RAW = DatasetType("raw", ("exposure", "detector"), "Exposure")
BIAS = DatasetType("bias", ("detector",), "ExposureF", is_calibration=True)
CALEXP = DatasetType(
    "calexp",
    ("visit", "detector"),
    "ExposureF",
    metadata=(Field("psf_fwhm", LogicalType.FLOAT64, unit="arcsec"),),
)
SKY_MAP = DatasetType("skyMap", ("skymap",), "SkyMap")


def tables(*dataset_types: DatasetType) -> tuple[TableDef, ...]:
    """The logical tables of a schema that has these dataset types."""
    own = (dataset_type_table(UNIVERSE, dataset_type) for dataset_type in dataset_types)
    return (*system_tables(), *dimension_tables(UNIVERSE), *own)


def owned(
    schema: SchemaId,
    rows: dict[str, int],
    *dataset_types: DatasetType,
    metrics: dict[str, LogicalType] | None = None,
) -> SchemaCatalog:
    """A schema at its owner; tables that ``rows`` leaves out are empty."""
    own = tables(*dataset_types)
    stats = {table.name: TableStats(rows.get(table.name, 0)) for table in own}
    return SchemaCatalog(schema, "e1", 10, 10, 0.0, own, stats, metrics or {})


def replica(held: SchemaCatalog, staleness_s: float | None) -> SchemaCatalog:
    """A copy of a schema as a follower holds it."""
    return attrs.evolve(held, staleness_s=staleness_s, lsn=8)


SUMMIT_OWN = owned(
    SUMMIT,
    {
        "instrument": 1,
        "exposure": 1000,
        "raw": 200_000,
        "dataset": 200_000,
        "detector": 200,
        "collection": 3,
        "metric": 400_000,
    },
    RAW,
    metrics={"seeing": LogicalType.FLOAT64, "grade": LogicalType.STRING, "band": LogicalType.FLOAT64},
)
BASE_OWN = owned(BASE, {"bias": 400, "calibration": 400, "dataset": 400, "collection": 2}, BIAS)
NCSA_OWN = owned(
    NCSA,
    {
        "visit": 900,
        "calexp": 170_000,
        "dataset": 170_001,
        "provenance": 500_000,
        "skymap": 1,
        "skyMap": 1,
        "metric": 170_000,
    },
    CALEXP,
    SKY_MAP,
    metrics={"source_count": LogicalType.FLOAT64},
)
ALICE_OWN = owned(
    ALICE,
    {"calexp": 12, "dataset": 12, "metric": 12},
    CALEXP,
    metrics={"source_count": LogicalType.STRING, "seeing": LogicalType.FLOAT64},
)


def federation(*, home: str = "ncsa", summit_at_base_s: float | None = 4.0, **down: str) -> FederationCatalog:
    """Three sites; base holds a replica of summit's schema. Keyword arguments name sites that do not answer."""
    sites = {
        "summit": SiteCatalog("summit", "v1", (SUMMIT_OWN,)),
        "base": SiteCatalog("base", "v1", (BASE_OWN, replica(SUMMIT_OWN, summit_at_base_s))),
        "ncsa": SiteCatalog("ncsa", "v1", (NCSA_OWN, ALICE_OWN)),
    }
    order = [home, *(site for site in sites if site != home)]
    return FederationCatalog(home, tuple(sites[site] for site in order if site not in down), down)


WANTED = {
    *("raw", "exposure", "detector", "instrument", "visit", "calexp", "bias"),
    *("dataset", "collection", "calibration", "provenance", "dataset_type", "patch"),
}
#: rows by schema and table; the others of WANTED are empty there
COUNTS = {
    SUMMIT: {"raw": 40, "exposure": 8, "detector": 6, "instrument": 1, "dataset": 30, "collection": 4},
    BASE: {"bias": 12, "calibration": 15, "dataset": 15, "detector": 4, "collection": 3, "patch": 9},
    NCSA: {"calexp": 30, "visit": 8, "dataset": 25, "provenance": 40, "detector": 3, "patch": 7},
    ALICE: {"calexp": 12, "dataset": 10},
}
TYPES = {SUMMIT: (RAW,), BASE: (BIAS,), NCSA: (CALEXP,), ALICE: (CALEXP,)}
