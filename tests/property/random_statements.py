"""Random SELECTs of the documented dialect over given tables, from a seed; DuckDB reads them in the same way.

Their answers are determined: a LIMIT comes with an order by all outputs, window functions by a whole key or blind to
ties, and sums are of numbers that floats hold exactly.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import attrs

#: (name in FROM, columns with their types, columns that identify a row)
Table = tuple[str, dict[str, str], tuple[str, ...]]

LITERALS: dict[str, tuple[str, ...]] = {
    "int": ("0", "1", "2", "3", "5", "-1", "7"),
    "float": ("0.5", "0.75", "1.0", "1.25", "2.5", "-1.0", "2"),
    "text": ("'a'", "'A'", "'b'", "'é'", "'a_b'", "'it''s'", "''", "'Z'", "'中'"),
    "bool": ("TRUE", "FALSE"),
    "uuid": tuple(f"'{n:08x}-0000-0000-0000-{n:012x}'" for n in range(8)),
    "time": (
        "'2026-01-01 00:00:00'", "'2025-12-31 23:51:00'", "'2026-01-01 00:05:00.000000999'", "'2026-01-01'",
    ),
}  # fmt: skip
ORDERED = ("int", "float", "text", "uuid", "time")
COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
PATTERNS = ("'a%'", "'%b'", "'%_%'", "'A'", "'%é%'", "'_'", "''")


@attrs.frozen
class Source:
    """What a SELECT has in FROM: an alias, and its columns by name."""

    alias: str
    columns: dict[str, str]
    key: tuple[str, ...] = ()


@attrs.define
class Statements:
    """Makes statements one after the other; each is determined by ``rng``."""

    rng: random.Random
    tables: Sequence[Table]
    number: int = 0
    ctes: list[Table] = attrs.field(factory=list)

    def statement(self) -> str:
        """One whole statement."""
        self.number, self.ctes = 0, []
        with_ = ""
        if self.chance(0.2):
            parts = []
            for name in ("w1", "w2")[: self.rng.randint(1, 2)]:
                sql, outputs = self.select(1, [])
                parts.append(f"{name} AS ({sql})")
                self.ctes.append((name, outputs, ()))
            with_ = f"WITH {', '.join(parts)} "
        if self.chance(0.15):
            return with_ + self.set_operation()[0]
        sql, outputs = self.select(2, [])
        return with_ + sql + self.top(outputs)

    # choices

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def pick(self, *weighted: tuple[int, Callable[[], str]]) -> str:
        weights, makers = zip(*weighted, strict=True)
        return self.rng.choices(makers, weights)[0]()  # type: ignore[no-any-return]

    def alias(self) -> str:
        self.number += 1
        return f"t{self.number}"

    # queries

    def top(self, outputs: dict[str, str]) -> str:
        if not self.chance(0.3):
            return ""
        words = ("", " DESC", " NULLS FIRST", " DESC NULLS LAST")
        order = ", ".join(f"{n}{self.rng.choice(words)}" for n in range(1, len(outputs) + 1))
        limit = f" LIMIT {self.rng.randint(0, 8)}" if self.chance(0.7) else ""
        offset = f" OFFSET {self.rng.randint(0, 3)}" if self.chance(0.3) else ""
        return f" ORDER BY {order}{limit}{offset}"

    def set_operation(self, depth: int = 1) -> tuple[str, dict[str, str]]:
        kinds = [self.rng.choice((*ORDERED, "bool")) for _ in range(self.rng.randint(1, 2))]
        outputs = {f"c{number}": kind for number, kind in enumerate(kinds)}
        sides = [self.select(depth, [], kinds)[0] for _ in range(self.rng.randint(2, 3))]
        sql = sides[0]
        for side in sides[1:]:
            word = self.rng.choice(("UNION ALL", "UNION ALL", "UNION", "INTERSECT", "EXCEPT", "EXCEPT ALL"))
            sql = f"({sql}) {word} ({side})"
        return sql + self.top(outputs), outputs

    def select(
        self, depth: int, outer: list[Source], kinds: Sequence[str] | None = None
    ) -> tuple[str, dict[str, str]]:
        """A SELECT and its outputs; of given types where ``kinds`` says so. ``outer`` may be referred to."""
        from_, sources = self.from_clause(depth)
        where = self.where(sources, outer, depth)
        if self.chance(0.3):
            return self.grouped(from_, where, sources, kinds)
        wanted = kinds or [self.rng.choice((*ORDERED, "bool")) for _ in range(self.rng.randint(1, 4))]
        distinct = "DISTINCT " if self.chance(0.15) else ""
        items = {}
        for number, kind in enumerate(wanted):
            window = kind == "int" and kinds is None and not distinct and self.chance(0.15)
            items[f"c{number}"] = self.window(sources) if window else self.value(kind, sources, depth)
        listed = ", ".join(f"{value} AS {name}" for name, value in items.items())
        outputs = dict(zip(items, wanted, strict=True))
        return f"SELECT {distinct}{listed} FROM {from_}{where}", outputs

    def grouped(
        self, from_: str, where: str, sources: list[Source], kinds: Sequence[str] | None
    ) -> tuple[str, dict[str, str]]:
        keys = [
            self.column(self.rng.choice(("int", "text", "bool", "uuid")), sources)
            for _ in range(self.rng.randint(0, 2))
        ]
        keys = [key for key in dict.fromkeys(keys) if key]
        items, types = [], []
        if kinds is None:
            for key in keys:
                items.append(key)
                types.append(self.kind_of(key, sources))
        for kind in kinds or [
            self.rng.choice(("int", "float", "text", "time")) for _ in range(self.rng.randint(1, 2))
        ]:
            items.append(self.aggregate(kind, sources))
            types.append(kind)
        group = f" GROUP BY {', '.join(keys)}" if keys else ""
        having = ""
        if keys and self.chance(0.3):
            having = f" HAVING {self.aggregate('int', sources)} {self.rng.choice(COMPARISONS)} {self.literal('int')}"
        listed = ", ".join(f"{item} AS c{number}" for number, item in enumerate(items))
        outputs = {f"c{number}": kind for number, kind in enumerate(types)}
        return f"SELECT {listed} FROM {from_}{where}{group}{having}", outputs

    def from_clause(self, depth: int) -> tuple[str, list[Source]]:
        text, first = self.source(depth)
        sources = [first]
        for _ in range(self.rng.choices((0, 1, 2), (45, 40, 15))[0]):
            word = self.rng.choice(
                ("JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN")
            )
            right, source = self.source(depth)
            links = [
                f"{left.alias}.{a} = {source.alias}.{b}"
                for left in sources
                for a, kind in left.columns.items()
                for b, other in source.columns.items()
                if kind == other and kind != "bool"
            ]
            if self.chance(0.04):
                kind = self.rng.choice(("int", "float", "text"))
                source = Source(source.alias, {"c0": kind})
                text += f" CROSS JOIN LATERAL {self.scalar(kind, sources, 'c0')} AS {source.alias}"
            elif not links or word == "CROSS JOIN":
                text += f" CROSS JOIN {right}"
            else:
                on = [self.rng.choice(links)]
                if self.chance(0.4):
                    on.append(self.rng.choice(links))
                # engines join FULL by equalities alone
                if word != "FULL JOIN" and self.chance(0.3):
                    on.append(self.condition([*sources, source], 0))
                text += f" {word} {right} ON {' AND '.join(on)}"
            sources.append(source)
        return text, sources

    def source(self, depth: int) -> tuple[str, Source]:
        alias = self.alias()
        if depth > 0 and self.chance(0.2):
            if self.chance(0.3):
                sql, outputs = self.set_operation(depth - 1)
            else:
                sql, outputs = self.select(depth - 1, [])
                sql += self.top(outputs)
            return f"({sql}) AS {alias}", Source(alias, outputs)
        named = self.ctes and self.chance(0.5)
        name, columns, key = self.rng.choice(self.ctes if named else self.tables)
        return f"{name} AS {alias}", Source(alias, columns, key)

    # conditions

    def where(self, sources: list[Source], outer: list[Source], depth: int) -> str:
        parts = [self.predicate(sources, depth) for _ in range(self.rng.choices((0, 1, 2), (40, 45, 15))[0])]
        if outer and self.chance(0.8):
            link = self.link(sources, outer)
            parts = [link, *parts] if link else parts
        return f" WHERE {' AND '.join(parts)}" if parts else ""

    def link(self, sources: list[Source], outer: list[Source]) -> str:
        links = [
            f"{inner.alias}.{a} = {around.alias}.{b}"
            for inner in sources
            for a, kind in inner.columns.items()
            for around in outer
            for b, other in around.columns.items()
            if kind == other
        ]
        return self.rng.choice(links) if links else ""

    def predicate(self, sources: list[Source], depth: int) -> str:
        if depth > 0 and self.chance(0.25):
            return self.pick(
                (3, lambda: self.exists(sources, depth)),
                (3, lambda: self.in_select(sources, depth)),
                (2, lambda: self.against_scalar(sources, depth)),
                (1, lambda: self.quantified(sources, depth)),
            )
        return self.condition(sources, depth)

    def exists(self, sources: list[Source], depth: int) -> str:
        inner, _ = self.select(0, sources)
        return f"{self.rng.choice(('EXISTS', 'NOT EXISTS'))} ({inner})"

    def in_select(self, sources: list[Source], depth: int) -> str:
        kind = self.rng.choice(("int", "text", "uuid"))
        inner, _ = self.select(0, [], [kind])
        return f"{self.value(kind, sources, 0)} {self.rng.choice(('IN', 'NOT IN'))} ({inner})"

    def quantified(self, sources: list[Source], depth: int) -> str:
        inner, _ = self.select(0, [], ["int"])
        word = self.rng.choice(("> ALL", "= ANY", "<= ANY", "<> ALL"))
        return f"{self.value('int', sources, 0)} {word} ({inner})"

    def against_scalar(self, sources: list[Source], depth: int) -> str:
        kind = self.rng.choice(("int", "float", "time"))
        return f"{self.value(kind, sources, 0)} {self.rng.choice(COMPARISONS)} {self.scalar(kind, sources)}"

    def scalar(self, kind: str, outer: list[Source], name: str = "") -> str:
        """A sub-select of one row with one value, called ``name``."""
        from_, sources = self.from_clause(0)
        where = self.where(sources, outer, 0)
        named = f" AS {name}" if name else ""
        return f"(SELECT {self.aggregate(kind, sources)}{named} FROM {from_}{where})"

    def condition(self, sources: list[Source], depth: int) -> str:
        if self.chance(0.2):
            parts = [self.condition(sources, depth) for _ in range(2)]
            return f"({self.rng.choice((' OR ', ' AND ')).join(parts)})"
        kind = self.rng.choice(ORDERED)
        column = self.column(kind, sources) or self.literal(kind)
        compare = self.rng.choice(COMPARISONS)
        return self.pick(
            (6, lambda: f"{column} {compare} {self.literal(kind)}"),
            (2, lambda: f"{column} {compare} {self.value(kind, sources, depth)}"),
            (2, lambda: f"{column} IS {self.rng.choice(('', 'NOT '))}NULL"),
            (2, lambda: f"{column} {self.rng.choice(('', 'NOT '))}IN ({self.listed(kind)})"),
            (
                1,
                lambda: (
                    f"{column} {self.rng.choice(('', 'NOT '))}BETWEEN {self.literal(kind)} AND {self.literal(kind)}"
                ),
            ),
            (1, lambda: f"NOT ({column} {compare} {self.literal(kind)})"),
            (1, lambda: f"{column} IS {self.rng.choice(('', 'NOT '))}DISTINCT FROM {self.literal(kind)}"),
            (
                1,
                lambda: (
                    f"{self.value('text', sources, 0)} {self.rng.choice(('', 'NOT '))}LIKE {self.rng.choice(PATTERNS)}"
                ),
            ),
            (
                1,
                lambda: (
                    f"{self.value('bool', sources, 0)} IS {self.rng.choice(('TRUE', 'NOT TRUE', 'FALSE', 'NOT FALSE'))}"
                ),
            ),
        )

    def listed(self, kind: str) -> str:
        values = [self.literal(kind) for _ in range(self.rng.randint(1, 4))]
        return ", ".join([*values, "NULL"] if self.chance(0.1) else values)

    # values

    def literal(self, kind: str) -> str:
        return self.rng.choice(LITERALS[kind])

    def typed_literal(self, kind: str) -> str:
        """A literal that has its type by itself."""
        word = {"uuid": "UUID ", "time": "TIMESTAMP "}.get(kind, "")
        text = self.literal(kind)
        if kind == "time":  # DuckDB's own TIMESTAMP literal has microseconds only
            return word + self.rng.choice(LITERALS["time"][:2])
        return "2.0" if text == "2" and kind == "float" else word + text

    def kind_of(self, column: str, sources: list[Source]) -> str:
        alias, name = column.split(".")
        return next(source.columns[name] for source in sources if source.alias == alias)

    def column(self, kind: str, sources: list[Source]) -> str:
        """A column of the type, or nothing where there is none."""
        found = [f"{s.alias}.{name}" for s in sources for name, other in s.columns.items() if other == kind]
        return self.rng.choice(found) if found else ""

    def value(self, kind: str, sources: list[Source], depth: int) -> str:
        column = self.column(kind, sources)
        if not column:
            return self.typed_literal(kind)
        if depth > 0 and kind in ("int", "float", "time") and self.chance(0.06):
            return self.scalar(kind, sources)
        return self.pick(
            (12, lambda: column),
            (5, lambda: self.computed(kind, column, sources)),
            (1, lambda: self.typed_literal(kind)),
        )

    def computed(self, kind: str, column: str, sources: list[Source]) -> str:
        general = (
            lambda: f"coalesce({column}, {self.literal(kind)})",
            lambda: f"nullif({column}, {self.literal(kind)})",
            lambda: f"CASE WHEN {self.condition(sources, 0)} THEN {column} END",
            lambda: (
                f"CASE WHEN {self.condition(sources, 0)} THEN {column} ELSE {self.typed_literal(kind)} END"
            ),
        )
        special: dict[str, tuple[Callable[[], str], ...]] = {
            "int": (
                lambda: f"{column} + {self.literal('int')}",
                lambda: f"{column} * 3 - 1",
                lambda: f"{column} / 2",
                lambda: f"{column} % 3",
                lambda: f"-{column}",
                lambda: f"abs({column})",
                lambda: f"CAST({column} AS bigint)",
                lambda: f"length({self.column('text', sources) or self.literal('text')})",
                lambda: f"extract(minute FROM {self.column('time', sources) or self.typed_literal('time')})",
            ),
            "float": (
                lambda: f"{column} + 0.5",
                lambda: f"{column} * 2",
                lambda: f"CAST({self.column('int', sources) or '3'} AS double precision)",
                lambda: f"-{column}",
                lambda: f"floor({column})",
            ),
            "text": (
                lambda: f"upper({column})",
                lambda: f"{column} || '!'",
                lambda: f"substring({column}, 1, 1)",
                lambda: f"replace({column}, 'a', 'xy')",
                lambda: f"CAST({self.column('int', sources) or '3'} AS text)",
                lambda: f"concat({column}, '-', {column})",
            ),
            "bool": (
                lambda: f"({self.condition(sources, 0)})",
                lambda: f"NOT {column}",
                lambda: f"({column} AND {self.condition(sources, 0)})",
            ),
            "time": (
                lambda: f"date_trunc('hour', {column})",
                lambda: f"{column} + INTERVAL '1 minute'",
            ),
        }
        return self.rng.choice((*general, *special.get(kind, ())))()

    def aggregate(self, kind: str, sources: list[Source]) -> str:
        """An aggregate with a value of the type."""
        distinct = "DISTINCT " if self.chance(0.2) else ""
        any_column = self.column(self.rng.choice(ORDERED), sources) or "1"
        integer, real = self.column("int", sources) or "1", self.column("float", sources) or "0.5"
        finite = f"CASE WHEN {real} < 100 THEN {real} END"
        column = self.column(kind, sources)
        extreme = f"{self.rng.choice(('min', 'max'))}({column or self.typed_literal(kind)})"
        choices = {
            "int": ("count(*)", f"count({distinct}{any_column})", f"sum({distinct}{integer})", extreme),
            "float": (f"sum({finite})", f"avg({distinct}{finite})", f"avg({integer})", extreme),
        }.get(kind, (extreme,))
        made = self.rng.choice(choices)
        if kind == "bool" or kind == "uuid":
            made = f"min({column or self.typed_literal(kind)})"
        if self.chance(0.15):
            made += f" FILTER (WHERE {self.condition(sources, 0)})"
        return made

    def window(self, sources: list[Source]) -> str:
        """A window function over integers whose value ties do not change."""
        part = self.column(self.rng.choice(("text", "int", "bool")), sources)
        partition = f"PARTITION BY {part} " if part and self.chance(0.6) else ""
        order = self.column(self.rng.choice(("int", "text", "time")), sources)
        integer = self.column("int", sources) or "1"
        by = f"ORDER BY {order}" if order else ""
        whole = [f"{source.alias}.{name}" for source in sources for name in source.key]
        choices = [f"count(*) OVER ({partition})", f"sum({integer}) OVER ({partition}{by})"]
        if by:
            choices += [f"{name}() OVER ({partition}{by})" for name in ("rank", "dense_rank")]
        if all(source.key for source in sources) and len(sources) == 1:
            choices += [
                f"row_number() OVER ({partition}ORDER BY {', '.join(whole)})",
                f"lag({integer}) OVER ({partition}ORDER BY {', '.join(whole)})",
                f"first_value({integer}) OVER ({partition}ORDER BY {', '.join(whole)} DESC)",
            ]
        return self.rng.choice(choices)
