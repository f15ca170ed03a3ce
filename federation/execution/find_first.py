"""The first row for each key of rows that come in order, batch by batch; only keys are remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from federation.planner.plan import FindFirst

    Keys = NDArray[np.int64]

__all__ = ["first_rows"]

#: Knuth's multiplicative constant for 64 bits: the odd number next to 2**64 divided by the golden ratio
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def first_rows(
    batches: Iterable[pa.RecordBatch], wanted: FindFirst, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Batches of ``schema`` with the rows of ``wanted``; they end where its limit is reached.

    Rows of one place have different keys, so a row is left out only for one of an earlier place. Keys of the last
    place are not remembered.
    """
    texts: dict[str, dict[str, int]] = {}
    names: tuple[str, ...] = ()
    seen = _Levels()
    here: list[Keys] = []
    place: int | None = None
    left = wanted.limit
    if left == 0:
        return
    for batch in batches:
        if not batch.num_rows:
            continue
        places = batch.column(wanted.place).to_numpy()
        edges = np.flatnonzero(np.diff(places)) + 1
        for begin, end in zip([0, *edges], [*edges, len(places)], strict=True):
            part = batch.slice(begin, end - begin)
            if places[begin] != place:
                seen.add(here)
                here, place = [], int(places[begin])
            names = names or _slowest_first(part, wanted.key)
            keys = _keys(part, names, texts)
            is_new = ~seen.contain(keys)
            if place != wanted.place_last:
                here.append(keys[:, is_new])
            if not is_new.all():
                part = part.filter(pa.array(is_new))
            if left is not None:
                part = part.slice(0, left)
                left -= part.num_rows
            if part.num_rows:
                columns = [part.column(name) for name in wanted.outputs]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
            if left == 0:
                return


def _keys(batch: pa.RecordBatch, names: tuple[str, ...], texts: dict[str, dict[str, int]]) -> Keys:
    """The key columns as integers, (columns, N): a text is the number of its first appearance in ``texts``."""
    rows = np.empty((len(names), batch.num_rows), np.int64)
    for number, name in enumerate(names):
        column = batch.column(name)
        if pa.types.is_string(column.type):
            known = texts.setdefault(name, {})
            encoded = column.dictionary_encode()
            codes = [known.setdefault(text, len(known)) for text in encoded.dictionary.to_pylist()]
            rows[number] = np.array(codes, np.int64)[encoded.indices.to_numpy()]
        else:
            rows[number] = column.to_numpy()
    return rows


def _slowest_first(batch: pa.RecordBatch, names: tuple[str, ...]) -> tuple[str, ...]:
    """Key columns, those that change from row to row last, so that rows which follow each other hash alike."""
    rows = _keys(batch, names, {})
    changes = np.count_nonzero(np.diff(rows, axis=1), axis=1)
    return tuple(name for _, name in sorted(zip(changes.tolist(), names, strict=True)))


@attrs.frozen(eq=False)
class _Sorted:
    """Keys in the order of their hashes."""

    hashes: NDArray[np.uint64]
    keys: Keys

    def contain(self, keys: Keys, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of ``keys`` (columns, N) are here; equal hashes are no proof."""
        found = np.zeros(len(hashes), np.bool_)
        at = np.searchsorted(self.hashes, hashes)
        open_ = np.arange(len(hashes))
        while len(open_):
            open_ = open_[at[open_] < len(self.hashes)]
            open_ = open_[self.hashes[at[open_]] == hashes[open_]]
            same = (self.keys[:, at[open_]] == keys[:, open_]).all(axis=0)
            found[open_[same]] = True
            open_ = open_[~same]
            at[open_] += 1
        return found


class _Levels:
    """All keys of earlier places, in few sorted arrays: each is more than twice as long as the next."""

    def __init__(self) -> None:
        self._levels: list[_Sorted] = []

    def add(self, parts: list[Keys]) -> None:
        """Remember keys, (columns, N) each, none of which is here."""
        if not parts:
            return
        keys = np.concatenate(parts, axis=1)
        while self._levels and self._levels[-1].keys.shape[1] <= 2 * keys.shape[1]:
            keys = np.concatenate([self._levels.pop().keys, keys], axis=1)
        hashes = _hashes(keys)
        order = np.argsort(hashes)
        self._levels.append(_Sorted(hashes[order], keys[:, order]))

    def contain(self, keys: Keys) -> NDArray[np.bool_]:
        """Which of ``keys``, (columns, N), are here."""
        found = np.zeros(keys.shape[1], np.bool_)
        if self._levels:
            hashes = _hashes(keys)
            for level in self._levels:
                found |= level.contain(keys, hashes)
        return found


def _hashes(keys: Keys) -> NDArray[np.uint64]:
    """One number for each key; keys that differ a little in the last column only have numbers near to each other.

    So rows that follow each other are found in the same part of the memory.
    """
    mixed = np.zeros(keys.shape[1], np.uint64)
    for column in keys:
        mixed = mixed * _GOLDEN + column.view(np.uint64)
    return mixed
