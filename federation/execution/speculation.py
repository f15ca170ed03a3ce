"""Runs a plan made from what is known while the sites are asked whether that still holds: one round trip, not two."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from federation.errors import FederationError, ForbiddenError, NotFoundError, QueryError, UnavailableError
from federation.execution.present_catalogs import PresentCatalogs
from federation.execution.read_positions import MovedError
from federation.planner.alike import runs_alike

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federation.execution.plan_cache import PlanCache
    from federation.execution.site_catalogs import SiteCatalogs
    from federation.execution.stopping import Stop
    from federation.planner import Plan, PlanOptions

__all__ = ["SiteFailedError", "Speculation"]

T = TypeVar("T")

#: plans after the first confirmed one: without a site that failed, and after a schema that changed meanwhile
_REPLANS = 2
#: times that a query is run again because a schema was written to between two of its fragments
_MOVES = 5
#: what a site answers to a fragment that was made for tables or grants as they are no longer
_OUTDATED = (QueryError, NotFoundError, ForbiddenError)


class SiteFailedError(UnavailableError):
    """A site that did not answer a fragment."""

    code = "unavailable"

    def __init__(self, site: str, cause: UnavailableError) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.site, self.request_id = site, cause.request_id


@attrs.frozen
class _Outcome(Generic[T]):
    """What became of running a plan: ``value``, or the error."""

    value: T | None = None
    error: FederationError | None = None


class _Once:
    """A plan that is made by whoever asks first; it, or the error, is told to all."""

    def __init__(self, make: Callable[[], Plan]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._outcome: _Outcome[Plan] | None = None

    def get(self) -> Plan:
        with self._lock:
            if self._outcome is None:
                try:
                    self._outcome = _Outcome(self._make())
                except FederationError as error:
                    self._outcome = _Outcome(error=error)
            found = self._outcome
        if found.error is not None:
            raise found.error
        assert found.value is not None
        return found.value


class Speculation:
    """Chooses the plan that is run, so that its catalog was the sites' own while it ran."""

    def __init__(self, catalogs: SiteCatalogs, plans: PlanCache, make_stop: Callable[[], Stop]) -> None:
        self._catalogs, self._plans, self._make_stop = catalogs, plans, make_stop

    def run(
        self,
        sql: str,
        options: PlanOptions,
        work: Callable[[Plan, Stop, PresentCatalogs | None], T],
        discard: Callable[[T], None] | None = None,
        *,
        ahead: bool = True,
    ) -> tuple[Plan, T]:
        """The plan and what ``work`` made of it.

        With ``ahead``, work begins by the last known catalogs. Once its first fragment is on its way it has the sites
        asked for their present ones; when these give another plan, what was begun is stopped
        and ``discard``-ed, and the other one is run. A site that fails is planned around; a table that changed between
        plan and run is planned for anew; and a query of which fragments met different states of one schema is run
        again, all fragments at once. Raises `QueryError`, `UnavailableError` or what ``work`` raises.
        """
        guess = self._guess(sql, options) if ahead else None
        if guess is None:
            made = self._plans.plan(sql, self._catalogs.fresh(), options)
            outcome = self._try(made, work)
        else:
            made, outcome = self._confirmed(guess, sql, options, work, discard)
        down: dict[str, str] = {}
        replans = moves = 0
        while (error := outcome.error) is not None:
            if isinstance(error, MovedError) and moves < _MOVES:
                moves += 1
                # fragments that wait for others' keys begin later: without them all begin at once
                options = attrs.evolve(options, rules_off=options.rules_off | {"reduce_fragments"})
            elif isinstance(error, SiteFailedError) and replans < _REPLANS:
                replans += 1
                down[error.site] = error.message
            elif isinstance(error, _OUTDATED) and replans < _REPLANS:
                replans += 1
            else:
                break
            again = self._again(sql, options, down, error)
            if isinstance(error, _OUTDATED) and runs_alike(made, again):
                break
            made = again
            outcome = self._try(made, work)
        if outcome.error is not None:
            raise outcome.error
        return made, outcome.value  # type: ignore[return-value]

    def _guess(self, sql: str, options: PlanOptions) -> Plan | None:
        """The plan by the last known catalogs; None where they say nothing, or not enough."""
        known = self._catalogs.known()
        if known is None:
            return None
        try:
            guess = self._plans.plan(sql, known, options)
        except FederationError:  # which may be true no longer: the present catalogs decide
            return None
        return guess if guess.fragments else None

    def _confirmed(
        self,
        guess: Plan,
        sql: str,
        options: PlanOptions,
        work: Callable[[Plan, Stop, PresentCatalogs | None], T],
        discard: Callable[[T], None] | None,
    ) -> tuple[Plan, _Outcome[T]]:
        """The plan by the present catalogs, run: as it was guessed, or else anew."""
        stop = self._make_stop()

        def plan_by_present() -> Plan:
            asked = present.ask()
            asked.ask_rest()
            return self._plans.plan(sql, asked.result(), options)

        fresh = _Once(plan_by_present)

        def stop_if_changed() -> None:
            try:
                is_same = runs_alike(guess, fresh.get())
            except FederationError:  # raised again where the query waits for it
                is_same = False
            if not is_same:
                stop.set()

        present = PresentCatalogs(self._catalogs, self._catalogs.clients, guess, stop_if_changed)
        outcome = self._try(guess, work, stop, present)
        try:
            made = fresh.get()
        except BaseException:
            _drop(outcome, discard)
            raise
        if runs_alike(guess, made):
            return made, outcome
        _drop(outcome, discard)
        return made, self._try(made, work)

    def _again(self, sql: str, options: PlanOptions, down: Mapping[str, str], error: FederationError) -> Plan:
        """The plan by the present catalogs without sites that failed."""
        try:
            return self._plans.plan(sql, self._catalogs.fresh(down), options)
        except QueryError:
            if isinstance(error, SiteFailedError):
                # only that site knows what the statement names
                raise error from None
            raise

    def _try(
        self,
        made: Plan,
        work: Callable[[Plan, Stop, PresentCatalogs | None], T],
        stop: Stop | None = None,
        present: PresentCatalogs | None = None,
    ) -> _Outcome[T]:
        try:
            return _Outcome(work(made, stop or self._make_stop(), present))
        except FederationError as error:
            return _Outcome(error=error)


def _drop(outcome: _Outcome[T], discard: Callable[[T], None] | None) -> None:
    if discard is not None and outcome.error is None:
        discard(outcome.value)  # type: ignore[arg-type]
