"""Output columns whose value the condition fixes are left out of what a site's database runs."""

from __future__ import annotations

from typing import Any

import pytest

from federation.execution.lowering import PhysicalTable, lower
from federation.model.dimension import DimensionUniverse
from federation.model.logical import dimension_tables

EXPOSURE = '"base/base"."exposure"'


@pytest.mark.parametrize(
    ("sql", "constants"),
    [
        ("SELECT id, instrument FROM {} WHERE instrument = 'Cam'", {1: "Cam"}),
        ("SELECT instrument, id FROM {} WHERE 'Cam' = instrument AND id > 3", {0: "Cam"}),
        ("SELECT id AS a, day_obs AS b FROM {} WHERE day_obs = 20250101 AND id > 3", {1: 20250101}),
        ("SELECT id, instrument FROM {} WHERE instrument = 'Cam' OR id = 3", {}),
        ("SELECT id, instrument FROM {} WHERE NOT instrument = 'Cam'", {}),
        ("SELECT id, instrument AS name FROM {} WHERE instrument = 'Cam' ORDER BY name", {}),
        ("SELECT id, instrument FROM {} WHERE instrument = 'Cam' ORDER BY id", {1: "Cam"}),
        ("SELECT instrument FROM {} WHERE instrument = 'Cam'", {}),
        ("SELECT DISTINCT id, instrument FROM {} WHERE instrument = 'Cam'", {}),
        ("SELECT instrument, count(*) AS n FROM {} WHERE instrument = 'Cam' GROUP BY instrument", {}),
        (
            "SELECT a.id, a.instrument, b.instrument AS o FROM {} AS a JOIN {} AS b ON a.id = b.id "
            "WHERE a.instrument = 'Cam'",
            {1: "Cam"},
        ),
        ("SELECT id, exposure_time FROM {} WHERE exposure_time = 30.0", {}),
    ],
)
def test_only_fixed_columns_are_left_out(
    universe: DimensionUniverse, sql: str, constants: dict[int, Any]
) -> None:
    table = next(t for t in dimension_tables(universe) if t.name == "exposure")
    tables = {("base/base", "exposure"): PhysicalTable("base", table, "base")}
    statement = sql.format(EXPOSURE, EXPOSURE)
    lowered = lower(statement, "sqlite", tables, {}, for_reading=True)
    (part,) = lowered.parts
    assert dict(part.constants) == constants
    assert lowered.column_names == lower(statement, "sqlite", tables, {}).column_names
    assert (lowered.sql == lower(statement, "sqlite", tables, {}).sql) == (not constants)
