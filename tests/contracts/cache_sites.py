"""A cache site and the site that keeps its files for good, both served in this process."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import sqlalchemy as sa

from federation.cache.cache_site import CacheSite
from federation.config import SiteConfig
from federation.datastore import Datastore
from federation.model.dataset import DatasetType, deterministic_id
from federation.model.position import SchemaId
from federation.model.system_tables import system_tables
from federation.registry.dataset_types import declare
from federation.registry.registry import Registry
from federation.services.site_server import SiteServer
from federation.wire.client import SiteClient

RUN = "Cam/raw/all"
SECOND_NS = 1_000_000_000


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        threading.Event().wait(0.05)


def identity(number: int) -> uuid.UUID:
    return deterministic_id("flat", RUN, {"instrument": "C", "detector": number})


def content(number: int) -> bytes:
    return bytes([number % 251]) * (1000 + number)


@attrs.define
class Sites:
    """``base`` is the cache, ``ncsa`` follows its rows and pulls its files; ``now_ns`` is the time of the cache."""

    directory: Path
    base: SiteConfig
    ncsa: SiteConfig
    now_ns: int = 10**18

    @property
    def inbox(self) -> Path:
        return self.directory.parent / "inbox"

    def deliver(self, *numbers: int) -> None:
        """Files arrive as they should: complete, then renamed."""
        for number in numbers:
            file = self.inbox / f"flat{number}.dat"
            records = {"instrument": [{"name": "C"}], "detector": [{"instrument": "C", "id": number}]}
            described = {"data_id": {"instrument": "C", "detector": number}, "records": records}
            file.with_name(file.name + ".json").write_text(json.dumps(described))
            file.with_name(f".{file.name}").write_bytes(content(number))
            file.with_name(f".{file.name}").rename(file)

    @contextlib.contextmanager
    def cache(self) -> Iterator[CacheSite]:
        """The cache, which sees the time of ``now_ns``."""
        with (
            Registry.open(self.base) as registry,
            SiteClient("ncsa", str(self.ncsa.listen)) as ncsa,
            SiteClient("base", str(self.base.listen)) as own,
        ):

            def bring(ids: object) -> None:
                with own.bring(ids) as brought:  # type: ignore[arg-type]
                    for one in brought:
                        assert one.error is None, one.error

            cache = CacheSite(
                self.base,
                registry,
                Datastore(self.base.datastore_url),
                {"ncsa": ncsa},
                bring=bring,
                clock=lambda: self.now_ns,
            )
            try:
                cache.take_stock()
                yield cache
            finally:
                cache.close()

    def later(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND_NS)

    def named(self, site: str) -> dict[uuid.UUID, str]:
        """The datasets whose files are at a site, as its own registry says, and the paths."""
        with Registry.open({"base": self.base, "ncsa": self.ncsa}[site]) as registry:
            return _present(registry, site)

    def await_permanent(self, *numbers: int) -> None:
        """Wait until ncsa has the files, and base knows it."""
        wanted = {identity(number) for number in numbers}
        for config, what in ((self.ncsa, "the files at ncsa"), (self.base, "that base knows of them")):
            with Registry.open(config) as registry:
                eventually(lambda here=registry: wanted <= _present(here, "ncsa").keys(), what)

    def place(self, number: int) -> Path:
        """Where a file is that the cache names."""
        return Path(self.base.datastore_url.removeprefix("file://")) / self.named("base")[identity(number)]


def _present(registry: Registry, site: str) -> dict[uuid.UUID, str]:
    """The files that a site has, as a registry knows."""
    held = registry.find(SchemaId(site, site))
    if held is None:
        return {}
    with registry.database.read((held.physical,)) as connection:
        table = registry.physical_tables(held.physical, system_tables())["artifact"]
        wanted = sa.select(table.c.dataset_id, table.c.uri).where(table.c.present, table.c.site == site)
        return {row.dataset_id: row.uri for row in connection.execute(wanted)}


def write_sites(root: Path, ports: tuple[int, int], **cache: object) -> Sites:
    """Both sites' files and registries; ``cache`` are keys of ``[cache]``."""
    directory = root / "sites"
    directory.mkdir(parents=True)
    (root / "inbox").mkdir()
    keys = "".join(f"{name} = {json.dumps(value)}\n" for name, value in cache.items())
    (directory / "base.toml").write_text(
        f'name = "base"\nroot = "../base"\nlisten = "127.0.0.1:{ports[0]}"\n'
        f'[[peer]]\nname = "ncsa"\naddress = "127.0.0.1:{ports[1]}"\nfollow = ["ncsa"]\n'
        f'[cache]\npermanent = ["ncsa"]\n{keys}'
        f'[[cache.inbox]]\ndirectory = "../inbox"\ndataset_type = "flat"\nrun = "{RUN}"\n'
    )
    (directory / "ncsa.toml").write_text(
        f'name = "ncsa"\nroot = "../ncsa"\nlisten = "127.0.0.1:{ports[1]}"\n'
        f'[[peer]]\nname = "base"\naddress = "127.0.0.1:{ports[0]}"\nfollow = ["base"]\n'
        '[[replicate_files]]\ndataset_types = ["flat"]\nfrom = "base"\n'
    )
    base, ncsa = (SiteConfig.load(directory / f"{name}.toml") for name in ("base", "ncsa"))
    with Registry.create(base) as registry, registry.transaction("base") as tx:
        declare(tx, DatasetType("flat", ("detector",), "Packages", False))
    Registry.create(ncsa).close()
    return Sites(directory, base, ncsa)


@contextlib.contextmanager
def served(*configs: SiteConfig) -> Iterator[list[SiteServer]]:
    with contextlib.ExitStack() as stack:
        servers = []
        for config in configs:
            server = SiteServer(config)
            server.start()
            stack.callback(server.stop)
            servers.append(server)
        yield servers
