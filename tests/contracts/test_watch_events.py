"""On both databases, a watch of a registry gives what is committed, in order, and its filters lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from replicated_rows import write

from federation.errors import UserError
from federation.model import events
from federation.model.event_filter import EventFilter
from federation.model.events import event_json, event_kinds
from federation.registry.registry import Registry
from federation.registry.removal import remove_datasets
from federation.session_watch import event_filter, parse_start, watch_registry


def test_gives_each_transaction_whole_and_in_order(registry: Registry) -> None:
    write(registry, 1, 5)
    with watch_registry(registry, start="start", once=True) as watch:
        found = list(watch)
    assert [event.position.lsn for event in found] == sorted(event.position.lsn for event in found)
    assert [event.position.lsn for event in found if event.last] == [1, 2, 3, 4, 5]
    added = [event for event in found if isinstance(event, events.DatasetAdded)]
    assert [event.data_id["detector"] for event in added] == [1, 2, 3, 4, 5]
    assert [event.data_id["band"] for event in added] == ["r"] * 5
    assert added[0].metadata == {"noise": 1 / 7}
    certified = [event for event in found if isinstance(event, events.Certified)]
    assert [event.begin_tai_ns for event in certified] == [1, 2, 3, 4, 5]
    edges = [event for event in found if isinstance(event, events.RowsChanged)]
    assert {event.name for event in edges} == {"provenance"}
    assert edges[0].rows[0]["dataset_id"] == added[0].dataset_id


def test_gives_what_is_written_while_it_waits(registry: Registry) -> None:
    write(registry, 1)
    with watch_registry(registry, events=EventFilter(events=("dataset_added",))) as watch:
        for number in (2, 3):
            write(registry, number)
            event = next(watch)
            assert isinstance(event, events.DatasetAdded)
            assert event.data_id["detector"] == number


def test_says_of_a_removed_dataset_what_it_was(registry: Registry) -> None:
    write(registry, 1, 2)
    with watch_registry(registry, start="start", events=EventFilter(events=("dataset_*",))) as watch:
        first = next(watch)
        second = next(watch)
        third = next(watch)
        assert isinstance(first, (events.DatasetTypeDeclared, events.DatasetAdded))
        added = next(e for e in (first, second, third) if isinstance(e, events.DatasetAdded))
        with registry.transaction(registry.site) as tx:
            remove_datasets(tx, "flat", [added.dataset_id])
        while not isinstance(removed := next(watch), events.DatasetRemoved):
            pass
    assert (removed.dataset_id, removed.dataset_type, removed.run) == (added.dataset_id, "flat", "run/a")


def test_a_filter_by_dataset_type_is_the_source_s_too(registry: Registry) -> None:
    write(registry, 1, 3)
    with watch_registry(
        registry, start="start", once=True, events=event_filter(dataset_types=["flat"])
    ) as watch:
        kept = list(watch)
    with watch_registry(registry, start="start", once=True) as watch:
        wanted = [event for event in watch if getattr(event, "dataset_type", None) == "flat"]
    assert [(e.kind, e.position) for e in kept] == [(e.kind, e.position) for e in wanted]
    with watch_registry(
        registry, start="start", once=True, events=event_filter(dataset_types=["raw"])
    ) as watch:
        assert list(watch) == []
        assert watch.positions[0].lsn == 3


def test_goes_on_from_its_file(registry: Registry, tmp_path: Path) -> None:
    state = tmp_path / "state"
    wanted = EventFilter(events=("certified",))
    write(registry, 1, 2)
    with watch_registry(registry, start="start", once=True, events=wanted, state=state) as watch:
        assert len(list(watch)) == 2
    write(registry, 3)
    with watch_registry(registry, once=True, events=wanted, state=state) as watch:
        assert [event.position.lsn for event in watch] == [3]


def test_every_event_becomes_json(registry: Registry) -> None:
    write(registry, 1)
    with watch_registry(registry, start="start", once=True) as watch:
        told = [event_json(event) for event in watch]
    assert {line["event"] for line in told} <= set(event_kinds())
    assert all(line["position"].startswith("base/base@") for line in told)
    (added,) = [line for line in told if line["event"] == "dataset_added"]
    assert list(added)[:5] == ["event", "position", "last", "committed", "committed_tai_ns"]
    assert added["data_id"] == {"instrument": "Cam", "detector": 1, "physical_filter": "r1", "band": "r"}


def test_an_update_of_metadata_is_no_new_dataset(registry: Registry) -> None:
    write(registry, 1)
    with watch_registry(registry, start="start", once=True) as watch:
        (added,) = [event for event in watch if isinstance(event, events.DatasetAdded)]
    with watch_registry(registry) as watch:
        with registry.transaction(registry.site) as tx:
            row = next(iter(tx.select("flat", ("dataset_id",), [(added.dataset_id,)])))
            tx.put("flat", [{**row, "noise": 2.5}])
        event = next(watch)
    assert isinstance(event, events.RowsChanged)
    assert (event.name, event.rows[0]["noise"], event.rows[0]["dataset_id"]) == (
        "flat",
        2.5,
        added.dataset_id,
    )


@pytest.mark.parametrize("given", [["now", "start"], ["somewhere"], ["base/base@x"]])
def test_a_beginning_that_is_none_is_refused(given: list[str]) -> None:
    with pytest.raises(UserError):
        parse_start(given)
