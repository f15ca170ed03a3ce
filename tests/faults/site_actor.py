"""What a process does to a site that may be killed on the way: ``site_actor.py ACTION SITE_FILE ...``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))

from replicated_rows import SUMMIT, write

from federation.config import SiteConfig
from federation.datastore import Datastore
from federation.registry.registry import Registry
from federation.replication.files import FilePuller
from federation.replication.follower import Follower
from federation.replication.verify import repair
from federation.services.site_server import SiteServer
from federation.wire.client import SiteClient


def act(ready: Connection, *arguments: str) -> None:
    """In a process that was forked: do it, and tell ``ready`` when the site is served."""
    main(*arguments, on_ready=ready.send)


def main(action: str, site_file: str, *arguments: str, on_ready: Callable[[str], None] | None = None) -> None:
    """Do it."""
    config = SiteConfig.load(Path(site_file))
    if action == "serve":
        SiteServer(config).serve(on_ready)
        return
    with Registry.open(config) as registry:
        if action == "write":
            write(registry, *map(int, arguments))
            return
        peer = config.peers[0]
        with SiteClient(peer.name, str(peer.address)) as client:
            if action == "repair":
                repair(registry, client, SUMMIT)
                return
            Follower(
                registry, client, SUMMIT, config.name, keeps_log=peer.relay, filter=peer.filter
            ).run_once()
            if action == "pull":
                datastore = Datastore(config.datastore_url)
                puller = FilePuller(registry, {peer.name: client}, config.replicate_files, datastore)
                puller.pull()
                assert not puller.errors, puller.errors


if __name__ == "__main__":
    main(*sys.argv[1:])
