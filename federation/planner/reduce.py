"""Rule: fragments are asked with keys of others, so that a site sends only rows that a join needs.

A fragment waits then for the ones that give its keys. The reductions are chosen one after another, each time the one
that saves most, as long as what it saves is worth its keys and the time to wait (`federation.planner.reduction_cost`).
So a fragment that became small gives keys in its turn, and of two directions the cheaper one is taken. Keys that are
too many travel as a Bloom filter of them, which the site's own process applies to the rows.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from federation.planner.key_links import refusals
from federation.planner.lineage import Lineage, table_definitions
from federation.planner.narrow import narrowed
from federation.planner.plan import Fragment, KeyInput, KeySource
from federation.planner.reduction_candidates import Candidate, candidates
from federation.planner.reduction_cost import Sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.planner.draft import Draft

__all__ = ["reduce_fragments"]

#: less than this is not worth a second look at the plan
_GAIN_MIN_BYTES = 4 << 10
#: tables of keys for one fragment
_KEYS_MAX = 4
#: fragments that a reason names, and pairs of them that it is told for
_SHOWN_MAX = 8
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
    lineage = Lineage(draft)
    found = list(candidates(draft, lineage))
    if found:
        sizes = Sizes(draft)
        found = [one for one in found if one.is_full or _is_known(one, sizes)]
        steps = _choose(found, sizes)
        order = sizes.in_order()
        steps.sort(key=lambda step: min(order.index(one.fragment) for one in step.receivers))
        _settle(steps, sizes)
        _narrow(draft, steps, sizes)
        _explain_refused(draft, found, steps, sizes)
    for reason in refusals(draft.tree, lineage.never_null):
        draft.decide(f"no keys are shipped for {reason}")


def _is_known(candidate: Candidate, sizes: Sizes) -> bool:
    """Whether the number of keys is known: without, some columns alone might tell nothing apart."""
    return all(sizes.is_known(one.fragment, one.columns) for one in (*candidate.givers, *candidate.receivers))


def _choose(found: Sequence[Candidate], sizes: Sizes) -> list[_Step]:
    steps: list[_Step] = []
    while True:
        best = max((_step(one, sizes, steps) for one in found), key=lambda step: step.gain)
        if best.gain < _GAIN_MIN_BYTES:
            return steps
        steps.append(best)
        givers = frozenset(giver.fragment for giver in best.candidate.givers)
        key_count = _key_count(best.candidate, sizes)
        for receiver in best.receivers:
            passing = sizes.sending(receiver, best.candidate.types).passing(key_count)
            sizes.reduce(receiver.fragment, receiver.columns, passing, givers)


def _step(candidate: Candidate, sizes: Sizes, steps: Sequence[_Step]) -> _Step:
    """What a candidate would save now, in bytes; negative where it costs more."""
    key_count = _key_count(candidate, sizes)
    givers = frozenset(giver.fragment for giver in candidate.givers)
    awaited, taken = sizes.awaited(givers), _taken(givers, steps)
    receivers, saved = [], 0.0
    for receiver in candidate.receivers:
        fragment, columns = receiver.fragment, receiver.columns
        if fragment in taken or fragment in awaited:
            continue
        rows = sizes.rows(fragment) - sizes.left(fragment, columns, key_count)
        gain = sizes.sending(receiver, candidate.types).gain(key_count, rows)
        if gain > 0:
            receivers.append(receiver)
            saved += gain
    if not receivers:
        return _Step(candidate, (), -1.0)
    later = sizes.waiting({receiver.fragment for receiver in receivers}, givers) - sizes.waiting()
    return _Step(candidate, tuple(receivers), saved - later)


def _taken(givers: frozenset[str], steps: Sequence[_Step]) -> set[str]:
    """Fragments that have keys of the same fragments already, or of as many as they may have."""
    inputs = Counter(receiver.fragment for step in steps for receiver in step.receivers)
    taken = {fragment for fragment, count in inputs.items() if count >= _KEYS_MAX}
    for step in steps:
        if {giver.fragment for giver in step.candidate.givers} == givers:
            taken |= {receiver.fragment for receiver in step.receivers}
    return taken


def _key_count(candidate: Candidate, sizes: Sizes) -> float:
    return sum(sizes.keys(giver.fragment, giver.columns) for giver in candidate.givers)


def _settle(steps: Sequence[_Step], sizes: Sizes) -> None:
    """Sizes in the order in which fragments run: a giver may have been reduced after its receiver."""
    inputs: dict[str, list[tuple[_Step, KeySource]]] = {}
    for step in steps:
        for receiver in step.receivers:
            inputs.setdefault(receiver.fragment, []).append((step, receiver))
    counts: dict[int, float] = {}  # by step: its givers come before all of its receivers
    for fragment in sizes.in_order():
        if fragment in inputs:
            sizes.restore(fragment)
            for step, receiver in inputs[fragment]:
                if id(step) not in counts:
                    counts[id(step)] = _key_count(step.candidate, sizes)
                passing = sizes.sending(receiver, step.candidate.types).passing(counts[id(step)])
                sizes.reduce(fragment, receiver.columns, passing, frozenset())


def _narrow(draft: Draft, steps: Sequence[_Step], sizes: Sizes) -> None:
    """Write the conditions into the fragments' statements."""
    definitions = table_definitions(draft)
    places = {fragment.id: number for number, fragment in enumerate(draft.fragments)}
    names: dict[tuple[KeySource, ...], str] = {}
    for step in steps:
        order = _by_values(step, sizes)
        givers = tuple(_reordered(giver, order) for giver in step.candidate.givers)
        name = names.setdefault(givers, f"k{len(names) + 1}")
        columns = _key_columns(givers[0].columns)
        key_count = round(_key_count(step.candidate, sizes))
        for receiver in step.receivers:
            number = places[receiver.fragment]
            fragment = draft.fragments[number]
            cut = draft.cut[fragment.id]
            wanted = _reordered(receiver, order).columns
            tree, conditions = narrowed(cut.tree, wanted, name, columns, definitions)
            sending = sizes.sending(receiver, step.candidate.types)
            key = KeyInput(
                *(name, columns, givers, conditions, sending.plain_max, key_count),
                outputs=wanted,
                filter_count_max=sending.filter_max,
            )
            draft.cut[fragment.id] = attrs.evolve(cut, tree=tree)
            draft.fragments[number] = _with_key(fragment, tree.sql("postgres", identify=True), key, sizes)
            how = "with a Bloom filter of " * key.expects_filter + f"about {_count(key_count, 'key')}"
            draft.decide(
                f"{fragment.id}: only rows that meet {_shown(givers)} are asked for: {how}, "
                f"{_count(round(sizes.rows(fragment.id)), 'row')} instead of {round(sizes.all_rows(fragment.id))}"
            )


def _by_values(step: _Step, sizes: Sizes) -> list[int]:
    """The columns' places, those first that tell most of the receivers' rows apart: sites look these up first."""
    values = [
        max(sizes.distinct(one.fragment, [one.columns[place]]) for one in step.receivers)
        for place in range(len(step.candidate.types))
    ]
    return sorted(range(len(values)), key=lambda place: -values[place])


def _reordered(source: KeySource, order: Sequence[int]) -> KeySource:
    return attrs.evolve(source, columns=tuple(source.columns[place] for place in order))


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
    names = list(dict.fromkeys(source.fragment for source in sources))
    fragments = ", ".join(names[:_SHOWN_MAX]) + (
        f" and {len(names) - _SHOWN_MAX} more" * (len(names) > _SHOWN_MAX)
    )
    return f"{fragments} ({', '.join(sources[0].columns)})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _explain_refused(draft: Draft, found: Sequence[Candidate], steps: Sequence[_Step], sizes: Sizes) -> None:
    """Say of joined fragments, neither of which gets keys of the other, why that is so."""
    few = [one for one in found if len(one.givers) * len(one.receivers) <= _SHOWN_MAX]
    if not few:
        return
    done = {
        frozenset((giver.fragment, receiver.fragment))
        for step in steps
        for giver in step.candidate.givers
        for receiver in step.receivers
    }
    refused: dict[frozenset[str], float] = {}
    for candidate in few:
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
