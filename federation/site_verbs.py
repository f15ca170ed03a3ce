"""The verbs that make a site and serve it, for programs and notebooks; ``import federation`` gives them all."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from federation.config import Address, PeerConfig, SiteConfig, find_site, load_federation, render_site
from federation.datastore import Datastore
from federation.errors import NotFoundError, UsageError
from federation.registry.registry import Registry

__all__ = ["init_site", "serve"]

#: where the ports of new sites begin
FIRST_PORT = 50051


def init_site(
    name: str,
    *,
    sites: str | Path = "sites",
    root: str | Path | None = None,
    listen: str | None = None,
    registry: str = "sqlite",
    follow: Mapping[str, Sequence[str]] | None = None,
) -> SiteConfig:
    """Make the registry of a site, and its file ``sites/NAME.toml`` where there is none.

    ``name`` may be the path of a site file. A new file has ``root`` (else ``../var/NAME``), ``listen`` (else the next
    free port of this computer's own interface), ``registry`` (``sqlite``, ``postgresql`` or a URL) and the other sites
    of the directory as peers, of which it follows the schemas in ``follow``. A site that is there keeps all it has.
    """
    directory = Path(sites)
    config = _existing(name, directory)
    if config is None:
        config = _new_site_file(name, directory, root, listen, registry, follow or {})
    elif root is not None or listen is not None or registry != "sqlite" or follow:
        raise UsageError(
            f"site {config.name} has a site file already: {config.path}", hint="edit the file instead"
        )
    Registry.create(config).close()
    store = Datastore(config.datastore_url, config.datastore_options)
    if store.local_root is not None:
        store.local_root.mkdir(parents=True, exist_ok=True)
    return config


def _existing(name: str, directory: Path) -> SiteConfig | None:
    if name.endswith(".toml") or "/" in name:
        return SiteConfig.load(Path(name))
    return find_site(name, directory) if (directory / f"{name}.toml").exists() else None


def _new_site_file(
    name: str,
    directory: Path,
    root: str | Path | None,
    listen: str | None,
    registry: str,
    follow: Mapping[str, Sequence[str]],
) -> SiteConfig:
    others = load_federation(directory) if any(directory.glob("*.toml")) else ()
    unknown = sorted(set(follow) - {other.name for other in others})
    if unknown:
        raise NotFoundError(
            f"no site {unknown[0]!r} in {directory} to follow", hint="make its site file first"
        )
    taken = {other.listen.port for other in others}
    port = next(port for port in range(FIRST_PORT, 65536) if port not in taken)
    text = render_site(
        name,
        f"../var/{name}" if root is None else Path(root).absolute(),
        listen or Address("127.0.0.1", port),
        registry,
        [PeerConfig(other.name, other.listen, tuple(follow.get(other.name, ()))) for other in others],
    )
    path = directory / f"{name}.toml"
    config = SiteConfig.parse(text, path)
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return config


def serve(
    site: str, *, sites: str | Path = "sites", on_bound: Callable[[SiteConfig, str], None] | None = None
) -> None:
    """Serve a site and follow its peers until SIGTERM or SIGINT.

    The server says in a line on standard output where it listens; with ``on_bound`` it tells file and address to that
    instead. `ConflictError` when another process serves the site.
    """
    # whoever makes a site only need not wait for the server's libraries
    from federation.services.site_server import SiteServer

    config = find_site(site, Path(sites))
    server = SiteServer(config)
    if on_bound is None:
        server.serve()
        return
    on_bound(config, server.address)
    with contextlib.redirect_stdout(sys.stderr):
        server.serve()
