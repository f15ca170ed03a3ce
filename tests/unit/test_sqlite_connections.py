"""SQLite connections that are kept with what they have attached."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from federation.errors import FederationError, LimitError, NotFoundError
from federation.storage import SqliteDatabase
from federation.storage.sqlite import ANALYZE_ROWS


@pytest.fixture
def database(tmp_path: Path) -> SqliteDatabase:
    database = SqliteDatabase(tmp_path / "registry")
    make(database, "one", 1)
    make(database, "two", 2)
    return database


def make(database: SqliteDatabase, schema: str, value: int) -> None:
    database.create_schema(schema)
    with database.write(schema) as connection:
        connection.exec_driver_sql(f'CREATE TABLE "{schema}".t (x)')
        connection.exec_driver_sql(f'INSERT INTO "{schema}".t VALUES (?)', (value,))


def values(database: SqliteDatabase, schema: str) -> list[int]:
    with database.read([schema]) as connection:
        return [row[0] for row in connection.exec_driver_sql(f'SELECT x FROM "{schema}".t')]


def test_a_connection_is_used_again(database: SqliteDatabase) -> None:
    with database.read(["one"]) as connection:
        first = connection.connection.dbapi_connection
    with database.read(["one"]) as connection:
        assert connection.connection.dbapi_connection is first


def test_a_schema_that_is_made_later_is_attached(database: SqliteDatabase) -> None:
    assert values(database, "one") == [1]
    make(database, "three", 3)
    assert values(database, "three") == [3]


def test_a_file_that_was_replaced_is_read_anew(database: SqliteDatabase, tmp_path: Path) -> None:
    assert values(database, "one") == [1]
    other = SqliteDatabase(tmp_path / "other")
    make(other, "one", 100)
    other.close()
    database.path("one").unlink()
    for leftover in database.directory.glob("one.sqlite-*"):
        leftover.unlink()
    shutil.copy(other.path("one"), database.path("one"))
    assert values(database, "one") == [100]


def test_a_file_that_is_gone_is_named(database: SqliteDatabase) -> None:
    assert values(database, "one") == [1]
    database.path("one").unlink()
    with pytest.raises(NotFoundError, match=r"one\.sqlite does not exist"):
        values(database, "one")


def test_a_read_sees_one_state_of_all_schemas(database: SqliteDatabase) -> None:
    with database.read(["one", "two"]) as connection:
        with database.write("two") as writer:
            writer.exec_driver_sql("UPDATE two.t SET x = 20")
        assert connection.exec_driver_sql("SELECT x FROM two.t").scalar() == 2
    assert values(database, "two") == [20]


def test_readers_of_several_schemas_do_not_hold_up_writers(database: SqliteDatabase) -> None:
    with database.read(["one", "two"]):
        pass
    with database.write("one") as first, database.write("two") as second:
        first.exec_driver_sql("UPDATE one.t SET x = 10")
        second.exec_driver_sql("UPDATE two.t SET x = 20")
    assert (values(database, "one"), values(database, "two")) == ([10], [20])


def test_what_an_error_leaves_is_rolled_back(database: SqliteDatabase) -> None:
    with pytest.raises(ZeroDivisionError), database.write("one") as connection:
        assert connection.exec_driver_sql("UPDATE one.t SET x = 10").rowcount / 0
    assert values(database, "one") == [1]
    with pytest.raises(ZeroDivisionError), database.read(["one"]) as connection:
        assert 1 / 0
    assert values(database, "one") == [1]


def test_more_schemas_than_fit_are_attached_in_turn(database: SqliteDatabase) -> None:
    names = [f"s{number:02d}" for number in range(15)]
    for number, name in enumerate(names):
        make(database, name, number)
    for _ in range(2):
        assert [values(database, name)[0] for name in names] == list(range(15))
    with pytest.raises(LimitError, match="15 schemas in one transaction"), database.read(names):
        pass


def test_nothing_is_left_beside_the_files_when_it_is_closed(database: SqliteDatabase) -> None:
    values(database, "one")
    database.close()
    assert sorted(path.name for path in database.directory.iterdir()) == ["one.sqlite", "two.sqlite"]


def test_a_connection_that_comes_back_late_is_closed(database: SqliteDatabase) -> None:
    with database.read(["one"]) as connection:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        database.close()
    with pytest.raises(sqlite3.ProgrammingError):
        raw.execute("SELECT 1")


def test_a_schema_that_has_grown_gets_statistics(database: SqliteDatabase) -> None:
    def statistics() -> list[str]:
        with database.read(["one"]) as connection:
            rows = connection.exec_driver_sql(
                "SELECT name FROM one.sqlite_schema WHERE name = 'sqlite_stat1'"
            )
            return [row[0] for row in rows]

    with database.write("one") as connection:
        connection.exec_driver_sql("CREATE INDEX one.ix ON t (x)")
    assert statistics() == []
    with database.write("one") as connection:
        connection.exec_driver_sql(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?) "
            "INSERT INTO one.t SELECT 1 FROM n",
            (ANALYZE_ROWS,),
        )
    assert statistics() == ["sqlite_stat1"]


def test_a_read_only_database_is_not_written(database: SqliteDatabase) -> None:
    database.close()
    reader = SqliteDatabase(database.directory, read_only=True)
    assert values(reader, "one") == [1]
    with pytest.raises(FederationError, match="readonly"), reader.write("one") as connection:
        connection.exec_driver_sql("UPDATE one.t SET x = 10")
    reader.close()
    assert sorted(path.name for path in database.directory.iterdir()) == ["one.sqlite", "two.sqlite"]
