"""Two sites that are served by processes, which a test kills and starts again."""

from __future__ import annotations

import signal

from replicated_rows import write
from site_processes import SiteProcess, Sites
from whole_sites import Witness, assert_equal_and_whole

from federation.config import SiteConfig
from federation.datastore import Datastore
from federation.registry.artifacts import Artifact, record
from federation.registry.registry import Registry

#: followers that are not left waiting
SOON = {"federation.replication.follower:BACKOFF_MAX_S": 0.5}
#: more than any killpoint needs to be passed so often as it is asked for
WRITES_MAX = 60


class Fleet:
    """Summit and base, served by processes of which the test kills one after another."""

    def __init__(self, sites: Sites, witness: Witness) -> None:
        self.sites, self.witness, self.count = sites, witness, 0
        self.running: dict[str, SiteProcess] = {}

    def serve(self, name: str, kill: str = "", **settings: object) -> SiteProcess:
        """Start a site's server, in place of the one that runs."""
        self.end(name)
        config: SiteConfig = getattr(self.sites, name)
        self.running[name] = self.sites.start("serve", config, kill=kill, settings={**SOON, **settings})
        return self.running[name]

    def end(self, name: str) -> None:
        if (process := self.running.pop(name, None)) is not None:
            process.kill()
            process.wait()

    def write(self, count: int = 1, *, with_file: bool = False) -> None:
        """Commit the next transactions at summit."""
        with Registry.open(self.sites.summit) as summit:
            write(summit, self.count + 1, count)
            self.count += count
            if with_file:
                _add_file(summit, self.sites.summit, self.count)

    def write_until_killed(self, process: SiteProcess, *, with_file: bool = False) -> None:
        """Let the sites work until a process is gone."""
        for _ in range(WRITES_MAX):
            if process.poll() is not None:
                break
            self.write(with_file=with_file)
            self.witness.look()
        for _ in range(WRITES_MAX):  # many that come late are taken together, and pass a killpoint once
            if process.has_ended(1.0):
                break
            self.write(with_file=with_file)
        assert process.wait() == -signal.SIGKILL

    def check(self) -> None:
        """After everything runs again: one more commit, and all is equal."""
        for name in ("summit", "base"):
            if name not in self.running or self.running[name].poll() is not None:
                self.serve(name)
        self.write()
        self.witness.await_equal(self.sites)
        assert assert_equal_and_whole(self.sites) == self.count


def _add_file(summit: Registry, config: SiteConfig, number: int) -> None:
    """A file for the dataset of the transaction ``number``."""
    with summit.transaction("summit") as tx:
        (row,) = tx.select("flat", ("detector",), [(number,)])
        name, data = f"f{number}.fits", f"file {number}".encode() * 1000
        stored = Datastore(config.datastore_url).put_stream([data], name)
        record(tx, [Artifact(row["dataset_id"], name, stored.size_bytes, stored.checksum)])
