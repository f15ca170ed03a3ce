"""Reads ``[log]`` of a site file: how long the change logs of the site are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from federation.config.table import TomlTable

__all__ = ["LOG_KEYS", "LogConfig", "read_log"]

LOG_KEYS: Final = ("keep_s", "keep_bytes", "follower_timeout_s")


@attrs.frozen
class LogConfig:
    """How long change logs are kept: entries younger than ``keep_s``, and all that a live follower lacks.

    ``keep_bytes`` for each schema's log is a cap that wins over both. A follower is live until it has not been heard of
    for ``follower_timeout_s``.
    """

    keep_s: float = 30 * 86_400.0
    keep_bytes: int = 20_000_000_000
    follower_timeout_s: float = 7 * 86_400.0


def read_log(top: TomlTable) -> LogConfig:
    """``[log]``, with the defaults of `LogConfig`."""
    table = top.table("log", LOG_KEYS)
    default = LogConfig()
    return LogConfig(
        keep_s=table.number("keep_s", default.keep_s, minimum=0.0),
        keep_bytes=table.integer("keep_bytes", default.keep_bytes, minimum=1),
        follower_timeout_s=table.number("follower_timeout_s", default.follower_timeout_s, minimum=0.0),
    )
