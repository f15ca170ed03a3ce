"""Provenance and metrics over several sites, from Python, from SQL and from the command line."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from free_ports import free_port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from snapshot_sites import UNIVERSE, Sites, make_sites

import federation
from federation.cli.main import main
from federation.config import Address, SiteConfig, render_site
from federation.errors import LimitError, NotFoundError, UserError
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.timespan import Timespan
from federation.registry import activities, collections, dataset_types, datasets, dimensions, metrics
from federation.registry.activities import Activity
from federation.registry.registry import Registry
from federation.services.site_server import SiteServer
from federation.session import Session, connect
from federation.snapshot.assemble import create_snapshot
from federation.snapshot.selection import Selection
from federation.storage import SqliteDatabase

COADD = uuid.UUID(int=5)
ISR = uuid.UUID(int=1001)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Raws at the summit, made into calexps at base; activities and metrics at both."""
    made = make_sites(tmp_path_factory.mktemp("sites"))
    with made.base.transaction("base") as tx:
        activities.record_activities(
            tx,
            [
                Activity(
                    ISR, "isr", "v1", "run/one", Timespan(0, 10**9), "node1", "done", {"doFlat": True},
                    inputs=made.raws[:1], outputs=made.calexps[:1],
                )
            ],
        )  # fmt: skip
        metrics.put_metrics(
            tx, [(made.calexps[0], "seeing", 0.7, "arcsec"), (made.calexps[1], "seeing", 0.9, None)]
        )
    with made.summit.transaction("summit") as tx:
        metrics.put_metrics(tx, [(made.raws[1], "seeing", 1.5, None), (made.raws[1], "grade", "good", None)])
    yield made
    made.close()


@pytest.fixture(scope="module")
def ncsa(tmp_path_factory: pytest.TempPathFactory, sites: Sites) -> Iterator[Registry]:
    """A third site that has a coadd of what base made."""
    database = SqliteDatabase(tmp_path_factory.mktemp("ncsa"))
    with Registry.create_in(database, "ncsa", UNIVERSE) as registry:
        with registry.transaction("ncsa") as tx:
            dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
            dataset_types.declare(tx, DatasetType("coadd", ("instrument",), "Exposure"))
            collections.register(tx, Collection("run/two", CollectionType.RUN))
            datasets.insert_datasets(
                tx, [datasets.NewDataset("coadd", "run/two", {"instrument": "Cam"}, id=COADD)]
            )
            one = Activity(uuid.UUID(int=1002), "coadd", inputs=sites.calexps, outputs=[COADD])
            activities.record_activities(tx, [one])
        yield registry


@pytest.fixture(scope="module")
def session(sites: Sites, ncsa: Registry) -> Iterator[Session]:
    clients = {registry.site: LocalSite(registry) for registry in (ncsa, sites.base, sites.summit)}
    with contextlib.ExitStack() as closing:
        coordinator = closing.enter_context(Coordinator("ncsa", clients))
        yield Session(coordinator, UNIVERSE, closing.pop_all())


# -- upstream and downstream --------------------------------------------------------------------------------------


def test_upstream_crosses_sites_to_the_first_inputs(session: Session, sites: Sites) -> None:
    found = federation.upstream(session, [COADD])
    assert [(one.dataset_id, one.dataset_type, one.depth) for one in found.datasets] == [
        *((dataset_id, "calexp", 1) for dataset_id in sorted(sites.calexps)),
        *((dataset_id, "raw", 2) for dataset_id in sorted(sites.raws[:2])),
    ]
    assert {(edge.dataset_id, edge.input_id, edge.task, edge.depth) for edge in found.edges} == {
        *((COADD, calexp, "coadd", 1) for calexp in sites.calexps),
        *((calexp, raw, "isr", 2) for calexp, raw in zip(sites.calexps, sites.raws, strict=False)),
    }


def test_downstream_crosses_sites_to_the_last_outputs(session: Session, sites: Sites) -> None:
    found = federation.downstream(session, sites.raws[:1])
    assert [(one.dataset_id, one.run, one.depth) for one in found.datasets] == [
        (sites.calexps[0], "run/one", 1), (COADD, "run/two", 2),
    ]  # fmt: skip
    assert found.datasets_table().column("dataset_id").to_pylist() == [sites.calexps[0], COADD]
    assert found.edges_table().column("task").to_pylist() == ["isr", "coadd"]


def test_depth_types_and_stops_bound_a_walk(session: Session, sites: Sites) -> None:
    near = federation.upstream(session, [COADD], depth=1)
    assert {one.dataset_type for one in near.datasets} == {"calexp"}
    assert federation.upstream(session, [COADD], depth=0).datasets == ()
    raws = federation.upstream(session, [COADD], dataset_types=["raw"])
    assert {one.dataset_id for one in raws.datasets} == set(sites.raws[:2])
    assert {edge.input_id for edge in raws.edges} == set(sites.raws[:2])
    stopped = federation.upstream(session, [COADD], stop_at=["calexp"])
    assert {one.dataset_type for one in stopped.datasets} == {"calexp"}
    beyond = federation.upstream(session, sites.calexps[:1], stop_at=["calexp"])
    assert [one.dataset_id for one in beyond.datasets] == [sites.raws[0]]


def test_a_walk_has_limits_and_knows_its_seeds(session: Session) -> None:
    with pytest.raises(LimitError, match="more than 3 provenance edges lie upstream"):
        federation.upstream(session, [COADD], edges_max=3)
    with pytest.raises(NotFoundError, match=r"no site knows dataset .*0063"):
        federation.upstream(session, [uuid.UUID(int=99), COADD])
    with pytest.raises(UserError, match="depth -1 is negative"):
        federation.downstream(session, [COADD], depth=-1)


def test_a_dataset_shows_its_activity_and_its_neighbours(session: Session, sites: Sites) -> None:
    found = federation.dataset_provenance(session, sites.calexps[0])
    assert found.activity is not None
    assert (found.activity.id, found.activity.version, found.activity.parameters) == (
        ISR,
        "v1",
        {"doFlat": True},
    )
    assert [one.dataset_id for one in found.inputs] == [sites.raws[0]]
    assert [(one.dataset_id, one.dataset_type) for one in found.used_by] == [(COADD, "coadd")]
    without = federation.dataset_provenance(session, sites.calexps[1])
    assert without.activity is None
    assert [one.dataset_id for one in without.inputs] == [sites.raws[1]]
    with pytest.raises(NotFoundError, match="no site knows dataset"):
        federation.dataset_provenance(session, uuid.UUID(int=99))


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, list[Registry]]]:
    """Three sites without datasets, whose edges the examples write."""
    root = tmp_path_factory.mktemp("scattered")
    with contextlib.ExitStack() as closing:
        registries = [
            closing.enter_context(Registry.create_in(SqliteDatabase(root / name), name, UNIVERSE))
            for name in ("a", "b", "c")
        ]
        coordinator = closing.enter_context(
            Coordinator("a", {registry.site: LocalSite(registry) for registry in registries})
        )
        yield Session(coordinator, UNIVERSE, contextlib.ExitStack()), registries


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    graph=st.dictionaries(
        st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda e: e[0] != e[1]), st.integers(0, 2), max_size=30
    ),
    depth=st.none() | st.integers(1, 3),
)  # fmt: skip
def test_a_walk_equals_a_plain_search_on_any_graph_cycles_included(
    scattered: tuple[Session, list[Registry]], graph: dict[tuple[int, int], int], depth: int | None
) -> None:
    session, registries = scattered
    ids = [uuid.uuid4() for _ in range(13)]
    for number, registry in enumerate(registries):
        edges = [edge for edge, site in graph.items() if site == number]
        with registry.transaction(registry.site) as tx:
            tx.put("provenance", [{"dataset_id": ids[a], "input_id": ids[b]} for a, b in edges])
    seeds = {ids[a] for a, _ in graph} & set(ids[:2])
    pairs = {(ids[a], ids[b]) for a, b in graph}
    expected, frontier, level = dict.fromkeys(seeds, 0), set(seeds), 0
    crossed: set[tuple[uuid.UUID, uuid.UUID]] = set()
    while frontier and (depth is None or level < depth):
        level += 1
        crossed |= {pair for pair in pairs if pair[0] in frontier}
        frontier = {b for a, b in pairs if a in frontier} - expected.keys()
        expected.update(dict.fromkeys(frontier, level))
    found = federation.upstream(session, seeds, depth=depth)
    assert {one.dataset_id: one.depth for one in found.datasets} == {i: n for i, n in expected.items() if n}
    assert {(edge.dataset_id, edge.input_id) for edge in found.edges} == crossed


# -- metrics in queries -------------------------------------------------------------------------------------------


def test_metrics_are_queried_by_name_over_sites(session: Session, sites: Sites) -> None:
    rows = session.query("SELECT dataset_id, seeing FROM calexp WHERE seeing < 0.8").table.to_pylist()
    assert [tuple(row.values()) for row in rows] == [(sites.calexps[0], 0.7)]
    rows = session.query("SELECT exposure, seeing, grade FROM raw ORDER BY exposure").table.to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        (0, None, None),
        (1, 1.5, "good"),
        (2, None, None),
        (3, None, None),
    ]
    rows = session.query(
        "SELECT c.visit, c.seeing - r.seeing AS worse FROM calexp c JOIN raw r ON r.exposure = c.visit"
        " AND r.grade = 'good'"
    ).table.to_pylist()
    assert [tuple(row.values()) for row in rows] == [(1, pytest.approx(-0.6))]
    rows = session.query(
        "SELECT dataset_type, count(seeing) AS n, max(d.seeing) AS worst FROM dataset d"
        " GROUP BY dataset_type HAVING max(seeing) > 0 ORDER BY dataset_type"
    ).table.to_pylist()
    assert [tuple(row.values()) for row in rows] == [("calexp", 2, 0.9), ("raw", 1, 1.5)]
    rows = session.query(
        "SELECT metric(r, 'grade') FROM raw r WHERE metric(r, 'seeing') BETWEEN 1 AND 2"
    ).table.to_pylist()
    assert [tuple(row.values()) for row in rows] == [("good",)]


def test_metric_names_say_where_they_are(session: Session) -> None:
    assert {(one.name, one.type.value, one.schemas) for one in federation.metric_names(session)} == {
        ("seeing", "float64", ("base/base", "summit/summit")), ("grade", "string", ("summit/summit",)),
    }  # fmt: skip


def test_a_snapshot_brings_activities_and_metrics_along(
    session: Session, sites: Sites, tmp_path: Path
) -> None:
    with sites.source() as source:
        chosen = Selection(ids=(sites.calexps[0],))
        create_snapshot(source, UNIVERSE, tmp_path / "snap", chosen, files=False)
    with federation.open_snapshot(tmp_path / "snap") as offline:
        found = federation.dataset_provenance(offline, sites.calexps[0])
        assert found.activity is not None
        assert found.activity.host == "node1"
        assert offline.query("SELECT seeing FROM calexp").table.to_pylist() == [{"seeing": 0.7}]


# -- the command line ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of the site files of site ``base``, which is served, with images 1 to 3."""
    directory = tmp_path_factory.mktemp("served") / "sites"
    directory.mkdir()
    address = Address("127.0.0.1", free_port())
    (directory / "base.toml").write_text(render_site("base", "../base", address))
    config = SiteConfig.load(directory / "base.toml")
    with Registry.create(config) as registry, registry.transaction("base") as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        rows = [{"instrument": "Cam", "id": n, "full_name": f"d{n}"} for n in range(4)]
        dimensions.insert_records(tx, "detector", rows)
        dataset_types.declare(tx, DatasetType("image", ("detector",), "Exposure"))
        collections.register(tx, Collection("run/a", CollectionType.RUN))
        datasets.insert_datasets(
            tx,
            [
                datasets.NewDataset(
                    "image", "run/a", {"instrument": "Cam", "detector": n}, id=uuid.UUID(int=n)
                )
                for n in range(1, 4)
            ],
        )
    server = SiteServer(config)
    server.start()
    yield directory
    server.stop()


def run(capsys: pytest.CaptureFixture[str], sites: Path, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([*(str(argument) for argument in arguments), "--sites", str(sites), "--site", "base"])
    out, err = capsys.readouterr()
    return code, out, err


def as_json(answer: tuple[int, str, str]) -> Any:
    assert answer[0] == 0, answer
    return json.loads(answer[1])


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.usefixtures("wide")
def test_activities_are_recorded_and_shown_by_command(
    served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, three = (str(uuid.UUID(int=n)) for n in (1, 2, 3))
    file = tmp_path / "quanta.yaml"
    file.write_text(
        f"- {{id: {uuid.UUID(int=11)}, task: isr, version: v1, inputs: [{one}], outputs: [{two}]}}\n"
        f"- {{id: {uuid.UUID(int=12)}, task: coadd, host: n1, timespan: [2026-01-01, null],"
        f" inputs: [{two}], outputs: [{three}]}}\n"
    )
    assert as_json(run(capsys, served, "provenance", "record", file, "--json")) == {
        "site": "base",
        "activities": 2,
        "edges": 2,
    }
    assert run(capsys, served, "provenance", "record", file) == (
        0,
        "new at base: activities 0, edges 0\n",
        "",
    )
    up = as_json(run(capsys, served, "provenance", "upstream", three, "--json"))
    assert [(d["dataset_id"], d["dataset_type"], d["depth"]) for d in up["datasets"]] == [
        (two, "image", 1),
        (one, "image", 2),
    ]
    assert [(e["input_id"], e["task"]) for e in up["edges"]] == [(two, "coadd"), (one, "isr")]
    code, out, _ = run(capsys, served, "provenance", "downstream", one, "--depth", 1)
    assert code == 0
    assert two in out
    assert "downstream: datasets 1, edges 1" in out
    shown = as_json(run(capsys, served, "provenance", "show", three, "--json"))
    assert shown["activity"]["task"] == "coadd"
    assert shown["activity"]["begin"] == "2026-01-01 00:00:00"
    assert [item["dataset_id"] for item in shown["inputs"]] == [two]
    code, out, _ = run(capsys, served, "provenance", "show", two)
    assert code == 0
    for word in ("image in run/a", "isr", "made from", "used by", one, three):
        assert word in out
    code, _, err = run(capsys, served, "provenance", "show", "nonsense")
    assert (code, err.splitlines()[0]) == (2, "error: 'nonsense' is not a dataset id")
    file.write_text(f"- {{id: {uuid.UUID(int=13)}, task: isr, inputs: [{three}], outputs: [{one}]}}\n")
    code, _, err = run(capsys, served, "provenance", "record", file)
    assert code == 3
    assert "would be made from itself" in err


@pytest.mark.usefixtures("wide")
def test_metrics_are_recorded_listed_and_queried_by_command(
    served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, three = (str(uuid.UUID(int=n)) for n in (1, 2, 3))
    file = tmp_path / "psf.csv"
    file.write_text(
        f"dataset_id,name,value,unit\n{one},psf,0.7,arcsec\n{two},psf,0.9,arcsec\n{two},grade,good,\n"
    )
    (tmp_path / "more.jsonl").write_text(json.dumps({"dataset_id": three, "name": "psf", "value": 2}) + "\n")
    answer = run(capsys, served, "metrics", "put", file, tmp_path / "more.jsonl", "--json")
    assert as_json(answer) == {"site": "base", "metrics": 4}
    assert (
        run(capsys, served, "metrics", "put", "--dataset", three, "--set", "psf=0.5", "--unit", "arcsec")[0]
        == 0
    )
    listed = as_json(run(capsys, served, "metrics", "list", "--json"))["metrics"]
    assert [(one["name"], one["type"], one["schemas"]) for one in listed] == [
        ("grade", "string", ["base/base"]), ("psf", "float64", ["base/base"]),
    ]  # fmt: skip
    of_three = as_json(run(capsys, served, "metrics", "list", three, "--json"))["metrics"]
    assert of_three == [
        {"dataset_id": three, "name": "psf", "value": 0.5, "value_text": None, "unit": "arcsec"}
    ]
    assert "grade" in run(capsys, served, "metrics", "list")[1]
    found = as_json(
        run(
            capsys,
            served,
            "query",
            "SELECT detector, grade FROM image WHERE psf > 0.6 ORDER BY psf",
            "--json",
        )
    )
    assert found["rows"] == [{"detector": 1, "grade": None}, {"detector": 2, "grade": "good"}]


@pytest.mark.parametrize(
    ("name", "text", "code", "message"),
    [
        ("a.csv", "dataset_id,name,value\nx,psf,1\n", 3, "a.csv:2: dataset_id = 'x' is not a UUID"),
        ("a.csv", "dataset_id,nam,value\nx,psf,1\n", 3, "a.csv:2 has unknown column 'nam'"),
        ("a.csv", "dataset_id,name,value\n,psf,1\n", 3, "a.csv:2 has no dataset_id"),
        ("a.jsonl", "[]\n", 3, "a.jsonl:1 is not an object"),
        ("a.jsonl", "{\n", 3, "a.jsonl:1 is not JSON"),
        ("a.parquet", "x", 3, "a.parquet can't be read"),
        ("a.txt", "x", 3, "a.txt does not say its format"),
        ("a.csv", f"dataset_id,name,value\n{uuid.UUID(int=9)},psf,1\n", 3, "is not known at base"),
    ],
)  # fmt: skip
def test_a_wrong_file_of_metrics_is_refused(
    served: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str,
    code: int,
    message: str,
) -> None:
    (tmp_path / name).write_text(text)
    answer = run(capsys, served, "metrics", "put", tmp_path / name)
    assert answer[0] == code
    assert message in answer[2]


def test_a_wrong_call_of_metrics_put_is_refused(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, served, "metrics", "put")[0] == 2
    assert run(capsys, served, "metrics", "put", "--set", "a=1")[0] == 2
    assert run(capsys, served, "metrics", "put", "--dataset", uuid.UUID(int=1), "--set", "a")[0] == 2


def test_a_session_over_the_wire_walks_too(served: Path) -> None:
    with connect("base", served) as session:
        assert federation.upstream(session, [uuid.UUID(int=1)]).datasets == ()


def test_a_partial_answer_names_the_site_that_is_missing(
    served: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = served / "base.toml"
    whole = config.read_text()
    config.write_text(whole + '\n[[peer]]\nname = "summit"\naddress = "127.0.0.1:1"\n')
    try:
        code, _, err = run(capsys, served, "provenance", "upstream", uuid.UUID(int=1))
        assert code == 4
        assert "--partial answers without it" in err
        code, out, err = run(
            capsys, served, "provenance", "upstream", uuid.UUID(int=1), "--partial", "--json"
        )
        assert (code, json.loads(out)["missing"]) == (0, ["summit"])
        assert "missing: what only site summit knows" in err
        answer = run(capsys, served, "provenance", "show", uuid.UUID(int=1), "--partial", "--json")
        assert as_json(answer)["missing"] == ["summit"]
    finally:
        config.write_text(whole)
