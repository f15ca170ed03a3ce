"""Rows that a catalog says a table has: counted where that is cheap, PostgreSQL's own estimate where it is not."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from federation.registry import catalog, row_counts
from federation.registry.dimensions import insert_records
from federation.registry.registry import Registry


def rows(registry: Registry, table: str) -> int:
    (schema,) = catalog.CatalogSource(registry).catalog().schemas
    count = schema.stats[table].row_count
    assert count is not None
    return int(count)


def test_large_tables_are_not_counted_after_every_commit(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_counts, "COUNTED_ROWS_MAX", 10)
    with registry.transaction("base") as tx:
        insert_records(tx, "instrument", [{"name": "C"}])
        insert_records(tx, "detector", [{"instrument": "C", "id": n} for n in range(50)])
    if registry.database.kind == "postgresql":
        with registry.database.write("base") as connection:
            connection.execute(sa.text("ANALYZE base.detector"))
    assert (rows(registry, "detector"), rows(registry, "instrument"), rows(registry, "visit")) == (50, 1, 0)
    with registry.transaction("base") as tx:
        insert_records(tx, "detector", [{"instrument": "C", "id": 50}])
    if registry.database.kind == "sqlite":
        assert rows(registry, "detector") == 51
    else:  # the estimate is of the last ANALYZE, which may come at any time
        assert rows(registry, "detector") in (50, 51)
