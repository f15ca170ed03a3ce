"""The closure of chosen datasets: everything that is needed to use them, found in rounds of set-wise lookups.

A pure state machine. `ClosureState.start` and `ClosureState.receive` say what to look up next, for all sites at
once; the caller answers; when nothing is asked any more, `ClosureState.closure` holds the result. No id or key is
asked for twice. Where edges are followed by those who answer, there are as few rounds as definitions and what they
explain need; else about as many as the longest chain of inputs.

What belongs to a closure:

* the chosen datasets, their inputs by provenance, the inputs of those, and so on: the *members*;
* calibrations valid for members, where calibration collections are named, which become members too;
* of members: dataset type, RUN, artifacts, validity ranges, TAGGED memberships, provenance edges, metrics;
* the activities that made members, with those of their inputs and outputs that are members;
* dimension records of members' data IDs, and those that these require or imply (`DimensionClosure`);
* the named collections and all that they chain to, as definitions.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConflictError
from federation.model.dataset import DatasetType
from federation.model.system_tables import system_tables
from federation.snapshot.calibration_search import CalibrationSearch
from federation.snapshot.collected import CollectedRows, TableRows
from federation.snapshot.dimension_closure import DimensionClosure
from federation.snapshot.extents import temporal_dimensions
from federation.snapshot.options import ClosureOptions
from federation.snapshot.packed_ids import PackedIds
from federation.snapshot.pending import Pending
from federation.snapshot.scratch import FlaggedKeys, scratch_database

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from federation.model.dimension import DimensionGroup, DimensionUniverse
    from federation.snapshot.lookup import Answer, Requests

__all__ = ["Closure", "ClosureState"]

#: tables that are asked for every member
_OF_MEMBERS = ("dataset", "artifact", "calibration", "collection_member", "activity_dataset")
#: what an end of an edge is to it
_MADE, _USED = 1, 2


@attrs.frozen
class Closure:
    """What a closure found, and what no site had.

    ``rows`` keep the schema that they came from; a row that two schemas have is there twice. ``missing`` names per
    table the keys that something refers to and nobody knows.
    """

    members: AbstractSet[uuid.UUID]
    rows: tuple[TableRows, ...]
    missing: Mapping[str, tuple[tuple[Any, ...], ...]]
    rounds: int

    def table(self, name: str) -> tuple[TableRows, ...]:
        """The rows of one logical table, one entry for each schema that has any."""
        return tuple(rows for rows in self.rows if rows.table == name)


@attrs.frozen
class _KnownType:
    """A dataset type, its dimensions, and those of them that say when its data were taken."""

    definition: DatasetType
    group: DimensionGroup
    temporal: tuple[str, ...]


class ClosureState:
    """A closure being computed in ``universe``."""

    def __init__(self, universe: DimensionUniverse, options: ClosureOptions | None = None) -> None:
        options = options or ClosureOptions()
        self._universe, self._options = universe, options
        self._keys = {table.name: table.key for table in system_tables()}
        self._pending = Pending()
        scratch = scratch_database()
        self._collected = CollectedRows(scratch)
        self._dimensions = DimensionClosure(universe, self._pending, FlaggedKeys(scratch, "record"))
        self._of_members = (*_OF_MEMBERS, *(("metric",) if options.metrics else ()), *options.user_tables)
        self._rounds = 0
        #: the number of a member is the place of its type in `_type_names`, 0 as long as that is not known
        self._members = FlaggedKeys(scratch, "member")
        self._type_names: list[str] = [""]
        self._inputs: dict[uuid.UUID, set[uuid.UUID]] = defaultdict(set)
        self._activities = FlaggedKeys(scratch, "activity")  # 1 when it has been found
        self._member_types: set[str] = set()
        self._types: dict[str, _KnownType] = {}
        self._collections: dict[str, str] = {}  # type by name, of those that some site has
        self._collections_wanted: set[str] = set()
        self._chains: set[str] = set()
        self._children: dict[str, set[str]] = defaultdict(set)
        self._calibrations = CalibrationSearch((), self._pending, self._dimensions)
        #: ends of edges that were followed to their end, where only the outermost inputs are members
        self._ends = FlaggedKeys(scratch, "edge_end")

    def start(
        self,
        seeds: Iterable[uuid.UUID],
        *,
        collections: Iterable[str] = (),
        calibration_collections: Iterable[str] = (),
    ) -> Requests:
        """Begin from datasets; the lookups of the first round.

        ``collections`` come along as definitions. ``calibration_collections``, CALIBRATION ones or chains that lead
        to some, are searched for calibrations valid for the members, and come along too.
        """
        self._calibrations = CalibrationSearch(
            tuple(calibration_collections), self._pending, self._dimensions
        )
        for dataset_id in seeds:
            self._add_member(dataset_id)
        self._pending.ask_keys("user_table", ("name",), ((name,) for name in self._options.user_tables))
        for name in sorted({*collections, *self._calibrations.roots}):
            self._want_chain(name)
        return self._next()

    def receive(self, answers: Iterable[Answer]) -> Requests:
        """Take in the answers of all sites to the lookups of one round; the lookups of the next, or nothing.

        ``answers`` come in the order of the lookups, which has definitions before what they explain.
        """
        for answer in answers:
            for row in self._collected.add(answer, self._key_of(answer)):
                if answer.followed:
                    self._follow(row)
                else:
                    self._take(answer.table, row)
        for key in self._ends.having(_USED):
            self._add_member(uuid.UUID(bytes=key), inputs_known=True)
        self._dimensions.settle()
        for dataset_id in self._calibrations.follow(self._collections, self._children):
            self._add_member(dataset_id)
        return self._next()

    @property
    def member_count(self) -> int:
        """Datasets found so far."""
        return len(self._members)

    def closure(self) -> Closure:
        """The result so far; complete when the last call asked for nothing."""
        members = PackedIds.joined(b"".join(self._members.having()))
        return Closure(members, self._collected.select(self._belongs), self._missing(), self._rounds)

    def _next(self) -> Requests:
        requests = self._pending.take()
        self._rounds += bool(requests)
        return requests

    def _key_of(self, answer: Answer) -> tuple[str, ...]:
        if answer.table in self._keys:
            return self._keys[answer.table]
        if answer.table in self._options.user_tables:
            return answer.columns  # rows that are the same in all are one
        return self._universe.table_key(answer.table) if answer.table in self._universe else ("dataset_id",)

    def _follow(self, row: Mapping[str, Any]) -> None:
        """Take in an edge of those that were followed as far as they are wanted."""
        if self._options.intermediates:
            self._add_member(row["dataset_id"], inputs_known=True)
            self._add_member(row["input_id"], inputs_known=True)
        else:
            self._ends.flag(row["dataset_id"].bytes, _MADE)
            self._ends.flag(row["input_id"].bytes, _USED)

    def _take(self, table: str, row: Mapping[str, Any]) -> None:
        match table:
            case "provenance":
                if not self._options.fixed:
                    self._inputs[row["dataset_id"]].add(row["input_id"])
                    if self._is_member(row["dataset_id"]):
                        self._add_member(row["input_id"])
            case "dataset":
                self._take_dataset(row)
            case "dataset_type":
                self._take_type(DatasetType.from_row(row))
            case "calibration":
                self._take_calibration(row)
            case "collection_member":
                if self._is_member(row["dataset_id"]):
                    self._want_collection(row["collection"])
            case "collection":
                self._collections[row["name"]] = row["type"]
            case "collection_chain":
                self._children[row["parent"]].add(row["child"])
                if row["parent"] in self._chains:
                    self._want_chain(row["child"])
            case "artifact" | "metric" | "user_table":
                pass
            case "activity":
                self._activities.put(row["activity_id"].bytes, 1)
            case "activity_dataset":
                # not those that only read a member: others than the chosen datasets may be made from it
                activity = row["activity_id"]
                is_maker = row["role"] == "output" and self._is_member(row["dataset_id"])
                if is_maker and self._activities.add(activity.bytes):
                    self._pending.ask_once("activity", "activity_id", activity)
            case _ if table in self._universe:
                self._dimensions.take(table, row)
            case _ if table not in self._options.user_tables:
                self._take_typed(table, row)

    def _is_member(self, dataset_id: uuid.UUID) -> bool:
        return dataset_id.bytes in self._members

    def _add_member(self, dataset_id: uuid.UUID, *, inputs_known: bool = False) -> None:
        todo = [dataset_id]
        while todo:
            member = todo.pop()
            if not self._members.add(member.bytes):
                continue
            if not inputs_known:
                self._ask_inputs(member)
            self._pending.ask_members(self._of_members, member)
            todo.extend(self._inputs.get(member, ()))
            for type_name, row in self._calibrations.admitted(member):
                self._take_typed(type_name, row)

    def _ask_inputs(self, member: uuid.UUID) -> None:
        options = self._options
        if options.fixed:
            self._pending.ask_once("provenance", "dataset_id", member)
        elif options.depth != 0:
            self._pending.ask_once(
                "provenance",
                "dataset_id",
                member,
                follow="input_id",
                depth=options.depth,
                stop_at=options.stop_at,
            )

    def _take_dataset(self, row: Mapping[str, Any]) -> None:
        dataset_id, type_name = row["dataset_id"], row["dataset_type"]
        known = self._members.number(dataset_id.bytes)
        if known is None:
            return
        self._want_collection(row["run"])
        if known == 0:
            if type_name not in self._member_types:
                self._member_types.add(type_name)
                self._type_names.append(type_name)
                self._want_type(type_name)
            self._members.put(dataset_id.bytes, self._type_names.index(type_name))
            self._pending.ask_once(type_name, "dataset_id", dataset_id)
        elif self._type_names[known] != type_name:
            raise ConflictError(
                f"dataset {dataset_id} is a {self._type_names[known]} in one schema and a {type_name} in another",
                hint="compare the schemas with: federation replica verify",
            )

    def _want_type(self, name: str) -> None:
        self._pending.ask_keys("dataset_type", ("name",), ((name,),))

    def _take_type(self, found: DatasetType) -> None:
        if found.name not in self._types:
            group = self._universe.group(found.dimensions)
            self._types[found.name] = _KnownType(found, group, temporal_dimensions(self._universe, group))
        known = self._types[found.name].definition
        if set(known.dimensions) != set(found.dimensions):
            raise ConflictError(
                f"dataset type {found.name!r} has dimensions {', '.join(known.dimensions)} in one schema "
                f"and {', '.join(found.dimensions)} in another",
                hint="choose datasets from one of the schemas",
            )

    def _take_typed(self, type_name: str, row: Mapping[str, Any]) -> None:
        if type_name not in self._types:
            return  # reported as missing
        known = self._types[type_name]
        group = known.group
        if not self._is_member(row["dataset_id"]):
            self._calibrations.describe(type_name, group, row)
            return
        data_id = {name: row[name] for name in group.names}
        self._dimensions.want_data_id(group, data_id)
        if not known.definition.is_calibration:
            self._calibrations.place(group, known.temporal, data_id)

    def _take_calibration(self, row: Mapping[str, Any]) -> None:
        dataset_id = row["dataset_id"]
        if self._is_member(dataset_id):
            self._want_collection(row["collection"])
        # of a member whose type is known the row has been asked for
        if self._calibrations.certify(row) and not self._members.number(dataset_id.bytes):
            self._want_type(row["dataset_type"])
            self._pending.ask_ids(row["dataset_type"], "dataset_id", (dataset_id,))

    def _want_collection(self, name: str) -> None:
        if name not in self._collections_wanted:
            self._collections_wanted.add(name)
            self._pending.ask_keys("collection", ("name",), ((name,),))

    def _want_chain(self, name: str) -> None:
        todo = [name]
        while todo:
            parent = todo.pop()
            self._want_collection(parent)
            if parent not in self._chains:
                self._chains.add(parent)
                self._pending.ask_keys("collection_chain", ("parent",), ((parent,),))
                todo.extend(self._children.get(parent, ()))

    def _belongs(self, table: str, row: Mapping[str, Any]) -> bool:
        match table:
            case "dataset_type":
                return row["name"] in self._member_types
            case "collection":
                return row["name"] in self._collections_wanted
            case "collection_chain":
                return row["parent"] in self._chains
            case "activity":
                return row["activity_id"].bytes in self._activities
            case "activity_dataset":
                return row["activity_id"].bytes in self._activities and self._is_member(row["dataset_id"])
            case "user_table":
                return row["name"] in self._options.user_tables
            case "provenance" if not self._options.intermediates:
                return True
            case _ if table in self._universe:
                return self._dimensions.belongs(table, row)
            case _:
                return self._is_member(row["dataset_id"])

    def _missing(self) -> dict[str, tuple[tuple[Any, ...], ...]]:
        missing: dict[str, set[tuple[Any, ...]]] = {
            "dataset": {(uuid.UUID(bytes=key),) for key in self._members.having(0)},
            "dataset_type": {(name,) for name in self._member_types - self._types.keys()},
            "collection": {(name,) for name in self._collections_wanted - self._collections.keys()},
            "activity": {(uuid.UUID(bytes=key),) for key in self._activities.having(0)},
            **self._dimensions.missing(),
        }
        return {table: tuple(sorted(keys)) for table, keys in missing.items() if keys}
