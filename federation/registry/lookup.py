"""Point lookups in a site's own registry: one dataset by its id, or by type, data ID and collections."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from federation.errors import NotFoundError, UnavailableError, UserError
from federation.model.collection import CollectionType
from federation.model.data_id import DataId
from federation.model.dataset import DatasetRef
from federation.model.sql_text import listed, quoted
from federation.model.timespan import Timespan
from federation.registry.lookup_data_ids import complete_data_id
from federation.registry.lookup_search import Search, SearchRequest
from federation.registry.lookup_view import LookupView, mark_count, with_marks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from federation.registry.lookup_view import Group, TypeTables
    from federation.registry.registry import Registry

__all__ = ["DatasetLookup"]

#: how often a lookup may find that the registry's definitions have changed meanwhile
_ATTEMPTS = 20


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
                    f'SELECT {listed(found.group.required)} FROM "{schema}"."ds_{name}" WHERE dataset_id = ?',
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
            raise UserError(f"timespan {timespan} is empty", hint="for one moment, give Timespan.at(moment)")

        def request(view: LookupView) -> SearchRequest:
            return SearchRequest(view.type_tables(dataset_type), view.leaves(names))

        def attempt(view: LookupView) -> tuple[SearchRequest, DatasetRef | None, bool]:
            asked = request(view)
            _check_searchable(asked, timespan)
            completed, implied = complete_data_id(view, asked.type.group, data_id)
            search = Search(view, asked, completed, implied, timespan)
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
            is_new = view is None
            try:
                if view is None:
                    view = self._view = LookupView(self._registry, self._chain)
                asked, found, is_settled = attempt(view)
            except NotFoundError:
                # what is not there, or not under this name, may have come since the view was made
                self._view = None
                if is_new:
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


def _check_searchable(asked: SearchRequest, timespan: Timespan | None) -> None:
    kinds = {leaf.type for leaf in asked.leaves}
    if timespan is None and kinds == {CollectionType.CALIBRATION}:
        raise UserError(
            f"{asked.type.name} is looked for in {', '.join(leaf.name for leaf in asked.leaves)}, "
            "where datasets have validity ranges, but no timespan is given",
            hint="give timespan=Timespan(begin, end), in TAI nanoseconds; on a command line --at",
        )


def _by_id(group: Group, guess: TypeTables | None) -> str:
    """A dataset's row with that of the type it is likely to have."""
    arms = []
    dimensions = guess.group.required if guess is not None else ()
    for level, schema in group.members:
        has_type = guess is not None and level in guess.levels
        columns = "".join(f", t.{quoted(name)}" if has_type else ", NULL" for name in dimensions)
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
