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


#: columns that a side of a union may give, by the kinds of the union's columns
_SIDES = ("raw", "calexp", "bias", "ncsa.visit", "summit.exposure", "detector")


@st.composite
def _side(draw: st.DrawFn, kinds: str, depth: int) -> str:
    """``SELECT a AS x0, b AS x1, ...`` over a source that has columns of all ``kinds``, or a constant there."""
    source = draw(
        st.sampled_from([s for s in _SIDES if SOURCES[s]["i"] and (SOURCES[s]["u"] or "u" not in kinds)])
    )
    outputs = []
    for number, kind in enumerate(kinds):
        known = [f"s.{name}" for name in SOURCES[source][kind]]
        constant = draw(VALUES[kind]) if kind in "it" else None
        outputs.append(f"{draw(st.sampled_from([*known, *([constant] if constant else [])]))} AS x{number}")
    sql = f"SELECT {draw(st.sampled_from(['', '', '', 'DISTINCT ']))}{', '.join(outputs)} FROM {source} s"
    if draw(st.booleans()):
        sql += f" WHERE {draw(conditions([('s', source)], 1))}"
    return sql


@st.composite
def unions(draw: st.DrawFn) -> tuple[str, str]:
    """The kinds of a union's columns ``x0``, ``x1``, ..., and the union."""
    kinds = draw(st.sampled_from(["i", "it", "iu", "tiu", "ii"]))
    sides = draw(st.lists(_side(kinds, 0), min_size=1, max_size=3))
    sql = sides[0]
    for side in sides[1:]:
        sql += f" {draw(st.sampled_from(['UNION ALL', 'UNION ALL', 'UNION ALL', 'UNION', 'EXCEPT']))} {side}"
    return kinds, sql


@st.composite
def over_unions(draw: st.DrawFn) -> str:
    """A sub-select with a condition around it, ordered, grouped, joined or as it is."""
    kinds, union = draw(unions())
    names = [f"q.x{number}" for number in range(len(kinds))]
    where = [
        draw(comparisons(names[number], VALUES[kinds[number]]))
        for number in draw(st.lists(st.integers(0, len(kinds) - 1), max_size=2))
    ]
    rest = f" WHERE {' AND '.join(where)}" if where else ""
    form = draw(st.integers(0, 5))
    if form == 0:
        numbers = [
            f"{f}({n})" for n, k in zip(names, kinds, strict=True) if k == "i" for f in ("sum", "avg", "max")
        ]
        found = draw(st.lists(st.sampled_from(["count(*)", *numbers]), min_size=1, max_size=3))
        outputs = ", ".join(f"{a} AS a{n}" for n, a in enumerate(found))
        if draw(st.booleans()):
            return f"SELECT {outputs} FROM ({union}) q{rest}"
        return f"SELECT q.x0, {outputs} FROM ({union}) q{rest} GROUP BY q.x0"
    if form == 1:
        side = draw(st.sampled_from(["JOIN", "LEFT JOIN"]))
        column = next(f"q.x{number}" for number, kind in enumerate(kinds) if kind == "i")
        on = f"q.x0 IS NOT NULL AND v.id = {column}"
        return f"SELECT v.id, {', '.join(names)} FROM ncsa.visit v {side} ({union}) q ON {on}{rest}"
    if form == 2:
        keys = ", ".join(f"{name} {draw(st.sampled_from(['', 'DESC', 'ASC NULLS FIRST']))}" for name in names)
        limit = f"LIMIT {draw(st.integers(0, 6))} OFFSET {draw(st.integers(0, 2))}"
        return f"SELECT {', '.join(names)} FROM ({union}) q{rest} ORDER BY {keys} {limit}"
    if form == 3:
        return f"SELECT DISTINCT {names[-1]} FROM ({union}) q{rest}"
    if form == 4:
        window = f"row_number() OVER (PARTITION BY {names[0]} ORDER BY {', '.join(names)})"
        inner = f"SELECT q.*, {window} AS n FROM ({union}) q"
        return f"SELECT q.x0, q.n FROM ({inner}) q{rest}"
    return f"SELECT {draw(st.sampled_from(names))} FROM ({union}) q{rest}"


@st.composite
def first_rows(draw: st.DrawFn) -> str:
    """The first rows of LEFT JOINs, in an order that leaves no choice."""
    source = draw(st.sampled_from(["raw", "calexp", "bias", "dataset"]))
    columns = columns_of([("t0", source)], "iftu")
    key = draw(st.sampled_from(columns))
    where = f" WHERE {draw(conditions([('t0', source)], 1))}" if draw(st.booleans()) else ""
    join = draw(st.sampled_from(["", " LEFT JOIN ncsa.visit t1 ON t1.id = length(t0.run)"]))
    more = ", t1.id" if join else ""
    return (
        f"SELECT t0.dataset_id, upper(t0.run) AS u{more} FROM {source} t0{join}{where} "
        f"ORDER BY {key} {draw(st.sampled_from(['', 'DESC', 'NULLS FIRST']))}, t0.dataset_id{more} "
        f"LIMIT {draw(st.integers(0, 6))}"
    )


@st.composite
def sub_queries(draw: st.DrawFn) -> str:
    """EXISTS, IN and aggregates of other tables in WHERE or SELECT."""
    aliases, rest = draw(joins())
    inner = draw(st.sampled_from(sorted(SOURCES)))
    links = [
        (f"{alias}.{theirs}", f"s.{own}")
        for alias, source in aliases
        for kind in "iu"
        for own in SOURCES[inner][kind]
        for theirs in SOURCES[source][kind]
    ]
    output = columns_of(aliases[:1], "tu")[0]
    if not links:
        return f"SELECT {output} AS c {rest}"
    outside, own = draw(st.sampled_from(links))
    condition = draw(conditions([("s", inner)], 1))
    negation = draw(st.sampled_from(["", "NOT "]))
    form = draw(st.integers(0, 2))
    if form == 2:
        count = f"SELECT count(*) FROM {inner} s WHERE {own} = {outside} AND {condition}"
        return f"SELECT {output} AS c, ({count}) AS n {rest}"
    if form == 0:
        test = f"{negation}EXISTS (SELECT * FROM {inner} s WHERE {own} = {outside} AND {condition})"
    else:
        test = f"{outside} {negation}IN (SELECT {own} FROM {inner} s WHERE {condition})"
    return f"SELECT {output} AS c {rest}{' AND ' if ' WHERE ' in rest else ' WHERE '}{test}"


@st.composite
def any_statements(draw: st.DrawFn) -> str:
    """A statement of any of the forms here."""
    forms = (statements(), grouped(), grouped(), over_unions(), over_unions(), first_rows(), sub_queries())
    sql: str = draw(st.one_of(*forms))
    return sql
