"""Activities and provenance: what is recorded, what is refused, what lies upstream and downstream."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.position import SchemaId
from federation.model.timespan import Timespan
from federation.registry import provenance
from federation.registry.activities import Activity, Recorded, record_activities
from federation.registry.activity_files import read_activities
from federation.registry.collections import register
from federation.registry.dataset_types import declare
from federation.registry.datasets import NewDataset, insert_datasets
from federation.registry.dimensions import insert_records
from federation.registry.provenance import add_edges, ancestors, descendants
from federation.registry.provenance_graph import ProvenanceGraph
from federation.registry.registry import Registry

SITE = "base"
COUNT = 12


def uid(number: int) -> uuid.UUID:
    return uuid.UUID(int=number)


def made(number: int, inputs: list[int], outputs: list[int], **rest: Any) -> Activity:
    rest = {"task": "isr", "run": "run/a", **rest}
    return Activity(uid(1000 + number), inputs=map(uid, inputs), outputs=map(uid, outputs), **rest)


@pytest.fixture
def stocked(registry: Registry) -> Registry:
    """A registry with datasets 0 to 11 of type ``image``."""
    with registry.transaction(SITE) as tx:
        insert_records(tx, "instrument", [{"name": "C"}])
        insert_records(
            tx, "detector", [{"instrument": "C", "id": i, "full_name": f"d{i}"} for i in range(COUNT)]
        )
        declare(tx, DatasetType("image", ("detector",), "Exposure"))
        register(tx, Collection("run/a", CollectionType.RUN))
        insert_datasets(
            tx,
            [
                NewDataset("image", "run/a", {"instrument": "C", "detector": i}, id=uid(i))
                for i in range(COUNT)
            ],
        )
    return registry


def rows(registry: Registry, name: str) -> list[dict[str, Any]]:
    tables = tuple(registry.tables(SchemaId(SITE, SITE)).values())
    with registry.database.read((SITE,)) as connection:
        table = registry.physical_tables(SITE, tables)[name]
        return [dict(row._mapping) for row in connection.execute(sa.select(table))]


def edges(registry: Registry) -> set[tuple[int, int, str | None]]:
    return {(r["dataset_id"].int, r["input_id"].int, r["task"]) for r in rows(registry, "provenance")}


def record(registry: Registry, *activities: Activity) -> Recorded:
    with registry.transaction(SITE) as tx:
        return record_activities(tx, activities)


# -- recording ----------------------------------------------------------------------------------------------------


def test_an_activity_leads_from_every_output_to_every_input(stocked: Registry) -> None:
    assert record(stocked, made(1, [1, 2], [3, 4])) == Recorded(1, 4)
    assert edges(stocked) == {(3, 1, "isr"), (3, 2, "isr"), (4, 1, "isr"), (4, 2, "isr")}
    assert {(r["dataset_id"].int, r["role"]) for r in rows(stocked, "activity_dataset")} == {
        (1, "input"), (2, "input"), (3, "output"), (4, "output"),
    }  # fmt: skip


def test_an_activity_keeps_all_that_it_says(stocked: Registry) -> None:
    activity = made(
        1, [1], [2], version="w_2026_01", timespan=Timespan(5, 9), host="node7", status="done",
        parameters={"b": [1, None, "é"], "a": {"x": 1.5}},
    )  # fmt: skip
    record(stocked, activity)
    (row,) = rows(stocked, "activity")
    assert Activity.from_rows(row, rows(stocked, "activity_dataset")) == activity


def test_recording_again_changes_nothing(stocked: Registry) -> None:
    activities = [made(1, [1, 2], [3], parameters={10: "x", 9: "y"}), made(2, [3], [4, 5])]
    record(stocked, *activities)
    before = edges(stocked)
    assert record(stocked, *activities) == Recorded(0, 0)
    assert record(stocked, activities[1], activities[1]) == Recorded(0, 0)
    assert edges(stocked) == before


def test_many_activities_are_recorded_in_one_go(stocked: Registry) -> None:
    chain = [made(n, [n], [n + 1]) for n in range(COUNT - 1)]
    assert record(stocked, *reversed(chain)) == Recorded(COUNT - 1, COUNT - 1)


def test_inputs_may_live_anywhere_but_outputs_are_registered_here(stocked: Registry) -> None:
    assert record(stocked, made(1, [777], [3])) == Recorded(1, 1)
    with pytest.raises(NotFoundError, match=r"output .*309 of activity .* \(isr\) is no dataset at base"):
        record(stocked, made(2, [1], [777]))


def test_an_edge_that_named_no_task_gets_it(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        add_edges(tx, [(uid(3), uid(1), None)])
    assert record(stocked, made(1, [1], [3])) == Recorded(1, 1)
    assert edges(stocked) == {(3, 1, "isr")}


@pytest.mark.parametrize(
    ("activities", "message"),
    [
        ([made(1, [1], [3], host="other")], "is recorded otherwise: host None is not 'other'"),
        ([made(1, [1], [4])], "is recorded otherwise: its outputs differ"),
        ([made(1, [1, 2], [3])], "is recorded otherwise: its inputs differ"),
        ([made(5, [1], [6]), made(5, [1], [6], task="x")], "recorded otherwise: task 'isr' is not 'x'"),
        ([made(2, [2], [3])], "is an output of activity .* and of activity"),
        ([made(2, [2], [6]), made(3, [1], [6])], "is an output of activity .* and of activity"),
        ([made(2, [1], [5], run="run/b")], "is in RUN 'run/a', not 'run/b'"),
        ([made(2, [4], [1]), made(3, [3], [4])], "would be made from itself: "),
        ([made(2, [5], [4]), made(3, [4], [5])], "would be made from itself: "),
    ],
)  # fmt: skip
def test_what_contradicts_is_refused_and_nothing_is_written(
    stocked: Registry, activities: list[Activity], message: str
) -> None:
    record(stocked, made(1, [1], [3]))
    with pytest.raises(ConflictError, match=message):
        record(stocked, *activities)
    assert edges(stocked) == {(3, 1, "isr")}
    assert len(rows(stocked, "activity")) == 1


def test_an_edge_of_another_task_is_refused(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        add_edges(tx, [(uid(3), uid(1), "coadd")])
    with pytest.raises(ConflictError, match=r"was made from .* by 'coadd', not by 'isr'"):
        record(stocked, made(1, [1], [3]))


def test_a_cycle_over_edges_of_earlier_transactions_is_refused(stocked: Registry) -> None:
    record(stocked, *(made(n, [n], [n + 1]) for n in range(1, 8)))
    with stocked.transaction(SITE) as tx, pytest.raises(ConflictError, match="would be made from itself"):
        add_edges(tx, [(uid(1), uid(8), None)])


def test_a_dataset_that_is_input_and_output_is_refused() -> None:
    with pytest.raises(UserError, match=r"\(isr\) has dataset .*0001 as input and as output"):
        made(1, [1], [1])


# -- files --------------------------------------------------------------------------------------------------------


def test_yaml_and_json_lines_say_the_same(tmp_path: Path) -> None:
    expected = made(1, [1], [2], timespan=Timespan(1_000_000_000, None), parameters={"a": 1})
    raw = {
        "id": str(expected.id), "task": "isr", "run": "run/a", "timespan": ["1970-01-01 00:00:01", None],
        "parameters": {"a": 1}, "inputs": [str(uid(1))], "outputs": [str(uid(2))],
    }  # fmt: skip
    (tmp_path / "a.jsonl").write_text(json.dumps(raw) + "\n\n")
    (tmp_path / "a.json").write_text(json.dumps([raw]))
    (tmp_path / "a.yaml").write_text(
        f"- id: {raw['id']}\n  task: isr\n  run: run/a\n  timespan: [1970-01-01 00:00:01, null]\n"
        f"  parameters: {{a: 1}}\n  inputs: [{uid(1)}]\n  outputs: [{uid(2)}]\n"
    )
    for name in ("a.jsonl", "a.json", "a.yaml"):
        assert read_activities(tmp_path / name) == [expected]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "a.txt does not say its format"),
        ("a.yaml", "a: [", "a.yaml is not YAML"),
        ("a.yaml", "a: 1", "holds no list of activities"),
        ("a.jsonl", '{"id": 1}\n{', "a.jsonl:1 has no task"),
        ("a.jsonl", "{", "a.jsonl:1 is not JSON"),
        ("a.jsonl", "[]", "a.jsonl:1 is not an object"),
        ("a.jsonl", '{"id": 7, "task": "x"}', "a.jsonl:1: id = 7 is not a UUID"),
        ("a.jsonl", '{"ID": 7}', "a.jsonl:1 has unknown key 'ID'"),
        ("a.yaml", "- {id: 00000000-0000-0000-0000-000000000001, task: 5}", "activity 1: task = 5 is not a text"),
        ("a.yaml", "- {id: 00000000-0000-0000-0000-000000000001, task: x, inputs: 5}", "inputs = 5 is not a list"),
        (
            "a.yaml", "- {id: 00000000-0000-0000-0000-000000000001, task: x, timespan: [2026-01-01T00:00:00Z, null]}",
            r"timespan: '2026-01-01 00:00:00\+00:00' is not a TAI timestamp",
        ),
        (
            "a.yaml", "- {id: 00000000-0000-0000-0000-000000000001, task: x, timespan: [2026-01-02, 2026-01-01]}",
            "ends before it begins",
        ),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_activities(tmp_path / name)


# -- upstream and downstream --------------------------------------------------------------------------------------


def plain_reach(pairs: set[tuple[int, int]], seeds: set[int], depth: int | None) -> dict[uuid.UUID, int]:
    """Breadth-first over (from, to), the plain way."""
    found, frontier, level = dict.fromkeys(seeds, 0), set(seeds), 0
    while frontier and (depth is None or level < depth):
        level += 1
        frontier = {b for a, b in pairs if a in frontier} - found.keys()
        found.update(dict.fromkeys(frontier, level))
    return {uid(number): steps for number, steps in found.items() if steps}


def test_ancestors_over_two_schemas_are_those_of_their_union(
    stocked: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = stocked.ensure_replica(SchemaId("summit", "summit"))
    tables = tuple(stocked.tables(other.schema).values())
    # base has the even steps of a long chain, the replica the odd ones
    with stocked.transaction(SITE) as tx:
        add_edges(tx, [(uid(n), uid(n + 1), None) for n in range(1, 40) if n % 4 < 2])
    with stocked.database.write(other.physical) as connection:
        table = stocked.physical_tables(other.physical, tables)["provenance"]
        there = [{"dataset_id": uid(n), "input_id": uid(n + 1)} for n in range(1, 40) if n % 4 >= 2]
        connection.execute(table.insert(), there)
    expected = {uid(n): n - 1 for n in range(2, 41)}
    assert ancestors(stocked, [uid(1)]) == expected
    assert descendants(stocked, [uid(40)]) == {uid(n): 40 - n for n in range(1, 40)}
    assert ancestors(stocked, [uid(1)], depth=5) == {uid(n): n - 1 for n in range(2, 7)}
    monkeypatch.setattr(provenance, "GRAPH_SEEDS_MIN", 1)
    assert ancestors(stocked, [uid(1)]) == expected
    assert ancestors(stocked, [uid(999)]) == {}


def test_a_negative_depth_is_refused(stocked: Registry) -> None:
    assert ancestors(stocked, [uid(1)], depth=0) == {}
    with pytest.raises(UserError, match="depth -1 is negative"):
        ancestors(stocked, [uid(1)], depth=-1)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    graph=st.sets(st.tuples(st.integers(0, 20), st.integers(0, 20)).filter(lambda e: e[0] > e[1]), max_size=60),
    seeds=st.sets(st.integers(0, 22), min_size=1, max_size=4),
    depth=st.none() | st.integers(1, 4),
)  # fmt: skip
def test_reaching_equals_a_plain_search_on_any_graph(
    registry: Registry, graph: set[tuple[int, int]], seeds: set[int], depth: int | None
) -> None:
    with registry.transaction(SITE) as tx:
        tx.delete("provenance", rows(registry, "provenance"))
        add_edges(tx, [(uid(a), uid(b), None) for a, b in graph])
    ids = [uid(n) for n in seeds]
    up, down = plain_reach(graph, seeds, depth), plain_reach({(b, a) for a, b in graph}, seeds, depth)
    assert ancestors(registry, ids, depth=depth) == up
    assert descendants(registry, ids, depth=depth) == down
    near, far = (b"".join(uid(edge[end]).bytes for edge in sorted(graph)) for end in (0, 1))
    assert ProvenanceGraph.build(near, far).reach(ids, depth) == up


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda e: e[0] != e[1]), max_size=6), max_size=5
    )
)  # fmt: skip
def test_exactly_the_batches_that_close_a_cycle_are_refused(
    registry: Registry, batches: list[set[tuple[int, int]]]
) -> None:
    with registry.transaction(SITE) as tx:
        tx.delete("provenance", rows(registry, "provenance"))
    kept: set[tuple[int, int]] = set()
    for batch in batches:
        together = kept | batch
        cyclic = any(uid(n) in plain_reach(together, {m}, None) for n, m in together)
        try:
            with registry.transaction(SITE) as tx:
                add_edges(tx, [(uid(a), uid(b), None) for a, b in batch])
        except ConflictError:
            assert cyclic
        else:
            assert not cyclic
            kept = together
