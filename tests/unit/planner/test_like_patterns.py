"""LIKE with a literal pattern finds at a site what the local engine finds."""

from __future__ import annotations

import random
import sqlite3

import duckdb
import pytest
import sqlglot

from federation.planner.like_patterns import lowered_like, pattern_of

ALPHABET = "aAb%_*?[]é\\^-#"


def words(rng: random.Random, count: int, length_max: int) -> list[str]:
    return ["".join(rng.choice(ALPHABET) for _ in range(rng.randint(0, length_max))) for _ in range(count)]


def test_a_site_with_sqlite_finds_the_same_texts() -> None:
    rng = random.Random(1)
    texts = words(rng, 300, 5)
    site, engine = sqlite3.connect(":memory:"), duckdb.connect()
    for database in (site, engine):
        database.execute("CREATE TABLE t (s VARCHAR)")
        database.executemany("INSERT INTO t VALUES (?)", [(text,) for text in texts])
    found_some = 0
    for pattern in words(rng, 300, 4):
        condition = (
            f"s {rng.choice(('', 'NOT '))}LIKE '{pattern}'{rng.choice(('', chr(32) + 'ESCAPE ' + repr('#')))}"
        )
        lowered = lowered_like(sqlglot.parse_one(condition, read="postgres"), for_sqlite=True)
        if lowered is None:
            continue
        local = condition if "ESCAPE" in condition else condition + " ESCAPE '\\'"
        expected = sorted(engine.execute(f"SELECT s FROM t WHERE {local}").fetchall())
        assert sorted(site.execute(f"SELECT s FROM t WHERE {lowered.sql('sqlite')}").fetchall()) == expected
        found_some += bool(expected)
    assert found_some > 100
    site.close()
    engine.close()


@pytest.mark.parametrize(
    "condition",
    [
        "s LIKE t",
        "s LIKE 'a' || 'b'",
        "s LIKE 'ends in \\'",
        "s LIKE 'a' ESCAPE ''",
        "s LIKE '" + "x" * 6000 + "'",
    ],
)
def test_what_is_no_plain_pattern_stays_local(condition: str) -> None:
    assert pattern_of(sqlglot.parse_one(condition, read="postgres")) is None


def test_a_site_with_postgresql_gets_a_backslash_as_escape() -> None:
    node = sqlglot.parse_one("s NOT LIKE 'a#_%\\' ESCAPE '#'", read="postgres")
    lowered = lowered_like(node, for_sqlite=False)
    assert lowered is not None
    assert lowered.sql("postgres") == "(NOT s LIKE 'a\\_%\\\\')"
