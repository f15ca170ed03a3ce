"""What a site file says of identity, access and limits: ``[tls]``, ``[auth]``, ``[limits]``, ``insecure``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from federation.config.sections import KEYS, read_path
from federation.config.settings import LOOPBACK_HOSTS
from federation.errors import ConfigError

if TYPE_CHECKING:
    from federation.config.settings import Address
    from federation.config.table import TomlTable

__all__ = [
    "LimitsConfig",
    "TlsConfig",
    "check_exposed",
    "read_insecure",
    "read_limits",
    "read_tls",
    "read_token_file",
]


@attrs.frozen
class TlsConfig:
    """PEM files: whom to trust, who one is, and the key that proves it."""

    ca: Path
    certificate: Path
    key: Path

    @property
    def files(self) -> tuple[Path, Path, Path]:
        return self.ca, self.certificate, self.key


@attrs.frozen
class LimitsConfig:
    """What one caller may ask of a site: size of a message in bytes, calls at one time, calls a second."""

    message_bytes_max: int = 64 << 20
    calls_at_once: int = 1024
    calls_per_s: float = 2000.0
    calls_burst: int = 4000


def read_tls(top: TomlTable) -> TlsConfig | None:
    """``[tls]``; None without. All three files must be named; they are read when they are used."""
    if not top.has("tls"):
        return None
    table = top.table("tls", KEYS["tls"])
    return TlsConfig(*(read_path(table, key) for key in KEYS["tls"]))


def read_token_file(top: TomlTable) -> Path | None:
    """``[auth] token_file``: where the token is that commands with this site file present; None without."""
    table = top.table("auth", KEYS["auth"])
    return read_path(table, "token_file") if table.has("token_file") else None


def read_insecure(top: TomlTable) -> bool:
    """``insecure``: whether a server without ``[tls]`` may listen for other computers."""
    value = top.values.get("insecure", False)
    if not isinstance(value, bool):
        raise top.error("insecure", "is neither true nor false", hint="write insecure = true without quotes")
    return value


def read_limits(top: TomlTable) -> LimitsConfig:
    """``[limits]``, with the defaults of `LimitsConfig`."""
    table = top.table("limits", KEYS["limits"])
    default = LimitsConfig()
    calls_per_s = table.number("calls_per_s", default.calls_per_s, minimum=0.0)
    if calls_per_s == 0.0:
        raise table.error(
            "calls_per_s", "permits no call", hint=f"the default is calls_per_s = {default.calls_per_s}"
        )
    return LimitsConfig(
        # below this a catalog of some hundred tables is too large
        message_bytes_max=table.integer("message_bytes_max", default.message_bytes_max, minimum=1 << 20),
        calls_at_once=table.integer("calls_at_once", default.calls_at_once, minimum=1),
        calls_per_s=calls_per_s,
        calls_burst=table.integer("calls_burst", default.calls_burst, minimum=1),
    )


def check_exposed(path: Path, listen: Address, tls: TlsConfig | None, *, insecure: bool) -> None:
    """`ConfigError` for a server that others could reach without proving who they are."""
    if tls is None and not insecure and listen.host not in LOOPBACK_HOSTS:
        raise ConfigError(
            f'{path}: listen = "{listen}" lets other computers in, and there is no [tls]',
            hint="add [tls] (see: federation site cert issue --help), or insecure = true on a network you trust",
        )
