"""Three sites from their site files: the archive takes the summit's schema through base while the summit is cut off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from free_ports import free_port

from federation.config import Address, PeerConfig, SiteConfig, render_site
from federation.model.log_filter import LogFilter
from federation.model.position import SchemaId
from federation.registry.registry import Registry
from federation.services.site_server import SiteServer
from federation.wire.messages import SchemaStatus

SUMMIT = SchemaId("summit", "summit")


def _eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.05)


@attrs.define
class Three:
    configs: dict[str, SiteConfig]
    servers: dict[str, SiteServer] = attrs.field(factory=dict)

    def start(self, name: str) -> None:
        self.servers[name] = SiteServer(self.configs[name])
        self.servers[name].start()

    def stop(self, name: str) -> None:
        self.servers.pop(name).stop()

    def status(self, name: str) -> SchemaStatus | None:
        found = self.servers[name].status().schemas
        return next((held for held in found if held.schema == SUMMIT), None)

    def write(self, first: int, count: int) -> None:
        with Registry.open(self.configs["summit"]) as registry:
            for number in range(first, first + count):
                with registry.transaction("summit") as tx:
                    tx.put("instrument", [{"name": f"Cam{number}"}])


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Three]:
    ports = {name: free_port() for name in ("summit", "base", "ncsa", "laptop")}

    def peer(name: str, **options: object) -> PeerConfig:
        return PeerConfig(name, Address("127.0.0.1", ports[name]), **options)  # type: ignore[arg-type]

    peers = {
        "summit": [],
        "base": [peer("summit", follow=("*",), relay=True)],
        "ncsa": [peer("summit", follow=("summit",), via=("base",)), peer("base")],
        "laptop": [peer("summit", follow=("summit",), filter=LogFilter(dataset_types=("raw",)))],
    }
    configs = {}
    for name, port in ports.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(render_site(name, tmp_path / name, f"127.0.0.1:{port}", "sqlite", peers[name]))
        configs[name] = SiteConfig.load(path)
        Registry.create(configs[name]).close()
    three = Three(configs)
    yield three
    for name in list(three.servers):
        three.stop(name)


def _lsn(sites: Three, name: str) -> int:
    status = sites.status(name)
    return -1 if status is None else status.lsn


def test_an_outage_is_bridged_by_a_relay_and_reconciled_afterwards(sites: Three) -> None:
    sites.write(1, 3)
    for name in ("summit", "base"):
        sites.start(name)
    _eventually(lambda: _lsn(sites, "base") == 3, "base follows")
    sites.stop("summit")
    # the archive has never reached the summit: the relay tells which schemas there are
    sites.start("ncsa")
    _eventually(lambda: _lsn(sites, "ncsa") == 3, "ncsa follows through base")
    through = sites.status("ncsa")
    assert through is not None
    assert (through.path, through.state, through.lag_entries) == (("summit", "base"), "following", 0)
    # the summit goes on by itself
    sites.write(4, 2)

    def base_is_waiting() -> bool:
        status = sites.status("base")
        return status is not None and status.state == "waiting" and bool(status.detail)

    _eventually(base_is_waiting, "base tells that it waits")
    sites.start("summit")
    _eventually(lambda: _lsn(sites, "base") == 5, "base reconciles")
    _eventually(lambda: _lsn(sites, "ncsa") == 5, "and so does ncsa")

    def is_direct() -> bool:
        status = sites.status("ncsa")
        return status is not None and status.path == ("summit",)

    _eventually(is_direct, "ncsa returns to the summit")
    sites.write(6, 1)
    _eventually(lambda: _lsn(sites, "ncsa") == 6, "from where it goes on")


def test_the_catalog_and_the_status_of_a_site_tell_of_its_filter(sites: Three) -> None:
    sites.write(1, 2)
    sites.start("summit")
    sites.start("laptop")
    _eventually(lambda: _lsn(sites, "laptop") == 2, "the laptop follows")
    status = sites.status("laptop")
    assert status is not None
    assert status.filter == LogFilter(dataset_types=("raw",))
    _, _, catalog = sites.servers["laptop"].get_catalog("", "")
    assert catalog is not None
    held = catalog.schema(SUMMIT)
    assert held is not None
    assert "dataset" in held.partial_tables
    assert "instrument" not in held.partial_tables
