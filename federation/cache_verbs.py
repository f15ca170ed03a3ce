"""A site's cache from programs: run it, get paths of files, pin them, see what is there and what would go."""

from __future__ import annotations

import threading
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from federation.cache.cache_site import CacheSite, cache_config
from federation.cache.index import FOREVER_NS, Pin
from federation.config import find_site
from federation.datastore import Datastore
from federation.errors import UserError
from federation.registry.registry import Registry
from federation.wire.client import SiteClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from federation.cache.cache_site import TakenIn
    from federation.cache.expiry import Expired
    from federation.cache.tidying import Tidied

__all__ = [
    "CacheStatus",
    "cache_paths",
    "cache_status",
    "expire_cache",
    "open_cache",
    "pin_cached",
    "run_cache",
    "unpin_cached",
]

_SECOND_NS = 1_000_000_000


@attrs.frozen
class CacheStatus:
    """A cache now: files and bytes, of those pinned and on their way out; age of the oldest; what waits in inboxes.

    ``unproven`` files were due to go, but no permanent site has them; ``problems`` are of sites that were asked.
    """

    site: str
    files: int
    size_bytes: int
    pinned: int
    leaving: int
    used_bytes: int
    capacity_bytes: int
    excess_bytes: int
    oldest_s: float | None
    waiting: int
    due: int
    unproven: int
    problems: Mapping[str, str]


@contextmanager
def open_cache(site: str, *, sites: str | Path = "sites") -> Iterator[CacheSite]:
    """The cache of a site, whose registry is used directly, within this context.

    `ConfigError` for a site that is none.
    """
    config = find_site(site, Path(sites))
    wanted = cache_config(config).permanent
    clients = [
        SiteClient(peer.name, str(peer.address), tls=config.tls)
        for peer in config.peers
        if peer.name in wanted
    ]
    own = SiteClient(config.name, str(config.listen), tls=config.tls)

    def bring(ids: Sequence[uuid.UUID]) -> None:
        with own.bring(ids) as brought:
            for one in brought:
                if one.error is not None:
                    raise one.error

    try:
        with Registry.open(config) as registry:
            cache = CacheSite(
                config,
                registry,
                Datastore(config.datastore_url, config.datastore_options),
                {client.site: client for client in clients},
                bring=bring,
            )
            try:
                cache.take_stock()
                yield cache
            finally:
                cache.close()
    finally:
        for client in (*clients, own):
            client.close()


def run_cache(
    site: str,
    *,
    sites: str | Path = "sites",
    once: bool = False,
    stop: threading.Event | None = None,
    on_change: Callable[[TakenIn | Expired | Tidied], None] = lambda _: None,
) -> None:
    """Take in what arrives, let go what is kept elsewhere, tidy up, until ``stop``; with ``once`` all of that once."""
    with open_cache(site, sites=sites) as cache:
        if once:
            on_change(cache.take_in())
            on_change(cache.tidy())
            on_change(cache.expire())
            return
        cache.run(stop or threading.Event(), on_change=on_change)


def cache_paths(
    ids: Iterable[uuid.UUID],
    *,
    site: str,
    sites: str | Path = "sites",
    holder: str = "reader",
    lease_s: float | None = None,
) -> dict[uuid.UUID, Path]:
    """Where files are, at once for those that are here; others are brought by the site's server.

    Each stays there for ``lease_s`` (None: as the site file says) at least.
    """
    with open_cache(site, sites=sites) as cache:
        return {one: cache.path(one, holder, lease_s) for one in ids}


def pin_cached(
    ids: Iterable[uuid.UUID],
    *,
    site: str,
    sites: str | Path = "sites",
    holder: str = "operator",
    for_s: float | None = None,
) -> int:
    """Keep files, be they here or come later, for so many seconds (None: until `unpin_cached`); how many."""
    if for_s is not None and not for_s > 0:
        raise UserError(f"a pin of {for_s:g} seconds", hint="give a time above 0, or none for ever")
    with open_cache(site, sites=sites) as cache:
        until = FOREVER_NS if for_s is None else cache.clock() + int(for_s * _SECOND_NS)
        pins = [Pin(one, holder, until) for one in ids]
        cache.index.pin(pins)
        return len(pins)


def unpin_cached(
    ids: Iterable[uuid.UUID], *, site: str, sites: str | Path = "sites", holder: str = "operator"
) -> int:
    """``holder`` does not need files any more; how many it had pinned."""
    with open_cache(site, sites=sites) as cache:
        return cache.index.unpin(ids, holder)


def expire_cache(site: str, *, sites: str | Path = "sites") -> Expired:
    """Let go what is due now."""
    with open_cache(site, sites=sites) as cache:
        return cache.expire()


def cache_status(site: str, *, sites: str | Path = "sites") -> CacheStatus:
    """How a cache stands, and what would go; nothing is changed."""
    with open_cache(site, sites=sites) as cache:
        files, leaving = cache.index.files(), cache.index.leaving()
        now = cache.clock()
        due, room = cache.expiry.due()
        proofs = cache.permanent.proofs(due)
        return CacheStatus(
            site=cache.registry.site,
            files=len(files),
            size_bytes=sum(file.size_bytes for file in files),
            pinned=sum(file.is_pinned(now) for file in files),
            leaving=len(leaving),
            used_bytes=room.used_bytes,
            capacity_bytes=room.capacity_bytes,
            excess_bytes=room.excess_bytes,
            oldest_s=max(((now - file.added_ns) / _SECOND_NS for file in files), default=None),
            waiting=cache.waiting(),
            due=len(due),
            unproven=sum(file.dataset_id not in proofs for file in due),
            problems=dict(cache.permanent.problems),
        )
