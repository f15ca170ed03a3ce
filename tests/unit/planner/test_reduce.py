"""Which fragments wait for keys of which others: by what moves, in as few round trips as there can be."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planner_federation import federation

from federation.model.catalog import FederationCatalog, TableStats
from federation.model.statistics import ColumnStats
from federation.planner import Plan, PlanOptions, plan
from federation.planner.alike import runs_alike
from federation.planner.explain import explain_json, explain_text
from federation.planner.filter_cost import (
    GAIN_MIN_BYTES,
    PREFERRED_BYTES,
    filter_count_max,
    filter_gain,
    plain_count_max,
)
from federation.planner.reduction_cost import Sending, key_count_max

#: a million processed images of a hundred thousand visits
IDS = {
    "instrument": ColumnStats(1.0, width=8.0),
    "detector": ColumnStats(10.0, width=8.0),
    "dataset_id": ColumnStats(1e6, width=16.0),
    "run": ColumnStats(100.0, width=20.0),
}
STATS = {
    "raw": TableStats(1_000_000, columns={**IDS, "exposure": ColumnStats(1e5, width=8.0)}),
    "calexp": TableStats(1_000_000, columns={**IDS, "visit": ColumnStats(1e5, width=8.0)}),
    "bias": TableStats(2_000, columns={**IDS, "detector": ColumnStats(10.0)}),
    "visit": TableStats(
        100_000,
        columns={"id": ColumnStats(1e5, width=8.0), "name": ColumnStats(1e5), "seq_num": ColumnStats(1e3)},
    ),
}
SAME = "c.visit = r.exposure AND c.detector = r.detector AND c.instrument = r.instrument"


def catalog(**row_counts: int) -> FederationCatalog:
    """The sites with many rows, or as many as are said."""
    made = federation()
    sites = []
    for site in made.sites:
        held = []
        for schema in site.schemas:
            stats = dict(schema.stats)
            for name, known in STATS.items():
                if name in stats and stats[name].row_count > 100:
                    stats[name] = attrs.evolve(known, row_count=row_counts.get(name, known.row_count))
            held.append(attrs.evolve(schema, stats=stats))
        sites.append(attrs.evolve(site, schemas=tuple(held)))
    return attrs.evolve(made, sites=tuple(sites))


def keys_of(made: Plan) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """By site that is asked: the sites that keys come from, and their columns."""
    sites = {fragment.id: fragment.site for fragment in made.fragments}
    return {
        fragment.site: [(sites[s.fragment], s.columns) for key in fragment.keys for s in key.sources]
        for fragment in made.fragments
        if fragment.keys
    }


def test_the_selected_side_gives_its_keys() -> None:
    sql = f"SELECT c.psf_fwhm FROM summit.raw r JOIN ncsa.calexp c ON {SAME} WHERE "
    assert keys_of(plan(sql + "r.run = 'a' AND r.dataset_id > r.dataset_id", catalog())).keys() == {"ncsa"}
    assert keys_of(plan(sql + "c.run = 'a' AND c.psf_fwhm > 2", catalog())).keys() == {"summit"}


def test_columns_that_leave_no_fewer_rows_are_no_keys() -> None:
    # there is one instrument; the column with the most values comes first
    same = "c.instrument = r.instrument AND c.detector = r.detector AND c.visit = r.exposure"
    sql = f"SELECT c.psf_fwhm FROM summit.raw r JOIN ncsa.calexp c ON {same} WHERE r.run = 'a'"
    (keys,) = keys_of(plan(sql, catalog())).values()
    assert keys == [("summit", ("exposure", "detector"))]


def test_without_statistics_of_the_columns_all_of_them_are_keys() -> None:
    sql = f"SELECT c.psf_fwhm FROM summit.raw r JOIN ncsa.calexp c ON {SAME} WHERE r.run = 'a'"
    (keys,) = keys_of(plan(sql, federation())).values()
    assert keys == [("summit", ("exposure", "detector", "instrument"))]


def test_small_tables_are_read_at_once() -> None:
    sql = "SELECT b.run FROM base.bias b JOIN ncsa.visit v ON v.id = b.detector WHERE b.run = 'a'"
    made = plan(sql, catalog(visit=300))
    assert keys_of(made) == {}
    assert any("read at once" in decision for decision in made.decisions)


def test_keys_of_everything_are_not_shipped() -> None:
    made = plan(f"SELECT c.psf_fwhm FROM summit.raw r JOIN ncsa.calexp c ON {SAME}", catalog())
    assert keys_of(made) == {}
    assert set(made.stages.values()) == {1}


def test_one_site_reduces_two_others_at_once() -> None:
    sql = """SELECT b.run, r.exposure, c.visit FROM base.bias b JOIN summit.raw r ON r.dataset_id = b.dataset_id
             JOIN ncsa.calexp c ON c.dataset_id = r.dataset_id WHERE b.run = 'a'"""
    made = plan(sql, catalog())
    assert keys_of(made) == {"summit": [("base", ("dataset_id",))], "ncsa": [("base", ("dataset_id",))]}
    assert sorted(made.stages.values()) == [1, 2, 2]


def test_a_reduced_fragment_reduces_the_next() -> None:
    sql = """SELECT b.run, r.exposure, c.visit FROM base.bias b JOIN summit.raw r ON r.dataset_id = b.dataset_id
             JOIN ncsa.calexp c ON c.visit = r.exposure WHERE b.run = 'a'"""
    made = plan(sql, catalog())
    assert keys_of(made) == {"summit": [("base", ("dataset_id",))], "ncsa": [("summit", ("exposure",))]}
    assert sorted(made.stages.values()) == [1, 2, 3]
    by_site = {fragment.site: fragment for fragment in made.fragments}
    assert (by_site["ncsa"].row_count_estimate or 0) < 10_000


def test_a_fragment_that_is_read_twice_is_left_whole() -> None:
    sql = """SELECT b.run FROM base.bias b JOIN summit.raw r ON r.dataset_id = b.dataset_id
             CROSS JOIN summit.raw s WHERE b.run = 'a'"""
    made = plan(sql, catalog())
    assert not any(fragment.keys for fragment in made.fragments if fragment.site == "summit")


def test_types_that_differ_are_no_keys() -> None:
    sql = "SELECT b.run FROM base.bias b JOIN ncsa.calexp c ON c.psf_fwhm = b.detector WHERE b.run = 'a'"
    assert keys_of(plan(sql, catalog())) == {}


def test_the_statement_without_keys_reads_the_same_columns() -> None:
    sql = f"SELECT c.psf_fwhm FROM summit.raw r JOIN ncsa.calexp c ON {SAME} WHERE r.run = 'a'"
    (fragment,) = (one for one in plan(sql, federation()).fragments if one.keys)
    whole = fragment.sql_without([key.name for key in fragment.keys])
    assert "param" in fragment.sql
    assert "param" not in whole
    assert fragment.sql_without([]) == fragment.sql
    off = plan(sql, federation(), PlanOptions(rules_off=frozenset({"reduce_fragments"})))
    (plain,) = (one for one in off.fragments if one.site == fragment.site)
    assert whole == plain.sql + " WHERE TRUE"


def test_plans_that_expect_other_numbers_of_keys_are_alike() -> None:
    sql = """SELECT b.run FROM base.bias b JOIN ncsa.calexp c ON c.dataset_id = b.dataset_id WHERE b.run = 'a'"""
    one, other = plan(sql, catalog()), plan(sql, catalog(calexp=2_000_000))
    assert keys_of(one)
    assert one.fragments != other.fragments
    assert runs_alike(one, other)
    assert not runs_alike(one, plan(sql, catalog(), PlanOptions(rules_off=frozenset({"reduce_fragments"}))))


@pytest.mark.parametrize(
    ("rows", "row_width", "distinct", "width", "expected"),
    [
        (1e6, 40.0, 1e5, 8.0, 50_000),
        (1e6, 8.0, 1e6, 80.0, 90_909),
        (10.0, 8.0, 10.0, 8.0, 5),
        (0.0, 8.0, 0.0, 8.0, 1),
        (1e9, 100.0, 1e9, 36.0, 466_033),
    ],
)
def test_more_keys_than_are_worth_it_are_not_sent(
    rows: float, row_width: float, distinct: float, width: float, expected: int
) -> None:
    assert key_count_max(rows, row_width, distinct, width) == expected


WHOLE_JOIN = "SELECT c.psf_fwhm, r.run FROM summit.raw r JOIN ncsa.calexp c ON c.dataset_id = r.dataset_id"


def test_of_keys_that_are_too_many_a_filter_is_sent() -> None:
    made = plan(WHOLE_JOIN, catalog(raw=600_000))
    (fragment,) = (one for one in made.fragments if one.keys)
    (key,) = fragment.keys
    assert (fragment.site, key.outputs, key.expects_filter) == ("ncsa", ("dataset_id",), True)
    assert key.key_count_max < 600_000 < key.filter_count_max < 1_000_000
    # the rows with a key, and one in a hundred of the others
    assert 600_000 < (fragment.row_count_estimate or 0) < 610_000
    decision = "f1 (dataset_id) are asked for: with a Bloom filter of about 600000 keys, "
    assert any(f"{fragment.id}: only rows that meet {decision}" in one for one in made.decisions)
    text = explain_text(made)
    assert "as keys k1: about 600000, asked with a Bloom filter of them, not sent when there are more" in text
    (shown,) = (one["keys"][0] for one in explain_json(made)["fragments"] if one["keys"])
    assert (shown["is_filter"], shown["filter_count_max"]) == (True, key.filter_count_max)


def test_of_fewer_keys_themselves_are_sent_and_of_more_nothing() -> None:
    (fragment,) = (one for one in plan(WHOLE_JOIN, catalog(raw=200_000)).fragments if one.keys)
    assert not fragment.keys[0].expects_filter
    assert keys_of(plan(WHOLE_JOIN, catalog(raw=900_000))) == {}


def test_sites_in_this_process_get_no_filters() -> None:
    far = catalog(raw=600_000)
    near = attrs.evolve(far, sites=tuple(attrs.evolve(site, is_in_process=True) for site in far.sites))
    assert keys_of(plan(WHOLE_JOIN, far))
    assert keys_of(plan(WHOLE_JOIN, near)) == {}


@pytest.mark.parametrize(
    ("rows", "row_width", "distinct", "width"),
    [(1e6, 40.0, 1e6, 16.0), (1e6, 40.0, 1e5, 8.0), (3e4, 60.0, 3e4, 36.0), (2e4, 14.0, 2e4, 16.0)],
)
def test_a_filter_is_sent_of_as_many_keys_as_it_pays_for(
    rows: float, row_width: float, distinct: float, width: float
) -> None:
    def filter_saves(count: float) -> float:
        return filter_gain(rows * (1 - count / distinct), row_width, count)

    def keys_save(count: float) -> float:
        return rows * (1 - count / distinct) * row_width - count * width

    most = filter_count_max(rows, row_width, distinct)
    assert 0 < most <= 0.75 * distinct
    assert filter_saves(most) >= GAIN_MIN_BYTES - 1
    assert most == int(0.75 * distinct) or filter_saves(most + 2) < GAIN_MIN_BYTES
    least = plain_count_max(rows, row_width, distinct, width)
    assert filter_saves(least + 2) > keys_save(least + 2) + PREFERRED_BYTES
    assert filter_saves(least - 3) < keys_save(least - 3) + PREFERRED_BYTES


@given(
    st.floats(0, 1e9), st.floats(1, 500), st.floats(0, 1), st.sampled_from([8.0, 16.0, 36.0]), st.floats(0, 1)
)
def test_no_number_of_keys_is_left_out_that_was_worth_sending(
    rows: float, row_width: float, share: float, width: float, part: float
) -> None:
    distinct = rows * share
    most = key_count_max(rows, row_width, distinct, width)
    sending = Sending.of(rows, row_width, distinct, width, moves=True)
    assert Sending.of(rows, row_width, distinct, width, moves=False).filter_max == 0
    assert sending.plain_max <= most <= max(sending.plain_max, sending.filter_max)
    # a filter is sent where it saves more than the keys that it stands for, or where these are not sent
    count = sending.plain_max + part * max(sending.filter_max - sending.plain_max, 0)
    without = rows * (1 - count / max(distinct, 1.0))
    if sending.plain_max + 2 < count <= most:
        assert sending.gain(count, without) > without * row_width - count * width
    elif sending.plain_max < count:
        assert sending.gain(count, without) > 0


@pytest.mark.parametrize(("rows", "row_width"), [(0.0, 100.0), (1e6, 5.0), (200.0, 40.0)])
def test_of_few_or_narrow_rows_there_is_no_filter(rows: float, row_width: float) -> None:
    assert filter_count_max(rows, row_width, rows) == 0
