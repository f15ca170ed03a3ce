"""Site files: one TOML file for each site, parsed once into frozen values."""

from federation.config.cache import CacheConfig
from federation.config.directory import find_site, load_federation
from federation.config.log_keeping import LogConfig
from federation.config.metrics import MetricsConfig
from federation.config.render import render_site
from federation.config.secret import SecretUrl
from federation.config.settings import (
    Address,
    FilePolicy,
    PeerConfig,
    QueryConfig,
    RegistryConfig,
    RegistryKind,
)
from federation.config.site import SiteConfig
from federation.config.stores import StoreOptions

__all__ = [
    "Address",
    "CacheConfig",
    "FilePolicy",
    "LogConfig",
    "MetricsConfig",
    "PeerConfig",
    "QueryConfig",
    "RegistryConfig",
    "RegistryKind",
    "SecretUrl",
    "SiteConfig",
    "StoreOptions",
    "find_site",
    "load_federation",
    "render_site",
]
