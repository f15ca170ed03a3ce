"""Of a site's catalog only what has changed goes over the wire, and arrives as if it had come whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from federation.model.catalog import SiteCatalog
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.registry import dataset_types
from federation.registry.catalog import CatalogSource
from federation.registry.registry import Registry
from federation.registry.statistics import StatisticsSource
from federation.storage import SqliteDatabase
from federation.wire.catalog import decode_catalog
from federation.wire.channel import SiteChannel
from federation.wire.client import SiteClient
from federation.wire.server import SiteServer, build_server
from federation.wire.v1 import query_pb2


@attrs.define
class Telling:
    """A site that tells its catalog, and nothing else."""

    registry: Registry
    statistics: StatisticsSource = attrs.field(init=False)
    source: CatalogSource = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.statistics = StatisticsSource(self.registry)
        self.source = CatalogSource(self.registry, self.statistics)

    def get_catalog(self, known_version: str, user: str) -> tuple[str, str, SiteCatalog | None]:
        catalog = self.source.catalog()
        return catalog.site, catalog.version, None if catalog.version == known_version else catalog

    def put(self, first: int, count: int) -> None:
        with self.registry.transaction("base") as tx:
            tx.put("detector", [{"instrument": "Cam", "id": n} for n in range(first, first + count)])


@pytest.fixture
def site(tmp_path: Path, universe: DimensionUniverse) -> Iterator[Telling]:
    with Registry.create_in(SqliteDatabase(tmp_path / "base"), "base", universe) as registry:
        yield Telling(registry)


@pytest.fixture
def server(site: Telling) -> Iterator[SiteServer]:
    built = build_server(site, "127.0.0.1:0", workers=4)  # type: ignore[arg-type]
    built.start()
    yield built
    built.stop(0)


def test_what_arrives_is_the_whole_catalog_after_every_change(site: Telling, server: SiteServer) -> None:
    with SiteClient("base", server.address) as client:

        def check(known: str) -> str:
            told = client.get_catalog(known)
            there = site.source.catalog()
            assert told == there
            assert told is not None
            assert told.schemas[0].stats == there.schemas[0].stats
            return told.version

        version = check("")
        assert client.get_catalog(version) is None
        site.put(0, 3)
        version = check(version)
        site.statistics.refresh()
        version = check(version)
        site.put(10, 1)
        version = check(version)
        with site.registry.transaction("base") as tx:
            dataset_types.declare(tx, DatasetType("camera", ("detector",), "Camera"))
        version = check(version)
        site.statistics.refresh()
        check(version)


def test_parts_that_are_known_are_left_out(site: Telling, server: SiteServer) -> None:
    site.put(0, 3)
    site.statistics.refresh()
    channel = SiteChannel("base", server.address, None)
    ask = channel.stubs().query.GetCatalog
    whole = ask(query_pb2.GetCatalogRequest(known_layout="-"))
    assert whole.catalog
    assert whole.state
    assert whole.statistics
    site.put(10, 1)
    known = query_pb2.GetCatalogRequest(
        known_version=whole.version,
        known_layout=whole.layout,
        known_statistics=whole.statistics_version,
    )
    changed = ask(known)
    assert (changed.catalog, changed.statistics) == (b"", b"")
    assert changed.version != whole.version
    assert len(changed.state) < len(whole.catalog) / 20
    channel.close()


def test_callers_that_know_no_parts_get_what_they_always_got(site: Telling, server: SiteServer) -> None:
    site.put(0, 3)
    site.statistics.refresh()
    channel = SiteChannel("base", server.address, None)
    answer = channel.stubs().query.GetCatalog(query_pb2.GetCatalogRequest())
    assert (answer.state, answer.statistics, answer.layout) == (b"", b"", "")
    assert decode_catalog(answer.catalog).schemas[0].stats["detector"].row_count == 3
    channel.close()
