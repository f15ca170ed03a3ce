"""Which side of a join may do without rows that meet none of the other side."""

from __future__ import annotations

import pytest
from sqlglot import exp, parse_one

from federation.planner.key_links import find_links, refusals
from federation.planner.narrow import narrowed

BOTH = {"a.x>b.y", "b.y>a.x"}
CASES = {
    "SELECT a.x FROM a JOIN b ON a.x = b.y": BOTH,
    "SELECT a.x FROM a, b WHERE a.x = b.y": BOTH,
    "SELECT a.x FROM a CROSS JOIN b WHERE b.y = (a.x)": BOTH,
    "SELECT a.x FROM a LEFT JOIN b ON a.x = b.y": {"a.x>b.y"},
    "SELECT a.x FROM a RIGHT JOIN b ON a.x = b.y": {"b.y>a.x"},
    "SELECT a.x FROM a FULL JOIN b ON a.x = b.y": set(),
    "SELECT a.x FROM a FULL JOIN b ON a.z = b.z WHERE a.x = b.y": BOTH,
    "SELECT a.x FROM a JOIN b ON a.x = b.y OR a.x = 1": set(),
    "SELECT a.x FROM a JOIN b ON a.x < b.y": set(),
    "SELECT a.x FROM a JOIN b ON a.x + 1 = b.y": set(),
    # what equals the same is equal
    "SELECT 1 FROM a JOIN b ON a.x = b.y JOIN c ON c.z = b.y": {
        *BOTH, "b.y>c.z", "c.z>b.y", "a.x>c.z", "c.z>a.x",
    },
    # a later join brings rows back that the first one left out
    "SELECT 1 FROM a JOIN b ON a.x = b.y RIGHT JOIN c ON c.z = b.y": {*BOTH, "c.z>b.y"},
    "SELECT 1 FROM a LEFT JOIN b ON a.x = b.y JOIN c ON c.z = a.x": {"a.x>b.y", "c.z>b.y", "a.x>c.z", "c.z>a.x"},
    "SELECT 1 FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.y = a.x)": BOTH,
    "SELECT 1 FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.y = a.x)": {"a.x>b.y"},
    "SELECT 1 FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.y = a.x) OR a.x = 1": {"a.x>b.y"},
    "SELECT 1 FROM a WHERE EXISTS (SELECT count(*) FROM b WHERE b.y = a.x)": {"a.x>b.y"},
    "SELECT 1 FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.y = a.x LIMIT 0)": {"a.x>b.y"},
    "SELECT 1 FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.y = a.x HAVING TRUE)": {"a.x>b.y"},
    "SELECT 1 FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.y = a.x GROUP BY b.z)": BOTH,
    "SELECT (SELECT max(b.z) FROM b WHERE b.y = a.x) FROM a": {"a.x>b.y"},
    "SELECT 1 FROM a WHERE a.x IN (SELECT b.y FROM b)": {"a.x>the sub-select.y", "the sub-select.y>a.x"},
    "SELECT 1 FROM a WHERE a.x = ANY (SELECT b.y FROM b)": {"a.x>the sub-select.y", "the sub-select.y>a.x"},
    "SELECT 1 FROM a WHERE a.x NOT IN (SELECT b.y FROM b)": set(),
    "SELECT a.x IN (SELECT b.y FROM b) FROM a": set(),
    "SELECT 1 FROM a LEFT JOIN b ON b.z = 1 AND a.x IN (SELECT c.y FROM c)": set(),
}  # fmt: skip


def links_of(sql: str) -> set[str]:
    return {
        f"{link.giver.label}.{giver}>{link.receiver.label}.{receiver}"
        for link in find_links(parse_one(sql, read="postgres"))
        for giver, receiver in link.pairs
    }


@pytest.mark.parametrize("sql", CASES)
def test_links_go_where_rows_can_be_left_out(sql: str) -> None:
    assert links_of(sql) == CASES[sql]


def test_columns_that_are_equal_together_are_one_link() -> None:
    sql = "SELECT 1 FROM a LEFT JOIN b ON a.x = b.y AND a.z = b.w AND a.v > b.u"
    (link,) = find_links(parse_one(sql, read="postgres"))
    assert link.pairs == (("x", "y"), ("z", "w"))


def nullable(node: exp.Expr, name: str) -> bool:
    return False


def test_not_in_is_linked_where_there_can_be_no_null() -> None:
    sql = "SELECT 1 FROM a WHERE a.x NOT IN (SELECT b.y FROM b) AND a.z NOT IN (SELECT b.w FROM b)"
    tree = parse_one(sql, read="postgres")
    links = find_links(tree, lambda _node, name: name in {"x", "y", "z"})
    assert [(link.giver.label, link.receiver.label, link.pairs) for link in links] == [
        ("a", "the sub-select", (("x", "y"),))
    ]
    outer = parse_one(sql.replace("FROM a", "FROM c LEFT JOIN a ON TRUE"), read="postgres")
    assert find_links(outer, lambda _node, _name: True) == []


def test_says_where_all_rows_are_needed() -> None:
    sql = "SELECT 1 FROM a FULL JOIN b ON a.x = b.y WHERE a.x NOT IN (SELECT c.z FROM c)"
    assert [reason.split(":")[0] for reason in refusals(parse_one(sql, read="postgres"), nullable)] == [
        "a.x NOT IN (...)",
        "the FULL JOIN of b",
    ]


KEYS = 'IN (SELECT "#k"."v" AS "v" FROM "param"."k" AS "#k")'


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT t.a AS x FROM t WHERE t.b = 1", f"SELECT t.a AS x FROM t WHERE t.b = 1 AND t.a {KEYS}"),
        (
            "SELECT t.a AS x FROM t WHERE t.b = 1 OR t.b = 2",
            f"SELECT t.a AS x FROM t WHERE (t.b = 1 OR t.b = 2) AND t.a {KEYS}",
        ),
        (
            "SELECT t.a AS x, COUNT(*) AS n FROM t GROUP BY t.a",
            f"SELECT t.a AS x, COUNT(*) AS n FROM t WHERE t.a {KEYS} GROUP BY t.a",
        ),
        ("SELECT DISTINCT t.a AS x FROM t", f"SELECT DISTINCT t.a AS x FROM t WHERE t.a {KEYS}"),
        (
            "SELECT t.a AS x FROM t UNION SELECT u.b AS y FROM u",
            f"SELECT t.a AS x FROM t WHERE t.a {KEYS} UNION SELECT u.b AS y FROM u WHERE u.b {KEYS}",
        ),
        (
            "SELECT q.a AS x FROM (SELECT t.b AS a FROM t) AS q",
            f"SELECT q.a AS x FROM (SELECT t.b AS a FROM t WHERE t.b {KEYS}) AS q",
        ),
        (
            "SELECT q.a AS x FROM (SELECT t.b AS a FROM t LIMIT 3) AS q",
            f"SELECT q.a AS x FROM (SELECT t.b AS a FROM t LIMIT 3) AS q WHERE q.a {KEYS}",
        ),
        (
            "SELECT t.a AS x, ROW_NUMBER() OVER (PARTITION BY t.a ORDER BY t.b) AS n FROM t",
            f"SELECT t.a AS x, ROW_NUMBER() OVER (PARTITION BY t.a ORDER BY t.b) AS n FROM t WHERE t.a {KEYS}",
        ),
    ],
)
def test_a_condition_goes_as_deep_as_it_commutes(sql: str, expected: str) -> None:
    assert text_of(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT t.a AS x FROM t ORDER BY t.b LIMIT 3",
        "SELECT t.a + 1 AS x FROM t",
        "SELECT COUNT(t.a) AS x FROM t",
        "SELECT MAX(t.a) AS x FROM t GROUP BY t.b",
        "SELECT t.a AS x, ROW_NUMBER() OVER (ORDER BY t.a) AS n FROM t",
        "SELECT t.a AS x, ROW_NUMBER() OVER (PARTITION BY t.b ORDER BY t.a) AS n FROM t",
        "SELECT DISTINCT ON (t.b) t.a AS x, t.b AS b FROM t",
        "SELECT t.a AS x FROM t UNION ALL SELECT u.a AS x FROM u ORDER BY x LIMIT 3",
    ],
)
def test_a_condition_that_does_not_commute_goes_around(sql: str) -> None:
    text = text_of(sql)
    inner = parse_one(sql, read="postgres").sql("postgres")
    assert f"FROM ({inner}) AS" in text
    assert text.endswith(f'WHERE "#fragment"."x" {KEYS}')


def text_of(sql: str) -> str:
    tree = parse_one(sql, read="postgres")
    assert isinstance(tree, exp.Query)
    fresh, conditions = narrowed(tree, ["x"], "k", ["v"], {})
    assert all(condition in fresh.sql("postgres", identify=True) for condition in conditions)
    assert tree.sql("postgres") == parse_one(sql, read="postgres").sql("postgres")
    return (
        fresh.sql("postgres")
        .replace('"t".', "t.")
        .replace('"u".', "u.")
        .replace('"q".', "q.")
        .replace('"a" IN', "a IN")
        .replace('"b" IN', "b IN")
    )
