"""Rule: fragments are asked with keys of others, so that a site sends only rows that a join needs.

A fragment waits then for the ones that give its keys. The reductions are chosen one after another, each time the one
that saves most, as long as what it saves is worth its keys and the time to wait (`federation.planner.reduction_cost`).
So a fragment that became small gives keys in its turn, and of two directions the cheaper one is taken.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from federation.planner.key_links import refused_sub_selects
from federation.planner.lineage import Lineage, table_definitions
from federation.planner.narrow import narrowed
from federation.planner.plan import Fragment, KeyInput, KeySource
from federation.planner.reduction_candidates import Candidate, candidates
from federation.planner.reduction_cost import Sizes, key_count_max, key_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.planner.draft import Draft

__all__ = ["reduce_fragments"]

#: less than this is not worth a second look at the plan
_GAIN_MIN_BYTES = 4 << 10
#: tables of keys for one fragment
_KEYS_MAX = 4
_KEY_COLUMN = re.compile(r"[a-z_][a-z0-9_]{0,40}\Z")


@attrs.frozen
class _Step:
    """A reduction that is done: of those of the candidate's receivers that gain by it."""

    candidate: Candidate
    receivers: tuple[KeySource, ...]
    gain: float


def reduce_fragments(draft: Draft) -> None:
    """Rule: choose which fragments wait for keys of which others, and narrow their statements."""
    if len(draft.fragments) < 2 or draft.find_first is not None:
        return
    found = list(candidates(draft, Lineage(draft)))
    if found:
        sizes = Sizes(draft)
        found = list(dict.fromkeys(_without_constants(one, sizes) for one in found))
        steps = _choose(found, sizes)
        _settle(steps, sizes)
        _narrow(draft, steps, sizes)
        _explain_refused(draft, found, steps, sizes)
    for reason in refused_sub_selects(draft.tree):
        draft.decide(f"no keys are shipped for {reason}")


def _without_constants(candidate: Candidate, sizes: Sizes) -> Candidate:
    """Without the columns in which all rows of the receivers agree: they tell nothing apart."""
    constant = [
        position
        for position in range(len(candidate.types))
        if all(sizes.is_constant(one.fragment, one.columns[position]) for one in candidate.receivers)
    ]
    return candidate if len(constant) == len(candidate.types) else candidate.without(constant)


def _choose(found: Sequence[Candidate], sizes: Sizes) -> list[_Step]:
    steps: list[_Step] = []
    open_ = list(found)
    inputs: dict[str, int] = {}
    while open_:
        best = max((_step(one, sizes, inputs) for one in open_), key=lambda step: step.gain)
        if best.gain < _GAIN_MIN_BYTES:
            break
        open_.remove(best.candidate)
        steps.append(best)
        givers = {giver.fragment for giver in best.candidate.givers}
        key_count = _key_count(best.candidate, sizes)
        for receiver in best.receivers:
            inputs[receiver.fragment] = inputs.get(receiver.fragment, 0) + 1
            left = sizes.left(receiver.fragment, receiver.columns, key_count)
            sizes.reduce(receiver.fragment, left, givers)
    return steps


def _step(candidate: Candidate, sizes: Sizes, inputs: dict[str, int]) -> _Step:
    """What a candidate would save now, in bytes; negative where it costs more."""
    key_count = _key_count(candidate, sizes)
    width = key_width(candidate.types)
    givers = {giver.fragment for giver in candidate.givers}
    receivers, saved = [], 0.0
    for receiver in candidate.receivers:
        fragment, columns = receiver.fragment, receiver.columns
        waits = any(sizes.depends(giver, fragment) for giver in givers)
        if waits or inputs.get(fragment, 0) >= _KEYS_MAX:
            continue
        if key_count > _key_count_max(receiver, candidate.types, sizes):
            continue
        rows = sizes.rows(fragment) - sizes.left(fragment, columns, key_count)
        gain = rows * sizes.width(fragment) - key_count * width
        if gain > 0:
            receivers.append(receiver)
            saved += gain
    if not receivers:
        return _Step(candidate, (), -1.0)
    more = {receiver.fragment: givers for receiver in receivers}
    return _Step(candidate, tuple(receivers), saved - (sizes.waiting(more) - sizes.waiting()))


def _key_count(candidate: Candidate, sizes: Sizes) -> float:
    return sum(sizes.keys(giver.fragment, giver.columns) for giver in candidate.givers)


def _key_count_max(receiver: KeySource, types: Sequence[object], sizes: Sizes) -> int:
    fragment = receiver.fragment
    return key_count_max(
        sizes.all_rows(fragment),
        sizes.width(fragment),
        sizes.distinct(fragment, receiver.columns),
        key_width(types),  # type: ignore[arg-type]
    )


def _settle(steps: Sequence[_Step], sizes: Sizes) -> None:
    """Sizes in the order in which fragments run: a giver may have been reduced after its receiver."""
    inputs: dict[str, list[tuple[_Step, KeySource]]] = {}
    for step in steps:
        for receiver in step.receivers:
            inputs.setdefault(receiver.fragment, []).append((step, receiver))
    for fragment in sizes.in_order():
        if fragment in inputs:
            sizes.reduce(fragment, sizes.all_rows(fragment), set())
            for step, receiver in inputs[fragment]:
                left = sizes.left(fragment, receiver.columns, _key_count(step.candidate, sizes))
                sizes.reduce(fragment, left, set())


def _narrow(draft: Draft, steps: Sequence[_Step], sizes: Sizes) -> None:
    """Write the conditions into the fragments' statements."""
    definitions = table_definitions(draft)
    names: dict[tuple[KeySource, ...], str] = {}
    for step in steps:
        givers = step.candidate.givers
        name = names.setdefault(givers, f"k{len(names) + 1}")
        columns = _key_columns(givers[0].columns)
        key_count = round(_key_count(step.candidate, sizes))
        for receiver in step.receivers:
            number, fragment = next(
                (n, one) for n, one in enumerate(draft.fragments) if one.id == receiver.fragment
            )
            cut = draft.cut[fragment.id]
            tree, conditions = narrowed(cut.tree, receiver.columns, name, columns, definitions)
            key = KeyInput(
                name,
                columns,
                givers,
                conditions,
                _key_count_max(receiver, step.candidate.types, sizes),
                key_count,
            )
            draft.cut[fragment.id] = attrs.evolve(cut, tree=tree)
            draft.fragments[number] = _with_key(fragment, tree.sql("postgres", identify=True), key, sizes)
            draft.decide(
                f"{fragment.id}: only rows that meet {_shown(givers)} are asked for: about {_count(key_count, 'key')}, "
                f"{_count(round(sizes.rows(fragment.id)), 'row')} instead of {round(sizes.all_rows(fragment.id))}"
            )


def _with_key(fragment: Fragment, sql: str, key: KeyInput, sizes: Sizes) -> Fragment:
    rows, bytes_ = fragment.row_count_estimate, fragment.byte_estimate
    if rows is not None and not fragment.keys:
        share = sizes.rows(fragment.id) / max(sizes.all_rows(fragment.id), 1.0)
        bytes_ = None if bytes_ is None else round(bytes_ * share)
        rows = round(rows * share)
    return attrs.evolve(
        fragment, sql=sql, keys=(*fragment.keys, key), row_count_estimate=rows, byte_estimate=bytes_
    )


def _key_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Names of the key table's columns: the giver's, where they are plain and different."""
    plain = all(_KEY_COLUMN.match(column) for column in columns) and len(set(columns)) == len(columns)
    return tuple(columns) if plain else tuple(f"c{number}" for number in range(1, len(columns) + 1))


def _shown(sources: Sequence[KeySource]) -> str:
    fragments = ", ".join(dict.fromkeys(source.fragment for source in sources))
    return f"{fragments} ({', '.join(sources[0].columns)})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _explain_refused(draft: Draft, found: Sequence[Candidate], steps: Sequence[_Step], sizes: Sizes) -> None:
    """Say of joined fragments, neither of which gets keys of the other, why that is so."""
    done = {
        frozenset((giver.fragment, receiver.fragment))
        for step in steps
        for giver in step.candidate.givers
        for receiver in step.receivers
    }
    refused: dict[frozenset[str], float] = {}
    for candidate in found:
        key_count = _key_count(candidate, sizes)
        for giver in candidate.givers:
            for receiver in candidate.receivers:
                pair = frozenset((giver.fragment, receiver.fragment))
                if len(pair) == 2 and pair not in done:
                    refused[pair] = min(key_count, refused.get(pair, key_count))
    for pair, key_count in refused.items():
        first, second = sorted(pair, key=lambda name: (len(name), name))
        draft.decide(
            f"{first} and {second} are read at once: to wait for {_count(round(key_count), 'key')} is not cheaper"
        )
