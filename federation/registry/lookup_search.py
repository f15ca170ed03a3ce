"""One search for the dataset of a type and data ID, through the collections of a request in their order."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConflictError, UserError
from federation.model.collection import CollectionType
from federation.model.dataset import DatasetRef
from federation.model.sql_text import listed, quoted
from federation.model.timespan import Timespan
from federation.registry.lookup_view import mark_count, with_marks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from federation.model.data_id import DataId
    from federation.registry.lookup_view import Group, Leaf, LookupView, Rows, TypeTables

__all__ = ["Search", "SearchRequest"]

#: runs named in a statement; with more it is quicker to read the runs of a data ID than to look into each
_RUNS_MAX = 50
#: datasets named in a statement
_IDS_MAX = 1000
#: pairs of a dataset's schema and a member's schema in one statement
_ARMS_MAX = 25
_NULL = "CAST(NULL AS BIGINT)"
_NO_SPAN = f"{_NULL}, {_NULL}"
#: table, begin and end of what lists the datasets of a collection; those of a RUN say it themselves
_MEMBERS = {
    CollectionType.TAGGED: ("collection_member", _NULL, _NULL),
    CollectionType.CALIBRATION: ("calibration", "timespan_begin", "timespan_end"),
}


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


@attrs.frozen
class _Match:
    """A dataset with the data ID in a collection, there valid from ``begin`` to ``end``."""

    candidate: _Candidate
    begin: int | None
    end: int | None


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
        if not self._asked.leaves:
            return None
        arms = len(self._asked.type.levels) * len(self._view.schemas)
        matches = self._matches() if len(self._view.groups) == 1 and arms <= _ARMS_MAX else self._compared()
        for leaf in self._asked.leaves:
            found = matches.get(leaf.name)
            if found and leaf.type is CollectionType.CALIBRATION:
                self._check_unambiguous(leaf, found)
            if found:
                nearest = min((match.candidate for match in found), key=lambda candidate: candidate.level)
                self._check_implied(nearest)
                return DatasetRef(nearest.id, self._asked.type.name, self._data_id, nearest.run)
        return None

    # -- where one statement sees all schemas -----------------------------------------------------------------

    def _matches(self) -> dict[str, list[_Match]]:
        """Matches by collection, found in one statement."""
        view, wanted = self._view, self._asked.type
        (group,) = view.groups
        columns = "".join(f", t.{quoted(name)}" for name in wanted.group.implied)
        conditions = [f"t.{quoted(name)} = ?" for name in wanted.group.required]
        arms, values = [], []
        for level, schema in group.members:
            if level not in wanted.levels:
                continue
            for join, condition, join_values in self._arms(group, schema):
                where = [*([condition] if condition else []), *conditions]
                collection, span = ("m.collection", "m.b, m.e") if join else ("t.run", _NO_SPAN)
                arms.append(
                    f"SELECT {level} AS level, t.dataset_id, t.run, {collection} AS found, {span}{columns} "
                    f'FROM "{schema}"."ds_{wanted.name}" AS t{join}'
                    + (f" WHERE {' AND '.join(where)}" if where else "")
                )
                values += [*join_values, *self._data_id.values_]
        if not arms:
            return {}
        with view.connection(group) as raw:
            rows = view.run(raw, with_marks(group, "r.*", " UNION ALL ".join(arms)), values)
        found: dict[str, list[_Match]] = {}
        for level, dataset_id, run, collection, begin, end, *implied in self._fresh(group, rows):
            candidate = _Candidate(level, _uuid(dataset_id), run, tuple(implied))
            found.setdefault(collection, []).append(_Match(candidate, begin, end))
        return found

    def _arms(self, group: Group, schema: str) -> Iterator[tuple[str, str, list[Any]]]:
        """(JOIN, further condition, values of both) for each table that says what is in the collections."""
        runs = self._names(CollectionType.RUN)
        if runs:
            if len(runs) <= _RUNS_MAX:
                yield "", *self._view.among("t.run", runs)
            else:
                yield "", self._in_its_runs(schema), []
        for kind, (table, begin, end) in _MEMBERS.items():
            names = self._names(kind)
            if not names or (kind is CollectionType.CALIBRATION and self._timespan is None):
                continue
            condition, values = self._view.among(
                "+collection" if self._view.is_sqlite else "collection", names
            )
            if kind is CollectionType.CALIBRATION and self._timespan is not None:
                for column, sign, limit in (
                    (begin, "<", self._timespan.end),
                    (end, ">", self._timespan.begin),
                ):
                    if limit is not None:
                        condition += f" AND ({column} IS NULL OR {column} {sign} ?)"
                        values.append(limit)
            # what is certified has an index by data ID
            further = "" if kind is CollectionType.CALIBRATION else self._in_its_runs(schema)
            for holder in group.schemas:
                source = (
                    f"SELECT collection, dataset_id, {begin} AS b, {end} AS e "
                    f'FROM "{holder}".{table} WHERE {condition}'
                )
                # the few datasets of the data ID first, never a scan of all that are certified: so do CROSS and
                # the plus sign on SQLite, and OFFSET on PostgreSQL
                if self._view.is_sqlite:
                    yield f" CROSS JOIN ({source}) AS m ON m.dataset_id = t.dataset_id", further, values
                else:
                    source += " AND dataset_id = t.dataset_id OFFSET 0"
                    yield f" JOIN LATERAL ({source}) AS m ON TRUE", further, values

    def _in_its_runs(self, schema: str) -> str:
        """The condition that ``run`` is one of those in the table, found one after another in its index.

        It is true of every row, and lets the database look for a data ID in the index of run and data ID.
        """
        table = f'"{schema}"."ds_{self._asked.type.name}"'
        runs = (
            f"WITH RECURSIVE runs(name) AS (SELECT min(run) FROM {table} UNION ALL "
            f"SELECT (SELECT min(run) FROM {table} WHERE run > runs.name) FROM runs WHERE runs.name IS NOT NULL) "
            "SELECT name FROM runs WHERE name IS NOT NULL"
        )
        return f"run IN ({runs})" if self._view.is_sqlite else f"run = ANY(ARRAY({runs}))"

    def _names(self, kind: CollectionType) -> list[str]:
        return [leaf.name for leaf in self._asked.leaves if leaf.type is kind]

    # -- where it takes several -------------------------------------------------------------------------------

    def _compared(self) -> dict[str, list[_Match]]:
        """Matches by collection, where the schemas of members and of datasets are read apart."""
        runs = self._names(CollectionType.RUN)
        only_runs = len(runs) == len(self._asked.leaves) and len(runs) <= _RUNS_MAX
        candidates = self._candidates(runs if only_runs else None)
        found: dict[str, list[_Match]] = {}
        by_id: dict[uuid.UUID, list[_Candidate]] = {}
        for candidate in candidates:
            found.setdefault(candidate.run, []).append(_Match(candidate, None, None))
            by_id.setdefault(candidate.id, []).append(candidate)
        if candidates and not only_runs:
            for collection, dataset_id, begin, end in self._memberships(list(by_id)):
                for candidate in by_id[dataset_id]:
                    found.setdefault(collection, []).append(_Match(candidate, begin, end))
        return found

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
                condition, run_values = (
                    (self._in_its_runs(schema), []) if runs is None else view.among("run", runs)
                )
                where = [condition, *conditions]
                values += run_values
                values += self._data_id.values_
                columns = listed(("dataset_id", "run", *wanted.group.implied))
                arms.append(
                    f'SELECT {level} AS level, {columns} FROM "{schema}"."ds_{wanted.name}" '
                    f"WHERE {' AND '.join(where)}"
                )
            if not arms:
                continue
            with view.connection(group) as raw:
                sql = with_marks(group, "r.*", " UNION ALL ".join(arms))
                rows = self._fresh(group, view.run(raw, sql, values))
            found += [_Candidate(row[0], _uuid(row[1]), row[2], row[3:]) for row in rows]
        return found

    def _memberships(self, ids: Sequence[uuid.UUID]) -> Iterator[tuple[str, uuid.UUID, Any, Any]]:
        """(collection, dataset id, begin, end) of these datasets in TAGGED and CALIBRATION collections."""
        view = self._view
        keys = [one.bytes for one in ids] if view.is_sqlite else list(ids)
        for kind, (table, begin, end) in _MEMBERS.items():
            if not self._names(kind):
                continue
            for group in view.groups:
                for start in range(0, len(keys), _IDS_MAX):
                    condition, values = view.among("dataset_id", keys[start : start + _IDS_MAX])
                    arms = " UNION ALL ".join(
                        f"SELECT collection, dataset_id, {begin} AS b, {end} AS e "
                        f'FROM "{schema}".{table} WHERE {condition}'
                        for schema in group.schemas
                    )
                    with view.connection(group) as raw:
                        sql = with_marks(group, "r.*", arms)
                        rows = view.run(raw, sql, [*values] * len(group.members))
                    for collection, member, first, last in self._fresh(group, rows):
                        if kind is CollectionType.TAGGED or self._is_valid(first, last):
                            yield collection, _uuid(member), first, last

    def _is_valid(self, begin: int | None, end: int | None) -> bool:
        return self._timespan is not None and Timespan(begin, end).overlaps(self._timespan)

    def _fresh(self, group: Group, rows: Rows) -> Iterator[tuple[Any, ...]]:
        """The rows without their marks."""
        count = mark_count(group)
        if rows[0][:count] != self._view.marks[group]:
            self.is_fresh = False
        return (row[count:] for row in rows if row[count] is not None)

    def _check_unambiguous(self, leaf: Leaf, found: Sequence[_Match]) -> None:
        if len({match.candidate.id for match in found}) > 1:
            shown = sorted(
                f"{match.candidate.id} is valid in {Timespan(match.begin, match.end)}" for match in found
            )
            raise ConflictError(
                f"{leaf.name}: {self._asked.type.name} {self._data_id} is ambiguous for {self._timespan}: "
                f"{shown[0]} and {shown[1]}",
                hint="give a timespan within one validity range",
            )

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
