"""What one site is told: its name, registry, datastore, peers and limits."""

from __future__ import annotations

from pathlib import Path

import attrs

from federation.config.cache import CacheConfig, read_cache
from federation.config.log_keeping import LogConfig, read_log
from federation.config.metrics import MetricsConfig, read_metrics
from federation.config.sections import (
    KEYS,
    read_address,
    read_datastore_url,
    read_file_policies,
    read_name,
    read_path,
    read_peers,
    read_purged_copies,
    read_query,
    read_registry,
)
from federation.config.security import (
    LimitsConfig,
    TlsConfig,
    read_insecure,
    read_limits,
    read_tls,
    read_token_file,
)
from federation.config.settings import Address, FilePolicy, PeerConfig, QueryConfig, RegistryConfig
from federation.config.stores import StoreOptions, read_store_options
from federation.config.table import TomlTable
from federation.errors import ConfigError

__all__ = ["SiteConfig"]


@attrs.frozen
class SiteConfig:
    """One site file, parsed. ``root`` and all paths are absolute; ``path`` is the file itself."""

    name: str
    path: Path
    root: Path
    listen: Address
    registry: RegistryConfig
    datastore_url: str
    peers: tuple[PeerConfig, ...] = ()
    replicate_files: tuple[FilePolicy, ...] = ()
    query: QueryConfig = QueryConfig()
    tls: TlsConfig | None = None
    token_file: Path | None = None
    limits: LimitsConfig = LimitsConfig()
    insecure: bool = False
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()
    datastore_options: StoreOptions = StoreOptions()
    cache: CacheConfig | None = None
    removes_purged: bool = False

    @classmethod
    def load(cls, path: Path) -> SiteConfig:
        """Read a site file; `ConfigError` names file, key, value and remedy."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"cannot read site file {path}: {error.strerror}",
                hint="check the path, or run: federation site init",
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{path}: byte {error.start} is not UTF-8", hint="save the file as UTF-8 text"
            ) from error
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: str, path: Path) -> SiteConfig:
        """Parse the text of a site file that stands (or will stand) at ``path``."""
        path = path.absolute()
        top = TomlTable.parse(text, path).only(KEYS[""])
        name = read_name(top, "name", "site")
        root = read_path(top, "root")
        peers = read_peers(top, name)
        policies = read_file_policies(top, peers)
        return cls(
            name=name,
            path=path,
            root=root,
            listen=read_address(top, "listen", port_min=0),
            registry=read_registry(top),
            datastore_url=read_datastore_url(top, root),
            peers=peers,
            replicate_files=policies,
            query=read_query(top),
            tls=read_tls(top),
            token_file=read_token_file(top),
            limits=read_limits(top),
            insecure=read_insecure(top),
            log=read_log(top),
            metrics=read_metrics(top),
            datastore_options=read_store_options(top),
            cache=read_cache(top, peers, policies, read_path),
            removes_purged=read_purged_copies(top),
        )

    @property
    def registry_dir(self) -> Path:
        """Where a SQLite registry keeps its files."""
        return self.root / "registry"

    @property
    def shown_dir(self) -> Path:
        """Where it is kept how far the site's change logs were shown to others, outside the database."""
        return self.root / "shown"

    @property
    def postgres_dir(self) -> Path:
        """Where an embedded PostgreSQL server keeps its data."""
        return self.root / "postgresql"

    def peer(self, name: str) -> PeerConfig | None:
        return next((peer for peer in self.peers if peer.name == name), None)
