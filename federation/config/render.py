"""Writes the text of a new site file, commented and checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import attrs

from federation.config.settings import Address, FilePolicy, PeerConfig
from federation.config.site import SiteConfig

__all__ = ["render_site"]


def render_site(
    name: str,
    root: str | Path,
    listen: str | Address,
    registry_url: str = "sqlite",
    peers: Sequence[PeerConfig] = (),
    replicate_files: Sequence[FilePolicy] = (),
    *,
    registry_url_env: str = "",
    datastore_url: str = "",
) -> str:
    """The text of a site file, with a comment on every line that is not plain.

    ``registry_url_env`` names an environment variable and replaces ``registry_url``. Raises what
    `SiteConfig.parse` raises when the file would not be a valid one: a password in a URL, a name that isn't allowed.
    """
    registry = (
        f"url_env = {_quoted(registry_url_env)}  # a postgresql:// URL, read from the environment when used"
        if registry_url_env
        else f"url = {_quoted(registry_url)}  # {_REGISTRY_COMMENTS.get(registry_url, 'a PostgreSQL server')}"
    )
    lines = [
        f"# Site {name}: every key is described in docs/reference/site-toml.md.",
        f"name = {_quoted(name)}",
        f"root = {_quoted(str(root))}  # registry, datastore and logs, unless a key below says otherwise",
        f"listen = {_quoted(str(listen))}  # this site's gRPC server",
        "",
        "[registry]",
        registry,
    ]
    if datastore_url:
        lines += ["", "[datastore]", f"url = {_quoted(datastore_url)}"]
    for peer in peers:
        lines += ["", "[[peer]]", f"name = {_quoted(peer.name)}", f"address = {_quoted(str(peer.address))}"]
        if peer.follow:
            lines.append(f"follow = {_list(peer.follow)}  # its schemas that are replicated here")
        if peer.via:
            lines.append(f"via = {_list(peer.via)}  # relays, while it does not answer")
        if peer.relay:
            lines.append("relay = true  # other sites may follow them from here")
        if peer.filter:
            kept = {key: value for key, value in attrs.asdict(peer.filter).items() if value}
            parts = ", ".join(f"{key} = {_list(value)}" for key, value in kept.items())
            lines.append(f"filter = {{ {parts} }}  # rows of others are left out")
    for policy in replicate_files:
        lines += [
            "",
            "[[replicate_files]]  # files that follow their rows to this site's datastore",
            f"dataset_types = {_list(policy.dataset_types)}",
        ]
        if policy.from_site is not None:
            lines.append(f"from = {_quoted(policy.from_site)}")
        if policy.collections:
            lines.append(f"collections = {_list(policy.collections)}")
        if policy.datastore_url is not None:
            lines.append(f"datastore = {_quoted(policy.datastore_url)}")
        if policy.priority:
            lines.append(f"priority = {policy.priority}  # higher ones come first")
        if policy.rate_bytes_s is not None:
            lines.append(f'rate_limit = "{policy.rate_bytes_s:f} B/s"')
    text = "\n".join(lines) + "\n"
    SiteConfig.parse(text, Path(f"{name}.toml"))
    return text


_REGISTRY_COMMENTS = {
    "sqlite": "SQLite files under root/registry",
    "postgresql": "a PostgreSQL server of its own, under root/postgresql",
}


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, except that DEL must be escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(texts: Sequence[str]) -> str:
    return "[" + ", ".join(_quoted(text) for text in texts) + "]"
