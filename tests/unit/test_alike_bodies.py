"""Bodies that differ in values only, decoded together: they say what they say one by one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from federation.changelog import decode_changes, encode_changes
from federation.changelog.alike import ALIKE_MIN, alike_changes
from federation.changelog.merging import merged_changes
from federation.errors import CorruptionError
from federation.model.change import Change, Operation

Value = Callable[[random.Random], object]

#: values whose packed forms have one length, several, or no bytes of their own
VALUES: dict[str, Value] = {
    "id": lambda chance: chance.randbytes(16),
    "small": lambda chance: chance.randrange(300),
    "negative": lambda chance: -chance.randrange(40_000),
    "large": lambda chance: chance.randrange(1 << 60),
    "text": lambda chance: chance.choice(["ab", "é", "éé", "r", "i", ""]),
    "number": lambda chance: chance.choice([0.0, -0.0, 1.5]),
    "nothing": lambda _: None,
    "truth": lambda chance: chance.choice([True, False]),
    "bytes": lambda chance: chance.choice([b"", b"xyz", b"uvw"]),
}
TABLES = (
    ("a", ("k", "x", "y"), Operation.PUT),
    ("b", ("k", "z"), Operation.PUT),
    ("c", ("k",), Operation.DELETE),
)


def exactly(changes: Sequence[Change]) -> dict[str, list[object]]:
    """Rows by table, with what tells 1 from 1.0 and True, and 0.0 from -0.0."""
    found: dict[str, list[object]] = {}
    for change in changes:
        for row in change.rows:
            found.setdefault(change.table, []).append(
                (change.operation, change.columns, list(map(repr, row)))
            )
    return found


def transactions(chance: random.Random, count: int) -> list[bytes]:
    """Bodies of transactions with one row a table; not all of them change all tables."""
    kinds = {
        column: chance.sample(sorted(VALUES), chance.choice((1, 1, 2)))
        for column in ("a.k", "a.x", "a.y", "b.k", "b.z", "c.k")
    }
    tables = chance.sample(TABLES, chance.randint(1, 3))
    return [
        encode_changes(
            [
                Change.from_rows(
                    name,
                    operation,
                    columns,
                    [[VALUES[chance.choice(kinds[f"{name}.{column}"])](chance) for column in columns]],
                )
                for name, columns, operation in (tables if chance.random() < 0.9 else tables[:1])
            ]
        )
        for _ in range(count)
    ]


def test_rows_are_those_of_the_bodies_one_by_one_in_their_order() -> None:
    together = 0
    for seed in range(60):
        chance = random.Random(seed)
        bodies = transactions(chance, chance.choice((ALIKE_MIN, 700)))
        separate = [change for body in bodies for change in decode_changes(body)]
        found = alike_changes(bodies, ())
        together += found is not None
        assert exactly(separate if found is None else found) == exactly(separate), f"seed {seed}"
        assert exactly(merged_changes(bodies)) == exactly(separate), f"seed {seed}"
    assert together >= 15  # not all were left to be decoded alone


def put(number: int, table: str = "a") -> Change:
    return Change.from_rows(table, Operation.PUT, ("k", "x"), [(number.to_bytes(16), f"text {number:05}")])


@pytest.mark.parametrize(
    "odd",
    [
        (Change.from_rows("a", Operation.PUT, ("k", "x"), [(b"k" * 16, "1"), (b"l" * 16, "2")]),),
        (Change.from_rows("a", Operation.PUT, ("k",), [(b"k" * 16,)]),),
        (Change.from_rows("a", Operation.DELETE, ("k",), [(b"k" * 16,)]),),
        (put(1), put(2)),
        (put(1, "declared"),),
    ],
    ids=["several rows", "other columns", "deleted", "a table twice", "kept apart"],
)
def test_one_that_is_otherwise_is_left_to_be_decoded_alone(odd: tuple[Change, ...]) -> None:
    log = [(put(number),) for number in range(2 * ALIKE_MIN)]
    bodies = [encode_changes(changes) for changes in [*log[:ALIKE_MIN], odd, *log[ALIKE_MIN:]]]
    assert alike_changes([bodies[0], *bodies[1:ALIKE_MIN]], {"declared"}) is not None
    assert alike_changes(bodies, {"declared"}) is None
    separate = [change for body in bodies for change in decode_changes(body)]
    assert exactly(merged_changes(bodies, {"declared"})) == exactly(separate)


@pytest.mark.parametrize("damage", [b"\xff", b"\xc1"])
def test_a_text_that_is_none_is_told(damage: bytes) -> None:
    bodies = [encode_changes([put(number)]) for number in range(ALIKE_MIN)]
    place = bodies[7].index(b"text")
    bodies[7] = bodies[7][:place] + damage + bodies[7][place + 1 :]
    with pytest.raises(CorruptionError, match="can't be decoded"):
        merged_changes(bodies)
