"""By which path a schema is followed: straight from its owner, or through a relay while the owner does not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.model.position import SchemaId

__all__ = ["RETURN_S", "SourceChoice", "Upstream", "check_path"]

#: after the owner failed to answer a follower, how long before it is tried again while a relay serves
RETURN_S = 5.0


@attrs.frozen
class Upstream:
    """What a relay knows of a schema that it passes on.

    ``path`` are the sites that entries come through, the owner first and the relay last; ``head_lsn`` is the end of the
    owner's log as last heard, ``head_age_s`` seconds ago (None: not since the relay began).
    """

    path: tuple[str, ...]
    head_lsn: int
    head_age_s: float | None


def check_path(schema: SchemaId, path: Sequence[str], follower: str) -> None:
    """`UnavailableError` for a stream that has come through the site that would take it: nothing new can be in it."""
    if follower in path:
        raise UnavailableError(
            f"{schema} is a loop by way of {' > '.join(path)}: {follower} would follow itself",
            hint=f"it is taken up when {path[-1]} has another path to {schema.site}",
        )


class SourceChoice:
    """Which of several sources is asked next; pure, times in seconds of any clock that goes on.

    Source 0 is the owner. The others are asked in order when those before them fail, and left for the owner when it
    answers again. A round is over when every source has failed since one was last heard.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.current = 0
        self._failed_in_round = 0
        self._owner_failed_at: float | None = None

    @property
    def is_direct(self) -> bool:
        return self.current == 0

    def heard(self) -> None:
        """The current source has sent something."""
        self._failed_in_round = 0

    def failed(self, now_s: float) -> bool:
        """The current source did not serve: go on to the next; True when the round is over."""
        if self.is_direct:
            self._owner_failed_at = now_s
        self.current = (self.current + 1) % len(self.names)
        self._failed_in_round += 1
        if self._failed_in_round < len(self.names):
            return False
        self._failed_in_round = 0
        self.current = 0
        return True

    def prefers_owner(self, now_s: float) -> bool:
        """Whether a relay serves that is to be left as soon as the owner answers."""
        failed_at = self._owner_failed_at
        return not self.is_direct and (failed_at is None or now_s - failed_at >= RETURN_S)

    def return_to_owner(self) -> None:
        """Ask the owner next."""
        self.current, self._failed_in_round = 0, 0
