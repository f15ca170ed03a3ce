"""Point lookups in a site's own registry: one dataset by its id, or by type, data ID and collections."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import attrs

from federation.errors import ConflictError, NotFoundError, UnavailableError, UserError
from federation.model.collection import CollectionType
from federation.model.data_id import DataId
from federation.model.dataset import DatasetRef
from federation.model.timespan import Timespan
from federation.registry.lookup_data_ids import complete_data_id
from federation.registry.lookup_view import LookupView, mark_count, with_marks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from federation.registry.lookup_view import Group, Leaf, Rows, TypeTables
    from federation.registry.registry import Registry

__all__ = ["DatasetLookup"]

#: runs named in a statement; with more it is quicker to read the runs of a data ID than to look into each
_RUNS_MAX = 50
#: how often a lookup may find that the registry's definitions have changed meanwhile
_ATTEMPTS = 20


@attrs.frozen
class _Request:
    """What a statement is made from; equal requests have equal answers."""

    type: TypeTables
    leaves: tuple[Leaf, ...]


@attrs.frozen
class _Candidate:
    """A dataset that has the data ID."""

    level: int
    id: uuid.UUID
    run: str
    implied: tuple[Any, ...]


class DatasetLookup:
    """Finds single datasets in the schemas and replicas that a registry holds; thread-safe, sees every commit.

    ``chain`` names schemas (``name`` or ``name@site``) to be searched first; the site's own follow, then replicas.
    Definitions of dataset types and collections are remembered; each statement also reads marks that tell whether
    they have changed.
    """

    def __init__(self, registry: Registry, chain: Sequence[str] = ()) -> None:
        self._registry = registry
        self._chain = tuple(chain)
        self._view: LookupView | None = None
        #: the type of the dataset that was asked for last: the next one is likely to be of it
        self._last_type: str | None = None

    # -- by id ------------------------------------------------------------------------------------------------

    def get_dataset(self, dataset_id: uuid.UUID) -> DatasetRef | None:
        """The dataset with this id, or None."""
        if not isinstance(dataset_id, uuid.UUID):
            raise UserError(f"dataset id {dataset_id!r} is not a UUID", hint="write uuid.UUID(...)")

        def attempt(view: LookupView) -> tuple[tuple[Any, ...] | None, DatasetRef | None, bool]:
            guess = view.types.get(self._last_type or "")
            for group in view.groups:
                marks, ref = self._get(view, group, dataset_id, guess)
                if not marks:  # of a type that was declared after the view was made
                    return None, None, False
                if marks != view.marks[group]:
                    return (guess,), ref, False
                if ref is not None:
                    return (guess,), ref, True
            return (guess,), None, True

        return self._settled(attempt, lambda view: (view.types.get(self._last_type or ""),))

    def _get(
        self, view: LookupView, group: Group, dataset_id: uuid.UUID, guess: TypeTables | None
    ) -> tuple[tuple[Any, ...], DatasetRef | None]:
        key = dataset_id.bytes if view.is_sqlite else dataset_id
        with view.connection(group) as raw:
            rows = view.run(raw, _by_id(group, guess), [key] * len(group.members))
            marks = rows[0][: mark_count(group)]
            level, name, run, *values = min(rows, key=lambda row: row[mark_count(group)] or 0)[
                mark_count(group) :
            ]
            if name is None:
                return marks, None
            if guess is None or guess.name != name or (values and values[0] is None):
                found = view.types.get(name)
                if found is None or level not in found.levels:
                    return (), None
                self._last_type = name
                schema = view.schemas[level].physical
                rows = view.run(
                    raw,
                    f'SELECT {_list(found.group.required)} FROM "{schema}"."ds_{name}" WHERE dataset_id = ?',
                    [key],
                )
                if not rows:
                    return marks, None  # removed since
                guess, values = found, list(rows[0])
        return marks, DatasetRef(dataset_id, name, DataId(guess.group.required, tuple(values)), run)

    # -- by data ID -------------------------------------------------------------------------------------------

    def find_dataset(
        self,
        dataset_type: str,
        data_id: Mapping[str, Any],
        collections: str | Sequence[str],
        *,
        timespan: Timespan | None = None,
    ) -> DatasetRef | None:
        """The dataset of a type with a data ID in the first of ``collections`` that has one, or None.

        Chains are opened in their order. CALIBRATION collections are searched only with a ``timespan``, for the
        dataset whose validity range overlaps it; `ConflictError` names two. The data ID may have alternate keys
        (``full_name`` or ``detector.full_name``) in the place of a dimension's value, and may leave out what its
        records determine. `UserError` for a data ID that is incomplete, wrong or contradicts its records;
        `NotFoundError` for an unknown dataset type, collection or record.
        """
        names = (collections,) if isinstance(collections, str) else tuple(collections)
        if timespan is not None and timespan.is_empty:
            raise UserError(
                f"timespan {timespan} is empty", hint="for one moment, give the nanosecond after it as end"
            )

        def request(view: LookupView) -> _Request:
            return _Request(view.type_tables(dataset_type), view.leaves(names))

        def attempt(view: LookupView) -> tuple[_Request, DatasetRef | None, bool]:
            asked = request(view)
            _check_searchable(asked, timespan)
            completed, implied = complete_data_id(view, asked.type.group, data_id)
            search = _Search(view, asked, completed, implied, timespan)
            return asked, search.first(), search.is_fresh

        return self._settled(attempt, request)

    # -- what is remembered -----------------------------------------------------------------------------------

    def _settled(
        self,
        attempt: Callable[[LookupView], tuple[Any, DatasetRef | None, bool]],
        request: Callable[[LookupView], Any],
    ) -> DatasetRef | None:
        """The answer of an attempt whose request was right when its rows were read.

        It was when the marks read with the rows are those of the view, and also when a view made afterwards leads to
        the same request: then other rows have changed, not those that define it.
        """
        for _ in range(_ATTEMPTS):
            view = self._view
            try:
                if view is None:
                    view = self._view = LookupView(self._registry, self._chain)
                    fresh = True
                else:
                    fresh = False
                asked, found, is_settled = attempt(view)
            except NotFoundError:
                # what is not there, or not under this name, may have come since the view was made
                self._view = None
                if fresh:
                    raise
                continue
            if is_settled:
                return found
            self._view = None
            try:
                after = self._view = LookupView(self._registry, self._chain)
                if asked == request(after) and self._same_schemas(view, after):
                    return found
            except NotFoundError:
                self._view = None
        raise UnavailableError(
            f"collections of site {self._registry.site} change faster than they can be read", hint="ask again"
        )

    @staticmethod
    def _same_schemas(before: LookupView, after: LookupView) -> bool:
        return before.schemas == after.schemas


def _check_searchable(asked: _Request, timespan: Timespan | None) -> None:
    kinds = {leaf.type for leaf in asked.leaves}
    if timespan is None and kinds == {CollectionType.CALIBRATION}:
        raise UserError(
            f"{asked.type.name} is looked for in {', '.join(leaf.name for leaf in asked.leaves)}, "
            "where datasets have validity ranges, but no timespan is given",
            hint="give timespan=Timespan(begin, end), in TAI nanoseconds",
        )


class _Search:
    """One search; ``is_fresh`` says afterwards whether all it read was of the view's marks."""

    def __init__(
        self,
        view: LookupView,
        asked: _Request,
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
            conditions = [f"{_quoted(name)} = ?" for name in wanted.group.required]
            for level, schema in group.members:
                if level not in wanted.levels:
                    continue
                where = conditions
                if runs is not None:
                    condition, run_values = view.among("run", runs)
                    where = [condition, *conditions]
                    values += run_values
                values += self._data_id.values_
                columns = _list(("dataset_id", "run", *wanted.group.implied))
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
            for start in range(0, len(keys), 1000):
                condition, values = view.among("dataset_id", keys[start : start + 1000])
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


def _by_id(group: Group, guess: TypeTables | None) -> str:
    """A dataset's row with that of the type it is likely to have."""
    arms = []
    dimensions = guess.group.required if guess is not None else ()
    for level, schema in group.members:
        has_type = guess is not None and level in guess.levels
        columns = "".join(f", t.{_quoted(name)}" if has_type else ", NULL" for name in dimensions)
        join = (
            f' LEFT JOIN "{schema}"."ds_{guess.name}" AS t ON t.dataset_id = d.dataset_id'
            if has_type and guess is not None
            else ""
        )
        arms.append(
            f'SELECT {level} AS level, d.dataset_type, d.run{columns} FROM "{schema}".dataset AS d{join} '
            "WHERE d.dataset_id = ?"
        )
    return with_marks(group, "r.*", " UNION ALL ".join(arms))


def _uuid(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(bytes=bytes(value))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _list(names: Sequence[str]) -> str:
    return ", ".join(_quoted(name) for name in names)
