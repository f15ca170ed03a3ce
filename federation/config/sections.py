"""Reads each section of a site file into its value; what is wrong with it is a `ConfigError`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from federation.config.cache import CACHE_KEYS
from federation.config.following import FOLLOWING_KEYS, check_via, read_following
from federation.config.log_keeping import LOG_KEYS
from federation.config.metrics import METRICS_KEYS
from federation.config.secret import SecretUrl, redact
from federation.config.settings import (
    Address,
    FilePolicy,
    PeerConfig,
    QueryConfig,
    RegistryConfig,
    size_bytes,
)
from federation.config.table import TomlTable, did_you_mean
from federation.errors import ConfigError, UserError
from federation.model.position import check_name

__all__ = [
    "KEYS",
    "read_address",
    "read_datastore_url",
    "read_file_policies",
    "read_purged_copies",
    "read_name",
    "read_path",
    "read_peers",
    "read_query",
    "read_registry",
]

#: every key of a site file, by the table it stands in ("" is the top)
KEYS: Final[dict[str, tuple[str, ...]]] = {
    "": (
        *("name", "root", "listen", "insecure", "registry", "datastore", "peer", "replicate_files", "query"),
        *("log", "tls", "auth", "limits", "metrics", "cache"),
    ),
    "registry": ("url", "url_env", "url_file", "universe"),
    "datastore": (
        *("url", "endpoint", "region", "credentials_env", "credentials_file", "profile", "anonymous"),
        "purged_copies",
    ),
    "peer": ("name", "address", "follow", "may_follow", "token_key", *FOLLOWING_KEYS),
    "replicate_files": ("dataset_types", "collections", "from", "datastore", "priority", "rate_limit"),
    "query": (
        *(
            "max_staleness_s",
            "row_count_max",
            "byte_count_max",
            "memory_limit",
            "spill_limit",
            "spill_directory",
        ),
        *("timeout_s", "fragment_timeout_s", "fragment_cost_max"),
    ),
    "cache": CACHE_KEYS,
    "log": LOG_KEYS,
    "metrics": METRICS_KEYS,
    "tls": ("ca", "certificate", "key"),
    "auth": ("token_file",),
    "limits": ("message_bytes_max", "calls_at_once", "calls_per_s", "calls_burst"),
}

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_RATE = re.compile(r"(\d+(?:\.\d+)?) ?([kMG]?)B/s\Z", re.IGNORECASE)
_PREFIXES: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:::|://)")


def read_name(table: TomlTable, key: str, kind: str) -> str:
    """The name of a site."""
    try:
        return check_name(kind, table.text(key))
    except ConfigError:
        raise
    except UserError as error:
        raise table.error(key, f"cannot name a {kind}", hint=error.hint) from error


def read_path(table: TomlTable, key: str) -> Path:
    """A path relative to the directory of the site file; ``~`` is the user's home."""
    try:
        return (table.file.parent / Path(table.text(key)).expanduser()).resolve()
    except RuntimeError as error:  # no such user
        raise table.error(key, f"cannot be expanded: {error}", hint="write the directory out") from error
    except (OSError, ValueError) as error:
        raise table.error(key, f"is not a path: {error}", hint="write a path of the file system") from error


def read_address(table: TomlTable, key: str, *, port_min: int) -> Address:
    """An address; port 0 (any free one) only where ``port_min`` is 0."""
    try:
        address = Address.parse(table.text(key))
    except ConfigError:
        raise
    except UserError as error:
        raise table.error(key, "is not an address", hint=error.hint) from error
    if address.port < port_min:
        raise table.error(key, "has no port to connect to", hint="give the port that the peer listens on")
    return address


def read_registry(top: TomlTable) -> RegistryConfig:
    """``[registry]``: SQLite where nothing is said."""
    table = top.table("registry", KEYS["registry"])
    given = [key for key in ("url", "url_env", "url_file") if table.has(key)]
    if len(given) > 1:
        raise ConfigError(
            f"{table.file}: [registry] has {' and '.join(given)}", hint="keep exactly one of them"
        )
    universe_path = read_path(table, "universe") if table.has("universe") else None
    if "url_env" in given:
        variable = table.text("url_env")
        if not _VARIABLE.match(variable):
            # shown could be the URL itself, put under the wrong key
            raise table.error(
                "url_env", "is not the name of an environment variable", hint="e.g. BASE_URL", shown="..."
            )
        return RegistryConfig("postgresql", SecretUrl("url_env", variable, table.file), universe_path)
    if "url_file" in given:
        if redact(table.text("url_file")) != table.text("url_file"):
            raise table.error("url_file", "is a URL, not a file", hint="put the URL into a file", shown="...")
        return RegistryConfig(
            "postgresql", SecretUrl("url_file", str(read_path(table, "url_file")), table.file), universe_path
        )
    url = table.text("url", "sqlite")
    if url == "sqlite":
        return RegistryConfig("sqlite", None, universe_path)
    if url == "postgresql":
        return RegistryConfig("embedded-postgresql", None, universe_path)
    return RegistryConfig("postgresql", _server_url(table, url), universe_path)


def _server_url(table: TomlTable, url: str) -> SecretUrl:
    """A URL written into the site file: of PostgreSQL, and without a password."""
    shown = f'"{redact(url)}"'
    if redact(url) != url:
        raise table.error(
            "url",
            "holds a password",
            hint='keep the URL in an environment variable or a file, and write url_env = "NAME" or url_file = "PATH"',
            shown=shown,
        )
    if not url.startswith("postgresql://"):
        raise table.error(
            "url", "is not a registry", hint='write "sqlite", "postgresql" or "postgresql://..."', shown=shown
        )
    return SecretUrl("url", url, table.file)


def read_datastore_url(top: TomlTable, root: Path) -> str:
    """``[datastore]`` as an fsspec URL; a plain path becomes a ``file://`` URL, as does the default."""
    table = top.table("datastore", KEYS["datastore"])
    if table.values.get("url", "") == "":
        return f"file://{root / 'datastore'}"
    return _store_url(table, "url")


def _store_url(table: TomlTable, key: str) -> str:
    """The URL of a datastore; a plain path becomes a ``file://`` URL."""
    url = table.text(key)
    if redact(url) != url:
        raise table.error(
            key,
            "holds a password",
            hint="give credentials the way the file system's library reads them: its environment or profile",
            shown=f'"{redact(url)}"',
        )
    if not _URL.match(url):
        return f"file://{read_path(table, key)}"
    import fsspec  # only a site that names a URL pays for this import

    protocol = re.split("::|://", url, maxsplit=1)[0]
    if protocol not in fsspec.available_protocols():
        hint = did_you_mean(protocol, sorted(fsspec.available_protocols()))
        raise table.error(key, f"has unknown protocol {protocol!r}", hint=hint)
    if protocol in ("file", "local") and not url.split("://", 1)[-1].startswith("/"):
        raise table.error(
            key, "is a relative URL", hint="write a path without file://, or file:///absolute/path"
        )
    return url


def read_peers(top: TomlTable, own_name: str) -> tuple[PeerConfig, ...]:
    """Every ``[[peer]]``, in order."""
    peers: dict[str, PeerConfig] = {}
    for table in top.tables("peer", KEYS["peer"]):
        name = read_name(table, "name", "site")
        if name == own_name:
            raise table.error("name", "is this site itself", hint="list other sites only")
        if name in peers:
            raise table.error("name", "is listed twice", hint="keep one [[peer]] for each site")
        follow = table.texts("follow")
        for schema in follow:
            if schema == "*":
                continue
            try:
                check_name("schema", schema)
            except UserError as error:
                raise table.error(
                    "follow", f"names no schema with {schema!r}", hint=f'"*" or {error.hint}'
                ) from error
        following = read_following(table, is_followed=bool(follow))
        peers[name] = PeerConfig(
            name,
            read_address(table, "address", port_min=1),
            follow,
            *following,
            may_follow=table.texts("may_follow"),
            token_key=read_path(table, "token_key") if table.has("token_key") else None,
        )
    for table, peer in zip(top.tables("peer", KEYS["peer"]), peers.values(), strict=True):
        check_via(table, peer, [other for other in peers if other != peer.name])
    return tuple(peers.values())


def read_file_policies(top: TomlTable, peers: Sequence[PeerConfig]) -> tuple[FilePolicy, ...]:
    """Every ``[[replicate_files]]``, in order."""
    names = [peer.name for peer in peers]
    return tuple(
        _file_policy(table, names) for table in top.tables("replicate_files", KEYS["replicate_files"])
    )


def read_purged_copies(top: TomlTable) -> bool:
    """Whether copies of files whose datasets were purged at another site are removed here."""
    table = top.table("datastore", KEYS["datastore"])
    chosen = table.text("purged_copies") if table.has("purged_copies") else "keep"
    if chosen not in ("keep", "remove"):
        raise table.error("purged_copies", "is unknown", hint='write "keep" or "remove"')
    return chosen == "remove"


def _file_policy(table: TomlTable, peers: list[str]) -> FilePolicy:
    dataset_types = table.texts("dataset_types")
    if not dataset_types:
        raise ConfigError(
            f"{table.file}: {table.label} names no dataset_types", hint='add dataset_types = ["raw"] or ["*"]'
        )
    from_site = table.text("from") if table.has("from") else None
    if from_site is not None and from_site not in peers:
        hint = did_you_mean(from_site, peers) if peers else "this site has no [[peer]]; add it"
        raise table.error("from", "is not a peer", hint=hint)
    return FilePolicy(
        dataset_types,
        from_site,
        table.texts("collections"),
        _store_url(table, "datastore") if table.has("datastore") else None,
        table.integer("priority", 0, minimum=0),
        _rate(table) if table.has("rate_limit") else None,
    )


def _rate(table: TomlTable) -> float:
    """``rate_limit`` in bytes a second."""
    match = _RATE.match(table.text("rate_limit"))
    number = float(match[1]) if match else 0.0
    if match is None or number <= 0:
        raise table.error(
            "rate_limit", "is not a rate", hint='write a number and B/s, kB/s, MB/s or GB/s: "20 MB/s"'
        )
    return number * _PREFIXES[match[2].lower()]


def read_query(top: TomlTable) -> QueryConfig:
    """``[query]``, with the defaults of `QueryConfig`."""
    table = top.table("query", KEYS["query"])
    default = QueryConfig()
    has_directory = table.has("spill_directory")
    return QueryConfig(
        max_staleness_s=table.number("max_staleness_s", default.max_staleness_s, minimum=0.0),
        row_count_max=table.integer("row_count_max", default.row_count_max, minimum=1),
        byte_count_max=table.integer("byte_count_max", default.byte_count_max, minimum=1),
        memory_limit=_size(table, "memory_limit", default.memory_limit),
        spill_limit=_size(table, "spill_limit", default.spill_limit),
        spill_directory=read_path(table, "spill_directory") if has_directory else None,
        timeout_s=_positive(table, "timeout_s", default.timeout_s, "leaves no time"),
        fragment_timeout_s=_positive(
            table, "fragment_timeout_s", default.fragment_timeout_s, "leaves no time"
        ),
        fragment_cost_max=_positive(
            table, "fragment_cost_max", default.fragment_cost_max, "permits no fragment"
        ),
    )


def _size(table: TomlTable, key: str, default: str) -> str:
    text = table.text(key, default)
    try:
        size_bytes(text)
    except ValueError:
        raise table.error(
            key, "is not a size", hint=f'write a number and KB, MB, GB, TB, KiB, MiB, GiB or TiB: "{default}"'
        ) from None
    return text


def _positive(table: TomlTable, key: str, default: float, problem: str) -> float:
    value = table.number(key, default, minimum=0.0)
    if value == 0.0:
        raise table.error(key, problem, hint=f"the default is {key} = {default}")
    return value
