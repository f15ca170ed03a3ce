"""Where the columns of a statement are, for the expressions in it (`federation.queries.values.Columns`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.queries.sql import column

if TYPE_CHECKING:
    from federation.queries.joins import Joins
    from federation.queries.sources import DatasetSource

__all__ = ["InnerColumns", "StatementColumns"]


@attrs.define(eq=False)
class StatementColumns:
    """Columns after everything is joined."""

    joins: Joins
    sources: dict[str, DatasetSource]

    def key(self, dimension: str) -> str:
        return self.joins.keys[dimension]

    def of_element(self, element: str, field: str) -> str:
        return column(element, field)

    def of_dataset(self, dataset_type: str, field: str) -> str:
        return self.sources[dataset_type].fields[field]

    def is_optional(self, element: str) -> bool:
        return element in self.joins.optional


class InnerColumns:
    """Columns as they are before the first collection is chosen."""

    def __init__(self, dataset_type: str) -> None:
        self._alias = dataset_type

    def key(self, dimension: str) -> str:
        return column(self._alias, dimension)

    def of_element(self, element: str, field: str) -> str:
        raise AssertionError(f"{element}.{field} is not a column of datasets")

    def of_dataset(self, dataset_type: str, field: str) -> str:  # noqa: ARG002
        return column("validity", field)

    def is_optional(self, element: str) -> bool:  # noqa: ARG002
        return False
