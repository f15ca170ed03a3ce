"""The data that both registries get in benchmarks/registry.py: visits that tile a field, and what belongs to them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from lsst.sphgeom import ConvexPolygon, LonLat, UnitVector3d

INSTRUMENT = "BenchCam"
SKYMAP = "bench_map"
BANDS = "ugrizy"
DETECTORS = 200
FIRST_VISIT = 1000
DAYS = 28
#: runs of the chain; each holds a fifth of the data IDs, and shares three quarters of them with the next one
CHAIN_RUNS = 5
#: below so many datasets there are fewer calibrations and tracts too
SMALL = 10_000
PATCHES = 100
#: the spatial join is of the visits and tracts below these
SPATIAL_VISIT_END = FIRST_VISIT + 60
SPATIAL_TRACT_END = 20
SECOND = 1_000_000_000
#: 2025-01-01T00:00:00 TAI
BEGIN = 1_735_689_600 * SECOND
CADENCE = 40 * SECOND
EXPOSURE = 30 * SECOND

Record = dict[str, Any]
#: written before what is measured, so that neither side imports or connects while the clock runs
WARM_UP: list[Record] = [{"instrument": INSTRUMENT, "id": 20260101}]
#: what `timespan` of a record holds: begin and end in TAI nanoseconds
Span = tuple[int, int]


def square(lon: float, lat: float, size: float) -> ConvexPolygon:
    """A square around a centre; all in degrees."""
    half = size / 2
    corners = ((-half, -half), (half, -half), (half, half), (-half, half))
    return ConvexPolygon([UnitVector3d(LonLat.fromDegrees(lon + a, lat + b)) for a, b in corners])


def visit_count(n: int) -> int:
    """How many visits hold ``n`` visit-detector pairs."""
    return max(1, -(-n // DETECTORS))


def _pointing(i: int) -> tuple[float, float]:
    return 20 + 3.5 * (i % 17), -20 + 3.5 * (i // 17 % 11)


def base_records() -> Iterator[tuple[str, list[Record]]]:
    """What visits depend on, by element; ``derived`` bands are left to the registry."""
    yield (
        "instrument",
        [{"name": INSTRUMENT, "visit_max": 10**9, "exposure_max": 10**9, "detector_max": 1000}],
    )
    yield "physical_filter", [{"instrument": INSTRUMENT, "name": f"{b}_01", "band": b} for b in BANDS]
    yield (
        "detector",
        [
            {"instrument": INSTRUMENT, "id": d, "full_name": f"D{d:03d}", "purpose": "SCIENCE"}
            for d in range(DETECTORS)
        ],
    )
    yield "day_obs", [{"instrument": INSTRUMENT, "id": 20250101 + d} for d in range(DAYS)]


def visits(count: int) -> list[Record]:
    """Visits with ``region`` (a polygon) and ``timespan`` (`Span`), 40 s apart."""
    return [
        {
            "instrument": INSTRUMENT,
            "id": FIRST_VISIT + i,
            "name": f"v{i}",
            "physical_filter": f"{BANDS[i % len(BANDS)]}_01",
            "day_obs": 20250101 + i % DAYS,
            "exposure_time": 30.0,
            "target_name": "bench",
            "observation_reason": "science",
            "science_program": "bench",
            "region": square(*_pointing(i), 3.5),
            "timespan": (BEGIN + i * CADENCE, BEGIN + i * CADENCE + EXPOSURE),
        }
        for i in range(count)
    ]


def visit_detector_regions(n: int) -> list[Record]:
    """One region for each of ``n`` visit-detector pairs."""
    records = []
    for k in range(n):
        visit, detector = divmod(k, DETECTORS)
        lon, lat = _pointing(visit)
        region = square(lon + 0.23 * (detector % 14 - 6.5), lat + 0.23 * (detector // 14 - 6.5), 0.22)
        records.append(
            {"instrument": INSTRUMENT, "visit": FIRST_VISIT + visit, "detector": detector, "region": region}
        )
    return records


def data_ids(n: int, start: int = 0) -> list[Record]:
    """``n`` data IDs of visit and detector."""
    return [
        {"instrument": INSTRUMENT, "visit": FIRST_VISIT + k // DETECTORS, "detector": k % DETECTORS}
        for k in range(start, start + n)
    ]


def chain_data_ids(n: int, run: int) -> list[Record]:
    """What one run of the chain holds of ``n``."""
    return data_ids(n // CHAIN_RUNS, run * (n // (4 * CHAIN_RUNS)))


def chain_row_count(n: int) -> int:
    """Data IDs that the chain holds, each once."""
    return (CHAIN_RUNS - 1) * (n // (4 * CHAIN_RUNS)) + n // CHAIN_RUNS


def data_id(n: int, number: int) -> Record:
    """One of ``n`` data IDs; consecutive numbers are far apart."""
    return data_ids(1, number * 7919 % n)[0]


def chain_data_id(n: int, number: int) -> Record:
    """One of the data IDs of the chain."""
    return data_ids(1, number * 7919 % chain_row_count(n))[0]


def middle_visit(n: int) -> int:
    return FIRST_VISIT + visit_count(n) // 2


def as_uuid(value: uuid.UUID | bytes) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(bytes=value)


def calibration_ranges(n: int) -> int:
    """Validity ranges of the calibration collection, end to end in time."""
    return 50 if n >= SMALL else 10


def calibration_spans(n: int) -> list[Span]:
    """Validity ranges that cover the visits of ``n``, a whole number of visits each."""
    step = CADENCE * -(-visit_count(n) // calibration_ranges(n))
    return [(BEGIN + k * step, BEGIN + (k + 1) * step) for k in range(calibration_ranges(n))]


def sky_records(n: int) -> Iterator[tuple[str, list[Record]]]:
    """A sky map of 100 tracts (with few datasets, 20) of 100 patches over a part of the field."""
    tract_count = 100 if n >= SMALL else SPATIAL_TRACT_END
    yield (
        "skymap",
        [
            {
                "name": SKYMAP,
                "hash": bytes(20),
                "tract_max": tract_count,
                "patch_nx_max": 10,
                "patch_ny_max": 10,
            }
        ],
    )
    tracts, patches = [], []
    for tract in range(tract_count):
        lon, lat = 20 + 1.5 * (tract % 10), -20 + 1.5 * (tract // 10)
        tracts.append({"skymap": SKYMAP, "id": tract, "region": square(lon, lat, 1.5)})
        for patch in range(PATCHES):
            x, y = patch % 10, patch // 10
            region = square(lon + 0.15 * (x - 4.5), lat + 0.15 * (y - 4.5), 0.16)
            patches.append(
                {"skymap": SKYMAP, "tract": tract, "id": patch, "cell_x": x, "cell_y": y, "region": region}
            )
    yield "tract", tracts
    yield "patch", patches
