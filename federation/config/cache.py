"""Reads ``[cache]`` of a site file: which files a cache site takes in, and when it lets them go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from federation.config.settings import size_bytes
from federation.config.table import did_you_mean
from federation.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from federation.config.settings import FilePolicy, PeerConfig
    from federation.config.table import TomlTable

__all__ = ["CACHE_KEYS", "CacheConfig", "InboxConfig", "read_cache"]

CACHE_KEYS: Final = (
    "permanent",
    "keep_s",
    "capacity",
    "high_water",
    "low_water",
    "grace_s",
    "lease_s",
    "inbox",
)
_INBOX_KEYS: Final = ("directory", "dataset_type", "run", "header_mapping")


@attrs.frozen
class InboxConfig:
    """A directory, the files of which become datasets of one type in one RUN.

    What they are is told by a sidecar or a FITS header, which is read through ``header_mapping`` where there is one.
    """

    directory: Path
    dataset_type: str
    run: str
    header_mapping: Path | None = None


@attrs.frozen
class CacheConfig:
    """A cache of files that are kept for good elsewhere: at the sites ``permanent``, each of which will do.

    A file goes when it is older than ``keep_s``; and when files take more than ``high_water`` of ``capacity_bytes``
    (None: of the file system), those not used for longest go until they take ``low_water``. A file that is let go stays
    ``grace_s`` more for who is reading it, and one that was handed out is kept for ``lease_s``.
    """

    inboxes: tuple[InboxConfig, ...]
    permanent: tuple[str, ...]
    keep_s: float = 30 * 86_400.0
    capacity_bytes: int | None = None
    high_water: float = 0.9
    low_water: float = 0.8
    grace_s: float = 60.0
    lease_s: float = 300.0


def read_cache(
    top: TomlTable,
    peers: Sequence[PeerConfig],
    policies: Sequence[FilePolicy],
    read_path: Callable[[TomlTable, str], Path],
) -> CacheConfig | None:
    """``[cache]``; None for a site that is no cache. ``read_path`` reads a path of a table's key.

    ``policies`` may not bring files to the same datastore.
    """
    if not top.has("cache"):
        return None
    table = top.table("cache", CACHE_KEYS)
    names = [peer.name for peer in peers]
    permanent = table.texts("permanent")
    for name in permanent:
        if name not in names:
            hint = did_you_mean(name, names) if names else "this site has no [[peer]]; add it"
            raise table.error("permanent", f"names {name!r}, which is not a peer", hint=hint)
    if not permanent:
        raise ConfigError(
            f"{table.file}: [cache] names no permanent site",
            hint='add permanent = ["ncsa"]: a file only goes once such a site has it',
        )
    if any(policy.datastore_url is None for policy in policies):
        raise ConfigError(
            f"{table.file}: [[replicate_files]] would bring back what [cache] lets go",
            hint="leave it out: a cache brings files when they are asked for; or give it another datastore",
        )
    default = CacheConfig((), permanent)
    high = table.number("high_water", default.high_water, minimum=0.0)
    low = table.number("low_water", min(default.low_water, high), minimum=0.0)
    if high > 1:
        raise table.error("high_water", "is more than the whole", hint="a share such as 0.9")
    if low > high:
        raise table.error("low_water", f"is above high_water = {high:g}", hint="a smaller share, such as 0.8")
    return CacheConfig(
        tuple(
            InboxConfig(
                read_path(one, "directory"),
                one.text("dataset_type"),
                one.text("run"),
                read_path(one, "header_mapping") if one.has("header_mapping") else None,
            )
            for one in table.tables("inbox", _INBOX_KEYS)
        ),
        permanent,
        table.number("keep_s", default.keep_s, minimum=0.0),
        _capacity(table) if table.has("capacity") else None,
        high,
        low,
        table.number("grace_s", default.grace_s, minimum=0.0),
        table.number("lease_s", default.lease_s, minimum=0.0),
    )


def _capacity(table: TomlTable) -> int:
    try:
        return size_bytes(table.text("capacity"))
    except ValueError:
        raise table.error("capacity", "is not a size", hint='write "10TB" or "500GiB"') from None
