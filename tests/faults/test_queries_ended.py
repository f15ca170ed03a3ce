"""A query that ends early ends in the site's database too, whoever ends it: clock, reader, sibling or Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from federation.config import Address, SiteConfig, render_site
from federation.errors import FederationError, LimitError, UnavailableError, UserError
from federation.execution.coordinator import Coordinator
from federation.execution.local_engine import LocalEngine
from federation.execution.local_site import LocalSite
from federation.model.dimension import DimensionUniverse
from federation.model.logical import LogicalType
from federation.planner import OutputColumn
from federation.registry.registry import Registry
from federation.services.site_server import SiteServer
from federation.storage import SqliteDatabase
from federation.wire.client import SiteClient

#: rows of the table that is joined with itself: the product has more rows than any computer counts in a day
ROWS = 40
URL = "FEDERATION_TEST_ENDED_URL"


def product(site: str, what: str = "count(*) AS n") -> str:
    """A statement that one site answers alone, and that takes for ever."""
    tables = " CROSS JOIN ".join(f"{site}.detector d{n}" for n in range(9))
    return f"SELECT {what} FROM {tables}"


class Served:
    """A site with a real server and a few records."""

    def __init__(self, root: Path, name: str, url: str = "") -> None:
        self.root, self.name, self.url = root, name, url
        registry = {"registry_url_env": URL} if url else {"registry_url": "sqlite"}
        text = render_site(name, root / name, Address("127.0.0.1", 0), **registry)
        (root / "sites").mkdir(exist_ok=True)
        path = root / "sites" / f"{name}.toml"
        path.write_text(text)
        with Registry.create(SiteConfig.load(path)) as made, made.transaction(name) as tx:
            tx.put("instrument", [{"name": "Cam"}])
            tx.put("detector", [{"instrument": "Cam", "id": n} for n in range(ROWS)])
        self.server = SiteServer(SiteConfig.load(path))
        self.server.start()
        path.write_text(text.replace("127.0.0.1:0", self.server.address))

    def fragments(self) -> int:
        """How many fragments the server works on, by its own account, and its database, where that tells."""
        found = 0.0
        for family in self.server.telemetry.calls.figures():
            for sample in family.samples:
                if (
                    sample.name == "federation_calls_in_progress"
                    and sample.labels["method"] == "Query/Execute"
                ):
                    found += sample.value
        return int(found) + self.statements()

    def statements(self) -> int:
        """How many statements PostgreSQL works on for the site."""
        if not self.url:
            return 0
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND datname = current_database() "
                "AND query LIKE 'COPY%'"
            ).fetchone()
            assert row is not None
            return int(row[0])

    def works(self) -> bool:
        """Whether a fragment is being worked on, in the database itself where that tells."""
        return bool(self.statements() if self.url else self.fragments())


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"not within 30 s: {what}"
        threading.Event().wait(0.02)


@pytest.fixture(params=["sqlite", "postgresql"])
def summit(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    url = request.getfixturevalue("fresh_postgres_database") if request.param == "postgresql" else ""
    monkeypatch.setenv(URL, url)
    made = Served(tmp_path, "summit", url)
    yield made
    made.server.stop()


@pytest.fixture
def coordinator(summit: Served) -> Iterator[Coordinator]:
    with (
        SiteClient("summit", summit.server.address) as client,
        Coordinator("summit", {"summit": client}) as made,
    ):
        yield made


class Asked(threading.Thread):
    """A query in a thread of its own; `error` is how it ended."""

    def __init__(self, ask: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._ask = ask
        self.error: FederationError | None = None
        self.start()

    def run(self) -> None:
        try:
            self._ask()
        except FederationError as error:
            self.error = error

    def ended(self) -> FederationError | None:
        self.join(30)
        assert not self.is_alive(), "the query goes on"
        return self.error


def test_the_deadline_ends_the_statement_in_the_database(summit: Served, coordinator: Coordinator) -> None:
    asked = Asked(lambda: coordinator.query(product("summit"), timeout_s=1.5))
    eventually(summit.works, "the database works")

    assert isinstance(asked.ended(), LimitError)
    eventually(lambda: not summit.fragments(), "the database has stopped")


def test_closing_a_stream_ends_the_statement_in_the_database(
    summit: Served, coordinator: Coordinator
) -> None:
    with coordinator.stream(product("summit", "d0.id AS n")) as rows:
        assert next(iter(rows)).num_rows
        eventually(lambda: bool(summit.fragments()), "the database works")

    eventually(lambda: not summit.fragments(), "the database has stopped")


def test_a_stream_that_is_left_for_an_error_ends_it_too(summit: Served, coordinator: Coordinator) -> None:
    def read() -> None:
        with coordinator.stream(product("summit", "d0.id AS n")) as rows:
            for batch in rows:
                assert batch.num_rows / 0

    with pytest.raises(ZeroDivisionError):
        read()
    eventually(lambda: not summit.fragments(), "the database has stopped")


def test_a_sibling_that_fails_ends_the_statement_in_the_database(summit: Served, tmp_path: Path) -> None:
    base = Served(tmp_path, "base")
    with ExitStack() as open_:
        open_.callback(base.server.stop)
        clients = {
            served.name: open_.enter_context(SiteClient(served.name, served.server.address))
            for served in (summit, base)
        }
        coordinator = open_.enter_context(Coordinator("summit", clients))
        sql = f"{product('summit')} UNION ALL {product('base')}"
        asked = Asked(lambda: coordinator.query(sql))
        eventually(lambda: summit.works() and base.works(), "both databases work")

        base.server._server.stop(0.0)

        assert isinstance(asked.ended(), UnavailableError)
        eventually(lambda: not summit.fragments(), "the other database has stopped")


def test_closing_the_session_ends_the_statement_in_the_database(summit: Served) -> None:
    with SiteClient("summit", summit.server.address) as client:
        coordinator = Coordinator("summit", {"summit": client})
        asked = Asked(lambda: coordinator.query(product("summit")))
        eventually(summit.works, "the database works")

        with closing(coordinator):
            pass

        assert isinstance(asked.ended(), UserError)
        eventually(lambda: not summit.fragments(), "the database has stopped")


def test_ctrl_c_ends_the_statement_in_the_database(summit: Served) -> None:
    words = ["query", "--site", "summit", "--sites", str(summit.root / "sites"), product("summit")]
    with subprocess.Popen(
        [sys.executable, "-m", "federation", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            eventually(summit.works, "the database works")

            os.kill(process.pid, signal.SIGINT)

            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    eventually(lambda: not summit.fragments(), "the database has stopped")
    assert process.returncode == 130
    assert (out, "Traceback" in err) == ("", False)


def test_ctrl_c_ends_a_statement_in_this_process(tmp_path: Path, universe: DimensionUniverse) -> None:
    with Registry.create_in(SqliteDatabase(tmp_path), "summit", universe) as registry:
        with registry.transaction("summit") as tx:
            tx.put("instrument", [{"name": "Cam"}])
            tx.put("detector", [{"instrument": "Cam", "id": n} for n in range(ROWS)])
        with Coordinator("summit", {"summit": LocalSite(registry)}) as coordinator:
            main = threading.main_thread().ident
            assert main is not None
            threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT)).start()
            with pytest.raises(KeyboardInterrupt):
                coordinator.query(product("summit"))
            assert coordinator.query("SELECT count(*) AS n FROM detector").to_pylist() == [{"n": ROWS}]


def test_ctrl_c_ends_the_local_engine() -> None:
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT)).start()
    sql = "SELECT count(*) AS n FROM range(10000000) a, range(10000000) b WHERE a.range * b.range % 7 = 3"
    with pytest.raises(KeyboardInterrupt):
        LocalEngine().run({}, sql, (OutputColumn("n", LogicalType.INT64),))


def test_ctrl_c_ends_the_local_engine_in_the_middle_of_a_batch() -> None:
    main = threading.main_thread().ident
    assert main is not None
    # rows come at once at first, and then for minutes none does
    sql = "SELECT a.range AS n FROM range(1000000000000) a WHERE a.range < 5000 OR a.range > 900000000000"
    with LocalEngine().stream({}, sql, (OutputColumn("n", LogicalType.INT64),), timeout_s=60) as (_, batches):
        threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            list(batches)
    assert signal.set_wakeup_fd(-1) == -1
