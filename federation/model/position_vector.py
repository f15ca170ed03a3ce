"""Position vectors: one position for each of several schemas, as a query reports them and as texts."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from federation.errors import UserError
from federation.model.position import Position

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.model.position import SchemaId

__all__ = ["by_schema", "parse_positions"]

_HINT = "give SITE/SCHEMA@EPOCH:LSN, several with commas or on lines, or what federation query --json wrote"


def parse_positions(text: str) -> tuple[Position, ...]:
    """Positions from a text: ``SITE/SCHEMA@EPOCH:LSN`` with commas, blanks or line ends between them, or JSON.

    JSON is a list of such texts, or an object with one under ``positions``, as a query's answer is. `UserError` for
    anything else, and where one schema has two positions.

    >>> [str(one) for one in parse_positions("base/base@e1:7, ncsa/ncsa@e2:9")]
    ['base/base@e1:7', 'ncsa/ncsa@e2:9']
    """
    stripped = text.strip()
    words = _from_json(stripped) if stripped[:1] in ("{", "[") else re.split(r"[,\s]+", stripped)
    found = tuple(Position.parse(word) for word in words if word)
    if not found:
        raise UserError("no position is given", hint=_HINT)
    by_schema(found)
    return found


def _from_json(text: str) -> list[str]:
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise UserError(f"positions are no JSON: {error}", hint=_HINT) from error
    if isinstance(value, dict):
        value = value.get("positions")
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UserError("the JSON has no list of positions", hint=_HINT)
    return value


def by_schema(positions: Iterable[Position]) -> dict[SchemaId, Position]:
    """Positions by schema; `UserError` where a schema has two."""
    found: dict[SchemaId, Position] = {}
    for position in positions:
        other = found.setdefault(position.schema_id, position)
        if other != position:
            raise UserError(
                f"two positions of {position.schema_id}: {other} and {position}",
                hint="keep the one that is meant",
            )
    return found
