"""How many relations a local statement joins, which decides whether its rows are loaded first."""

from __future__ import annotations

import pytest

from federation.execution.join_count import relation_count


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ('SELECT "f1"."x" AS "x" FROM "f1" AS "f1"', 1),
        ('SELECT * FROM (SELECT * FROM "f1" UNION ALL SELECT * FROM "f2") AS "u" ORDER BY 1', 1),
        ('SELECT * FROM "f1" AS "a" JOIN "f2" AS "b" ON "a"."x" = "b"."x" WHERE "a"."x" IN (1, 2)', 2),
        ('SELECT 1 FROM "f1" AS "a" WHERE NOT EXISTS (SELECT 1 FROM "f2" AS "b" WHERE "a"."x" = "b"."x")', 2),
        ('SELECT 1 FROM "f1" AS "a", "f2" AS "b", "f3" AS "c"', 3),
    ],
)
def test_relations_of_joins_are_counted(sql: str, count: int) -> None:
    assert relation_count(sql) == count


def test_a_join_within_a_sub_select_counts_too() -> None:
    sql = "SELECT 1 FROM (SELECT a.x FROM a JOIN b USING (x)) AS c JOIN d USING (x)"
    assert relation_count(sql) >= 3


def test_what_the_parser_does_not_take_counts_as_many() -> None:
    assert relation_count("SELECT range FROM range(10) WHERE range < ") > 2
