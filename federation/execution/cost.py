"""What a fragment may cost a site's database, whatever time its caller would wait.

PostgreSQL is asked before it runs a statement: its planner's total cost, in which reading a page in order counts one.
SQLite estimates no costs; there, what counts is what was spent: ten thousand steps of its virtual machine count one,
which is about as much work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from federation.errors import LimitError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    import psycopg

__all__ = ["STEPS", "StepsSpent", "check_estimate"]

#: steps of SQLite's virtual machine between two looks: about ten milliseconds
STEPS: Final = 1_000_000
_STEPS_OF_ONE: Final = 10_000
_HINT: Final = "narrow the WHERE clause, or raise fragment_cost_max in [query] of the site"


def check_estimate(connection: psycopg.Connection[Any], statements: Iterable[str], cost_max: float) -> None:
    """`LimitError` where PostgreSQL expects the statements to cost more together."""
    total = 0.0
    for statement in statements:
        row = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}".encode()).fetchone()
        assert row is not None
        total += float(row[0][0]["Plan"]["Total Cost"])
    if total > cost_max:
        raise LimitError(
            f"a fragment is expected to cost {total:.0f}, more than {cost_max:.0f}, the site's limit",
            hint=_HINT,
        )


class StepsSpent:
    """A progress handler of SQLite that ends a statement at ``cost_max``, or when ``is_over`` says so."""

    def __init__(self, cost_max: float, is_over: Callable[[], bool]) -> None:
        self._cost_max, self._is_over = cost_max, is_over
        self._steps = 0

    def step(self) -> bool:
        """Count; True ends the statement."""
        self._steps += STEPS
        return self._is_too_much or self._is_over()

    @property
    def _is_too_much(self) -> bool:
        return self._steps / _STEPS_OF_ONE > self._cost_max

    def check(self, error: sqlite3.OperationalError) -> None:
        """`LimitError` where this ended the statement for its cost."""
        if self._is_too_much and "interrupted" in str(error):
            raise LimitError(
                f"a fragment has cost more than {self._cost_max:.0f}, the site's limit", hint=_HINT
            ) from error
