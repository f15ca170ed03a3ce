"""Reads ``[metrics]`` of a site file: where a monitoring system finds the site's figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from federation.config.settings import LOOPBACK_HOSTS, Address
from federation.errors import ConfigError, UserError

if TYPE_CHECKING:
    from federation.config.table import TomlTable

__all__ = ["METRICS_KEYS", "MetricsConfig", "read_metrics"]

METRICS_KEYS: Final = ("listen", "open")


@attrs.frozen
class MetricsConfig:
    """Where the figures are served over HTTP; None: nowhere."""

    listen: Address | None = None


def read_metrics(top: TomlTable) -> MetricsConfig:
    """``[metrics]``; an address that others reach needs ``open = true``, because the figures name schemas and sites."""
    table = top.table("metrics", METRICS_KEYS)
    is_open = table.values.get("open", False)
    if not isinstance(is_open, bool):
        raise table.error("open", "is neither true nor false", hint="write open = true without quotes")
    if not table.has("listen"):
        return MetricsConfig()
    try:
        address = Address.parse(table.text("listen"))
    except ConfigError:
        raise
    except UserError as error:
        raise table.error("listen", "is not an address", hint=error.hint) from error
    if address.host not in LOOPBACK_HOSTS and not is_open:
        raise table.error(
            "listen",
            "can be reached by others, who need no identity to read the figures",
            hint="listen on 127.0.0.1, or add open = true",
        )
    return MetricsConfig(address)
