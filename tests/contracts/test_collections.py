"""Collections: chains, tags, validity ranges and removal, on each kind of database."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import Field
from federation.model.logical import LogicalType
from federation.model.position import SchemaId
from federation.model.timespan import Timespan
from federation.registry.artifacts import Artifact, record
from federation.registry.collection_info import list_collections, show_collection
from federation.registry.collections import (
    certify,
    certify_ranges,
    decertify,
    extend_chain,
    prepend_to_chain,
    redefine_chain,
    register,
    remove_collection,
    remove_from_chain,
    tag,
    untag,
    valid_at,
)
from federation.registry.dataset_types import declare
from federation.registry.datasets import NewDataset, insert_datasets
from federation.registry.dimensions import insert_records
from federation.registry.provenance import add_edges
from federation.registry.registry import Registry
from federation.registry.removal import remove_datasets

SITE = "base"
BASE = SchemaId(SITE, SITE)
ALWAYS = Timespan()


def make(tx: Any, name: str, type_: str, *children: str) -> None:
    register(tx, Collection(name, CollectionType(type_), children=children))


def darks(tx: Any, run: str, *detectors: int, kind: str = "dark") -> list[uuid.UUID]:
    new = [NewDataset(kind, run, {"instrument": "C", "detector": number}, once=True) for number in detectors]
    return [ref.id for ref in insert_datasets(tx, new).refs]


@pytest.fixture
def stocked(registry: Registry) -> Registry:
    """Detectors 0 to 3, calibrations ``dark``, images ``image``; RUNs r1 and r2, TAGGED tags, CALIBRATION cal."""
    with registry.transaction(SITE) as tx:
        insert_records(tx, "instrument", [{"name": "C"}])
        insert_records(tx, "detector", [{"instrument": "C", "id": i, "full_name": f"d{i}"} for i in range(4)])
        declare(tx, DatasetType("dark", ("detector",), "Exposure", is_calibration=True))
        declare(tx, DatasetType("image", ("detector",), "Exposure"))
        for name, type_ in (("r1", "RUN"), ("r2", "RUN"), ("tags", "TAGGED"), ("cal", "CALIBRATION")):
            make(tx, name, type_)
    registry.create_schema("alice")
    return registry


def rows(registry: Registry, name: str, schema: SchemaId = BASE) -> list[dict[str, Any]]:
    held = registry.get(schema)
    with registry.database.read((held.physical,)) as connection:
        tables = tuple(registry.tables_in(connection, held.physical).values())
        table = registry.physical_tables(held.physical, tables)[name]
        return [dict(row._mapping) for row in connection.execute(sa.select(table))]


def chain_of(registry: Registry, name: str) -> tuple[str, ...]:
    return show_collection(registry, name).info.children


def valid(
    registry: Registry, begin: int, end: int, name: str = "cal"
) -> list[tuple[int, int | None, int | None]]:
    """(detector, begin, end) of what is valid in a timespan."""
    found = valid_at(registry, name, "dark", Timespan(begin, end))
    return [(v.data_id["detector"], v.timespan.begin, v.timespan.end) for v in found]


# -- registering and chains -----------------------------------------------------------------------------------------


def test_registering_again_keeps_what_was_said_before(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        assert register(tx, Collection("r1", CollectionType.RUN, doc="first light"))
    with stocked.transaction(SITE) as tx:
        assert not register(tx, Collection("r1", CollectionType.RUN))
        assert tx.changes == []
    assert show_collection(stocked, "r1").info.doc == "first light"


def test_children_are_redefined_prepended_extended_and_removed(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        make(tx, "all", "CHAINED", "r1", "r2", "r1")
    assert chain_of(stocked, "all") == ("r1", "r2")
    for change, children, expected in (
        (prepend_to_chain, ["tags"], ("tags", "r1", "r2")),
        (prepend_to_chain, ["r2"], ("r2", "tags", "r1")),
        (extend_chain, ["tags", "new"], ("r2", "r1", "tags", "new")),
        (remove_from_chain, ["r1", "never there"], ("r2", "tags", "new")),
        (redefine_chain, ["r1"], ("r1",)),
    ):
        with stocked.transaction(SITE) as tx:
            assert change(tx, "all", children)
        assert chain_of(stocked, "all") == expected
    with stocked.transaction(SITE) as tx:
        assert not extend_chain(tx, "all", ["r1"])
        assert tx.changes == []


def test_a_change_of_a_chain_logs_only_what_moved(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        make(tx, "all", "CHAINED", "r1", "r2")
    with stocked.transaction(SITE) as tx:
        extend_chain(tx, "all", ["tags"])
        assert [change.row_count for change in tx.changes] == [1]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nowhere", NotFoundError, "no collection 'nowhere' in base/base"),
        ("r1", UserError, "'r1' is RUN, not CHAINED"),
        ("hers", NotFoundError, "no collection 'hers' in base/base; it belongs to base/alice"),
    ],
)
def test_only_a_chain_of_ones_own_is_changed(
    stocked: Registry, name: str, error: type[UserError], message: str
) -> None:
    with stocked.transaction("alice") as tx:
        make(tx, "hers", "CHAINED", "r1")
    with pytest.raises(error, match=message), stocked.transaction(SITE) as tx:
        extend_chain(tx, name, ["r2"])


def test_a_cycle_is_refused_at_any_depth_and_shown(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        for parent, child in (("a", "b"), ("b", "c"), ("c", "d")):
            make(tx, parent, "CHAINED", child)
        make(tx, "d", "CHAINED")
    with (
        pytest.raises(UserError, match="chain 'd' would contain itself: d -> a -> b -> c -> d") as raised,
        stocked.transaction(SITE) as tx,
    ):
        redefine_chain(tx, "d", ["r1", "a"])
    assert "leads back" in raised.value.hint
    with pytest.raises(UserError, match="a -> a"), stocked.transaction(SITE) as tx:
        extend_chain(tx, "a", ["a"])
    assert chain_of(stocked, "d") == ()


def test_a_cycle_through_another_schemas_chain_is_refused(stocked: Registry) -> None:
    with stocked.transaction("alice") as tx:
        make(tx, "hers", "CHAINED", "ours")
    with pytest.raises(UserError, match="ours -> hers -> ours"), stocked.transaction(SITE) as tx:
        make(tx, "ours", "CHAINED", "hers")
    assert list_collections(stocked, ["ours"]) == []


def test_collections_are_listed_by_glob_and_type(stocked: Registry) -> None:
    def names(*args: Any) -> list[str]:
        return [info.name for info in list_collections(stocked, *args)]

    assert names() == ["cal", "r1", "r2", "tags"]
    assert names(["r*", "t*"]) == ["r1", "r2", "tags"]
    assert names(["r*", "t*"], [CollectionType.TAGGED]) == ["tags"]
    with pytest.raises(NotFoundError, match="no collection 'r3' at base"):
        show_collection(stocked, "r3")


# -- tags -------------------------------------------------------------------------------------------------------------


def test_a_dataset_is_in_several_collections(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        make(tx, "more", "TAGGED")
        ids = darks(tx, "r1", 0, 1)
        assert tag(tx, "tags", ids) == 2
        assert tag(tx, "more", [ids[0].bytes]) == 1
        certify(tx, "cal", ALWAYS, ids)
    for name, count in (("r1", 2), ("tags", 2), ("more", 1), ("cal", 2)):
        assert show_collection(stocked, name).counts == {"dark": count}


def test_a_tagged_collection_holds_one_dataset_for_a_data_id(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        (old,), (new,), (image,) = darks(tx, "r1", 0), darks(tx, "r2", 0), darks(tx, "r1", 0, kind="image")
        assert tag(tx, "tags", [old, image]) == 2
    message = rf"tags: dark {{instrument='C', detector=0}} is dataset {old}, not {new}"
    with pytest.raises(ConflictError, match=message), stocked.transaction(SITE) as tx:
        tag(tx, "tags", [new])
    with stocked.transaction(SITE) as tx:
        assert tag(tx, "tags", [new], replace=True) == 1
    assert {row["dataset_id"] for row in rows(stocked, "collection_member")} == {new, image}


def test_two_datasets_of_one_data_id_are_never_tagged_together(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        ids = [*darks(tx, "r1", 0, 1), *darks(tx, "r2", 1)]
    for replace in (False, True):
        with (
            pytest.raises(ConflictError, match="detector=1} is given twice"),
            stocked.transaction(SITE) as tx,
        ):
            tag(tx, "tags", ids, replace=replace)
    assert rows(stocked, "collection_member") == []


def test_many_datasets_meet_the_one_that_is_there(stocked: Registry) -> None:
    count = 700  # more than are looked up one by one
    with stocked.transaction(SITE) as tx:
        insert_records(
            tx, "detector", [{"instrument": "C", "id": i, "full_name": f"d{i}"} for i in range(4, count)]
        )
        (old,) = darks(tx, "r2", 650)
        ids = darks(tx, "r1", *range(count))
        tag(tx, "tags", [old])
        certify(tx, "cal", Timespan(5, 6), [old])
    with pytest.raises(ConflictError, match="detector=650"), stocked.transaction(SITE) as tx:
        tag(tx, "tags", ids)
    with pytest.raises(ConflictError, match="detector=650"), stocked.transaction(SITE) as tx:
        certify(tx, "cal", Timespan(0, 10), ids)
    with stocked.transaction(SITE) as tx:
        assert tag(tx, "tags", ids, replace=True) == count
        assert certify(tx, "cal", Timespan(6, 10), ids) == count
    assert old not in {row["dataset_id"] for row in rows(stocked, "collection_member")}


def test_untagging_leaves_the_datasets(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        ids = darks(tx, "r1", 0, 1)
        tag(tx, "tags", ids)
        assert untag(tx, "tags", [ids[0], uuid.uuid4()]) == 1
        assert untag(tx, "tags", [ids[0]]) == 0
    assert [row["dataset_id"] for row in rows(stocked, "collection_member")] == [ids[1]]
    assert len(rows(stocked, "dataset")) == 2


def test_a_users_tags_meet_those_of_the_collections_owner(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        (old,), (new,) = darks(tx, "r1", 0), darks(tx, "r2", 0)
        tag(tx, "tags", [old])
    with pytest.raises(ConflictError, match="is dataset") as raised, stocked.transaction("alice") as tx:
        tag(tx, "tags", [new], replace=True)
    assert "base/base has put it there" in raised.value.hint
    with stocked.transaction("alice") as tx:
        make(tx, "mine", "TAGGED")
        assert tag(tx, "mine", [new]) == 1


# -- validity ranges --------------------------------------------------------------------------------------------------


def test_what_is_valid_is_found_by_time_and_data_id(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        first, second = darks(tx, "r1", 0, 1), darks(tx, "r2", 0, 1)
        certify(tx, "cal", Timespan(None, 100), first)
        certify(tx, "cal", Timespan(100, None), second[:1])
    assert valid(stocked, 99, 100) == [(0, None, 100), (1, None, 100)]
    assert valid(stocked, 100, 101) == [(0, 100, None)]
    assert valid(stocked, 50, 150) == [(0, None, 100), (0, 100, None), (1, None, 100)]
    assert valid(stocked, 7, 7) == []
    (one,) = valid_at(stocked, "cal", "dark", Timespan(0, 1), [{"instrument": "C", "detector": 1}])
    assert (one.dataset_id, one.collection, one.dataset_type) == (first[1], "cal", "dark")
    with stocked.transaction(SITE) as tx:
        decertify(tx, "cal", "dark", ALWAYS)
        assert valid_at(tx, "cal", "dark", Timespan(0, 1)) == []


def test_a_new_generation_leaves_the_old_one_and_the_candidates_usable(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        old, candidates = darks(tx, "r1", 0, 1), darks(tx, "r2", 0)
        certify(tx, "cal", ALWAYS, old)
        make(tx, "cal/2", "CALIBRATION")
        make(tx, "cal/best", "CHAINED", "cal/2", "r2", "cal")
    assert show_collection(stocked, "r2").counts == {"dark": 1}
    with stocked.transaction(SITE) as tx:
        certify(tx, "cal/2", Timespan(10, None), candidates)
    assert valid(stocked, 20, 21) == [(0, None, None), (1, None, None)]
    assert valid(stocked, 20, 21, "cal/2") == [(0, 10, None)]
    # the first that has something for a data ID decides
    assert valid(stocked, 20, 21, "cal/best") == [(0, 10, None), (1, None, None)]
    assert valid(stocked, 5, 6, "cal/best") == [(0, None, None), (1, None, None)]


@pytest.mark.parametrize(
    ("cut", "left"),
    [
        (Timespan(40, 60), [(0, 40), (60, 100)]),
        (Timespan(None, 60), [(60, 100)]),
        (Timespan(40, None), [(0, 40)]),
        (Timespan(0, 100), []),
        (Timespan(), []),
        (Timespan(100, 200), [(0, 100)]),
        (Timespan(99, 200), [(0, 99)]),
    ],
    ids=str,
)
def test_decertifying_cuts_validity_ranges(
    stocked: Registry, cut: Timespan, left: Sequence[tuple[int, int]]
) -> None:
    with stocked.transaction(SITE) as tx:
        certify(tx, "cal", Timespan(0, 100), darks(tx, "r1", 0))
        assert decertify(tx, "cal", "dark", cut) == (0 if left == [(0, 100)] else 1)
    assert valid(stocked, -1000, 1000) == [(0, *span) for span in left]


def test_decertifying_some_data_ids_leaves_the_others(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        certify(tx, "cal", ALWAYS, darks(tx, "r1", 0, 1))
        data_ids = [{"instrument": "C", "detector": number} for number in (1, 3)]
        assert decertify(tx, "cal", "dark", Timespan(5, None), data_ids) == 1
    assert valid(stocked, 0, 10) == [(0, None, None), (1, None, 5)]
    with stocked.transaction(SITE) as tx:  # the gap is free again
        certify(tx, "cal", Timespan(5, None), darks(tx, "r2", 1))


def test_many_ranges_are_certified_at_once(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        ids = darks(tx, "r1", 0, 1)
        begins = [*range(0, 100, 10)] * 2
        ends = [begin + 10 for begin in begins]
        both = [ids[0]] * 10 + [ids[1]] * 10
        assert certify_ranges(tx, "cal", both, begins, ends) == 20
        assert certify_ranges(tx, "cal", both[:1] * 2, [0, 100], [10, 110]) == 1
    with (
        pytest.raises(ConflictError, match=r"two valid datasets: .* 00:00:00.000000200\) and"),
        stocked.transaction(SITE) as tx,
    ):
        certify_ranges(tx, "cal", [ids[0]] * 2, [150, 199], [200, None])
    assert len(rows(stocked, "calibration")) == 21


def test_an_overlap_says_which_datasets_and_when(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        (old,), (new,) = darks(tx, "r1", 2), darks(tx, "r2", 2)
        certify(tx, "cal", Timespan(None, 1_000_000_000), [old])
    message = (
        rf"cal: dark {{instrument='C', detector=2}} would have two valid datasets: {old} in "
        rf"\[-inf, 1970-01-01 00:00:01\) and {new} in \[1970-01-01 00:00:00.*, inf\)"
    )
    with pytest.raises(ConflictError, match=message) as raised, stocked.transaction(SITE) as tx:
        certify(tx, "cal", Timespan(999_999_999, None), [new])
    assert "decertify" in raised.value.hint


def test_a_user_certifies_into_the_sites_collection_only_what_is_free(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        (old,), (new,) = darks(tx, "r1", 0), darks(tx, "r2", 0)
        certify(tx, "cal", Timespan(0, 100), [old])
    with pytest.raises(ConflictError, match="two valid datasets"), stocked.transaction("alice") as tx:
        certify(tx, "cal", Timespan(50, 150), [new])
    with stocked.transaction("alice") as tx:
        assert certify(tx, "cal", Timespan(100, 150), [new]) == 1
    assert valid(stocked, 0, 1000) == [(0, 0, 100), (0, 100, 150)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tx, i: certify(tx, "nowhere", ALWAYS, [i]), "no collection 'nowhere' at base"),
        (lambda tx, i: certify(tx, "tags", ALWAYS, [i]), "'tags' is TAGGED, not CALIBRATION"),
        (lambda tx, _: certify(tx, "cal", ALWAYS, [uuid.UUID(int=1)]), "dataset 0.*1 is not known at base"),
        (lambda tx, i: certify(tx, "cal", Timespan(5, 5), [i]), "is empty"),
        (
            lambda tx, _: certify(tx, "cal", ALWAYS, darks(tx, "r1", 0, kind="image")),
            "'image' is no calibration",
        ),
        (lambda tx, _: decertify(tx, "cal", "nothing", ALWAYS), "'nothing' is not declared at base"),
        (lambda tx, _: decertify(tx, "r1", "dark", ALWAYS), "'r1' is RUN, not CALIBRATION"),
        (lambda tx, _: decertify(tx, "cal", "dark", Timespan(3, 2)), "is empty"),
        (lambda tx, _: decertify(tx, "cal", "dark", ALWAYS, [{"instrument": "C"}]), "lacks detector"),
        (lambda tx, _: valid_at(tx, "r1", "dark", ALWAYS), "'r1' is RUN, not CALIBRATION"),
        (lambda tx, _: valid_at(tx, "nowhere", "dark", ALWAYS), "no collection 'nowhere'"),
        (lambda tx, _: untag(tx, "cal", []), "'cal' is CALIBRATION, not TAGGED"),
    ],
)
def test_what_cannot_be_is_refused_by_name(stocked: Registry, change: Any, message: str) -> None:
    with stocked.transaction(SITE) as tx:
        (dataset_id,) = darks(tx, "r2", 0)
    with pytest.raises(UserError, match=message) as raised, stocked.transaction(SITE) as tx:
        change(tx, dataset_id)
    assert raised.value.hint or "lacks" in message
    assert rows(stocked, "calibration") == []


# -- removal ----------------------------------------------------------------------------------------------------------


def test_removing_tags_and_ranges_leaves_the_datasets(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        ids = darks(tx, "r1", 0, 1)
        tag(tx, "tags", ids)
        certify(tx, "cal", ALWAYS, ids)
    with stocked.transaction(SITE) as tx:
        assert remove_collection(tx, "tags") == 0
        assert remove_collection(tx, "cal") == 0
    for table in ("collection_member", "calibration"):
        assert rows(stocked, table) == []
    assert {row["collection"] for row in rows(stocked, "collection_summary")} == {"r1"}
    assert len(rows(stocked, "dark")) == 2


def test_what_a_chain_leads_to_is_removed_only_on_demand(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        make(tx, "all", "CHAINED", "r1", "tags", "r2")
    with (
        pytest.raises(ConflictError, match="'tags' is a child of 'all' in base/base"),
        stocked.transaction(SITE) as tx,
    ):
        remove_collection(tx, "tags")
    with stocked.transaction(SITE) as tx:
        remove_collection(tx, "tags", unchain=True)
    assert chain_of(stocked, "all") == ("r1", "r2")
    with stocked.transaction(SITE) as tx:
        remove_collection(tx, "all")
    assert rows(stocked, "collection_chain") == []


def test_a_run_with_datasets_is_removed_only_on_demand_and_wholly(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        gone, kept = darks(tx, "r1", 0, 1), darks(tx, "r2", 0)
        add_edges(tx, [(gone[0], kept[0], "t")])
        record(tx, [Artifact(gone[0], "a", 1, "sha256:aa")])
        tag(tx, "tags", gone)
        certify(tx, "cal", ALWAYS, gone)
    with pytest.raises(ConflictError, match="RUN 'r1' holds 2 datasets"), stocked.transaction(SITE) as tx:
        remove_collection(tx, "r1")
    with stocked.transaction(SITE) as tx:
        assert remove_collection(tx, "r1", purge=True) == 2
    for table in ("collection_member", "calibration", "artifact", "provenance"):
        assert rows(stocked, table) == []
    assert [row["dataset_id"] for row in rows(stocked, "dataset")] == kept
    assert [row["dataset_id"] for row in rows(stocked, "dark")] == kept
    assert [info.name for info in list_collections(stocked)] == ["cal", "r2", "tags"]


def test_datasets_that_another_schema_uses_are_never_removed(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        (dataset_id,) = darks(tx, "r1", 0)
    with stocked.transaction("alice") as tx:
        make(tx, "mine", "TAGGED")
        tag(tx, "mine", [dataset_id])
    message = f"dataset {dataset_id} of RUN 'r1' is in 'mine' of base/alice"
    with pytest.raises(ConflictError, match=message), stocked.transaction(SITE) as tx:
        remove_collection(tx, "r1", purge=True)
    assert len(rows(stocked, "dataset")) == 1


@pytest.mark.parametrize("name", ["nowhere", "hers"])
def test_only_collections_of_ones_own_are_removed(stocked: Registry, name: str) -> None:
    with stocked.transaction("alice") as tx:
        make(tx, "hers", "TAGGED")
    with (
        pytest.raises(NotFoundError, match=f"no collection '{name}' in base/base"),
        stocked.transaction(SITE) as tx,
    ):
        remove_collection(tx, name)


# -- dataset types ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset_type", "error", "message"),
    [
        (
            DatasetType("dark", ("instrument",), "Exposure", True),
            ConflictError,
            "'dark' is declared otherwise in .*dim",
        ),
        (
            DatasetType("dark", ("detector",), "Image", True),
            ConflictError,
            "storage_class 'Exposure' is not 'Image'",
        ),
        (DatasetType("dark", ("detector",), "Exposure"), ConflictError, "is_calibration True is not False"),
        (DatasetType("Dark", ("detector",), "Exposure"), ConflictError, "'Dark' would hide table 'dark'"),
        (DatasetType("visit", (), "X"), ConflictError, "'visit' would hide table 'visit'"),
        (DatasetType("conflict", (), "X"), ConflictError, "'conflict' would hide table 'conflict'"),
        (DatasetType("htm7", (), "X"), ConflictError, "'htm7' would hide dimension 'htm7'"),
        (DatasetType("x", ("telescope",), "X"), NotFoundError, "unknown dimension 'telescope'"),
        (
            DatasetType("x", (), "X", metadata=(Field("Run", LogicalType.INT64),)),
            UserError,
            "'Run' is there already",
        ),
        (
            DatasetType("x", (), "X", metadata=(Field("n", LogicalType.INT64), Field("n", LogicalType.BOOL))),
            UserError,
            "'n' is there already",
        ),
        (
            DatasetType("x", (), "X", metadata=(Field("a,b", LogicalType.INT64),)),
            UserError,
            "is not an identifier",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_dataset_type_that_cannot_be_is_refused(
    stocked: Registry, dataset_type: DatasetType, error: type[UserError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised, stocked.transaction(SITE) as tx:
        declare(tx, dataset_type)
    assert raised.value.hint
    assert {row["name"] for row in rows(stocked, "dataset_type")} == {"dark", "image"}


def test_what_is_certified_again_still_bars_another_dataset(stocked: Registry) -> None:
    with stocked.transaction(SITE) as tx:
        (one,), (other,) = darks(tx, "r1", 0), darks(tx, "r2", 0)
        certify(tx, "cal", ALWAYS, [one])
    with pytest.raises(ConflictError, match="two valid datasets"), stocked.transaction(SITE) as tx:
        certify(tx, "cal", ALWAYS, [one, other])
    assert [row["dataset_id"] for row in rows(stocked, "calibration")] == [one]


def test_decertifying_all_takes_also_what_is_gone(stocked: Registry) -> None:
    with stocked.transaction("alice") as tx:
        declare(tx, DatasetType("dark", ("detector",), "Exposure", is_calibration=True))
        make(tx, "u/r", "RUN")
        (mine,) = darks(tx, "u/r", 0)
    with stocked.transaction(SITE) as tx:
        certify(tx, "cal", ALWAYS, [mine])
    with stocked.transaction("alice") as tx:
        remove_datasets(tx, "dark", [mine])
    with stocked.transaction(SITE) as tx:
        decertify(tx, "cal", "dark", ALWAYS)
    assert rows(stocked, "calibration") == []
