"""Our side of benchmarks/replication.py: a site with a log, its server, and a follower, each a process of its own.

python benchmarks/replication_ours.py fill|writer|follower SITE_FILE ...   what those processes do
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import replication_data as data
import sqlalchemy as sa
from replication_server import free_port

from federation.changelog import SCHEMA_VERSION, chain_hash, digest_of, encode_changes, log_state
from federation.changelog.log import log_tables
from federation.config import SiteConfig, render_site
from federation.model.change import Change, Operation
from federation.model.collection import Collection, CollectionType
from federation.model.log_filter import LogFilter
from federation.model.position import SchemaId
from federation.registry import collections, dataset_types, datasets, dimensions
from federation.registry import registry as registry_module
from federation.registry.bulk import insert_columns
from federation.registry.registry import Registry
from federation.replication.copies import copy_replica
from federation.replication.follower import Follower
from federation.replication.snapshots import stamp_all
from federation.wire.client import SiteClient

SCHEMA = SchemaId(data.SITE, data.SITE)
#: datasets whose rows are put in at once by `fill`
FILL_CHUNK = 50_000


def site_file(root: Path, name: str, database_url: str | None) -> Path:
    """A site file for a registry in SQLite, or in the PostgreSQL database at a URL."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"{name}.toml"
    text = render_site(name, root / name, f"127.0.0.1:{free_port()}", database_url or "sqlite")
    path.write_text(text, encoding="utf-8")
    return path


# -- processes --------------------------------------------------------------------------------------------------------


def run(role: str, path: Path, *arguments: object) -> dict[str, Any]:
    """Do one piece of work in a process and return what it says at its end."""
    command = [sys.executable, __file__, role, str(path), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@contextlib.contextmanager
def served(path: Path) -> Iterator[int]:
    """Serve a site within this context; its port."""
    command = [sys.executable, "-m", "federation", "site", "serve", str(path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SystemExit(f"{path} was not served")
        try:
            yield SiteConfig.load(path).listen.port
        finally:
            process.terminate()
            process.wait()


class Process:
    """A process that does what it is told line by line, and answers with an object."""

    def __init__(self, role: str, path: Path | str, *arguments: object) -> None:
        command = [sys.executable, __file__, role, str(path), *map(str, arguments)]
        self.site = path
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a process of ours ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self, command: str) -> dict[str, Any]:
        self.tell(command)
        return self.answer()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()


def _say(**answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


# -- filling ----------------------------------------------------------------------------------------------------------


def _fill(path: Path, n: str, step: str, order: str) -> None:
    """A registry with ``n`` datasets, committed ``step`` at a time; what the transactions would have written.

    With the order ``base`` there is only what they depend on.
    """
    count = int(n)
    with Registry.create(SiteConfig.load(path)) as registry:
        _fill_base(registry, count)
        stamp_all(registry, registry.get(SCHEMA))
        for begin in range(0, 0 if order == "base" else count, FILL_CHUNK):
            _fill_chunk(
                registry, begin, min(count, begin + FILL_CHUNK), int(step), ordered=order == "ordered"
            )
        stamp_all(registry, registry.get(SCHEMA))
        _say(lsn=registry.position(SCHEMA).lsn)


def _fill_base(registry: Registry, count: int) -> None:
    """What data IDs of ``count`` datasets depend on, the RUN and the dataset type."""
    exposures = range(data.FIRST_EXPOSURE, data.FIRST_EXPOSURE + count // data.DETECTORS + 1)
    common = {"instrument": data.INSTRUMENT}
    records: dict[str, list[dict[str, Any]]] = {
        "instrument": [{"name": data.INSTRUMENT}],
        "physical_filter": [{**common, "name": f"{band}_03", "band": band} for band in data.BANDS],
        "detector": [{**common, "id": d, "full_name": f"D{d:03d}"} for d in range(data.DETECTORS)],
        "day_obs": [{**common, "id": 20261103}],
        "group": [{**common, "name": data.group_of(e)} for e in exposures],
        "exposure": [
            {
                **common,
                "id": e,
                "physical_filter": f"{data.band_of(e)}_03",
                "group": data.group_of(e),
                "day_obs": 20261103,
                "obs_id": f"MC_O_{e}",
            }
            for e in exposures
        ],
    }
    for element, rows in records.items():
        with registry.transaction(data.SITE) as tx:
            dimensions.insert_records(tx, element, rows)
    with registry.transaction(data.SITE) as tx:
        dataset_types.declare(tx, data.RAW)
        collections.register(tx, Collection(data.RUN, CollectionType.RUN))


def _fill_chunk(registry: Registry, begin: int, end: int, step: int, *, ordered: bool) -> None:
    held, found = registry.get(SCHEMA), data.rows(begin, end, ordered=ordered)
    with registry.database.write(held.physical) as connection:
        tables = registry.tables_in(connection, held.physical)
        physical = registry.physical_tables(held.physical, tuple(tables.values()))
        changes = []
        for name, columns in found.items():
            names = tables[name].stored_names
            values = tuple(columns[column] for column in names)
            insert_columns(connection, physical[name], tables[name], names, values)
            changes.append(Change(name, Operation.PUT, names, values))
        state = log_state(connection, held.physical)
        lsn, chain, entries = state.lsn, state.chain, []
        for place in range(0, end - begin, step):
            part = [change.part(place, place + step) for change in changes]
            body = encode_changes(part)
            digest = digest_of(body)
            lsn, chain = lsn + 1, chain_hash(chain, digest)
            rows = sum(change.row_count for change in part)
            entries.append((lsn, registry.clock(), rows, SCHEMA_VERSION, body, digest, chain))
        _write_log(connection, held.physical, entries)
        connection.execute(log_tables(held.physical).state.update().values(lsn=lsn, chain=chain))


def _write_log(connection: sa.Connection, schema: str, entries: Sequence[tuple[Any, ...]]) -> None:
    names = "lsn, committed_tai_ns, row_count, schema_version, body, digest, chain"
    raw: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        raw.executemany(f'INSERT INTO "{schema}".change_log ({names}) VALUES (?,?,?,?,?,?,?)', entries)
        return
    with raw.cursor().copy(f'COPY "{schema}".change_log ({names}) FROM STDIN (FORMAT BINARY)') as copy:
        copy.set_types(("int8", "int8", "int4", "int4", "bytea", "bytea", "bytea"))
        for entry in entries:
            copy.write_row(entry)


# -- writing ----------------------------------------------------------------------------------------------------------


def _writer(path: Path, begin: str, end: str, step: str, rate: str, log: str) -> None:
    """Register datasets, ``step`` a transaction, ``rate`` transactions a second (0: as fast as it goes).

    Says how long it took, and when each transaction had committed. It waits for a line before it starts. ``log`` is
    ``log`` or ``none``: without the log entry.
    """
    unlogged = mock.patch.object(registry_module, "append")
    with (
        Registry.open(SiteConfig.load(path)) as registry,
        unlogged if log == "none" else contextlib.nullcontext(),
    ):
        work = [
            [
                {
                    "instrument": data.INSTRUMENT,
                    "exposure": data.FIRST_EXPOSURE + number // data.DETECTORS,
                    "detector": number % data.DETECTORS,
                }
                for number in range(place, min(int(end), place + int(step)))
            ]
            for place in range(int(begin), int(end), int(step))
        ]
        _say(ready=True)
        sys.stdin.readline()
        began, times = time.time(), []
        for number, ids in enumerate(work):
            due = began + number / float(rate) if float(rate) else 0.0
            if due > (now := time.time()):
                time.sleep(due - now)
            with registry.transaction(data.SITE) as tx:
                datasets.insert_many(tx, data.RAW.name, data.RUN, ids)
            times.append(time.time())
        _say(began=began, ended=times[-1], times=times, lsn=registry.position(SCHEMA).lsn)


# -- following --------------------------------------------------------------------------------------------------------


def _follower(path: Path, port: str) -> None:
    """Follow the site at a port, as commands say.

    ``drain``; ``start`` and ``stop`` following; ``wait NUMBER`` for a dataset; ``near ENTRIES``: no further behind than
    so many; ``copy`` the schema; ``count`` the datasets.
    """
    with (
        Registry.create(SiteConfig.load(path)) as registry,
        SiteClient(data.SITE, f"127.0.0.1:{port}") as client,
    ):
        client.status()  # connected, as the other side's is when the clock starts
        _say(ready=True)
        follower = None
        for line in sys.stdin:
            command, *rest = line.split()
            began, cpu = time.time(), time.process_time()
            if command == "drain":
                # the log itself, not a copy in its place
                Follower(registry, client, SCHEMA, "base", takes_copies=False).run_once(600)
            elif command == "start":
                follower = Follower(registry, client, SCHEMA, "base", takes_copies=False)
                follower.start()
            elif command == "stop" and follower is not None:
                follower.stop()
            elif command == "wait":
                while not _has(registry, int(rest[0])):
                    time.sleep(0.002)
            elif command == "near" and follower is not None:
                while not _is_near(follower, int(rest[0])):
                    time.sleep(0.005)
            elif command == "copy":
                held = registry.ensure_replica(SCHEMA)
                copy_replica(registry, held, client, "base", LogFilter())
            ended = time.time()
            _say(
                seconds=ended - began,
                ended=ended,
                cpu_s=time.process_time() - cpu,
                datasets=_count(registry) if command == "count" else None,
            )


def _is_near(follower: Follower, entries: int) -> bool:
    status = follower.status()
    return status.state == "following" and status.head_lsn - status.lsn <= entries


def _has(registry: Registry, number: int) -> bool:
    held = registry.get(SCHEMA)
    exposure, detector = data.FIRST_EXPOSURE + number // data.DETECTORS, number % data.DETECTORS
    with registry.database.read((held.physical,)) as connection:
        found = connection.exec_driver_sql(
            f"SELECT 1 FROM \"{held.physical}\".ds_raw WHERE run = '{data.RUN}' AND exposure = {exposure} "
            f"AND instrument = '{data.INSTRUMENT}' AND detector = {detector}"
        )
        return found.first() is not None


def _count(registry: Registry) -> int:
    held = registry.get(SCHEMA)
    with registry.database.read((held.physical,)) as connection:
        found = connection.exec_driver_sql(f'SELECT count(*) FROM "{held.physical}".ds_raw').scalar()
    return int(found or 0)


def _poller(place: str, schema: str, n: str) -> None:
    """Say when each of ``n`` datasets was first seen, asking twice a millisecond; as a database's own client does."""
    connection: Any
    if place.startswith("postgresql:"):
        connection, mark = psycopg.connect(place, autocommit=True), "%s"
    else:
        config = SiteConfig.load(Path(place))
        if config.registry.url is not None:
            connection, mark = psycopg.connect(config.registry.url.reveal(), autocommit=True), "%s"
        else:
            connection, mark = sqlite3.connect(config.root / "registry" / f"{schema}.sqlite"), "?"
            schema = "main"
    query = (
        f"SELECT exposure, detector FROM \"{schema}\".ds_raw WHERE run = '{data.RUN}' AND "
        f"instrument = '{data.INSTRUMENT}' AND (exposure, detector) > ({mark}, {mark}) ORDER BY exposure, detector"
    )
    times: list[float] = []
    last = (0, 0)
    _say(ready=True)
    while len(times) < int(n):
        found = connection.execute(query, last).fetchall()
        if found:
            times += [time.time()] * len(found)
            last = found[-1]
        time.sleep(0.0005)
    _say(times=times)


if __name__ == "__main__":
    role, site, *rest = sys.argv[1:]
    if role == "poller":
        _poller(site, *rest)
    else:
        {"fill": _fill, "writer": _writer, "follower": _follower}[role](Path(site), *rest)
