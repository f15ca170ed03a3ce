"""Queries from what a caller passes."""

from __future__ import annotations

from collections.abc import Iterable

from federation.errors import NotFoundError, UserError
from federation.model.dataset import DatasetType
from federation.queries.collections import given_names
from federation.queries.query import DataIdQuery, DatasetQuery, DimensionRecordQuery
from federation.queries.runner import QueryRunner
from federation.queries.selection import Options, Search, Selection

__all__ = ["data_id_query", "dataset_query", "dimension_record_query"]


def dataset_query(
    runner: QueryRunner,
    dataset_type: str | DatasetType,
    collections: str | Iterable[str] | None,
    find_first: bool,
    options: Options,
) -> DatasetQuery:
    """All datasets of a type in collections; with ``find_first`` the first collection's for each data ID."""
    search = Search(_type_name(dataset_type), given_names(collections), find_first)
    return DatasetQuery(runner, Selection("dataset", searches=(search,)), options)


def data_id_query(
    runner: QueryRunner,
    dimensions: str | Iterable[str],
    datasets: str | DatasetType | Iterable[str | DatasetType],
    collections: str | Iterable[str] | None,
    options: Options,
) -> DataIdQuery:
    """All data IDs of some dimensions, of those for which there are datasets of all the given types."""
    names = (dimensions,) if isinstance(dimensions, str) else tuple(dimensions)
    runner.universe.group(names)  # raises for a name that is no dimension
    types = (datasets,) if isinstance(datasets, (str, DatasetType)) else tuple(datasets)
    if not names and not types:
        raise UserError(
            "data IDs of no dimensions", hint="dimensions: " + ", ".join(runner.universe.element_names)
        )
    given = given_names(collections)
    if given is not None and not types:
        raise UserError("collections without dataset types", hint='pass datasets="raw" too')
    searches = tuple(Search(name, given, False) for name in dict.fromkeys(map(_type_name, types)))
    return DataIdQuery(runner, Selection("data_id", searches=searches, dimensions=names), options)


def dimension_record_query(runner: QueryRunner, element: str, options: Options) -> DimensionRecordQuery:
    """All records of an element."""
    if runner.universe[element].is_skypix:
        raise NotFoundError(
            f"{element!r} keeps no records: its pixels are computed",
            hint="elements with records: " + ", ".join(runner.universe.element_names),
        )
    return DimensionRecordQuery(runner, Selection("record", element=element), options)


def _type_name(dataset_type: str | DatasetType) -> str:
    name = dataset_type.name if isinstance(dataset_type, DatasetType) else dataset_type
    if not isinstance(name, str):
        raise UserError(f"{name!r} is not the name of a dataset type", hint='pass it as a text: "raw"')
    return name
