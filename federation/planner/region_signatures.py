"""The functions on regions: what they take and give. They are evaluated by the local engine only."""

from __future__ import annotations

import attrs

from federation.model.logical import LogicalType

__all__ = ["REGION_FUNCTIONS", "Signature"]

_L = LogicalType


@attrs.frozen
class Signature:
    """Names and types of a function's arguments, and the type of its value.

    ``of_constants`` takes numbers only, any even count from six on; ``skypix_first`` has a literal system first.
    """

    arguments: tuple[tuple[str, LogicalType], ...]
    returns: LogicalType
    of_constants: bool = False
    skypix_first: bool = False

    @property
    def usage(self) -> str:
        return ", ".join(name for name, _ in self.arguments) + (", ..." if self.of_constants else "")


_POSITION = (("ra_deg", _L.FLOAT64), ("dec_deg", _L.FLOAT64))

#: signature by name
REGION_FUNCTIONS: dict[str, Signature] = {
    "region_overlaps": Signature((("region_1", _L.BYTES), ("region_2", _L.BYTES)), _L.BOOL),
    "region_contains": Signature((("region", _L.BYTES), *_POSITION), _L.BOOL),
    "region_overlaps_pixel": Signature(
        (("system", _L.STRING), ("pixel", _L.INT64), ("region", _L.BYTES)), _L.BOOL, skypix_first=True
    ),
    "circle": Signature((*_POSITION, ("radius_deg", _L.FLOAT64)), _L.BYTES),
    "polygon": Signature(_POSITION * 3, _L.BYTES, of_constants=True),
    "skypix_id": Signature((("system", _L.STRING), *_POSITION), _L.INT64, skypix_first=True),
    "skypix_region": Signature((("system", _L.STRING), ("pixel", _L.INT64)), _L.BYTES, skypix_first=True),
}
