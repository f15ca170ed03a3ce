"""Every error that federation raises for a reason a user can act on.

::

    FederationError            code            exit
      UserError                user            3     bad input: a name, a value, a statement, a file
        UsageError             usage           2     the command line itself
        ConfigError            config          3     a site file
        NotFoundError          not_found       3     no such site, table, dataset type, dataset
        QueryError             query           3     SQL that cannot be parsed, resolved or allowed
        ConflictError          conflict        3     two definitions or contents for one identity
        ForbiddenError         forbidden       3     a user without the privilege that an action needs
      UnavailableError         unavailable     4     a site, database, server or file store that does not answer
      LimitError               limit           5     a limit on space, rows, bytes or time was met
      CorruptionError          corruption      6     stored or received bytes are not what was written
        LogGapError            log_gap         6     a change log does not continue the follower's position
        EpochError             epoch           6     a change log has another history than the follower's

A message names the value and the place; ``hint`` says what to do now. Codes cross the wire unchanged, so that an
error raised at a site arrives at the caller as the same class.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BY_CODE",
    "ConfigError",
    "ConflictError",
    "CorruptionError",
    "EpochError",
    "FederationError",
    "ForbiddenError",
    "LimitError",
    "LogGapError",
    "NotFoundError",
    "QueryError",
    "UnavailableError",
    "UsageError",
    "UserError",
]


class FederationError(Exception):
    """Base of all errors raised on purpose.

    ``message`` is one line with the offending value and where it stands; ``hint`` is the remedy, or ``""``. Where a
    site raised it, ``request_id`` is that of the call: the site's log tells more under it.
    """

    code: ClassVar[str] = "federation"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.request_id = ""

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UserError(FederationError):
    """Bad input: a name, a value, a statement or a file."""

    code = "user"
    exit_code = 3


class UsageError(UserError):
    """The command line itself is wrong."""

    code = "usage"
    exit_code = 2


class ConfigError(UserError):
    """A site file or universe file is wrong."""

    code = "config"


class NotFoundError(UserError):
    """Something named by the caller does not exist."""

    code = "not_found"


class QueryError(UserError):
    """A statement cannot be parsed, resolved or allowed.

    ``position`` is the 0-based character offset into ``sql`` where the trouble starts, or None.
    """

    code = "query"

    def __init__(self, message: str, *, hint: str = "", sql: str = "", position: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.sql = sql
        self.position = position

    def marked(self) -> str:
        """The line of the statement with a caret under the position; ``""`` when the position is unknown."""
        if self.position is None or not self.sql:
            return ""
        start = self.sql.rfind("\n", 0, self.position) + 1
        end = self.sql.find("\n", self.position)
        line = self.sql[start : end if end >= 0 else len(self.sql)]
        return f"{line}\n{' ' * (self.position - start)}^"


class ConflictError(UserError):
    """Two definitions or two contents for one identity."""

    code = "conflict"


class ForbiddenError(UserError):
    """A user has not the privilege that an action needs."""

    code = "forbidden"


class UnavailableError(FederationError):
    """A site, database, server or file store does not answer."""

    code = "unavailable"
    exit_code = 4


class LimitError(FederationError):
    """A limit on space, rows, bytes or time was met."""

    code = "limit"
    exit_code = 5


class CorruptionError(FederationError):
    """Stored or received bytes are not what was written."""

    code = "corruption"
    exit_code = 6


class LogGapError(CorruptionError):
    """A change log does not continue the follower's position."""

    code = "log_gap"


class EpochError(CorruptionError):
    """A change log has another history than the one the follower has applied."""

    code = "epoch"


def _by_code(cls: type[FederationError]) -> dict[str, type[FederationError]]:
    found = {cls.code: cls}
    for sub in cls.__subclasses__():
        found.update(_by_code(sub))
    return found


#: error class by the code that stands for it on the wire
BY_CODE: dict[str, type[FederationError]] = _by_code(FederationError)
