"""Different values are estimated well also where rows that lie together are alike, as those that come in order."""

from __future__ import annotations

import pyarrow as pa

from federation.registry.registry import Registry
from federation.registry.statistics import StatisticsSource
from federation.registry.user_tables import create_table

ROWS, ALIKE = 60_000, 10


def test_values_that_come_ten_times_in_a_row_are_counted_about_right(registry: Registry) -> None:
    numbers = range(ROWS)
    rows = pa.table(
        {
            "n": pa.array(numbers, pa.int64()),
            "visit": pa.array([number // ALIKE for number in numbers], pa.int64()),
        }
    )
    create_table(registry, registry.site, "processed", rows, key=("n",))
    statistics = StatisticsSource(registry)
    statistics.refresh()
    known = statistics.known(registry.site)
    assert known is not None
    found = known.columns["processed"]["visit"].distinct_count
    assert found is not None
    assert 0.7 * ROWS / ALIKE < found < 1.5 * ROWS / ALIKE
