"""Which fragments could be asked with keys of which others, whatever it costs."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import attrs

from federation.model.key_filter import KEY_TYPES
from federation.model.logical import LogicalType
from federation.planner.key_links import find_links
from federation.planner.plan import KeySource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from federation.planner.draft import Draft
    from federation.planner.key_links import Link
    from federation.planner.lineage import Lineage

__all__ = ["Candidate", "candidates"]

#: with more columns than this a link is tried with all of them and with each alone, not with any choice of them
_SUBSETS_MAX = 3


@attrs.frozen
class Candidate:
    """Rows of each of ``receivers`` may be left out whose columns are none of the keys that ``givers`` have together.

    The columns of all of them correspond by position, and have ``types``; ``is_full`` says that there are no more of
    them that are equal. ``labels`` are the two sources as the statement names them.
    """

    givers: tuple[KeySource, ...]
    receivers: tuple[KeySource, ...]
    types: tuple[LogicalType, ...]
    labels: tuple[str, str] = attrs.field(eq=False)
    is_full: bool = attrs.field(eq=False, default=True)


def candidates(draft: Draft, lineage: Lineage) -> Iterator[Candidate]:
    """Every candidate of the local statement, once."""
    types = {
        (fragment.id, column.name): column.type for fragment in draft.fragments for column in fragment.columns
    }
    seen = set()
    for link in find_links(draft.tree, lineage.never_null):
        for found in _of_link(link, lineage, types):
            if found not in seen:
                seen.add(found)
                yield found


def _of_link(
    link: Link, lineage: Lineage, types: dict[tuple[str, str], LogicalType | None]
) -> Iterator[Candidate]:
    """A candidate for each choice of columns: few columns have few keys, many leave few rows."""
    pairs = list({receiver: (giver, receiver) for giver, receiver in reversed(link.pairs)}.values())[::-1]
    sizes = range(len(pairs), 0, -1) if len(pairs) <= _SUBSETS_MAX else (len(pairs), 1)
    labels = (link.giver.label, link.receiver.label)
    whole = _traced(link, pairs, lineage, types)
    if whole is not None:
        # what all columns pass through, some of them do
        for size in sizes:
            for places in combinations(range(len(pairs)), size):
                yield Candidate(
                    tuple(dict.fromkeys(_chosen(giver, places) for giver in whole[0])),
                    tuple(_chosen(receiver, places) for receiver in whole[1]),
                    tuple(whole[2][place] for place in places),
                    labels,
                    size == len(pairs),
                )
        return
    most = 0
    for size in sizes:
        for chosen in combinations(pairs, size):
            traced = _traced(link, chosen, lineage, types) if size < len(pairs) else None
            if traced is not None:
                most = max(most, size)
                yield Candidate(tuple(dict.fromkeys(traced[0])), traced[1], traced[2], labels, size == most)


_Traced = tuple[tuple[KeySource, ...], tuple[KeySource, ...], tuple[LogicalType, ...]]


def _traced(
    link: Link,
    pairs: Sequence[tuple[str, str]],
    lineage: Lineage,
    types: dict[tuple[str, str], LogicalType | None],
) -> _Traced | None:
    """Givers, receivers and types of the link's columns ``pairs``."""
    givers = lineage.values(link.giver.node, [giver for giver, _ in pairs])
    receivers = None if givers is None else lineage.filtered(link.receiver.node, [one for _, one in pairs])
    if givers is None or receivers is None:
        return None
    kinds = _types([*givers, *receivers], types)
    return None if kinds is None else (givers, receivers, kinds)


def _chosen(source: KeySource, places: Sequence[int]) -> KeySource:
    return KeySource(source.fragment, tuple(source.columns[place] for place in places))


def _types(
    sources: Sequence[KeySource], types: dict[tuple[str, str], LogicalType | None]
) -> tuple[LogicalType, ...] | None:
    """The columns' types, where they are those of keys and the same everywhere."""
    found = {tuple(types.get((source.fragment, column)) for column in source.columns) for source in sources}
    if len(found) != 1:
        return None
    known = [kind for kind in found.pop() if kind is not None and kind in KEY_TYPES]
    return tuple(known) if len(known) == len(sources[0].columns) else None
