"""Whether two plans do the same work, whatever was estimated when they were made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from federation.planner.plan import Fragment, Plan

__all__ = ["runs_alike"]


def runs_alike(one: Plan, other: Plan) -> bool:
    """Whether the rows of one plan are those of the other, run over the same states of the same schemas.

    Estimates, the age of replicas and the reasons given may differ; sites, statements and columns may not.
    """
    return one is other or _work_of(one) == _work_of(other)


def _work_of(plan: Plan) -> Plan:
    fragments = tuple(map(_fragment_work, plan.fragments))
    return attrs.evolve(plan, fragments=fragments, decisions=(), deciders=(), missing=(), consulted=())


def _fragment_work(fragment: Fragment) -> Fragment:
    inputs = tuple(attrs.evolve(source, staleness_s=0.0) for source in fragment.inputs)
    keys = tuple(
        attrs.evolve(key, key_count_max=0, key_count_estimate=0, filter_count_max=0) for key in fragment.keys
    )
    return attrs.evolve(fragment, inputs=inputs, keys=keys, row_count_estimate=None, byte_estimate=None)
