"""Which way provenance is followed."""

from __future__ import annotations

import enum

__all__ = ["Direction"]


class Direction(enum.StrEnum):
    """Which way the edges of table ``provenance`` are followed: to inputs, or to what was made."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"

    @property
    def near(self) -> str:
        """The column that holds the dataset that is known."""
        return "dataset_id" if self is Direction.UPSTREAM else "input_id"

    @property
    def far(self) -> str:
        """The column that holds the dataset that is reached."""
        return "input_id" if self is Direction.UPSTREAM else "dataset_id"
