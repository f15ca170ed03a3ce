"""What of all that datasets depend on a closure takes in."""

from __future__ import annotations

from typing import Any

import attrs

from federation.errors import UserError

__all__ = ["ClosureOptions"]


@attrs.frozen
class ClosureOptions:
    """How far a closure goes from the chosen datasets.

    It takes their inputs at any depth, or those at most ``depth`` steps away, and does not go beyond datasets of the
    types ``stop_at``. Without ``intermediates`` only the chosen datasets and those inputs are members that have none
    themselves (or are not gone beyond); the edges over the others stay. With ``outputs``, all that was made from the
    chosen datasets counts as chosen. ``metrics`` are those of members; ``user_tables`` names tables of users
    whose rows about members, by their column ``dataset_id``, come along. ``fixed`` takes the chosen datasets and no
    other.
    """

    depth: int | None = None
    stop_at: tuple[str, ...] = ()
    intermediates: bool = True
    outputs: bool = False
    metrics: bool = True
    user_tables: tuple[str, ...] = ()
    fixed: bool = False

    def __attrs_post_init__(self) -> None:
        if self.depth is not None and self.depth < 0:
            raise UserError(f"depth {self.depth} is negative", hint="0 takes no inputs, 1 the direct ones")

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults, as plain values."""
        plain = attrs.asdict(self, filter=lambda field, value: value != field.default)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ClosureOptions:
        """The options that `to_json` gave."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**plain)

    def __str__(self) -> str:
        parts = []
        if self.fixed:
            parts.append("without others")
        if self.depth is not None:
            parts.append(f"inputs to depth {self.depth}")
        if self.stop_at:
            parts.append("not beyond " + ", ".join(self.stop_at))
        if not self.intermediates:
            parts.append("without intermediate products")
        if self.outputs:
            parts.append("with what was made from them")
        if not self.metrics:
            parts.append("without metrics")
        if self.user_tables:
            parts.append("with tables " + ", ".join(self.user_tables))
        return ", ".join(parts)
