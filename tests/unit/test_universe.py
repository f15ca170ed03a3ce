"""Universe files: what they mean, and what is refused with which message."""

from __future__ import annotations

import tomllib
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import ConfigError, NotFoundError
from federation.model.dimension import DimensionUniverse
from federation.model.logical import LogicalType, dimension_tables
from federation.model.skypix import LEVELS

SURVEY = DimensionUniverse.default()
SEQUENCING = Path(__file__).parents[1] / "data" / "universes" / "sequencing.toml"

SMALL = """
namespace = "small"
version = 3
[skypix]
common = "htm7"
systems = { htm = [7, 9], healpix = [3] }
[element.visit]
keys = [{ name = "id", type = "int" }, { name = "name", type = "string" }]
requires = ["camera"]
implies = ["filter"]
region = true
timespan = true
[element.camera]
governor = true
keys = [{ name = "name", type = "string" }]
[element.filter]
keys = [{ name = "name", type = "string" }]
requires = ["camera"]
[element.pair]
requires = ["visit"]
"""


def test_elements_follow_what_they_depend_on_and_otherwise_the_file() -> None:
    universe = DimensionUniverse.parse(SMALL)

    assert universe.element_names == ("camera", "filter", "visit", "pair")
    assert (universe.namespace, universe.version, universe.common_skypix) == ("small", 3, "htm7")
    assert universe.governors == ("camera",)


def test_skypix_systems_of_several_levels_are_dimensions_without_records() -> None:
    universe = DimensionUniverse.parse(SMALL)

    assert universe.skypix_systems == ("htm7", "htm9", "healpix3")
    assert "htm7" not in {table.name for table in dimension_tables(universe)}
    group = universe.group(["visit", "healpix3", "htm7"])
    assert group.required == ("htm7", "healpix3", "camera", "visit")
    assert universe["htm7"].key_type is LogicalType.INT64


def test_required_and_implied_dimensions_close_a_group() -> None:
    group = DimensionUniverse.parse(SMALL).group(["visit"])

    assert group.required == ("camera", "visit")
    assert group.implied == ("filter",)


def test_one_group_is_one_object_however_it_is_named() -> None:
    assert SURVEY.group(["visit"]) is SURVEY.group(["visit", "instrument"])
    assert SURVEY.group(["detector", "visit"]) is SURVEY.group(iter(["visit", "detector", "visit"]))


def test_a_relation_is_no_dimension() -> None:
    with pytest.raises(NotFoundError, match="'pair' is a relation, not a dimension"):
        DimensionUniverse.parse(SMALL).group(["pair"])


def test_the_fingerprint_is_of_what_the_file_means() -> None:
    prose = SMALL.replace("governor = true", 'governor = true\ndoc = "A camera."')
    other = SMALL.replace("version = 3", "version = 4")

    fingerprints = [DimensionUniverse.parse(text).fingerprint for text in (SMALL, prose, other)]

    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_universe_needs_no_sky() -> None:
    universe = DimensionUniverse.load(SEQUENCING)

    assert universe.skypix_systems == ()
    assert not any(element.has_region for element in universe.elements)
    assert universe.governors == ("lab", "vendor")
    assert universe.group(["assay_reagent"[:5], "reagent"]).implied == ("chemistry", "plate")


ELEMENT = '[element.a]\nkeys = [{ name = "id", type = "int" }]\n'
#: the text of a file, and what the error says of it
REFUSED = [
    ("namespace = ", "Invalid value"),
    ("x = " + "[" * 5000, "nested too deeply"),
    ("dimensions = 1", "unknown key 'dimensions'"),
    ("a = 1\nb = 2", "unknown keys 'a', 'b'"),
    ("namespace = 7", "namespace is 7, not a text"),
    ('namespace = "Daf Butler"', "namespace 'Daf Butler' is not a lower-case identifier"),
    ('version = "8"', "version is '8', not a whole number"),
    ("version = true", "version is True, not a whole number"),
    ("version = -1", "version -1 is not between 0 and"),
    ("skypix = 7", "skypix is 7, not a table"),
    ("[skypix]\nlevels = [7]", "skypix: unknown key 'levels'"),
    ("[skypix]\nsystems = [7]", "systems is [7], not a table"),
    ("[skypix]\nsystems = { hex = [7] }", "skypix.systems.hex: unknown skypix system"),
    ("[skypix]\nsystems = { htm = 7 }", "skypix.systems.htm is 7, not a list of levels"),
    ("[skypix]\nsystems = { htm = [] }", "skypix.systems.htm is [], not a list of levels"),
    ("[skypix]\nsystems = { htm = [25] }", "skypix.systems.htm: 25 is not a level"),
    ("[skypix]\nsystems = { healpix = [-1] }", "skypix.systems.healpix: -1 is not a level"),
    ('[skypix]\nsystems = { htm = ["7"] }', "skypix.systems.htm: '7' is not a level"),
    ("[skypix]\nsystems = { htm = [true] }", "skypix.systems.htm: True is not a level"),
    ("[skypix]\nsystems = { htm = [7, 7] }", "level 7 is there twice"),
    ('[skypix]\ncommon = "htm7"', "skypix.common names 'htm7', which is not among the systems"),
    ("[skypix]\ncommon = 7", "common is 7, not a text"),
    ("element = 3", "element is 3, not a table"),
    ("[element]\na = 3", "element.a is 3, not a table"),
    (
        '[element.A]\nkeys = [{ name = "id", type = "int" }]',
        "element.A: the name is not a lower-case identifier",
    ),
    (f"[element.{'a' * 49}]", "of at most 48 characters"),
    (
        '[skypix]\nsystems = { htm = [7] }\n[element.htm7]\ndoc = ""',
        "element.htm7: a skypix system has this name",
    ),
    ("[element.dataset]", "element.dataset: a system table has this name"),
    ("[element.run]", "element.run: a column of every dataset type has this name"),
    ("[element.a]\nkey = 1", "element.a: unknown key 'key'"),
    ("[element.a]", "element.a: has neither keys nor requires"),
    ("[element.a]\nkeys = 1", "element.a: keys is 1, not a list"),
    ("[element.a]\nkeys = [1]", "element.a.keys holds 1, not a field"),
    ('[element.a]\nkeys = [{ name = "id" }]', "element.a.keys.id: unknown type None"),
    ('[element.a]\nkeys = [{ name = "id", type = "decimal" }]', "unknown type 'decimal'"),
    ('[element.a]\nkeys = [{ name = "id", type = ["int"] }]', "unknown type ['int']"),
    ('[element.a]\nkeys = [{ name = "id", type = "float" }]', "a primary key's type is not 'float'"),
    ('[element.a]\nkeys = [{ name = "Id", type = "int" }]', "field name 'Id' is not a lower-case identifier"),
    ('[element.a]\nkeys = [{ name = 5, type = "int" }]', "field name 5 is not"),
    ('[element.a]\nkeys = [{ name = "id", type = "int", size = 4 }]', "element.a.keys: unknown key 'size'"),
    ('[element.a]\nkeys = [{ name = "id", type = "int", nullable = 0 }]', "nullable is 0, not true or false"),
    (
        '[element.a]\nkeys = [{ name = "id", type = "int", doc = 0 }]',
        "element.a.keys.id: doc is 0, not a text",
    ),
    (ELEMENT + 'metadata = [{ name = "x", type = "int", unit = 1 }]', "unit is 1, not a text"),
    (ELEMENT + 'metadata = [{ name = "id", type = "int" }]', "element.a: two columns are called 'id'"),
    (
        ELEMENT + 'metadata = [{ name = "region", type = "int" }]\nregion = true',
        "two columns are called 'region'",
    ),
    (ELEMENT + 'metadata = [{ name = "origin", type = "int" }]', "column 'origin' is the owner's"),
    (
        ELEMENT + '[element.b]\nrequires = ["a"]\nkeys = [{ name = "a", type = "int" }]',
        "two columns are called 'a'",
    ),
    (ELEMENT + 'requires = "b"', "requires is 'b', not a list"),
    (ELEMENT + "requires = [1]", "requires holds 1, not a text"),
    (ELEMENT + 'requires = ["b"]', "element.a: depends on unknown dimension 'b'"),
    (ELEMENT + 'implies = ["b"]', "element.a: depends on unknown dimension 'b'"),
    (ELEMENT + 'requires = ["a"]', "elements depend on one another: a -> a"),
    (
        ELEMENT + 'requires = ["b"]\n[element.b]\nrequires = ["c"]\n[element.c]\nimplies = ["b"]',
        "elements depend on one another: b -> c -> b",
    ),
    (ELEMENT + '[element.b]\nrequires = ["a", "a"]', "a is in requires and implies more than once"),
    (
        ELEMENT + '[element.b]\nrequires = ["a"]\nimplies = ["a"]',
        "a is in requires and implies more than once",
    ),
    (
        ELEMENT + '[element.b]\nrequires = ["a"]\n' + ELEMENT.replace(".a", ".c") + 'requires = ["b"]',
        "element.c: 'b' is a relation without a key of its own",
    ),
    (
        ELEMENT
        + ELEMENT.replace(".a", ".b")
        + 'requires = ["a"]\n'
        + ELEMENT.replace(".a", ".c")
        + 'requires = ["b"]\nimplies = ["a"]',
        "element.c: a is required and implied",
    ),
    (
        ELEMENT
        + ELEMENT.replace(".a", ".b")
        + 'requires = ["a"]\n'
        + ELEMENT.replace(".a", ".c")
        + 'implies = ["b"]',
        "element.c: implies b but not a, which that requires",
    ),
    (
        ELEMENT + ELEMENT.replace(".a", ".b") + 'requires = ["a"]\ngovernor = true',
        "a governor has a key and requires",
    ),
    (ELEMENT + "governor = 1", "governor is 1, not true or false"),
    (ELEMENT + 'region = "yes"', "region is 'yes', not true or false"),
    (ELEMENT + "timespan = 1979-05-27", "not true or false"),
    (ELEMENT + "doc = []", "doc is [], not a text"),
    (ELEMENT + 'derived_from = "z"', "element.a.derived_from names unknown element 'z'"),
    (ELEMENT + 'derived_from = "a"', "element.a is derived from itself"),
    (
        ELEMENT + 'derived_from = "b"\n' + ELEMENT.replace(".a", ".b"),
        "element.a: is derived from b, which does not name it",
    ),
    (
        ELEMENT
        + ELEMENT.replace(".a", ".b")
        + 'requires = ["a"]\nderived_from = "c"\n'
        + ELEMENT.replace(".a", ".c")
        + 'requires = ["a"]\nimplies = ["b"]',
        "element.b: is derived from c, but is more than a key",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[message[:60] for _, message in REFUSED])
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DimensionUniverse.parse(text, "u.toml")
    assert message in caught.value.message
    assert caught.value.message.startswith("u.toml: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'namespace = "caf\xe9"')

    for path, message in ((tmp_path / "none.toml", "No such file"), (latin, "not UTF-8 text: byte 16")):
        with pytest.raises(ConfigError, match=message) as caught:
            DimensionUniverse.load(path)
        assert str(path) in caught.value.message


NAMES = st.sampled_from(["a", "b", "c", "id", "run", "htm7", "A", "", "region", "a\\nb"])
SCALARS = st.one_of(
    NAMES,
    st.integers(-2, 30),
    st.booleans(),
    st.floats(),
    st.dates(),
    st.sampled_from(["int", "string", "float"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.fixed_dictionaries(
    {}, optional={"name": NAMES | VALUES, "type": st.just("int") | VALUES, "doc": VALUES}
)
ELEMENTS = st.fixed_dictionaries(
    {},
    optional={
        "keys": st.lists(FIELDS, max_size=2) | VALUES,
        "metadata": st.lists(FIELDS, max_size=2) | VALUES,
        "requires": st.lists(NAMES, max_size=2) | VALUES,
        "implies": st.lists(NAMES, max_size=2) | VALUES,
        "governor": st.booleans() | VALUES,
        "region": VALUES,
        "derived_from": VALUES,
        "odd": VALUES,
    },
)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "namespace": VALUES,
        "version": VALUES,
        "skypix": VALUES | st.fixed_dictionaries({}, optional={"common": VALUES, "systems": VALUES}),
        "element": VALUES | st.dictionaries(NAMES, ELEMENTS, max_size=4),
    },
)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {toml(item)}' for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


@settings(max_examples=300, deadline=None)
@given(FILES)
def test_any_file_is_a_universe_or_an_error_of_one_line(content: dict[str, object]) -> None:
    text = "\n".join(f"{key} = {toml(value)}" for key, value in content.items())
    assert tomllib.loads(text) is not None
    try:
        universe = DimensionUniverse.parse(text, "u.toml")
    except ConfigError as error:
        assert str(error).startswith("u.toml: ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert universe.fingerprint
        assert dimension_tables(universe) is not None


def test_every_system_of_the_survey_has_its_levels() -> None:
    for name in SURVEY.skypix_systems:
        system = name.rstrip("0123456789")
        low, high = LEVELS[system]
        assert low <= int(name.removeprefix(system)) <= high


def test_values_of_a_universe_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        SURVEY["visit"].name = "other"  # type: ignore[misc]
