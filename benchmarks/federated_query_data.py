"""The tables and queries of benchmarks/federated_query.py, and the fewest bytes that a plan could move for them.

Ten detectors a visit; a raw for each, of which 5 % were never processed and as many twice; a user's own and a newer
set of processed images in schemas of their own. Each table is made from the number of raws alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import attrs
import duckdb
import numpy as np
import pyarrow as pa

SITES = ("summit", "base", "ncsa")
DETECTORS = 10
INSTRUMENTS = np.array(["LSSTCam", "HSC", "LATISS", "DECam"])
BANDS = np.array(list("ugrizy"))
RUNS = np.array(["HSC/runs/RC2/w_2026_40", "LSSTCam/runs/DRP/v30", "LSSTCam/runs/prompt"])
#: visits of one run of raws
RUN_VISITS = 100
SECOND = 1_000_000_000
#: 2025-01-01T00:00:00 TAI
BEGIN = 1_735_689_600 * SECOND
CADENCE = 35 * SECOND
HOUR = 3600 * SECOND


@attrs.frozen
class Table:
    """One table: in which schema of which site it is, its key, and what else it has indexes on."""

    site: str
    schema: str
    name: str
    key: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...]
    make: Callable[[int], pa.Table]

    @property
    def path(self) -> str:
        """As statements name it."""
        return f"{self.schema}.{self.name}"


def _ids(rng: np.random.Generator, count: int) -> pa.Array:
    values = rng.integers(0, 256, size=(count, 16), dtype=np.uint8)
    values[:, 6] = values[:, 6] & 0x0F | 0x40
    values[:, 8] = values[:, 8] & 0x3F | 0x80
    storage = pa.Array.from_buffers(pa.binary(16), count, [None, pa.py_buffer(values.tobytes())])
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


def _times(values: np.ndarray) -> pa.Array:
    return pa.array(values.astype(np.int64), pa.int64()).cast(pa.timestamp("ns"))


def _visit_numbers(n: int) -> np.ndarray:
    return np.arange(1, n // DETECTORS + 1, dtype=np.int64)


def _begins(visit: np.ndarray) -> np.ndarray:
    return BEGIN + (visit - 1) * CADENCE


@lru_cache(maxsize=1)
def _instruments(n: int) -> np.ndarray:
    """The instrument of each visit."""
    return np.random.default_rng(1).choice(INSTRUMENTS, n // DETECTORS, p=[0.6, 0.2, 0.1, 0.1])


def raw(n: int) -> pa.Table:
    """Every detector of every visit, ``n`` rows."""
    rng = np.random.default_rng(2)
    exposure = np.repeat(_visit_numbers(n), DETECTORS)
    runs = np.array([f"raw/{number:05}" for number in range(n // DETECTORS // RUN_VISITS + 1)])
    return pa.table(
        {
            "dataset_id": _ids(rng, len(exposure)),
            "instrument": np.repeat(_instruments(n), DETECTORS),
            "exposure": exposure,
            "detector": np.tile(np.arange(DETECTORS, dtype=np.int64), n // DETECTORS),
            "run": runs[(exposure - 1) // RUN_VISITS],
            "ingest_ts": _times(_begins(exposure) + rng.integers(0, 60 * SECOND, len(exposure))),
        }
    )


def calexp(n: int) -> pa.Table:
    """95 % of the raws processed, 5 % of them twice."""
    rng = np.random.default_rng(3)
    count = n // DETECTORS * DETECTORS
    kept = rng.random(count) < 0.95
    twice = rng.choice(np.flatnonzero(kept), count - int(kept.sum()), replace=False)
    place = np.concatenate([np.flatnonzero(kept), twice])
    run = np.concatenate([place[: int(kept.sum())] % 2, np.full(len(twice), 2)])
    return _processed(n, rng, place, RUNS[run], rng.integers(HOUR, 2 * HOUR, count))


def _processed(
    n: int, rng: np.random.Generator, place: np.ndarray, run: np.ndarray, delay: np.ndarray
) -> pa.Table:
    visit = place // DETECTORS + 1
    return pa.table(
        {
            "dataset_id": _ids(rng, len(place)),
            "instrument": _instruments(n)[visit - 1],
            "visit": visit.astype(np.int64),
            "detector": (place % DETECTORS).astype(np.int64),
            "run": run,
            "nrows": rng.integers(100, 5000, len(place)),
            "psf_fwhm": rng.gamma(9, 0.08, len(place)) + 0.4,
            "ingest_ts": _times(_begins(visit) + delay),
        }
    )


def _again(n: int, seed: int, share: float, run: str) -> pa.Table:
    rng = np.random.default_rng(seed)
    place = np.sort(rng.choice(n // DETECTORS * DETECTORS, int(n * share), replace=False))
    return _processed(n, rng, place, np.full(len(place), run), np.full(len(place), 3 * HOUR))


def visits(n: int) -> pa.Table:
    """What was observed when, and through which filter."""
    rng = np.random.default_rng(6)
    visit = _visit_numbers(n)
    return pa.table(
        {
            "dataset_id": _ids(rng, len(visit)),
            "instrument": _instruments(n),
            "visit": visit,
            "exposure": visit,
            "band": BANDS[rng.integers(0, 6, len(visit))],
            "t_begin": _times(_begins(visit)),
            "t_end": _times(_begins(visit) + 30 * SECOND),
            "ra": rng.uniform(0, 360, len(visit)),
            "decl": rng.uniform(-80, 10, len(visit)),
        }
    )


def good_seeing(n: int) -> pa.Table:
    """The seeing of 1 % of the visits."""
    rng = np.random.default_rng(7)
    visit = np.sort(rng.choice(_visit_numbers(n), n // DETECTORS // 100, replace=False))
    return pa.table({"visit": visit, "seeing": rng.uniform(0.4, 0.9, len(visit))})


_DATA_ID = ("visit", "detector", "instrument")
TABLES = (
    Table(
        "summit",
        "summit",
        "raw",
        ("dataset_id",),
        (("exposure", "detector", "instrument"), ("run",), ("ingest_ts",)),
        raw,
    ),
    Table("base", "base", "calexp", ("dataset_id",), (_DATA_ID, ("run",), ("ingest_ts",)), calexp),
    Table("summit", "drp", "calexp", ("dataset_id",), (_DATA_ID,), lambda n: _again(n, 5, 0.1, "drp/v31")),
    Table(
        "ncsa",
        "u_alice",
        "calexp",
        ("dataset_id",),
        (_DATA_ID,),
        lambda n: _again(n, 4, 0.02, "u/alice/t1"),
    ),
    Table("ncsa", "ncsa", "visits", ("visit",), (("band",), ("t_begin",)), visits),
    Table("ncsa", "ncsa", "good_seeing", ("visit",), (), good_seeing),
)

_SAME = "c.visit = r.exposure AND c.detector = r.detector AND c.instrument = r.instrument"
_BY_BAND = "GROUP BY v.band ORDER BY v.band"


def queries(n: int) -> dict[str, str]:
    """The same text for both sides."""
    middle = n // DETECTORS // RUN_VISITS // 2
    chosen = f"visit BETWEEN {middle * RUN_VISITS + 1} AND {(middle + 1) * RUN_VISITS}"
    columns = "dataset_id, instrument, visit, detector, run, psf_fwhm"
    return {
        "Q1": f"""
SELECT r.dataset_id, r.exposure, r.detector, c.psf_fwhm
FROM summit.raw r JOIN base.calexp c ON {_SAME}
WHERE r.run = 'raw/{middle:05}'""",
        "Q2": f"""
SELECT v.band, count(*) AS n, avg(c.psf_fwhm) AS m
FROM base.calexp c JOIN ncsa.visits v ON v.visit = c.visit {_BY_BAND}""",
        "Q2b": f"""
SELECT v.band, count(*) AS n, avg(c.psf_fwhm) AS m
FROM summit.raw r JOIN base.calexp c ON {_SAME} JOIN ncsa.visits v ON v.visit = c.visit {_BY_BAND}""",
        "Q3": """
SELECT r.dataset_id AS raw_id, c.dataset_id AS calexp_id, v.band, g.seeing, c.psf_fwhm
FROM ncsa.good_seeing g
JOIN ncsa.visits v ON v.visit = g.visit
JOIN base.calexp c ON c.visit = v.visit
JOIN summit.raw r ON r.exposure = v.exposure AND r.detector = c.detector AND r.instrument = c.instrument
WHERE g.seeing < 0.5""",
        "Q4": f"""
SELECT r.dataset_id FROM summit.raw r WHERE NOT EXISTS (SELECT 1 FROM base.calexp c WHERE {_SAME})""",
        "Q5": """
SELECT * FROM (
    SELECT 'raw' AS t, dataset_id, ingest_ts FROM summit.raw
    UNION ALL SELECT 'calexp', dataset_id, ingest_ts FROM base.calexp
    UNION ALL SELECT 'visit', dataset_id, t_begin FROM ncsa.visits) AS u
ORDER BY ingest_ts DESC, dataset_id LIMIT 100""",
        "Q6": f"""
SELECT DISTINCT ON (instrument, visit, detector) * FROM (
    SELECT 0 AS lvl, {columns} FROM u_alice.calexp WHERE {chosen}
    UNION ALL SELECT 1, {columns} FROM drp.calexp WHERE {chosen}
    UNION ALL SELECT 2, {columns} FROM base.calexp WHERE {chosen}) AS u
ORDER BY instrument, visit, detector, lvl, dataset_id""",
    }


def rewritten(n: int) -> dict[str, str]:
    """What somebody who knows where the tables are would write for postgres_fdw by hand."""
    q1 = queries(n)["Q1"]
    run = q1[q1.index("r.run") :]
    keys = f"ARRAY(SELECT DISTINCT r.exposure FROM summit.raw r WHERE {run})"
    return {
        "Q1": q1.replace("WHERE", f"WHERE c.visit = ANY({keys}) AND"),
        "Q2": f"""
SELECT v.band, sum(c.n)::bigint AS n, sum(c.s) / sum(c.k) AS m
FROM (SELECT visit, count(*) AS n, count(psf_fwhm) AS k, sum(psf_fwhm) AS s FROM base.calexp GROUP BY visit) c
JOIN ncsa.visits v ON v.visit = c.visit {_BY_BAND}""",
    }


def least_bytes(n: int) -> dict[str, int]:
    """Bytes that any plan moves which joins elsewhere, as Arrow compressed by zstd.

    From each site the columns that the answer needs of the rows that take part in it, and to it the distinct values
    by which it finds them, where another site has to tell.
    """
    with duckdb.connect() as connection:
        for table in TABLES:
            name = f"{table.schema}_{table.name}"
            connection.register(name, table.make(n))
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {table.schema}")
            connection.execute(f"CREATE TABLE {table.path} AS SELECT * FROM {name}")
            connection.unregister(name)
        return {
            name: sum(_sent_bytes(connection.sql(part).to_arrow_table()) for part in parts)
            for name, parts in _needed(n).items()
        }


def _needed(n: int) -> dict[str, tuple[str, ...]]:
    """What each site has to send or to be told, as statements over all tables."""
    asked = queries(n)
    q1, q3 = (asked[name][asked[name].index("FROM") :] for name in ("Q1", "Q3"))
    chosen = asked["Q6"].split("WHERE ")[1].split("\n")[0]
    top = "ORDER BY 2 DESC, 1 LIMIT 100"
    return {
        "Q1": (
            f"SELECT dataset_id, exposure, detector, instrument FROM summit.raw r {q1[q1.index('WHERE') :]}",
            f"SELECT DISTINCT c.visit {q1}",
            f"SELECT c.visit, c.detector, c.instrument, c.psf_fwhm {q1}",
        ),
        "Q3": (
            "SELECT v.visit, v.exposure, v.band, g.seeing FROM ncsa.good_seeing g "
            "JOIN ncsa.visits v ON v.visit = g.visit WHERE g.seeing < 0.5",
            f"SELECT DISTINCT c.visit {q3}",
            f"SELECT c.visit, c.detector, c.instrument, c.dataset_id, c.psf_fwhm {q3}",
            f"SELECT DISTINCT r.exposure {q3}",
            f"SELECT DISTINCT r.exposure, r.detector, r.instrument, r.dataset_id {q3}",
        ),
        "Q5": (
            f"SELECT dataset_id, ingest_ts FROM summit.raw {top}",
            f"SELECT dataset_id, ingest_ts FROM base.calexp {top}",
            f"SELECT dataset_id, t_begin FROM ncsa.visits {top}",
        ),
        "Q6": tuple(
            f"SELECT dataset_id, instrument, visit, detector, run, psf_fwhm FROM {schema}.calexp WHERE {chosen}"
            for schema in ("u_alice", "drp", "base")
        ),
    }


def _sent_bytes(table: pa.Table) -> int:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table.combine_chunks())
    return int(sink.getvalue().size)
