"""Finds site files: all of a directory, or one by the site's name."""

from __future__ import annotations

from pathlib import Path

from federation.config.site import SiteConfig
from federation.config.table import did_you_mean
from federation.errors import ConfigError, NotFoundError

__all__ = ["find_site", "load_federation"]


def load_federation(directory: Path) -> tuple[SiteConfig, ...]:
    """Every site file (``*.toml``) of a directory, sorted by file name.

    Raises `NotFoundError` when there is none, `ConfigError` when two of them claim one name, root or address.
    """
    sites: list[SiteConfig] = []
    for path in _site_files(directory):
        site = SiteConfig.load(path)
        for other in sites:
            _check_apart(site, other)
        sites.append(site)
    return tuple(sites)


def find_site(name_or_path: str, directory: Path) -> SiteConfig:
    """The site of this name (from ``directory/NAME.toml``), or of the site file at this path."""
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        return SiteConfig.load(Path(name_or_path))
    known = [path.stem for path in _site_files(directory)]
    if name_or_path not in known:
        raise NotFoundError(
            f"no site {name_or_path!r} in {directory}", hint=did_you_mean(name_or_path, known)
        )
    site = SiteConfig.load(directory / f"{name_or_path}.toml")
    if site.name != name_or_path:
        raise ConfigError(
            f'{site.path}: name = "{site.name}" differs from the file\'s name',
            hint=f"rename the file to {site.name}.toml, or give its path",
        )
    return site


def _site_files(directory: Path) -> list[Path]:
    files = sorted(directory.glob("*.toml"))
    if not files:
        reason = "it holds no .toml file" if directory.is_dir() else "there is no such directory"
        raise NotFoundError(f"no site files in {directory}: {reason}", hint="run: federation site init")
    return files


def _check_apart(site: SiteConfig, other: SiteConfig) -> None:
    """Two sites must differ in what would let one disturb the other."""
    if site.name == other.name:
        raise ConfigError(
            f'{site.path}: name = "{site.name}" is also the name of {other.path}',
            hint="rename one of the sites",
        )
    if site.root == other.root:
        raise ConfigError(
            f"{site.path}: root = {site.root} is also the root of {other.path}", hint="give each site its own"
        )
    if site.listen.collides(other.listen):
        raise ConfigError(
            f'{site.path}: listen = "{site.listen}" is also the address of {other.path}',
            hint="give each site its own port",
        )
