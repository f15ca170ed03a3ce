"""The peer's side of benchmarks/replication.py: the same rows through PostgreSQL's logical replication.

python benchmarks/replication_peer.py PUB_URL BEGIN END STEP RATE   the writer's process: one line when it is ready,
one JSON object when it is done
"""

from __future__ import annotations

import io
import json
import sys
import time
from typing import Any

import psycopg
import replication_data as data
import sqlalchemy as sa
from replication_server import server_url
from sqlalchemy.dialects import postgresql

from federation.storage import build_tables

NAME = "fed_peer"
TABLES = ("dataset", "ds_raw")
POLL_S = 0.004
#: commits on the server's side, so that the client is no limit
_LOAD = """
CREATE PROCEDURE load(first bigint, last bigint, step bigint) LANGUAGE plpgsql AS $$
DECLARE place bigint := first;
BEGIN
  WHILE place < last LOOP
    INSERT INTO dataset SELECT {dataset} FROM src_dataset WHERE n >= place AND n < least(place + step, last);
    INSERT INTO ds_raw SELECT {raw} FROM src_ds_raw WHERE n >= place AND n < least(place + step, last);
    COMMIT;
    place := place + step;
  END LOOP;
END $$
"""

Connection = psycopg.Connection[Any]


def connect(url: str) -> Connection:
    return psycopg.connect(url, autocommit=True)


def one(connection: Connection, query: str, *values: object) -> Any:
    """The first value of the first row."""
    row = connection.execute(query, values).fetchone()  # type: ignore[arg-type]
    return None if row is None else row[0]


class Peer:
    """A publication on one server and a subscription to it on another; ``port`` is where the subscriber finds it."""

    def __init__(self, pub: int, sub: int, database: str, port: int | None = None) -> None:
        self.pub, self.sub = connect(server_url(pub, database)), connect(server_url(sub, database))
        self._source = f"host=127.0.0.1 port={port or pub} user=postgres dbname={database}"

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.drop()
        self.pub.close()
        self.sub.close()

    def create(self, n: int, *, ordered: bool = False) -> None:
        """The tables, as ours are, on both; and on the publisher ``n`` datasets beside them, to be loaded."""
        built = build_tables(data.tables(), "public")
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        for connection in (self.pub, self.sub):
            for table in built.values():
                connection.execute(str(sa.schema.CreateTable(table).compile(dialect=dialect)))  # type: ignore[arg-type]
                for index in table.indexes:
                    connection.execute(str(sa.schema.CreateIndex(index).compile(dialect=dialect)))  # type: ignore[arg-type]
        selected = {}
        for table in data.tables():
            names = ", ".join(f'"{name}"' for name in table.stored_names)
            selected[table.name] = names
            self.pub.execute(f"CREATE TABLE src_{table.physical_name} (LIKE {table.physical_name}, n bigint)")  # type: ignore[arg-type]
        for begin in range(0, n, 50_000):
            found = data.rows(begin, min(n, begin + 50_000), ordered=ordered)
            for table in data.tables():
                columns = found[table.name]
                self._copy(f"src_{table.physical_name}", table, columns, begin)
        for name in TABLES:
            self.pub.execute(f"CREATE INDEX ON src_{name} (n)")  # type: ignore[arg-type]
            self.pub.execute(f"VACUUM ANALYZE src_{name}")  # type: ignore[arg-type]
        self.pub.execute(_LOAD.format(**selected))  # type: ignore[arg-type]
        self.pub.execute(f"CREATE PUBLICATION {NAME} FOR TABLE {', '.join(TABLES)}")  # type: ignore[arg-type]

    def _copy(self, name: str, table: Any, columns: data.Columns, begin: int) -> None:
        lines = io.StringIO()
        values = [columns[column] for column in table.stored_names]
        for number, row in enumerate(zip(*values, strict=True), begin):
            texts = [value.hex() if isinstance(value, bytes) else str(value) for value in row]
            lines.write("\t".join([*texts, str(number)]) + "\n")
        names = ", ".join(f'"{column}"' for column in (*table.stored_names, "n"))
        with self.pub.cursor().copy(f"COPY {name} ({names}) FROM STDIN") as copy:  # type: ignore[arg-type]
            copy.write(lines.getvalue())

    def load(self, begin: int, end: int, step: int, *, durable: bool = True) -> None:
        """Commit these datasets, ``step`` at a time; a backlog need not be made with a flush a commit."""
        self.pub.execute(f"SET synchronous_commit = {'on' if durable else 'off'}")  # type: ignore[arg-type]
        self.pub.execute("CALL load(%s, %s, %s)", (begin, end, step))
        self.pub.execute("SET synchronous_commit = on")

    def subscribe(self, *, copy: bool = False) -> None:
        self.sub.execute(
            f"CREATE SUBSCRIPTION {NAME} CONNECTION '{self._source}' PUBLICATION {NAME} "  # type: ignore[arg-type]
            f"WITH (copy_data = {str(copy).lower()}, binary = true)"
        )
        self.wait_active()

    def enable(self) -> None:
        self.sub.execute(f"ALTER SUBSCRIPTION {NAME} ENABLE")  # type: ignore[arg-type]

    def disable(self) -> None:
        self.sub.execute(f"ALTER SUBSCRIPTION {NAME} DISABLE")  # type: ignore[arg-type]
        self.wait_active(is_active=False)

    def wait_active(self, *, is_active: bool = True) -> None:
        while (one(self.pub, "SELECT count(*) FROM pg_replication_slots WHERE active") > 0) != is_active:
            time.sleep(POLL_S)

    def wait_applied(self) -> None:
        """Until everything that is committed by now is applied and flushed there."""
        lsn = one(self.pub, "SELECT pg_current_wal_insert_lsn()")
        while not one(self.pub, "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= %s", lsn):
            time.sleep(POLL_S)

    def wait_copied(self) -> None:
        """Until the initial copy of every table is there."""
        while one(self.sub, "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'"):
            time.sleep(POLL_S)

    def count(self) -> int:
        return int(one(self.sub, "SELECT count(*) FROM ds_raw"))

    def drop(self) -> None:
        if one(self.sub, "SELECT count(*) FROM pg_subscription WHERE subname = %s", NAME):
            self.disable()
            self.sub.execute(f"DROP SUBSCRIPTION {NAME}")  # type: ignore[arg-type]


def write(url: str, begin: int, end: int, step: int, rate: float) -> None:
    """Commit datasets from a client, ``rate`` transactions a second, and say when each had committed."""
    found = data.rows(begin, end)
    statements = []
    for table in data.tables():
        names = table.stored_names
        listed = ", ".join(f'"{name}"' for name in names)
        places = ", ".join("%s::uuid" if name == "dataset_id" else "%s" for name in names)
        columns = [
            [value.hex() if isinstance(value, bytes) else value for value in found[table.name][name]]
            for name in names
        ]
        rows = list(zip(*columns, strict=True))
        statements.append((f"INSERT INTO {table.physical_name} ({listed}) VALUES ({places})", rows))
    with psycopg.connect(url) as connection:
        sys.stdout.write("{}\n")
        sys.stdout.flush()
        sys.stdin.readline()
        began, times = time.time(), []
        for number, place in enumerate(range(0, end - begin, step)):
            due = began + number / rate if rate else 0.0
            if due > (now := time.time()):
                time.sleep(due - now)
            for statement, rows in statements:
                connection.cursor().executemany(statement, rows[place : place + step])  # type: ignore[arg-type]
            connection.commit()
            times.append(time.time())
    sys.stdout.write(json.dumps({"began": began, "ended": times[-1], "times": times}) + "\n")


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
