"""Our side of benchmarks/federated_query.py: a registry and a server for each site, and a session that asks them.

python benchmarks/federated_query_ours.py SITE_FILE N    fills the registry of one site
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import federated_query_data as data
from replication_server import free_port

from federation.config import SiteConfig, render_site
from federation.registry.registry import Registry
from federation.registry.user_tables import create_table
from federation.session import Session, connect


def write_site(directory: Path, site: str, port: int, registry_url: str = "sqlite") -> Path:
    """A site file."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{site}.toml"
    path.write_text(render_site(site, directory / site, f"127.0.0.1:{port}", registry_url), encoding="utf-8")
    return path


def fill_all(files: Mapping[str, Path], n: int) -> None:
    """Make the registries with their tables, at the same time."""
    running = [subprocess.Popen([sys.executable, __file__, str(path), str(n)]) for path in files.values()]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit("a registry was not filled")


def _fill(path: Path, n: int) -> None:
    config = SiteConfig.load(path)
    with Registry.create(config) as registry:
        for table in data.TABLES:
            if table.site == config.name:
                registry.create_schema(table.schema)
                create_table(
                    registry, table.schema, table.name, table.make(n), key=table.key, time_scale="tai"
                )


@contextlib.contextmanager
def served(files: Mapping[str, Path]) -> Iterator[dict[str, int]]:
    """A server for each site within this context; their ports."""
    with contextlib.ExitStack() as stack:
        for path in files.values():
            command = [sys.executable, "-m", "federation", "site", "serve", str(path), "--json"]
            log = stack.enter_context(path.with_suffix(".log").open("w", encoding="utf-8"))
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
            )
            stack.callback(process.terminate)
            assert process.stdout is not None
            if not process.stdout.readline():
                raise SystemExit(f"{path} was not served: " + path.with_suffix(".log").read_text()[-500:])
        yield {site: SiteConfig.load(path).listen.port for site, path in files.items()}


@contextlib.contextmanager
def session(directory: Path, ports: Mapping[str, int]) -> Iterator[Session]:
    """A session whose sites are all reached at these ports."""
    for site, port in ports.items():
        write_site(directory, site, port)
    with connect(data.SITES[0], directory, user=None) as made:
        yield made


def new_sites(root: Path, databases: Mapping[str, str]) -> dict[str, Path]:
    """Site files of registries in these databases."""
    return {site: write_site(root / "sites", site, free_port(), url) for site, url in databases.items()}


if __name__ == "__main__":
    _fill(Path(sys.argv[1]), int(sys.argv[2]))
