"""Random statements over the tables of the planner's small federation."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["any_statements", "statements"]

INTEGERS = st.integers(-1, 9).map(str)
FLOATS = st.sampled_from(["0.5", "0.75", "1.0", "2", "-1.0"])
TEXTS = st.sampled_from(["'a'", "'A'", "'é'", "'a_b'", "'it''s'", "''"])
UUIDS = st.integers(0, 40).map(lambda n: f"'00000000-0000-0000-0000-0000000000{n:02x}'")
COMPARISONS = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])

#: sources that can stand in FROM, with columns by the kind of their values
SOURCES = {
    "raw": {
        "i": ["exposure", "detector"],
        "t": ["run", "instrument", "origin"],
        "u": ["dataset_id"],
        "f": [],
    },
    "summit.exposure": {
        "i": ["id", "seq_num"],
        "t": ["instrument", "obs_id"],
        "u": [],
        "f": ["exposure_time"],
    },
    "summit.dataset": {"i": [], "t": ["run", "dataset_type"], "u": ["dataset_id"], "f": []},
    "calexp": {"i": ["visit", "detector"], "t": ["run", "origin"], "u": ["dataset_id"], "f": ["psf_fwhm"]},
    "ncsa.visit": {"i": ["id", "seq_num"], "t": ["instrument", "name"], "u": [], "f": ["exposure_time"]},
    "bias": {"i": ["detector"], "t": ["run", "instrument"], "u": ["dataset_id"], "f": []},
    "dataset": {"i": [], "t": ["run", "origin", "dataset_type"], "u": ["dataset_id"], "f": []},
    "detector": {"i": ["id"], "t": ["instrument", "raft"], "u": [], "f": []},
}
VALUES = {"i": INTEGERS, "t": TEXTS, "u": UUIDS, "f": FLOATS}
Aliases = list[tuple[str, str]]


@st.composite
def conditions(draw: st.DrawFn, aliases: Aliases, depth: int = 2) -> str:
    """A condition over the columns of ``aliases``, given as (alias, source)."""
    if depth and draw(st.integers(0, 2)) == 0:
        parts = draw(st.lists(conditions(aliases, depth - 1), min_size=2, max_size=3))
        return "(" + draw(st.sampled_from([" AND ", " OR "])).join(parts) + ")"
    alias, source = draw(st.sampled_from(aliases))
    kind = draw(st.sampled_from([kind for kind, names in SOURCES[source].items() if names]))
    column = f"{alias}.{draw(st.sampled_from(SOURCES[source][kind]))}"
    return draw(comparisons(column, VALUES[kind]))


@st.composite
def comparisons(draw: st.DrawFn, column: str, values: st.SearchStrategy[str]) -> str:
    """A condition on one column."""
    form = draw(st.integers(0, 7))
    if form == 0:
        return f"{column} IS {draw(st.sampled_from(['', 'NOT ']))}NULL"
    if form == 1:
        listed = ", ".join(draw(st.lists(st.one_of(values, st.just("NULL")), min_size=1, max_size=4)))
        return f"{column} {draw(st.sampled_from(['', 'NOT ']))}IN ({listed})"
    if form == 2:
        return f"{column} BETWEEN {draw(values)} AND {draw(values)}"
    if form == 3:
        return f"NOT ({column} {draw(COMPARISONS)} {draw(values)})"
    if form == 4:
        return f"coalesce({column}, {draw(values)}) {draw(COMPARISONS)} {draw(values)}"
    if form == 5:
        return f"CASE WHEN {column} {draw(COMPARISONS)} {draw(values)} THEN {column} END IS NOT NULL"
    if form == 6:
        return f"{column} IS DISTINCT FROM {draw(values)}"
    return f"{column} {draw(COMPARISONS)} {draw(values)}"


@st.composite
def joins(draw: st.DrawFn, first: int = 0) -> tuple[Aliases, str]:
    """One to three sources, and FROM and WHERE over them; aliases are numbered from ``first``."""
    chosen = draw(st.lists(st.sampled_from(sorted(SOURCES)), min_size=1, max_size=3))
    aliases = [(f"t{number}", source) for number, source in enumerate(chosen, first)]
    from_ = f"{aliases[0][1]} {aliases[0][0]}"
    for number, (alias, source) in enumerate(aliases[1:], 1):
        side = draw(st.sampled_from(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "JOIN"]))
        before = aliases[:number]
        links = [
            f"{alias}.{own} = {other}.{theirs}"
            for other, name in before
            for kind in "iu"
            for own in SOURCES[source][kind]
            for theirs in SOURCES[name][kind]
        ]
        on = [draw(st.sampled_from(links))] if links else []
        # the oracle's FULL JOIN needs an equality alone
        if side != "FULL JOIN" and draw(st.booleans()):
            on.append(draw(conditions(aliases[: number + 1], 1)))
        if side == "FULL JOIN" and not links:
            side = "JOIN"
        from_ += f" {side} {source} {alias} ON {' AND '.join(on) or 'TRUE'}"
    where = draw(st.lists(conditions(aliases), max_size=3))
    return aliases, f"FROM {from_}" + (f" WHERE {' AND '.join(where)}" if where else "")


def columns_of(aliases: Aliases, kinds: str) -> list[str]:
    """Columns of the sources whose values are of some kinds."""
    return [f"{a}.{name}" for a, source in aliases for kind in kinds for name in SOURCES[source][kind]]


@st.composite
def statements(draw: st.DrawFn) -> str:
    """SELECT over one to three sources with conditions in ON and WHERE."""
    aliases, rest = draw(joins())
    columns = []
    for alias, source in aliases:
        kind = draw(st.sampled_from([kind for kind, names in SOURCES[source].items() if names]))
        columns.append(f"{alias}.{SOURCES[source][kind][0]} AS {alias}_c")
    return f"SELECT {', '.join(columns)} {rest}"


@st.composite
def _aggregates(draw: st.DrawFn, aliases: Aliases) -> str:
    numbers = columns_of(aliases, "if") or ["1"]
    any_ = columns_of(aliases, "iftu")
    form = draw(st.integers(0, 6))
    if form == 0:
        text = "count(*)"
    elif form == 1:
        text = f"count({draw(st.sampled_from(any_))})"
    elif form == 2:
        function = draw(st.sampled_from(["count", "sum", "min", "max"]))
        text = f"{function}(DISTINCT {draw(st.sampled_from(numbers))})"
    elif form == 3:
        text = f"{draw(st.sampled_from(['min', 'max']))}({draw(st.sampled_from(any_))})"
    elif form == 4:
        text = f"bool_or({draw(conditions(aliases, 0))})"
    else:
        argument = draw(st.sampled_from([*numbers, f"coalesce({draw(st.sampled_from(numbers))}, 3)"]))
        text = f"{draw(st.sampled_from(['sum', 'avg']))}({argument})"
    if draw(st.integers(0, 3)) == 0:
        text += f" FILTER (WHERE {draw(conditions(aliases, 1))})"
    return text


@st.composite
def grouped(draw: st.DrawFn) -> str:
    """Aggregates over joins, by some columns or of everything; or different rows."""
    aliases, rest = draw(joins())
    keys = draw(st.lists(st.sampled_from(columns_of(aliases, "itu")), max_size=2, unique=True))
    outputs = [f"{key} AS k{number}" for number, key in enumerate(keys)]
    if keys and draw(st.integers(0, 4)) == 0:
        return f"SELECT DISTINCT {', '.join(outputs)} {rest}"
    found = draw(st.lists(_aggregates(aliases), min_size=1, max_size=3))
    outputs += [f"{aggregate} AS a{number}" for number, aggregate in enumerate(found)]
    sql = f"SELECT {', '.join(outputs)} {rest}" + (f" GROUP BY {', '.join(keys)}" if keys else "")
    return sql + draw(st.sampled_from(["", "", " HAVING count(*) > 2"]))


@st.composite
def any_statements(draw: st.DrawFn) -> str:
    """A statement of any of the forms here."""
    return draw(st.one_of(statements(), grouped()))
