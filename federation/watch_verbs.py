"""Watching change logs from programs: what the sites commit, as typed events."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from federation.config import find_site
from federation.errors import NotFoundError
from federation.registry.registry import Registry
from federation.session import connect, home_site
from federation.session_watch import event_filter, parse_start, watch_registry, watch_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.replication.watch import Watch

__all__ = ["watch"]


def watch(
    schemas: str | Sequence[str] = (),
    *,
    site: str | None = None,
    sites: str | Path = "sites",
    start: str | Sequence[str] = "now",
    via: str | None = None,
    local: bool = False,
    events: Sequence[str] = (),
    tables: Sequence[str] = (),
    dataset_types: Sequence[str] = (),
    collections: Sequence[str] = (),
    state: str | Path | None = None,
    once: bool = False,
) -> Watch:
    """An iterator over what is committed to ``schemas`` (``SITE/NAME``, or a name at the home site) from now on.

    ``start`` is ``now``, ``start`` (all that is kept), or positions to go on after, one a schema. ``state`` is a file
    that keeps the positions and is gone on from where it exists. Globs ``events``, ``tables``, ``dataset_types`` and
    ``collections`` choose what is given. ``local`` reads the home site's own registry without a server, ``via`` takes
    the logs from another site than their owners. With ``once`` it ends when all that is there now has been given.

    Use it as a context. Events come at least once: after a crash, those since the last saved position come again.
    Raises `LogGapError` when what follows a position is no longer kept, `EpochError` when the log's history is another.
    """
    wanted = [schemas] if isinstance(schemas, str) else list(schemas)
    begin = parse_start([start] if isinstance(start, str) else start)
    chosen = event_filter(events, tables, dataset_types, collections)
    file = None if state is None else Path(state)
    with contextlib.ExitStack() as stack:
        if local:
            config = find_site(site, Path(sites)) if site else home_site(None, Path(sites))
            if via is not None:
                raise NotFoundError(
                    f"a local watch reads the registry of {config.name}, not site {via}",
                    hint="leave out one of them",
                )
            registry = stack.enter_context(Registry.open(config))
            made = watch_registry(registry, wanted, start=begin, events=chosen, state=file, once=once)
        else:
            session = stack.enter_context(connect(site, sites))
            made = watch_session(session, wanted, start=begin, via=via, events=chosen, state=file, once=once)
        made.at_close(stack.pop_all().close)
        return made
    raise AssertionError
