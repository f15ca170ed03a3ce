"""The peer's side of benchmarks/registry.py: the same data and the same work on lsst-daf-butler."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import registry_data as data
from lsst.daf.butler import Butler, CollectionType, Config, DatasetType, Timespan
from registry_timing import Figures, median_s, percentile_ms, streamed

NAMESPACE = "bench"

logging.getLogger("lsst").setLevel(logging.ERROR)


def open_butler(place: str, *, write: bool = False) -> Butler:
    """The repository at a directory; one in PostgreSQL has its configuration there."""
    return Butler.from_config(place, writeable=write)


def _timespan(span: data.Span) -> Timespan:
    return Timespan(None, None, _nsec=span)


def _records(records: list[data.Record]) -> list[dict[str, Any]]:
    return [
        {name: _timespan(value) if name == "timespan" else value for name, value in record.items()}
        for record in records
    ]


def create(place: str, url: str | None) -> None:
    """Make an empty repository; with ``url`` its registry is in that PostgreSQL database."""
    config = Config()
    if url is not None:
        config["registry", "db"] = url
        config["registry", "namespace"] = NAMESPACE
    Butler.makeRepo(place, config=config)


def fill_base(place: str, n: int) -> None:
    butler = open_butler(place, write=True)
    for element, records in data.base_records():
        extra: Mapping[str, Any] = (
            {"class_name": "lsst.pipe.base.Instrument"} if element == "instrument" else {}
        )
        butler.registry.insertDimensionData(element, *({**record, **extra} for record in records))
    types = (
        ("calexp", ("visit", "detector"), False),
        ("src", ("visit", "detector"), False),
        ("bias", ("detector",), True),
    )
    for name, dimensions, is_calibration in types:
        butler.registry.registerDatasetType(
            DatasetType(
                name,
                dimensions,
                "StructuredDataDict",
                universe=butler.dimensions,
                isCalibration=is_calibration,
            )
        )
    runs = ["run0", *(f"user/r{k}" for k in range(data.CHAIN_RUNS))]
    for run in (*runs, *(f"biasrun/{k}" for k in range(data.calibration_ranges(n)))):
        butler.collections.register(run)
    butler.collections.register("user/chain", CollectionType.CHAINED)
    butler.collections.redefine_chain("user/chain", runs[1:])
    butler.collections.register("calib", CollectionType.CALIBRATION)


def fill_rest(place: str, n: int) -> None:
    butler = open_butler(place, write=True)
    for k in range(data.CHAIN_RUNS):
        butler.registry.insertDatasets("src", data.chain_data_ids(n, k), run=f"user/r{k}")
    detectors = [{"instrument": data.INSTRUMENT, "detector": d} for d in range(data.DETECTORS)]
    for k, span in enumerate(data.calibration_spans(n)):
        refs = butler.registry.insertDatasets("bias", detectors, run=f"biasrun/{k}")
        butler.registry.certify("calib", refs, _timespan(span))
    for element, records in data.sky_records(n):
        butler.registry.insertDimensionData(element, *records)


# -- sections: each runs in a process of its own and says how long its work took -----------------------------------


def visits(place: str, n: int) -> Figures:
    records = _records(data.visits(data.visit_count(n)))
    return _insert(place, "visit", records)


def regions(place: str, n: int) -> Figures:
    return _insert(place, "visit_detector_region", data.visit_detector_regions(n))


def _insert(place: str, element: str, records: list[data.Record]) -> Figures:
    butler = open_butler(place, write=True)
    butler.registry.insertDimensionData("day_obs", *data.WARM_UP, skip_existing=True)
    began = time.perf_counter()
    butler.registry.insertDimensionData(element, *records)
    return {element: time.perf_counter() - began}


def registration(place: str, n: int) -> Figures:
    butler = open_butler(place, write=True)
    ids = data.data_ids(n)
    began = time.perf_counter()
    butler.registry.insertDatasets("calexp", ids, run="run0")
    return {"datasets": time.perf_counter() - began}


def _query(place: str, name: str, ask: Callable[[Any], Iterator[Any]]) -> Figures:
    """First row and all rows of a query, as they come."""
    butler = open_butler(place)
    counts: list[int] = []

    def once() -> tuple[float, float]:
        began = time.perf_counter()
        with butler.query() as query:
            first, last, count = streamed((1 for _ in ask(query)), began)
        counts.append(count)
        return first, last

    first, last = median_s(once)
    return {f"{name}_first_row": first, f"{name}_all_rows": last, f"{name}_rows": counts[-1]}


def stream(place: str, n: int) -> Figures:
    return _query(place, "stream", lambda query: query.datasets("calexp", "run0"))


def filtered(place: str, n: int) -> Figures:
    where = f"instrument = '{data.INSTRUMENT}' AND visit > {data.middle_visit(n)} AND band = 'r'"
    return _query(place, "filtered", lambda query: query.datasets("calexp", "run0").where(where))


def find_first(place: str, n: int) -> Figures:
    return _query(place, "find_first", lambda query: query.datasets("src", "user/chain", find_first=True))


#: the Butler's rows are objects: the same work stands beside both of our ways
stream_objects, filtered_objects, find_first_objects = stream, filtered, find_first


def calibration_join(place: str, n: int) -> Figures:
    def ask(query: Any) -> Iterator[Any]:
        joined = query.join_dimensions(["visit", "detector"]).join_dataset_search("bias", "calib")
        fields = {"bias": {"dataset_id", "run"}}
        found = joined.general(["visit", "detector"], dataset_fields=fields, find_first=True)
        return iter(found.where(instrument=data.INSTRUMENT))

    return _query(place, "calibration_join", ask)


def spatial_join(place: str, n: int) -> Figures:
    where = (
        f"instrument = '{data.INSTRUMENT}' AND skymap = '{data.SKYMAP}' "
        f"AND visit < {data.SPATIAL_VISIT_END} AND tract < {data.SPATIAL_TRACT_END}"
    )
    return _query(
        place, "spatial_join", lambda query: query.data_ids(["visit", "detector", "patch"]).where(where)
    )


def lookups(place: str, n: int) -> Figures:
    butler = open_butler(place)
    spans = [_timespan((begin, begin + 1)) for begin, _ in data.calibration_spans(n)]
    ids = [ref.id for ref in butler.query_datasets("calexp", "run0", limit=500)]
    calls: dict[str, Callable[[int], Any]] = {
        "find_in_run": lambda i: butler.find_dataset("calexp", data.data_id(n, i), collections="run0"),
        "find_in_chain": lambda i: butler.find_dataset(
            "src", data.chain_data_id(n, i), collections="user/chain"
        ),
        "find_calibration": lambda i: butler.find_dataset(
            "bias",
            {"instrument": data.INSTRUMENT, "detector": i % data.DETECTORS},
            collections="calib",
            timespan=spans[i % len(spans)],
        ),
        "get_by_uuid": lambda i: butler.get_dataset(ids[i % len(ids)]),
    }
    return {name: percentile_ms(call) for name, call in calls.items()}
