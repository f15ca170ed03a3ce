"""Answers in other libraries' containers and in files, what they took, what they lack, and who asked for them."""

from __future__ import annotations

import csv
import json
import logging
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from federation.cli.main import main
from federation.config import Address, SiteConfig, render_site
from federation.config.settings import QueryConfig
from federation.errors import LimitError, UnavailableError, UsageError, UserError
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.execution.missing_ranges import with_ranges
from federation.execution.row_frames import to_astropy
from federation.execution.site import SiteExecutor
from federation.model.dimension import DimensionUniverse
from federation.model.logical import LogicalType
from federation.model.statistics import ColumnStats, TableStats
from federation.model.timespan import parse_tai
from federation.planner import Missing, OutputColumn
from federation.query_log_verbs import site_queries
from federation.registry.registry import Registry
from federation.services.site_server import SiteServer
from federation.storage import PostgresDatabase, SqliteDatabase
from federation.wire.client import SiteClient
from federation.wire.messages import ExecuteCall

BEGIN = "2026-01-01 00:00:01.000000007"
ID = uuid.UUID(int=2**120)
SQL = "SELECT d.dataset_id, d.ingest_date AS t, d.run, v.exposure_time AS x, v.zenith_angle AS z, v.id AS n "
SQL += "FROM summit.dataset d CROSS JOIN summit.visit v ORDER BY v.id"


def fill(registry: Registry) -> None:
    with registry.transaction(registry.site) as tx:
        tx.put("instrument", [{"name": "Cam"}])
        tx.put(
            "visit",
            [{"instrument": "Cam", "id": n, "exposure_time": None if n == 2 else 1.5 * n} for n in (1, 2)],
        )
        row = {"dataset_id": ID, "dataset_type": "raw", "run": "r", "ingest_date": parse_tai(BEGIN)}
        tx.put("dataset", [row])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, universe: DimensionUniverse) -> Iterator[Registry]:
    root = tmp_path_factory.mktemp("results")
    with Registry.create_in(SqliteDatabase(root / "summit"), "summit", universe) as made:
        fill(made)
        yield made


@pytest.fixture(scope="module")
def coordinator(registry: Registry) -> Iterator[Coordinator]:
    with Coordinator("summit", {"summit": LocalSite(registry)}) as made:
        yield made


# -- containers and files ----------------------------------------------------------------------------------------


def test_a_result_becomes_a_pandas_frame(coordinator: Coordinator) -> None:
    frame = coordinator.query(SQL).to_pandas()
    assert list(frame["n"]) == [1, 2]
    assert frame["t"][0].value == parse_tai(BEGIN)


def test_a_result_becomes_a_polars_frame(coordinator: Coordinator) -> None:
    frame = coordinator.query(SQL).to_polars()
    assert frame["dataset_id"].to_list() == [str(ID), str(ID)]
    assert frame["t"].dt.timestamp("ns").to_list() == [parse_tai(BEGIN)] * 2
    assert frame["x"].to_list() == [1.5, None]


def test_a_result_becomes_an_astropy_table_with_units(coordinator: Coordinator) -> None:
    result = coordinator.query(SQL)
    table = result.to_astropy()
    assert table["x"].unit == "s"
    assert table["z"].unit == "deg"
    assert list(table["x"].mask) == [False, True]
    assert table["t"].scale == "tai"
    table["t"].precision = 9
    assert table["t"].isot[0] == BEGIN.replace(" ", "T")
    assert list(table["dataset_id"]) == [str(ID)] * 2
    assert [column.unit for column in result.columns] == ["", "", "", "s", "deg", ""]


def test_what_numpy_has_no_type_for_is_text_in_an_astropy_table() -> None:
    table = pa.table({"b": pa.array([True, None]), "y": [b"\x01", None], "l": [[1, 2], None]})
    made = to_astropy(table, {"b": "no unit at all"})
    assert (str(made["y"][0]), str(made["l"][0]), bool(made["b"][0])) == ("01", "[1, 2]", True)


def test_a_missing_library_is_named_with_its_remedy(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(UserError, match="polars is not installed") as caught:
        coordinator.query("SELECT 1 AS n").to_polars()
    assert "federation[polars]" in caught.value.hint


def test_files_are_whole_and_in_the_format_of_their_name(coordinator: Coordinator, tmp_path: Path) -> None:
    result = coordinator.query(SQL)
    for name in ("a.csv", "a.json", "a.parquet", "a.arrow"):
        result.write(tmp_path / name)
    result.to_parquet(tmp_path / "b")
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"dataset_id": str(ID), "t": BEGIN, "run": "r", "x": "1.5", "z": "", "n": "1"}
    assert json.loads((tmp_path / "a.json").read_text())[1]["n"] == 2
    assert pq.read_table(tmp_path / "b").schema.field("z").metadata[b"unit"] == b"deg"
    assert pa.ipc.open_file(tmp_path / "a.arrow").read_all().equals(result.table)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.arrow",
        "a.csv",
        "a.json",
        "a.parquet",
        "b",
    ]


def test_a_file_that_can_not_be_written_leaves_nothing(coordinator: Coordinator, tmp_path: Path) -> None:
    result = coordinator.query(SQL)
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="there"):
        result.to_csv(tmp_path / "there")
    with pytest.raises(UserError, match="No such file"):
        result.to_csv(tmp_path / "none" / "a.csv")
    with pytest.raises(UsageError, match="does not say its format"):
        result.write(tmp_path / "a.xls")
    with pytest.raises(UsageError, match="'xls'"):
        result.write(tmp_path / "a.csv", "xls")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


# -- what it took ------------------------------------------------------------------------------------------------


def test_an_analysis_sets_what_came_beside_what_was_expected(
    registry: Registry, tmp_path: Path, universe: DimensionUniverse
) -> None:
    with ExitStack() as open_:
        base = open_.enter_context(Registry.create_in(SqliteDatabase(tmp_path), "base", universe))
        fill(base)
        clients = {"summit": LocalSite(registry), "base": LocalSite(base)}
        coordinator = open_.enter_context(Coordinator("base", clients))
        sql = "SELECT a.id FROM summit.visit a JOIN base.visit b ON a.id = b.id"
        analysis = coordinator.query(sql).analysis
    told = analysis.to_json()
    assert json.loads(json.dumps(told)) == told
    assert {step["site"] for step in told["fragments"]} == {"summit", "base"}
    assert [step["rows"] for step in told["fragments"]] == [2, 2]
    assert all(step["site_seconds"] > 0 and step["round_trips"] == 1 for step in told["fragments"])
    assert [site["rows"] for site in told["sites"]] == [2, 2]
    assert told["round_trips"] == max(step["stage"] for step in told["fragments"])
    assert all(decision["rule"] for decision in told["plan"]["decisions"])
    text = analysis.text()
    assert "at the site" in text
    assert "read at\n  " in text


PLAN_KEYS = {
    *("format", "sql", "round_trips", "fragments", "local_sql", "columns", "literal_tables", "pair_tables"),
    *("find_first", "region_match", "missing", "decisions"),
}
ANALYSIS_KEYS = {
    *("format", "columns", "positions", "missing", "truncation", "fragments", "seconds", "local_seconds"),
    *("round_trips", "bytes", "sites", "row_count", "plan"),
}
STEP_KEYS = {
    *("id", "site", "stage", "rows", "rows_estimate", "bytes", "bytes_estimate", "round_trips", "seconds"),
    *("site_seconds", "transfer_seconds", "staleness_s", "keys"),
}


def test_the_json_has_the_documented_fields(coordinator: Coordinator, repository: Path) -> None:
    told = coordinator.query(SQL).analysis.to_json()
    assert told["format"] == 1
    assert told.keys() == ANALYSIS_KEYS
    assert told["plan"].keys() == PLAN_KEYS
    assert told["fragments"][0].keys() == STEP_KEYS
    page = (repository / "docs" / "reference" / "explain.md").read_text()
    assert not [key for key in ANALYSIS_KEYS | PLAN_KEYS | STEP_KEYS if f"`{key}`" not in page]


# -- what it lacks -----------------------------------------------------------------------------------------------


class Falls(LocalSite):
    """A site that is there until it falls."""

    is_down = False

    def get_catalog(self, *args: Any, **more: Any) -> Any:
        if self.is_down:
            raise UnavailableError("site summit does not answer: gone", hint="wait")
        return super().get_catalog(*args, **more)


def test_a_partial_answer_says_what_it_lacks_from_when_to_when(
    registry: Registry, tmp_path: Path, universe: DimensionUniverse
) -> None:
    falling = Falls(registry)
    with ExitStack() as open_:
        base = open_.enter_context(Registry.create_in(SqliteDatabase(tmp_path), "base", universe))
        fill(base)
        coordinator = open_.enter_context(Coordinator("base", {"base": LocalSite(base), "summit": falling}))
        assert not coordinator.query("SELECT id FROM visit").is_partial
        falling.is_down = True
        result = coordinator.query("SELECT dataset_id FROM dataset", partial=True)
        visits = coordinator.query("SELECT id FROM visit", partial=True)
    assert result.is_partial
    (missing,) = result.missing
    assert (str(missing.schema), missing.table, missing.row_count) == ("summit/summit", "dataset", 1)
    assert "it had 1 row" in str(missing)
    assert [one.row_count for one in visits.missing] == [2]


def test_what_is_missing_has_the_times_that_were_last_heard_of(registry: Registry) -> None:
    catalog = LocalSite(registry).get_catalog()
    (held,) = catalog.schemas
    known = ColumnStats(low=parse_tai(BEGIN), high=parse_tai(BEGIN) + 10**9)
    stats = dict(held.stats) | {
        "dataset": TableStats(3, columns={"ingest_date": known}),
        "detector": TableStats(
            2, columns={"id": ColumnStats(low=4, high=9), "full_name": ColumnStats(low="a", high="b")}
        ),
    }
    catalog = attrs.evolve(catalog, schemas=(attrs.evolve(held, stats=stats),))
    lost = [Missing("summit", None, "dataset", "gone"), Missing("summit", held.schema, "detector", "gone")]
    unknown = Missing("base", None, "dataset", "gone")

    datasets, detectors, other = with_ranges([*lost, unknown], [catalog])

    assert str(datasets) == (
        f"dataset of summit/summit: gone; it had 3 rows, ingest_date from {BEGIN} to {BEGIN.replace('01.', '02.')}"
    )
    assert [(one.column, one.least, one.greatest) for one in detectors.ranges] == [("id", "4", "9")]
    assert other == unknown
    hidden = attrs.evolve(catalog, schemas=(attrs.evolve(held, stats=stats, forbidden=("no", "ask")),))
    assert with_ranges(lost, [hidden, attrs.evolve(catalog, site="ncsa")]) == tuple(lost)


# -- who asked, and what it may cost -----------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path) -> Iterator[SiteConfig]:
    (tmp_path / "sites").mkdir()
    path = tmp_path / "sites" / "summit.toml"
    path.write_text(render_site("summit", tmp_path / "summit", Address("127.0.0.1", 0)))
    with Registry.create(SiteConfig.load(path)) as made:
        fill(made)
    server = SiteServer(SiteConfig.load(path))
    server.start()
    path.write_text(path.read_text().replace("127.0.0.1:0", server.address))
    yield SiteConfig.load(path)
    server.stop()


def test_a_site_keeps_a_record_of_queries_without_their_values(
    served: SiteConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    address, sites = str(served.listen), served.path.parent
    with SiteClient("summit", address, user="alice") as client:
        with Coordinator("summit", {"summit": client}, user="alice") as coordinator:
            coordinator.query("SELECT id FROM visit WHERE name = 'geheim' OR id = 1")
        columns = (OutputColumn("n", LogicalType.INT64),)
        with (
            pytest.raises(UserError),
            client.execute("SELECT 'geheim' || \"ge heim\" AS n -- geheim", columns) as rows,
        ):
            list(rows)
    good, bad = site_queries("summit", sites)
    assert (good.user, good.outcome, good.rows) == ("alice", "ok", 1)
    assert good.seconds > 0
    assert good.bytes > 0
    assert '"name" = ?' in good.sql
    assert "= 1" in good.sql
    assert (bad.outcome, bad.rows) == ("query", 0)
    lines = (served.root / "queries.jsonl").read_text()
    assert "geheim" not in lines.replace("ge heim", "")
    assert (served.root / "queries.jsonl").stat().st_mode & 0o077 == 0
    assert [one.sql for one in site_queries("summit", sites, failed=True)] == [bad.sql]
    assert site_queries("summit", sites, user="bob") == ()
    assert site_queries("summit", sites, last=1) == (bad,)
    capsys.readouterr()
    assert main(["site", "queries", "summit", "--sites", str(sites), "--json", "--user", "alice"]) == 0
    assert json.loads(capsys.readouterr().out)["queries"][0]["outcome"] == "ok"
    assert main(["site", "queries", "summit", "--sites", str(sites), "--slower", "0"]) == 0
    assert "alice" in capsys.readouterr().out


class Heard(logging.Handler):
    """Keeps what an event was about."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.told: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append({"event": record.getMessage(), "level": record.levelname, **vars(record)["fields"]})


@pytest.fixture
def heard() -> Iterator[Heard]:
    logger, handler = logging.getLogger("federation.execution.query_events"), Heard()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_a_query_that_has_ended_is_told_to_the_log(coordinator: Coordinator, heard: Heard) -> None:
    coordinator.query("SELECT id FROM visit WHERE name <> 'geheim'")
    with pytest.raises(UserError):
        coordinator.query("SELECT nothing FROM visit WHERE name <> 'geheim'")
    good, bad = heard.told
    assert (good["event"], good["level"], good["outcome"], good["rows"]) == ("query_ended", "DEBUG", "ok", 0)
    assert (good["sites"], good["user"]) == (["summit"], "")
    assert (bad["level"], bad["outcome"]) == ("INFO", "query")
    assert "geheim" not in str(heard.told)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_site_refuses_what_costs_too_much(
    kind: str, tmp_path: Path, universe: DimensionUniverse, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("fresh_postgres_database") if kind == "postgresql" else ""
    database = PostgresDatabase(url, label="test") if url else SqliteDatabase(tmp_path)
    columns = (("n", LogicalType.INT64),)
    joins = " CROSS JOIN ".join(f'"summit/summit"."detector" AS d{n}' for n in range(8))
    with Registry.create_in(database, "summit", universe) as made:
        with made.transaction("summit") as tx:
            tx.put("instrument", [{"name": "Cam"}])
            tx.put("detector", [{"instrument": "Cam", "id": n} for n in range(30)])
        executor = SiteExecutor(made, limits=QueryConfig(fragment_cost_max=20_000.0))
        dear = ExecuteCall(f"SELECT count(*) AS n FROM {joins}", columns)
        with pytest.raises(LimitError, match="cost"):
            list(executor.execute(dear)[2])
        cheap = attrs.evolve(dear, sql='SELECT count(*) AS n FROM "summit/summit"."detector" AS d')
        assert [batch.to_pydict() for batch in executor.execute(cheap)[2]] == [{"n": [30]}]
        patient = SiteExecutor(made, limits=QueryConfig(fragment_timeout_s=0.3))
        with pytest.raises(LimitError, match="too long"):
            list(patient.execute(attrs.evolve(dear, timeout_s=3600.0))[2])
