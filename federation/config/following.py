"""Reads how the schemas of one peer are followed: through which relays, whether they are passed on, and which rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from federation.config.table import TomlTable, did_you_mean
from federation.errors import ConfigError
from federation.model.log_filter import LogFilter

if TYPE_CHECKING:
    from collections.abc import Collection

    from federation.config.settings import PeerConfig

__all__ = ["FILTER_KEYS", "FOLLOWING_KEYS", "check_via", "read_following"]

#: keys of a ``[[peer]]`` that this module reads, and those of its ``filter``
FOLLOWING_KEYS: Final = ("via", "relay", "filter")
FILTER_KEYS: Final = tuple(field.name for field in attrs.fields(LogFilter))


def read_following(table: TomlTable, *, is_followed: bool) -> tuple[tuple[str, ...], bool, LogFilter]:
    """``via``, ``relay`` and ``filter`` of a ``[[peer]]``."""
    via = table.texts("via")
    relay = table.values.get("relay", False)
    if not isinstance(relay, bool):
        raise table.error("relay", "is neither true nor false", hint="write relay = true without quotes")
    filter_ = _read_filter(table)
    for key in FOLLOWING_KEYS:
        if table.values.get(key) and not is_followed:
            raise table.error(key, "needs schemas that are followed", hint='add follow = ["*"]')
    if relay and filter_:
        raise table.error(
            "relay", "can't pass on what is filtered", hint="leave out relay or filter: a relay has every row"
        )
    return via, relay, filter_


def check_via(table: TomlTable, peer: PeerConfig, peers: Collection[str]) -> None:
    """`ConfigError` where ``via`` names what is not another peer of the site file."""
    for name in peer.via:
        if name == peer.name:
            raise table.error("via", "names the peer itself", hint="it is asked first anyway: leave it out")
        if name not in peers:
            hint = did_you_mean(name, peers) if peers else f"add a [[peer]] {name}, or leave via out"
            raise table.error("via", f"names no peer with {name!r}", hint=hint)


def _read_filter(table: TomlTable) -> LogFilter:
    value = table.values.get("filter", {})
    if not isinstance(value, dict):
        raise table.error("filter", "is not a table", hint='write filter = { dataset_types = ["raw"] }')
    found = TomlTable(table.file, f"{table.label} filter", value).only(FILTER_KEYS)
    patterns = {key: found.texts(key) for key in FILTER_KEYS}
    for key, given in patterns.items():
        if found.has(key) and not given:
            raise ConfigError(
                f"{table.file}: {found.label} {key} = [] would leave out all",
                hint="leave the key out for all",
            )
    return LogFilter(**patterns)
