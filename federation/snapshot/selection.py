"""What a snapshot shall hold, as its maker says it, and the datasets that this means."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import NotFoundError, UserError
from federation.model.collection import CollectionType
from federation.model.lineage import Direction
from federation.snapshot.lookup import RowsByKeys
from federation.snapshot.options import ClosureOptions
from federation.snapshot.packed_ids import PackedIds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from federation.snapshot.lookup import Answer
    from federation.snapshot.source import SnapshotSource

__all__ = ["Selection", "find_seeds"]


@attrs.frozen
class Selection:
    """The union of datasets by a statement (``sql``, giving dataset_id), by ``ids``, and ``members`` of collections.

    ``calibrations`` names CALIBRATION collections, or chains of them, to search for calibrations valid for the chosen
    datasets; ``collections`` names collections whose definitions come along. ``options`` say how far it goes on.
    """

    sql: str = ""
    ids: tuple[uuid.UUID, ...] = ()
    members: tuple[str, ...] = ()
    calibrations: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    options: ClosureOptions = attrs.field(factory=ClosureOptions)

    def __attrs_post_init__(self) -> None:
        if not (self.sql or self.ids or self.members):
            raise UserError(
                "the selection names no datasets",
                hint="give dataset types, collections, a statement or dataset ids",
            )

    def to_json(self) -> dict[str, Any]:
        """As plain values, the same for the same selection."""
        return {
            "sql": self.sql,
            "ids": sorted(str(value) for value in self.ids),
            "members": sorted(self.members),
            "calibrations": sorted(self.calibrations),
            "collections": sorted(self.collections),
            "options": self.options.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Selection:
        """The selection that `to_json` gave."""
        return cls(
            values["sql"],
            tuple(uuid.UUID(text) for text in values["ids"]),
            tuple(values["members"]),
            tuple(values["calibrations"]),
            tuple(values["collections"]),
            ClosureOptions.from_json(values["options"]),
        )

    def __str__(self) -> str:
        parts = [self.sql] if self.sql else []
        if self.ids:
            shown = ", ".join(str(value) for value in self.ids[:3])
            parts.append(f"{len(self.ids)} datasets ({shown}{', ...' if len(self.ids) > 3 else ''})")
        parts += [f"collection {name}" for name in self.members]
        if self.calibrations:
            parts.append("with calibrations of " + ", ".join(self.calibrations))
        if self.collections:
            parts.append("with definitions of " + ", ".join(self.collections))
        if str(self.options):
            parts.append(str(self.options))
        return "; ".join(parts)


def find_seeds(source: SnapshotSource, selection: Selection) -> PackedIds:
    """The chosen datasets; `NotFoundError` where a collection is unknown or nothing is chosen."""
    found = bytearray()
    for chosen in (
        selection.ids,
        source.seeds(selection.sql) if selection.sql else (),
        _members(source, selection.members) if selection.members else (),
    ):
        for one in chosen:
            found += one.bytes
    if found and selection.options.outputs:
        options, seeds = selection.options, PackedIds.joined(found)
        found += source.reach(Direction.DOWNSTREAM, seeds, depth=options.depth, stop_at=options.stop_at).ids
    if not found:
        raise NotFoundError(f"no dataset matches: {selection}", hint="check the selection with a query")
    return PackedIds.joined(found)


def _members(source: SnapshotSource, names: Iterable[str]) -> Iterator[uuid.UUID]:
    types = _reachable(source, names)
    by_type: dict[str, set[tuple[Any, ...]]] = {}
    for name, type_ in types.items():
        by_type.setdefault(type_, set()).add((name,))
    tables = {
        CollectionType.RUN: ("dataset", "run"),
        CollectionType.TAGGED: ("collection_member", "collection"),
        CollectionType.CALIBRATION: ("calibration", "collection"),
    }
    requests = tuple(
        RowsByKeys(table, (column,), frozenset(by_type[type_]))
        for type_, (table, column) in tables.items()
        if type_ in by_type
    )
    return (row["dataset_id"] for answer in source.lookup(requests) for row in answer.mappings())


def _reachable(source: SnapshotSource, names: Iterable[str]) -> dict[str, str]:
    """Types by name of the collections and of all that they chain to."""
    types: dict[str, str] = {}
    seen: set[str] = set()
    todo = set(names)
    required = set(todo)
    while todo:
        seen |= todo
        keys = frozenset((name,) for name in todo)
        answers = list(
            source.lookup(
                (RowsByKeys("collection", ("name",), keys), RowsByKeys("collection_chain", ("parent",), keys))
            )
        )
        types.update((row["name"], row["type"]) for row in _rows(answers, "collection"))
        todo = {row["child"] for row in _rows(answers, "collection_chain")} - seen
        required -= types.keys()
        if required:
            raise NotFoundError(
                f"no site has collection {min(required)!r}",
                hint="check its name: SELECT name FROM collection",
            )
    return types


def _rows(answers: Iterable[Answer], table: str) -> list[Any]:
    return [row for answer in answers if answer.table == table for row in answer.mappings()]
