"""One search for the dataset of a type and data ID, through the collections of a request in their order."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConflictError, UserError
from federation.model.collection import CollectionType
from federation.model.dataset import DatasetRef
from federation.model.timespan import Timespan
from federation.registry.lookup_view import listed, mark_count, quoted, with_marks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from federation.model.data_id import DataId
    from federation.registry.lookup_view import Group, Leaf, LookupView, Rows, TypeTables

__all__ = ["Search", "SearchRequest"]

#: runs named in a statement; with more it is quicker to read the runs of a data ID than to look into each
_RUNS_MAX = 50
#: datasets named in a statement
_IDS_MAX = 1000


@attrs.frozen
class SearchRequest:
    """What its statements are made from; equal requests read the same tables for the same collections."""

    type: TypeTables
    leaves: tuple[Leaf, ...]


@attrs.frozen
class _Candidate:
    """A dataset that has the data ID."""

    level: int
    id: uuid.UUID
    run: str
    implied: tuple[Any, ...]


class Search:
    """One search; ``is_fresh`` says afterwards whether all it read was of the view's marks."""

    def __init__(
        self,
        view: LookupView,
        asked: SearchRequest,
        data_id: DataId,
        implied: Mapping[str, Any],
        timespan: Timespan | None,
    ) -> None:
        self._view = view
        self._asked = asked
        self._data_id = data_id
        self._implied = implied
        self._timespan = timespan
        self.is_fresh = True

    def first(self) -> DatasetRef | None:
        """The dataset in the first collection that has one."""
        leaves = self._asked.leaves
        runs = [leaf.name for leaf in leaves if leaf.type is CollectionType.RUN]
        only_runs = len(runs) == len(leaves) and len(runs) <= _RUNS_MAX
        candidates = self._candidates(runs if only_runs else None) if leaves else []
        if not candidates:
            return None
        members = {} if only_runs else self._memberships(candidates)
        for leaf in leaves:
            found = (
                [candidate for candidate in candidates if candidate.run == leaf.name]
                if leaf.type is CollectionType.RUN
                else self._in_leaf(leaf, candidates, members.get(leaf.name, []))
            )
            if found:
                nearest = min(found, key=lambda candidate: candidate.level)
                self._check_implied(nearest)
                return DatasetRef(nearest.id, self._asked.type.name, self._data_id, nearest.run)
        return None

    def _candidates(self, runs: list[str] | None) -> list[_Candidate]:
        """Datasets with the data ID, of these runs or of all, of every schema that declares the type."""
        view, wanted = self._view, self._asked.type
        found = []
        for group in view.groups:
            values: list[Any] = []
            arms = []
            conditions = [f"{quoted(name)} = ?" for name in wanted.group.required]
            for level, schema in group.members:
                if level not in wanted.levels:
                    continue
                where = conditions
                if runs is not None:
                    condition, run_values = view.among("run", runs)
                    where = [condition, *conditions]
                    values += run_values
                values += self._data_id.values_
                columns = listed(("dataset_id", "run", *wanted.group.implied))
                arms.append(
                    f'SELECT {level} AS level, {columns} FROM "{schema}"."ds_{wanted.name}"'
                    + (f" WHERE {' AND '.join(where)}" if where else "")
                )
            if not arms:
                continue
            with view.connection(group) as raw:
                sql = with_marks(group, "r.*", " UNION ALL ".join(arms))
                rows = self._fresh(group, view.run(raw, sql, values))
            found += [_Candidate(row[0], _uuid(row[1]), row[2], row[3:]) for row in rows]
        return found

    def _memberships(self, candidates: Sequence[_Candidate]) -> dict[str, Rows]:
        """(dataset id, begin, end) of the candidates by TAGGED or CALIBRATION collection."""
        view = self._view
        ids = list(dict.fromkeys(one.id for one in candidates))
        keys = [one.bytes for one in ids] if view.is_sqlite else ids
        tables = {
            CollectionType.TAGGED: ("collection_member", "NULL, NULL"),
            CollectionType.CALIBRATION: ("calibration", "timespan_begin, timespan_end"),
        }
        kinds = {leaf.type for leaf in self._asked.leaves if leaf.type in tables}
        if self._timespan is None:
            kinds.discard(CollectionType.CALIBRATION)
        found: dict[str, Rows] = {}
        for group in view.groups if kinds else ():
            for start in range(0, len(keys), _IDS_MAX):
                condition, values = view.among("dataset_id", keys[start : start + _IDS_MAX])
                for kind in kinds:
                    table, columns = tables[kind]
                    arms = " UNION ALL ".join(
                        f'SELECT collection, dataset_id, {columns} FROM "{schema}".{table} WHERE {condition}'
                        for schema in group.schemas
                    )
                    with view.connection(group) as raw:
                        sql = with_marks(group, "r.*", arms)
                        rows = view.run(raw, sql, [*values] * len(group.members))
                    for collection, member, begin, end in self._fresh(group, rows):
                        found.setdefault(collection, []).append((_uuid(member), begin, end))
        return found

    def _fresh(self, group: Group, rows: Rows) -> Iterator[tuple[Any, ...]]:
        """The rows without their marks."""
        count = mark_count(group)
        if rows[0][:count] != self._view.marks[group]:
            self.is_fresh = False
        return (row[count:] for row in rows if row[count] is not None)

    def _in_leaf(self, leaf: Leaf, candidates: Sequence[_Candidate], members: Rows) -> list[_Candidate]:
        """The candidates that a TAGGED or CALIBRATION collection has, for the timespan."""
        if leaf.type is CollectionType.CALIBRATION:
            if self._timespan is None:
                return []
            members = [row for row in members if Timespan(row[1], row[2]).overlaps(self._timespan)]
        ids = {row[0] for row in members}
        if len(ids) > 1 and leaf.type is CollectionType.CALIBRATION:
            spans = sorted((str(member), str(Timespan(begin, end))) for member, begin, end in members)
            raise ConflictError(
                f"{leaf.name}: {self._asked.type.name} {self._data_id} is ambiguous for {self._timespan}: "
                + " and ".join(f"{member} is valid in {span}" for member, span in spans[:2]),
                hint="give a timespan within one validity range",
            )
        return [candidate for candidate in candidates if candidate.id in ids]

    def _check_implied(self, found: _Candidate) -> None:
        for name, value in zip(self._asked.type.group.implied, found.implied, strict=True):
            given = self._implied.get(name)
            if given is not None and value is not None and given != value:
                raise UserError(
                    f"data ID {self._data_id}: {name} is given as {given!r}, but its records imply {value!r}",
                    hint=f"leave out {name}",
                )


def _uuid(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(bytes=bytes(value))
