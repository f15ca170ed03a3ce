"""Tells a source what is durably applied here, beside the stream, so that the stream does not wait for it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from typing import TYPE_CHECKING

import psycopg
import sqlalchemy as sa

from federation.errors import FederationError
from federation.wire.messages import Acknowledgement

if TYPE_CHECKING:
    from federation.changelog import LogState
    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.client import SiteClient

__all__ = ["Acknowledging"]

INTERVAL_S = 1.0


class Acknowledging:
    """Acknowledges positions of one replica to whichever source it follows, at most each second.

    One that fails is made good by the next. For use by one thread.
    """

    def __init__(self, registry: Registry, held: HeldSchema, name: str) -> None:
        self._registry, self._held, self._name = registry, held, name
        self._sent_at = float("-inf")
        self._running: concurrent.futures.Future[None] | None = None
        self._pool = concurrent.futures.ThreadPoolExecutor(
            1, thread_name_prefix=f"acknowledge-{held.physical}"
        )

    def offer(self, client: SiteClient, position: LogState) -> None:
        """Acknowledge a position soon, unless that was done less than a second ago or is still going on."""
        now = time.monotonic()
        if now - self._sent_at < INTERVAL_S or (self._running is not None and not self._running.done()):
            return
        self._sent_at = now
        self._running = self._pool.submit(self.send, client, position)

    def send(self, client: SiteClient, position: LogState) -> None:
        """Acknowledge a position now; when the source can't be told, it keeps its log for a while longer."""
        if not position.epoch:
            return
        said = Acknowledgement(self._held.schema, self._name, position.epoch, position.lsn)
        with contextlib.suppress(FederationError, sa.exc.SQLAlchemyError, psycopg.Error):
            self._registry.database.make_durable(self._held.physical)
            client.acknowledge(said)

    def close(self) -> None:
        """Let what is going on finish."""
        self._pool.shutdown()
