"""Two sites on each kind of database; base follows summit and its files."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from federation.config import Address, FilePolicy, PeerConfig, SiteConfig, render_site
from federation.registry.registry import Registry

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))

from free_ports import free_port
from site_fleet import Fleet
from site_processes import Sites
from whole_sites import Witness

from federation.wire.client import SiteClient


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def sites(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sites]:
    """Both sites on one kind of database, made and empty; base follows summit and its files."""
    made: list[str] = []
    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else ""
    ports = {"summit": free_port(), "base": free_port()}
    configs = {}
    for name in ports:
        if kind == "postgresql":
            made.append(database := f"test_{uuid.uuid4().hex}")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {database}")
            monkeypatch.setenv(f"{name.upper()}_URL", urlsplit(url)._replace(path=f"/{database}").geturl())
        peers = (
            [PeerConfig("summit", Address("127.0.0.1", ports["summit"]), ("*",))] if name == "base" else []
        )
        path = tmp_path / f"{name}.toml"
        path.write_text(
            render_site(
                name, tmp_path / name, f"127.0.0.1:{ports[name]}", "sqlite", peers,
                [FilePolicy(("*",))] if peers else [],
                registry_url_env=f"{name.upper()}_URL" if kind == "postgresql" else "",
            )
        )  # fmt: skip
        configs[name] = SiteConfig.load(path)
        Registry.create(configs[name]).close()
    sites = Sites(configs["summit"], configs["base"])
    try:
        yield sites
    finally:
        sites.end()
        for database in made:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {database} WITH (FORCE)")


@pytest.fixture
def fleet(sites: Sites) -> Iterator[Fleet]:
    """Both sites to be served by processes; none runs yet."""
    with SiteClient("base", str(sites.base.listen)) as client:
        yield Fleet(sites, Witness(client))
