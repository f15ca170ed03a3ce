"""Runs a plan's fragments, each as soon as the rows are here that its keys come from."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING

import attrs

from federation.errors import UnavailableError
from federation.execution.gathering import FragmentRows, collect
from federation.execution.local_site import LocalSite
from federation.execution.result import FragmentStats
from federation.execution.shipped_keys import asked_with
from federation.execution.speculation import SiteFailedError
from federation.wire.arrow import arrow_schema, column_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor, Future

    from federation.execution.gathering import Call, QueryableSite
    from federation.execution.stopping import Stop
    from federation.planner import Fragment

__all__ = ["in_stages", "run_fragments"]


def run_fragments(
    fragments: Sequence[Fragment],
    client_of: Callable[[str], QueryableSite],
    pool: Executor,
    call: Call,
    stop: Stop,
) -> list[FragmentRows]:
    """Rows of every fragment, in their order; fragments that wait for no other are read at once.

    The first failure stops the others and is raised once nothing goes on any more: `SiteFailedError` for a site that
    does not answer.
    """
    clients = [client_of(fragment.site) for fragment in fragments]
    answers: dict[str, FragmentRows] = {}

    def run(fragment: Fragment) -> FragmentRows:
        return _run(fragment, client_of(fragment.site), answers, call, stop)

    if all(isinstance(client, LocalSite) and client.answers_in_turn for client in clients):
        # their rows are made in this process, by one thread at a time
        for fragment in in_stages(fragments):
            answers[fragment.id] = run(fragment)
    else:
        _at_once(fragments, run, answers, pool, stop)
    return [answers[fragment.id] for fragment in fragments]


def in_stages(fragments: Sequence[Fragment]) -> list[Fragment]:
    """The fragments, each after those that it waits for."""
    ordered: list[Fragment] = []
    waiting = list(fragments)
    while waiting:
        here = {fragment.id for fragment in ordered}
        ready = [fragment for fragment in waiting if here.issuperset(fragment.givers)]
        assert ready, "fragments wait for each other"
        ordered.extend(ready)
        waiting = [fragment for fragment in waiting if fragment not in ready]
    return ordered


def _at_once(
    fragments: Sequence[Fragment],
    run: Callable[[Fragment], FragmentRows],
    answers: dict[str, FragmentRows],
    pool: Executor,
    stop: Stop,
) -> None:
    waiting = list(fragments)
    running: dict[Future[FragmentRows], Fragment] = {}
    try:
        while waiting or running:
            ready = [fragment for fragment in waiting if answers.keys() >= set(fragment.givers)]
            waiting = [fragment for fragment in waiting if fragment not in ready]
            if len(ready) == 1 and not running:
                # handing it to another thread costs as much as half of a small one
                answers[ready[0].id] = run(ready[0])
                continue
            running.update({pool.submit(run, fragment): fragment for fragment in ready})
            done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            # of several the one that failed first stopped the others
            for future in sorted(done, key=lambda one: one.exception() is None):
                answers[running[future].id] = future.result()
                del running[future]
    except BaseException as error:
        stop.set()
        for future in running:
            future.cancel()
        if isinstance(error, Exception):
            concurrent.futures.wait(running)
        raise


def _run(
    fragment: Fragment, client: QueryableSite, answers: dict[str, FragmentRows], call: Call, stop: Stop
) -> FragmentRows:
    asked = asked_with(fragment, {name: answers[name].table for name in fragment.givers})
    if asked.is_empty:
        table = arrow_schema(column_pairs(fragment.columns, fragment.sql)).empty_table()
        return FragmentRows(table, (), FragmentStats(fragment.id, fragment.site, 0, 0, 0.0, asked.uses))
    try:
        found = collect(
            client,
            fragment.site,
            fragment.id,
            asked.sql,
            fragment.columns,
            asked.keys,
            call,
            stop,
            asked.filters,
        )
    except UnavailableError as error:
        raise SiteFailedError(fragment.site, error) from error
    return attrs.evolve(found, stats=attrs.evolve(found.stats, keys=asked.uses))
