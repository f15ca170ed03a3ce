"""The query interface of Python: datasets, data IDs and dimension records chosen by expressions.

`Session` has the methods that make queries. An expression is parsed (`parser`), its names are looked up (`names`),
the tables they are in are joined (`joins`, `sources`), and everything becomes one SQL statement (`statement`), which
goes the way of any other.
"""

from __future__ import annotations

from federation.queries.build import data_id_query, dataset_query, dimension_record_query
from federation.queries.objects import DimensionRecord
from federation.queries.query import (
    DataIdQuery,
    DatasetQuery,
    DimensionRecordQuery,
    ExpandedDataIdQuery,
    Query,
)
from federation.queries.runner import QueryRunner
from federation.queries.selection import Options

__all__ = [
    "DataIdQuery",
    "DatasetQuery",
    "DimensionRecord",
    "DimensionRecordQuery",
    "ExpandedDataIdQuery",
    "Options",
    "Query",
    "QueryRunner",
    "data_id_query",
    "dataset_query",
    "dimension_record_query",
]
