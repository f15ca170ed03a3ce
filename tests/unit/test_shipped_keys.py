"""Keys taken from rows that are here, and the order in which fragments are asked."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pyarrow as pa
import pytest

from federation.errors import QueryError, UnavailableError
from federation.execution.gathering import Call
from federation.execution.key_filters import filter_of
from federation.execution.shipped_keys import asked_with, distinct_keys
from federation.execution.speculation import SiteFailedError
from federation.execution.stages import in_stages, run_fragments
from federation.execution.stopping import Stop
from federation.model.logical import LogicalType
from federation.planner import Fragment, OutputColumn
from federation.planner.plan import KeyInput, KeySource

IDS = [uuid.UUID(int=n) for n in (3, 1, 3, 2)]
ROWS = pa.table(
    {
        "id": pa.array([one.bytes for one in IDS] + [None], pa.uuid()),
        "n": pa.array([1, 2, 1, None, 5], pa.int64()),
        "t": pa.array([7, 8, 7, 9, 9], pa.timestamp("ns")),
    }
)
MORE = ROWS.slice(0, 1).append_column("other", pa.array([4], pa.int64()))
COLUMNS = (OutputColumn("n", LogicalType.INT64),)
BOUND_S = 20.0


def key(*sources: KeySource, columns: tuple[str, ...], count_max: int = 100) -> KeyInput:
    return KeyInput("k1", columns, sources, ("n IN (SELECT 1)",), count_max, 3)


def fragment(name: str, *givers: str, site: str = "", count_max: int = 100) -> Fragment:
    """A fragment that waits for others."""
    condition = f'n IN (SELECT "#k"."n" AS "n" FROM "param"."k{name}" AS "#k")'
    source = tuple(KeySource(giver, ("n",)) for giver in givers)
    keys = (KeyInput(f"k{name}", ("n",), source, (condition,), count_max, 3),) if givers else ()
    sql = "SELECT n FROM t" + (f" WHERE {condition}" if givers else "")
    return Fragment(name, site or name, sql, COLUMNS, (), None, None, keys)


def test_keys_are_different_rows_without_null() -> None:
    one = distinct_keys(key(KeySource("f1", ("n",)), columns=("v",)), {"f1": ROWS})
    assert one.to_pydict() == {"v": [1, 2, 5]}
    several = distinct_keys(key(KeySource("f1", ("t", "id", "n")), columns=("a", "b", "c")), {"f1": ROWS})
    assert several.schema == pa.schema([("a", pa.timestamp("ns")), ("b", pa.uuid()), ("c", pa.int64())])
    assert several.select(["b", "c"]).to_pylist() == [{"b": IDS[0], "c": 1}, {"b": IDS[1], "c": 2}]


def test_keys_of_several_fragments_are_put_together() -> None:
    sources = (KeySource("f1", ("id", "n")), KeySource("f2", ("id", "other")))
    found = distinct_keys(key(*sources, columns=("a", "b")), {"f1": ROWS, "f2": MORE})
    assert {(row["a"], row["b"]) for row in found.to_pylist()} == {(IDS[0], 1), (IDS[1], 2), (IDS[0], 4)}


def test_no_rows_give_no_keys_of_the_same_types() -> None:
    found = distinct_keys(key(KeySource("f1", ("id", "n")), columns=("a", "b")), {"f1": ROWS[:0]})
    assert (found.num_rows, found.schema.types) == (0, [pa.uuid(), pa.int64()])


def test_a_fragment_is_asked_with_its_keys() -> None:
    asked = asked_with(fragment("f2", "f1"), {"f1": ROWS})
    assert (asked.sql, asked.is_empty) == (fragment("f2", "f1").sql, False)
    assert asked.keys["kf2"].to_pydict() == {"n": [1, 2, 5]}
    assert [(use.count, use.is_sent) for use in asked.uses] == [(3, True)]


def test_too_many_keys_stay_here() -> None:
    asked = asked_with(fragment("f2", "f1", count_max=2), {"f1": ROWS})
    assert (asked.sql, asked.keys, asked.is_empty) == ("SELECT n FROM t WHERE TRUE", {}, False)
    assert [(use.count, use.is_sent) for use in asked.uses] == [(3, False)]


def test_a_filter_is_sent_of_more_keys_than_are_sent_themselves() -> None:
    def with_limits(count_max: int, filter_max: int) -> Fragment:
        made = fragment("f2", "f1", count_max=count_max)
        (one,) = made.keys
        return attrs.evolve(made, keys=(attrs.evolve(one, outputs=("shown",), filter_count_max=filter_max),))

    asked = asked_with(with_limits(2, 3), {"f1": ROWS})
    assert (asked.sql, asked.keys, asked.is_empty) == ("SELECT n FROM t WHERE TRUE", {}, False)
    assert asked.filters == (filter_of(pa.table({"n": pa.array([1, 2, 5], pa.int64())}), ["shown"]),)
    assert [(use.count, use.is_sent, use.as_filter) for use in asked.uses] == [(3, True, True)]
    plain = asked_with(with_limits(3, 9), {"f1": ROWS})
    assert (plain.filters, plain.uses[0].as_filter, list(plain.keys)) == ((), False, ["kf2"])
    neither = asked_with(with_limits(1, 2), {"f1": ROWS})
    assert (neither.filters, neither.keys, neither.uses[0].is_sent) == ((), {}, False)
    assert asked_with(with_limits(0, 9), {"f1": ROWS[:0]}).is_empty


def test_fragments_come_after_those_they_wait_for() -> None:
    given = [fragment("f1", "f3"), fragment("f2"), fragment("f3", "f4", "f2"), fragment("f4")]
    assert [one.id for one in in_stages(given)] == ["f2", "f4", "f3", "f1"]


class Rows:
    """An answer with one batch."""

    byte_count, site_seconds, positions = 0, 0.0, ()

    def __init__(self, table: pa.Table) -> None:
        self.schema = table.schema
        self._batches = table.to_batches()

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __iter__(self) -> Any:
        return iter(self._batches)

    def cancel(self) -> None:
        pass


class Site:
    """A site that answers with ``values``, once ``may_answer`` is set, or fails; it notes what it was asked."""

    def __init__(self, *values: int, error: Exception | None = None, waits: bool = False) -> None:
        self.table = pa.table({"n": pa.array(values, pa.int64())})
        self.error = error
        self.may_answer, self.is_asked = threading.Event(), threading.Event()
        if not waits:
            self.may_answer.set()
        self.keys: list[dict[str, list[int]]] = []

    def execute(self, sql: str, columns: Any, keys: Any = None, **_: Any) -> Rows:
        self.keys.append({name: table.column(0).to_pylist() for name, table in (keys or {}).items()})
        self.is_asked.set()
        assert self.may_answer.wait(BOUND_S)
        if self.error is not None:
            raise self.error
        return Rows(self.table)


def ask(sites: dict[str, Site], *fragments: Fragment) -> list[list[int]]:
    call = Call("", "q", 100, time.monotonic() + BOUND_S)
    with ThreadPoolExecutor(8) as pool:
        found = run_fragments(fragments, sites.__getitem__, pool, call, Stop())  # type: ignore[arg-type]
    return [one.table.column("n").to_pylist() for one in found]


def test_answers_are_in_the_order_of_the_fragments() -> None:
    sites = {"f1": Site(1), "f2": Site(2, 2), "f3": Site(3)}
    assert ask(sites, fragment("f1", "f2"), fragment("f2", "f3"), fragment("f3")) == [[1], [2, 2], [3]]
    assert sites["f1"].keys == [{"kf1": [2]}]


def test_a_fragment_waits_for_its_own_keys_only() -> None:
    sites = {"f1": Site(1), "f2": Site(2), "f3": Site(3, waits=True)}
    done: list[list[list[int]]] = []
    asking = threading.Thread(
        target=lambda: done.append(ask(sites, fragment("f1"), fragment("f2", "f1"), fragment("f3")))
    )
    asking.start()
    try:
        # while the third has not answered
        assert sites["f2"].is_asked.wait(BOUND_S)
    finally:
        sites["f3"].may_answer.set()
        asking.join(BOUND_S)
    assert done == [[[1], [2], [3]]]


def test_without_keys_neither_a_fragment_nor_those_after_it_are_asked() -> None:
    sites = {"f1": Site(), "f2": Site(2), "f3": Site(3)}
    assert ask(sites, fragment("f1"), fragment("f2", "f1"), fragment("f3", "f2")) == [[], [], []]
    assert (sites["f2"].keys, sites["f3"].keys) == ([], [])


@pytest.mark.parametrize(
    ("error", "raised"),
    [(QueryError("no"), QueryError), (UnavailableError("gone"), SiteFailedError)],
)
def test_a_failure_ends_what_waits_for_it(error: Exception, raised: type[Exception]) -> None:
    sites = {"f1": Site(error=error), "f2": Site(2), "f3": Site(3)}
    with pytest.raises(raised, match=str(error).split()[0]):
        ask(sites, fragment("f1"), fragment("f2", "f1"), fragment("f3"))
    assert sites["f2"].keys == []
