"""What the dialect does not have is refused: by name, at its place, and with what to write instead."""

from __future__ import annotations

import pytest
from planner_federation import federation

from federation.errors import QueryError
from federation.planner import PlanOptions, plan

#: statement with the refused place after «, the message, and part of the remedy
REFUSED = [
    (
        "SELECT exposure FROM raw «QUALIFY row_number() OVER (PARTITION BY exposure ORDER BY detector) = 1",
        "QUALIFY is not allowed",
        "put the window function into a sub-select and the condition around it",
    ),
    (
        "SELECT * FROM raw SEMI JOIN «visit ON raw.exposure = visit.id",
        "SEMI JOIN is not allowed",
        "write WHERE EXISTS (SELECT 1 FROM ... WHERE ...)",
    ),
    (
        "SELECT * FROM raw ANTI JOIN «visit ON raw.exposure = visit.id",
        "ANTI JOIN is not allowed",
        "write WHERE NOT EXISTS (SELECT 1 FROM ... WHERE ...)",
    ),
    (
        "SELECT * FROM raw LEFT SEMI JOIN «visit ON raw.exposure = visit.id",
        "SEMI JOIN is not allowed",
        "write WHERE EXISTS (SELECT 1 FROM ... WHERE ...)",
    ),
    (
        "SELECT * FROM raw ASOF JOIN «visit ON raw.exposure = visit.id",
        "ASOF JOIN is not allowed",
        "write JOIN ... USING (columns) or ON condition",
    ),
    (
        "SELECT exposure, count(*) FROM raw GROUP BY «ROLLUP (exposure)",
        "ROLLUP is not allowed",
        "write one GROUP BY for each, with UNION ALL between them",
    ),
    (
        "SELECT exposure, count(*) FROM raw GROUP BY «CUBE (exposure)",
        "CUBE is not allowed",
        "write one GROUP BY for each, with UNION ALL between them",
    ),
    (
        "SELECT exposure, count(*) FROM raw GROUP BY «GROUPING SETS ((exposure), ())",
        "GROUPING SETS is not allowed",
        "write one GROUP BY for each, with UNION ALL between them",
    ),
    (
        "SELECT exposure, count(*) FROM raw «GROUP BY ALL",
        "ALL in GROUP BY is not allowed",
        "name the columns, or count them from 1",
    ),
    ("SELECT «ARRAY[1, 2]", "ARRAY is not allowed", "there are no arrays; write IN (...), or VALUES in FROM"),
    (
        "SELECT '{}'::json «-> 'a'",
        "the operator -> is not allowed",
        "there is no JSON; extract the value before it is stored",
    ),
    (
        "SELECT run «AT TIME ZONE 'UTC' FROM raw",
        "AT TIME ZONE is not allowed",
        "timestamps are TAI and have no zone",
    ),
    (
        "SELECT timespan_begin «AT TIME ZONE 'UTC' FROM visit",
        "AT TIME ZONE is not allowed",
        "timestamps are TAI and have no zone",
    ),
    (
        'SELECT * FROM raw ORDER BY run «COLLATE "C"',
        "COLLATE is not allowed",
        "texts are ordered by code point everywhere; leave it out",
    ),
    (
        "SELECT * FROM raw «FOR UPDATE",
        "FOR UPDATE or FOR SHARE is not allowed",
        "queries only read; leave it out",
    ),
    (
        "SELECT * FROM raw «TABLESAMPLE BERNOULLI (10)",
        "TABLESAMPLE is not allowed",
        "take a part by a condition on a column",
    ),
    ("SELECT * FROM «pg_catalog.pg_tables", "unknown schema 'pg_catalog'", "schemas:"),
    ("SELECT * FROM «information_schema.tables", "unknown schema 'information_schema'", "schemas:"),
    ("SELECT * FROM «sqlite_master", "unknown table 'sqlite_master'", "tables:"),
    ("«PRAGMA table_info(raw)", "PRAGMA is not allowed", "documented SQL dialect"),
    ("ATTACH «'x.db' AS x", "syntax error: unexpected at \"'x.db'\"", "check the statement there"),
    (
        "«COPY raw TO 'x.csv'",
        "COPY is not allowed",
        "queries only read; write with the registry's commands or its Python API",
    ),
    ("«EXPLAIN SELECT 1", "EXPLAIN is not allowed", "--explain or --analyze"),
    ("«SHOW TABLES", "SHOW is not allowed", "write one SELECT"),
    ("«SET threads = 1", "SET is not allowed", "documented SQL dialect"),
    (
        "SELECT * FROM «read_csv('x.csv')",
        "a function in FROM is not allowed",
        "name a table, or write VALUES or a sub-select",
    ),
    ("SELECT * FROM «'x.csv'", "unknown table 'x.csv'", "tables:"),
    (
        "SELECT * FROM raw WHERE run «SIMILAR TO 'a%'",
        "SIMILAR TO is not allowed",
        "write LIKE, or ~ with a regular expression",
    ),
    ("SELECT «* EXCLUDE (run) FROM raw", "EXCEPT in * is not allowed", "name the columns"),
    ("SELECT raw.«* EXCEPT (run) FROM raw", "EXCEPT in * is not allowed", "name the columns"),
    (
        "SELECT count(*) FROM raw WHERE (timespan_begin, timespan_end) «OVERLAPS (timespan_begin, timespan_end)",
        "OVERLAPS is not allowed",
        "write timespan_overlaps(begin, end, begin, end)",
    ),
    (
        "SELECT first_value(run) «IGNORE NULLS OVER (ORDER BY run) FROM raw",
        "IGNORE NULLS is not allowed",
        "leave the NULLs out in a sub-select",
    ),
    ("SELECT exposure FROM raw «LIMIT ALL", "LIMIT takes a whole number", "write it as a literal"),
    ("SELECT exposure FROM raw LIMIT «1 + 1", "LIMIT takes a whole number", "write it as a literal"),
    ("SELECT exposure FROM raw LIMIT -«1", "LIMIT takes a whole number", "write it as a literal"),
    (
        "SELECT exposure FROM raw FETCH FIRST 3 ROWS «WITH TIES",
        "WITH TIES in FETCH is not allowed",
        "write FETCH FIRST n ROWS ONLY",
    ),
    (
        "SELECT exposure FROM raw FETCH FIRST 10 «PERCENT ROWS ONLY",
        "PERCENT in FETCH is not allowed",
        "write FETCH FIRST n ROWS ONLY",
    ),
    (
        "SELECT «run[1] FROM raw",
        "a subscript is not allowed",
        "there are no arrays; join with a table of the values",
    ),
    (
        "SELECT («raw).exposure FROM raw",
        "a name of more than three parts, or a field of a value is not allowed",
        "documented SQL dialect",
    ),
    (
        "SELECT «exposure::varchar(10) FROM raw",
        "a cast to VARCHAR(10) is not allowed",
        "cast to bigint, double precision, boolean, text, uuid, timestamp or date",
    ),
    (
        "SELECT «exposure::date FROM raw",
        "int64 can't be cast to date",
        "it may be cast from string, timestamp",
    ),
    (
        "SELECT «run::time FROM raw",
        "a cast to TIME is not allowed",
        "cast to bigint, double precision, boolean, text, uuid, timestamp or date",
    ),
    (
        "SELECT «exposure::int4range FROM raw",
        "a cast to INT4RANGE is not allowed",
        "cast to bigint, double precision, boolean, text, uuid, timestamp or date",
    ),
    ("SELECT DATE «'2026-02-30'", "'2026-02-30' is not a date", "write YYYY-MM-DD"),
    (
        "SELECT TIMESTAMP WITH TIME ZONE «'2026-01-01 00:00:00+00'",
        "a cast to TIMESTAMPTZ is not allowed",
        "cast to bigint, double precision, boolean, text, uuid, timestamp or date",
    ),
    (
        "SELECT TIME «'12:00:00'",
        "a cast to TIME is not allowed",
        "cast to bigint, double precision, boolean, text, uuid, timestamp or date",
    ),
    ("SELECT «B'101'", "a bit string is not allowed", "documented SQL dialect"),
    ("SELECT «X'ab'", "a hexadecimal string is not allowed", "bytes have no literals"),
    ("SELECT «E'a\\nb'", "an escape string is not allowed", "write an ordinary string: 'text'"),
    ("SELECT «$$abc$$", "a dollar-quoted string is not allowed", "write an ordinary string: 'text'"),
    ("SELECT «U&'abc'", "a Unicode string is not allowed", "write the character itself"),
    ("SELECT 1 WHERE «'a' < 1", "'a' is not a whole number", "write a number without quotes"),
    ("SELECT lower(«5)", "lower takes a text, not int64: 5", "cast it explicitly"),
    ("SELECT abs(«'x')", "abs takes a number, not string: 'x'", "cast it explicitly"),
    ("SELECT sum(«run) FROM raw", "sum takes a number, not string: raw.run", "cast it explicitly"),
    ("SELECT avg(«run) FROM raw", "avg takes a number, not string: raw.run", "cast it explicitly"),
    (
        "SELECT length(«exposure) FROM raw",
        "length takes a text, not int64: raw.exposure",
        "cast it explicitly",
    ),
    (
        "SELECT substring(«exposure, 1, 2) FROM raw",
        "substring takes a text, not int64: raw.exposure",
        "cast it explicitly",
    ),
    ("SELECT «run + 1 FROM raw", "+ takes a number, not string: raw.run", "cast it explicitly"),
    ("SELECT «run * exposure FROM raw", "* takes a number, not string: raw.run", "cast it explicitly"),
    ("SELECT -«run FROM raw", "- takes a number, not string: raw.run", "cast it explicitly"),
    (
        "SELECT NOT «exposure FROM raw",
        "NOT takes a condition, not int64: raw.exposure",
        "cast it, or compare it with something: raw.exposure = ...",
    ),
    (
        "SELECT exposure FROM raw WHERE «exposure",
        "WHERE takes a condition, not int64: raw.exposure",
        "cast it, or compare it with something: raw.exposure = ...",
    ),
    (
        "SELECT exposure FROM raw WHERE «run",
        "WHERE takes a condition, not string: raw.run",
        "cast it, or compare it with something: raw.run = ...",
    ),
    (
        "SELECT «exposure AND TRUE FROM raw",
        "AND takes a condition, not int64: raw.exposure",
        "cast it, or compare it with something: raw.exposure = ...",
    ),
    ("SELECT run LIKE «5 FROM raw", "LIKE takes a text, not int64: 5", "cast it explicitly"),
    (
        "SELECT «exposure LIKE '5%' FROM raw",
        "LIKE takes a text, not int64: raw.exposure",
        "cast it explicitly",
    ),
    (
        "SELECT CASE WHEN «exposure THEN 1 END FROM raw",
        "CASE WHEN takes a condition, not int64: raw.exposure",
        "cast it, or compare it with something: raw.exposure = ...",
    ),
    (
        "SELECT CASE WHEN TRUE THEN 1 ELSE «'a' END",
        "'a' is not a whole number",
        "write a number without quotes",
    ),
    (
        "SELECT «coalesce(exposure, run) FROM raw",
        "int64 and string can't be compared: raw.exposure and raw.run",
        "cast one of them explicitly: CAST(... AS ...)",
    ),
    (
        "SELECT exposure FROM raw UNION SELECT «run FROM raw",
        "column 1 of UNION is of type int64 on one side and string on the other",
        "cast one of them explicitly: CAST(... AS ...)",
    ),
    (
        "SELECT sum(exposure) OVER (ORDER BY run ROWS «1 PRECEDING EXCLUDE TIES) FROM raw",
        "EXCLUDE in a window's frame is not allowed",
        "leave it out",
    ),
    ("SELECT exposure FROM raw WHERE exposure > «ALL (1, 2)", "function all() is not allowed", "allowed:"),
    (
        "SELECT exposure FROM raw WHERE exposure IN (SELECT «exposure, detector FROM raw)",
        "a sub-select of 2 columns where 1 is wanted",
        "select that many columns",
    ),
    (
        "SELECT (SELECT «exposure, detector FROM raw)",
        "a sub-select of 2 columns where 1 is wanted",
        "select that many columns",
    ),
    (
        'SELECT exposure AS "a b", count(*) FILTER (WHERE «exposure) FROM raw GROUP BY exposure',
        "FILTER takes a condition, not int64: raw.exposure",
        "cast it, or compare it with something: raw.exposure = ...",
    ),
    (
        "SELECT «row_number() FROM raw",
        "row_number() without OVER",
        "write row_number(...) OVER (ORDER BY ...)",
    ),
    ("SELECT «lag(exposure) FROM raw", "lag() without OVER", "write lag(...) OVER (ORDER BY ...)"),
    ("SELECT median(«run) FROM raw", "median takes a number, not string: raw.run", "cast it explicitly"),
    (
        "SELECT string_agg(«run) FROM raw",
        "string_agg without a separator is not allowed",
        "write string_agg(text, ',')",
    ),
    ("SELECT round(«run) FROM raw", "round takes a number, not string: raw.run", "cast it explicitly"),
    (
        "SELECT «date_trunc('fortnight', timespan_begin) FROM visit",
        "date_trunc does not know 'fortnight'",
        "one of",
    ),
    (
        "SELECT date_trunc('day', «run) FROM raw",
        "date_trunc takes a timestamp, not string",
        "cast it to timestamp",
    ),
    (
        "SELECT extract(timezone FROM «timespan_begin) FROM visit",
        "extract does not know 'timezone'",
        "one of",
    ),
    (
        "SELECT bool_and(«exposure) FROM raw",
        "bool_and takes a condition, not int64: raw.exposure",
        "cast it, or compare it with something: raw.exposure = ...",
    ),
    (
        "SELECT CAST(«exposure AS uuid) FROM raw",
        "int64 can't be cast to uuid",
        "it may be cast from string, uuid",
    ),
    ("«VALUES (1), (2)", "VALUES is not a query", "write a SELECT"),
    (
        "SELECT «1 = 1 = 1",
        "bool and int64 can't be compared: 1 = 1 and 1",
        "cast one of them explicitly: CAST(... AS ...)",
    ),
    ("SELECT 5 / «'2'", "/ takes a number, not string: '2'", "cast it explicitly"),
    ("SELECT exposure «!!! 1 FROM raw", "syntax error: unexpected at '!'", "check the statement there"),
    (
        "SELECT a.exposure FROM raw a JOIN raw b USING (exposure, «nosuch)",
        "unknown column 'nosuch'",
        "columns:",
    ),
    (
        "SELECT if(true, «1, 2)",
        "FALSE in function if() is not allowed",
        "write CASE WHEN condition THEN value ELSE other END",
    ),
    (
        "SELECT «iif(true, 1, 2)",
        "FALSE in function iif() is not allowed",
        "write CASE WHEN condition THEN value ELSE other END",
    ),
    (
        "SELECT exposure FROM raw WHERE «run IN ('a', 5)",
        "string and int64 can't be compared: raw.run and 5",
        "cast one of them explicitly: CAST(... AS ...)",
    ),
    ("SELECT «ROW(1, 2)", "function row() is not allowed", "allowed:"),
    ("SELECT exposure FROM raw ORDER BY «ALL", "unknown column 'all'", "columns:"),
    (
        "SELECT exposure FROM raw GROUP BY 1 ORDER BY «2",
        "there is no output column 2",
        "count the columns after SELECT from 1",
    ),
    (
        "SELECT count(DISTINCT exposure, «detector) FROM raw",
        "DISTINCT of several columns in an aggregate",
        "count the rows of a SELECT DISTINCT",
    ),
    (
        "SELECT max(«timespan_begin - timespan_end) FROM visit",
        "a difference of timestamps is an interval, which is not supported",
        "write extract(epoch FROM a - b) for seconds",
    ),
    ("SELECT «current_user", "function current_user() is not allowed", "allowed:"),
    ("SELECT «version()", "function version() is not allowed", "allowed:"),
    ("SELECT «pg_read_file('/etc/passwd')", "function pg_read_file() is not allowed", "allowed:"),
    ("SELECT «getenv('HOME')", "function getenv() is not allowed", "allowed:"),
    ("SELECT «load_extension('x')", "function load_extension() is not allowed", "allowed:"),
    ("SELECT «nextval('x')", "function nextval() is not allowed", "allowed:"),
    ("SELECT exposure FROM raw «CONNECT BY 1 = 1", "CONNECT BY is not allowed", "write WITH RECURSIVE"),
    (
        "SELECT * FROM raw «PIVOT (count(*) FOR run IN ('a'))",
        "PIVOT is not allowed",
        "write one aggregate with FILTER (WHERE ...) for each column",
    ),
    ("SELECT «unnest(ARRAY[1])", "function unnest() is not allowed", "did you mean exp?"),
    (
        "«MERGE INTO raw USING visit ON true WHEN MATCHED THEN DELETE",
        "MERGE is not allowed",
        "queries only read; write with the registry's commands or its Python API",
    ),
    ("«CALL f()", "CALL is not allowed", "write one SELECT"),
    ("«BEGIN", "TRANSACTION is not allowed", "documented SQL dialect"),
    ("«GRANT SELECT ON raw TO bob", "GRANT is not allowed", "documented SQL dialect"),
    (
        "«INSERT INTO raw VALUES (1)",
        "INSERT is not allowed",
        "queries only read; write with the registry's commands or its Python API",
    ),
    (
        "«CREATE TABLE x AS SELECT 1",
        "CREATE is not allowed",
        "queries only read; write with the registry's commands or its Python API",
    ),
]


@pytest.mark.parametrize(("marked", "message", "remedy"), REFUSED, ids=[marked for marked, *_ in REFUSED])
def test_refuses(marked: str, message: str, remedy: str) -> None:
    with pytest.raises(QueryError) as caught:
        plan(marked.replace("«", ""), federation(), PlanOptions())
    assert caught.value.message == message
    assert remedy in str(caught.value.hint)
    assert caught.value.position == marked.index("«")
