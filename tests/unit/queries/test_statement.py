"""Statements of queries over another universe: nothing knows a dimension by name."""

from __future__ import annotations

import pytest

from federation.errors import QueryError
from federation.model.collection import CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.queries.facts import Facts
from federation.queries.selection import Search, Selection, conditions_from, order_key
from federation.queries.statement import compile_selection

UNIVERSE = DimensionUniverse.parse(
    """
    namespace = "farm"
    version = 1

    [element.farm]
    governor = true
    keys = [{ name = "name", type = "string" }]

    [element.shift]
    keys = [{ name = "id", type = "int" }]
    requires = ["farm"]
    timespan = true

    [element.weather]
    keys = [{ name = "id", type = "int" }]
    requires = ["farm"]
    timespan = true
    metadata = [{ name = "rain", type = "float" }]

    [element.market]
    keys = [{ name = "id", type = "int" }]
    timespan = true

    [element.breed]
    keys = [{ name = "name", type = "string" }]

    [element.cow]
    keys = [{ name = "id", type = "int" }, { name = "tag", type = "string" }]
    requires = ["farm"]
    implies = ["breed"]
    """
)
FACTS = Facts(
    {"milk": DatasetType("milk", ("farm", "cow", "breed"), "Litres")},
    dict.fromkeys(("a", "b"), CollectionType.RUN)
    | {"loop": CollectionType.CHAINED, "pool": CollectionType.CHAINED},
    {"loop": ("a", "pool"), "pool": ("loop", "missing", "b")},
    {},
    {"farm": ("hill", "dale")},
)


def sql(selection: Selection, where: str = "", **data_id: object) -> str:
    conditions = conditions_from((where,), None, data_id, UNIVERSE)
    changed = Selection(
        selection.target,
        selection.searches,
        selection.dimensions,
        selection.element,
        conditions,
        selection.order,
    )
    return compile_selection(UNIVERSE, FACTS, changed).sql


def data_ids(*names: str) -> Selection:
    return Selection("data_id", dimensions=names)


def milk(*collections: str) -> Selection:
    return Selection("dataset", searches=(Search("milk", collections or None, True),))


def test_dimensions_without_common_keys_are_related_by_time() -> None:
    assert sql(data_ids("shift", "weather")) == (
        'SELECT "shift"."farm", "shift"."id" AS "shift", "weather"."id" AS "weather" FROM "shift"'
        ' JOIN "weather" ON "weather"."farm" = "shift"."farm" AND timespan_overlaps("shift"."timespan_begin",'
        ' "shift"."timespan_end", "weather"."timespan_begin", "weather"."timespan_end")'
    )


def test_a_relation_that_is_written_is_not_added() -> None:
    overlap = sql(data_ids("shift", "weather"), "shift.timespan OVERLAPS weather.timespan")
    inside = sql(data_ids("shift", "weather"), "shift.timespan OVERLAPS weather.timespan.begin")

    assert overlap.count("timespan_overlaps") == 1
    assert "timespan_overlaps" not in inside


def test_three_families_need_a_word() -> None:
    with pytest.raises(QueryError, match="shift, weather, market could be related") as caught:
        sql(data_ids("shift", "weather", "market"))
    assert caught.value.hint == "say which: shift.timespan OVERLAPS weather.timespan"


def test_a_field_joins_the_table_that_has_it() -> None:
    assert sql(milk(), "cow.tag = 'x' AND farm = 'hill'") == (
        'SELECT "milk"."dataset_id", "milk"."run", "milk"."farm", "milk"."cow", "milk"."breed" FROM "milk"'
        ' JOIN "cow" ON "cow"."farm" = "milk"."farm" AND "cow"."id" = "milk"."cow"'
        """ WHERE "cow"."tag" = 'x' AND "milk"."farm" = 'hill'"""
    )


def test_an_implied_dimension_needs_no_record() -> None:
    selection = Selection("data_id", dimensions=("cow",), expanded=True)

    assert compile_selection(UNIVERSE, FACTS, selection).sql == (
        'SELECT "cow"."farm", "cow"."id" AS "cow", "cow"."breed" FROM "cow"'
    )


def test_other_dimensions_do_not_repeat_a_result() -> None:
    text = sql(milk(), "shift = 3", farm="hill")

    assert text.startswith('SELECT DISTINCT "milk"."dataset_id"')
    assert '"shift"."farm" = "milk"."farm"' in text


def test_a_chain_that_leads_back_to_itself_ends() -> None:
    assert """"milk"."run" = 'a' THEN 0 WHEN "milk"."run" = 'b' THEN 1""" in sql(milk("loop"))
    assert """"milk"."run" = 'b'""" in sql(milk("b"))
    assert "row_number" not in sql(milk("b"))


def test_the_first_collection_is_chosen_before_other_conditions() -> None:
    text = sql(milk("a", "b"), "cow = 5 AND milk.run = 'b'", farm="hill")
    inner = text[text.index("FROM (") : text.rindex(') AS "milk"')]

    assert """"milk"."cow" = 5""" in inner
    assert """"milk"."farm" = 'hill'""" in inner
    assert """"milk"."run" = 'b' AND""" not in inner
    assert text.endswith("""WHERE "milk"."first" = 1 AND "milk"."run" = 'b'""")


def test_no_matching_collection_is_no_result() -> None:
    assert sql(milk("none*")).endswith("WHERE FALSE")


def test_order_of_results_that_are_joined_with_others_is_kept() -> None:
    selection = Selection(
        "dataset", searches=(Search("milk", None, True),), order=(order_key("-cow.tag"), order_key("cow"))
    )

    text = sql(selection, "shift = 3", farm="hill")

    assert text.endswith('AS "found" ORDER BY "found"."order 0" DESC, "found"."order 1"')
    assert text.startswith('SELECT "found"."dataset_id", "found"."run", "found"."farm", "found"."cow"')


@pytest.mark.parametrize(
    ("where", "ok"),
    [
        ("cow = 5", False),
        ("farm = 'hill' AND cow = 5", True),
        ("farm IN ('hill', 'dale') AND (cow = 5 OR cow > 7)", True),
        ("farm = 'hill' OR cow = 5", False),
        ("(farm = 'hill' AND cow = 5) OR (farm = 'dale' AND cow = 6)", True),
        ("farm <> 'hill' AND cow = 5", False),
        ("NOT cow = 5", False),
        ("cow = shift", True),
        ("weather.rain > 3", True),
        ("breed = 'Jersey'", True),
        ("cow.tag LIKE 'x%'", False),
    ],
)
def test_a_value_needs_its_governor(where: str, ok: bool) -> None:
    if ok:
        assert sql(milk(), where)
    else:
        with pytest.raises(QueryError, match="a value of 'cow' means nothing without 'farm'"):
            sql(milk(), where)
