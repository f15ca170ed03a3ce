"""The rows that both sides of benchmarks/replication.py replicate: datasets of one type, two rows each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.model.logical import TableDef, dataset_type_table
from federation.model.system_tables import system_tables

SITE = "summit"
RUN = "LSSTCam/raw/all"
INSTRUMENT = "LSSTCam"
DETECTORS = 189
BANDS = "ugrizy"
FIRST_EXPOSURE = 2026110300000
#: 2026-11-03T00:00:00 TAI
BEGIN = 1_793_664_000_000_000_000
RAW = DatasetType("raw", ("instrument", "exposure", "detector"), "Exposure")

Columns = dict[str, Sequence[Any]]


def tables() -> tuple[TableDef, TableDef]:
    """The two logical tables that a dataset has a row in."""
    dataset = next(table for table in system_tables() if table.name == "dataset")
    return dataset, dataset_type_table(DimensionUniverse.default(), RAW)


def dataset_ids(begin: int, end: int, *, ordered: bool) -> list[bytes]:
    """Ids of the datasets from ``begin`` to before ``end``: random, or UUIDs of version 7 made 5 ms apart."""
    random = np.random.default_rng(begin).bytes(16 * (end - begin))
    pieces = [random[place : place + 16] for place in range(0, len(random), 16)]
    if not ordered:
        return pieces
    return [
        (1_790_000_000_000 + 5 * number).to_bytes(6, "big") + b"\x70" + piece[7:]
        for number, piece in enumerate(pieces, begin)
    ]


def band_of(exposure: int) -> str:
    return BANDS[exposure // 40 % len(BANDS)]


def group_of(exposure: int) -> str:
    return f"2026-11-03T{exposure % 100000:08d}"


def rows(begin: int, end: int, *, ordered: bool = False) -> dict[str, Columns]:
    """Columns of ``dataset`` and ``raw`` for these datasets; one exposure has `DETECTORS` of them."""
    count = end - begin
    ids = dataset_ids(begin, end, ordered=ordered)
    exposures = [FIRST_EXPOSURE + number // DETECTORS for number in range(begin, end)]
    bands = [band_of(exposure) for exposure in exposures]
    return {
        "dataset": {
            "dataset_id": ids,
            "dataset_type": [RAW.name] * count,
            "run": [RUN] * count,
            "ingest_date": [BEGIN + number * 5_000_000 for number in range(begin, end)],
        },
        "raw": {
            "dataset_id": ids,
            "run": [RUN] * count,
            "instrument": [INSTRUMENT] * count,
            "detector": [number % DETECTORS for number in range(begin, end)],
            "exposure": exposures,
            "band": bands,
            "physical_filter": [f"{band}_03" for band in bands],
            "group": [group_of(exposure) for exposure in exposures],
            "day_obs": [20261103] * count,
        },
    }
