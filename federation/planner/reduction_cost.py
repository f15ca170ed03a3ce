"""What shipping keys to a fragment costs and saves, in bytes moved, with a round trip counted as bytes.

On a connection that has been idle, TCP starts with ten segments and doubles them each round trip, so that fetching a
quarter of a megabyte takes four to five round trips, however long these are. Hence a round trip is worth about as
many bytes as one moves in that time, on a slow line and on a fast one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.model.logical import LogicalType
from federation.planner.filter_cost import filter_count_max, filter_gain, passing_keys, plain_count_max
from federation.planner.profiles import DEFAULT_WIDTH, distinct_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from federation.planner.draft import Draft
    from federation.planner.plan import Fragment, KeySource
    from federation.planner.profiles import Profile

__all__ = ["ROUND_TRIP_BYTES", "Sending", "Sizes", "key_count_max", "key_width"]

#: what waiting for another site's answer costs
ROUND_TRIP_BYTES = 128 << 10
#: the same for a site in this process
_LOCAL_TRIP_BYTES = 8 << 10
#: above this share of a table's keys, reading it whole is cheaper for its database
_KEYS_SHARE = 0.5
#: bytes of keys in one request
_KEY_BYTES_MAX = 16 << 20
#: rows of a fragment whose tables have no statistics
_UNKNOWN_ROWS = 100_000.0


def key_width(types: Sequence[LogicalType]) -> float:
    """Bytes of one key."""
    return sum(DEFAULT_WIDTH[type_] for type_ in types)


def key_count_max(rows: float, row_width: float, distinct: float, width: float) -> int:
    """With more keys than this, asking for all ``rows`` is cheaper than for those with the keys.

    ``distinct`` is the number of keys that the rows have, ``width`` the bytes of a key.
    """
    # the rows without a key must be worth more than the keys: (1 - n / distinct) * rows * row_width > n * width
    by_bytes = rows * row_width / (rows * row_width / max(distinct, 1.0) + width)
    return max(1, int(min(by_bytes, distinct * _KEYS_SHARE, _KEY_BYTES_MAX / width)))


@attrs.frozen
class Sending:
    """How a receiver is asked with keys: with themselves up to ``plain_max``, with a filter up to ``filter_max``.

    Bytes are ``row_width`` for one of its rows and ``width`` for a key, ``distinct`` the keys that its rows have.
    """

    plain_max: int
    filter_max: int
    row_width: float
    width: float
    distinct: float

    @classmethod
    def of(cls, rows: float, row_width: float, distinct: float, width: float, *, moves: bool) -> Sending:
        """The cheaper way for each number of keys; no filter where no bytes move."""
        plain_max = key_count_max(rows, row_width, distinct, width)
        filter_max = filter_count_max(rows, row_width, distinct) if moves else 0
        if filter_max > plain_max:
            plain_max = min(plain_max, plain_count_max(rows, row_width, distinct, width))
        else:
            filter_max = 0
        return cls(plain_max, filter_max, row_width, width, distinct)

    def gain(self, key_count: float, rows: float) -> float:
        """Bytes that so many keys save if ``rows`` have none of them; negative where they cost more."""
        if key_count <= self.plain_max:
            return rows * self.row_width - key_count * self.width
        return filter_gain(rows, self.row_width, key_count) if key_count <= self.filter_max else -1.0

    def passing(self, key_count: float) -> float:
        """The receiver's keys that come if it is asked with so many."""
        return key_count if key_count <= self.plain_max else passing_keys(key_count, self.distinct)


@attrs.define
class _Size:
    rows: float
    all_rows: float
    width: float
    profile: Profile
    #: how many keys of some columns it was reduced by
    reduced_by: dict[frozenset[str], float] = attrs.field(factory=dict)


class Sizes:
    """Sizes of the fragments as reductions are decided on: rows that are left, keys they have, when they are here."""

    def __init__(self, draft: Draft) -> None:
        self._sizes = {fragment.id: self._size(draft, fragment) for fragment in draft.fragments}
        self._sendings: dict[tuple[KeySource, float], Sending] = {}
        local = {site.site for site in draft.catalog.sites if site.is_in_process}
        self._in_process = {fragment.id for fragment in draft.fragments if fragment.site in local}
        self._trips = {
            fragment.id: _LOCAL_TRIP_BYTES if fragment.id in self._in_process else ROUND_TRIP_BYTES
            for fragment in draft.fragments
        }
        #: the fragments that each one waits for, by what it is asked with
        self.waits_for: dict[str, list[frozenset[str]]] = {fragment.id: [] for fragment in draft.fragments}
        self._distinct: dict[tuple[str, tuple[str, ...]], float] = {}

    @staticmethod
    def _size(draft: Draft, fragment: Fragment) -> _Size:
        profile = draft.cut[fragment.id].profile
        width = sum(
            found
            if (found := profile.column(column.name).width) is not None
            else DEFAULT_WIDTH[column.type or LogicalType.STRING]
            for column in fragment.columns
        )
        rows = _UNKNOWN_ROWS if profile.rows is None else profile.rows
        return _Size(rows, rows, width, profile)

    def rows(self, fragment: str) -> float:
        """Rows that the fragment gives, by the reductions so far."""
        return self._sizes[fragment].rows

    def all_rows(self, fragment: str) -> float:
        """Rows that the fragment gives without keys."""
        return self._sizes[fragment].all_rows

    def width(self, fragment: str) -> float:
        """Bytes of one row."""
        return self._sizes[fragment].width

    def is_known(self, fragment: str, columns: Sequence[str]) -> bool:
        """Whether there are statistics of all the columns' values."""
        size = self._sizes[fragment]
        found = (size.profile.column(column) for column in columns)
        return all(stats.distinct_count is not None for stats in found)

    def distinct(self, fragment: str, columns: Sequence[str]) -> float:
        """Different keys in the fragment's rows without reductions."""
        key = fragment, tuple(columns)
        known = self._distinct.get(key)
        if known is None:
            size = self._sizes[fragment]
            found = distinct_of(size.profile, columns)
            known = self._distinct[key] = min(size.all_rows, size.all_rows if found is None else found)
        return known

    def sending(self, receiver: KeySource, types: Sequence[LogicalType]) -> Sending:
        """How keys of ``types`` are sent to a fragment; as themselves only where no bytes are sent."""
        width = key_width(types)
        known = self._sendings.get((receiver, width))
        if known is None:
            fragment = receiver.fragment
            rows, row_width = self.all_rows(fragment), self.width(fragment)
            distinct = self.distinct(fragment, receiver.columns)
            known = Sending.of(rows, row_width, distinct, width, moves=fragment not in self._in_process)
            self._sendings[receiver, width] = known
        return known

    def keys(self, fragment: str, columns: Sequence[str]) -> float:
        """Different keys in the fragment's rows by the reductions so far."""
        size = self._sizes[fragment]
        known = size.reduced_by.get(frozenset(columns), size.rows)
        return min(self.distinct(fragment, columns), size.rows, known)

    def left(self, fragment: str, columns: Sequence[str], key_count: float) -> float:
        """Rows of the fragment that ``key_count`` keys leave."""
        return self.rows(fragment) * min(1.0, key_count / max(self.keys(fragment, columns), 1.0))

    def reduce(
        self, fragment: str, columns: Sequence[str], key_count: float, waits_for: frozenset[str]
    ) -> None:
        """Take it that a fragment is asked with keys, once others have answered."""
        size = self._sizes[fragment]
        size.rows = self.left(fragment, columns, key_count)
        size.reduced_by[frozenset(columns)] = key_count
        if waits_for:
            self.waits_for[fragment].append(waits_for)

    def restore(self, fragment: str) -> None:
        """Forget the keys that a fragment is asked with, but not for whom it waits."""
        size = self._sizes[fragment]
        size.rows = size.all_rows
        size.reduced_by.clear()

    def waiting(self, receivers: Collection[str] = (), givers: frozenset[str] = frozenset()) -> int:
        """What the longest chain of fragments that wait costs, if ``receivers`` wait for ``givers`` too."""
        memory: dict[str, int] = {}
        of_group: dict[int, int] = {}

        def until_all(group: frozenset[str]) -> int:
            if id(group) not in of_group:
                of_group[id(group)] = max(map(until, group), default=0)
            return of_group[id(group)]

        def until(fragment: str) -> int:
            if fragment not in memory:
                before = max(map(until_all, self.waits_for[fragment]), default=0)
                if fragment in receivers:
                    before = max(before, until_all(givers))
                memory[fragment] = self._trips[fragment] + before
            return memory[fragment]

        return max(map(until, self._sizes), default=0)

    def in_order(self) -> list[str]:
        """The fragments, each after those that it waits for."""
        ordered: dict[str, None] = {}
        groups: set[int] = set()  # many fragments wait for one and the same group

        def add(fragment: str) -> None:
            if fragment not in ordered:
                for group in self.waits_for[fragment]:
                    if id(group) not in groups:
                        groups.add(id(group))
                        for before in sorted(group):
                            add(before)
                ordered[fragment] = None

        for fragment in self._sizes:
            add(fragment)
        return list(ordered)

    def awaited(self, fragments: Iterable[str]) -> set[str]:
        """These fragments and all that they wait for."""
        todo, seen, groups = list(fragments), set[str](), set[int]()
        while todo:
            one = todo.pop()
            if one not in seen:
                seen.add(one)
                for group in self.waits_for[one]:
                    if id(group) not in groups:
                        groups.add(id(group))
                        todo.extend(group)
        return seen
