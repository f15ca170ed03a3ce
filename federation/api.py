"""The verbs of the command line for programs and notebooks; ``import federation`` gives them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from federation.config import Address, PeerConfig, SiteConfig, find_site, load_federation, render_site
from federation.datastore import Datastore
from federation.errors import CorruptionError, NotFoundError, UsageError
from federation.registry.butler_format import merge_exports, read_export, select
from federation.registry.butler_import import ImportReport, import_export
from federation.registry.registry import Registry
from federation.services.ingest import IngestFile, IngestReport, ingest_files, parse_declaration, read_sidecar
from federation.session import Session, SiteReport, connect, home_site, open_snapshot
from federation.snapshot.verify import VerifyReport, verify_bag

if TYPE_CHECKING:
    from federation.registry.butler_export import ButlerExport
    from federation.snapshot.verify import VerifyProgress

__all__ = [
    "connect",
    "import_butler",
    "ingest",
    "init_site",
    "open_snapshot",
    "serve",
    "verify_snapshot",
]

#: where the ports of new sites begin
FIRST_PORT = 50051


def init_site(
    name: str,
    *,
    sites: str | Path = "sites",
    root: str | Path | None = None,
    listen: str | None = None,
    registry: str = "sqlite",
    follow: Mapping[str, Sequence[str]] | None = None,
) -> SiteConfig:
    """Make the registry of a site, and its file ``sites/NAME.toml`` where there is none.

    ``name`` may be the path of a site file. A new file has ``root`` (else ``../var/NAME``), ``listen`` (else the next
    free port of this computer's own interface), ``registry`` (``sqlite``, ``postgresql`` or a URL) and the other sites
    of the directory as peers, of which it follows the schemas in ``follow``. A site that is there keeps all it has.
    """
    directory = Path(sites)
    config = _existing(name, directory)
    if config is None:
        config = _new_site_file(name, directory, root, listen, registry, follow or {})
    elif root is not None or listen is not None or registry != "sqlite" or follow:
        raise UsageError(f"site {config.name} has a site file already: {config.path}", hint="edit the file instead")
    Registry.create(config).close()
    store = Datastore(config.datastore_url)
    if store.local_root is not None:
        store.local_root.mkdir(parents=True, exist_ok=True)
    return config


def _existing(name: str, directory: Path) -> SiteConfig | None:
    if name.endswith(".toml") or "/" in name:
        return SiteConfig.load(Path(name))
    return find_site(name, directory) if (directory / f"{name}.toml").exists() else None


def _new_site_file(
    name: str,
    directory: Path,
    root: str | Path | None,
    listen: str | None,
    registry: str,
    follow: Mapping[str, Sequence[str]],
) -> SiteConfig:
    others = load_federation(directory) if any(directory.glob("*.toml")) else ()
    unknown = sorted(set(follow) - {other.name for other in others})
    if unknown:
        raise NotFoundError(f"no site {unknown[0]!r} in {directory} to follow", hint="make its site file first")
    taken = {other.listen.port for other in others}
    port = next(port for port in range(FIRST_PORT, 65536) if port not in taken)
    text = render_site(
        name,
        f"../var/{name}" if root is None else Path(root).absolute(),
        listen or Address("127.0.0.1", port),
        registry,
        [PeerConfig(other.name, other.listen, tuple(follow.get(other.name, ()))) for other in others],
    )
    path = directory / f"{name}.toml"
    config = SiteConfig.parse(text, path)
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return config


def serve(
    site: str, *, sites: str | Path = "sites", on_ready: Callable[[SiteConfig, str], None] | None = None
) -> None:
    """Serve a site and follow its peers until the process is told to end; ``on_ready`` gets its file and address."""
    from federation.services.site_server import serve_site

    config = find_site(site, Path(sites))
    serve_site(config, None if on_ready is None else lambda address: on_ready(config, address))


def site_status(names: Sequence[str] = (), *, sites: str | Path = "sites") -> tuple[SiteReport, ...]:
    """Every site of the directory, or those named, by their own account."""
    directory = Path(sites)
    configs = [find_site(name, directory) for name in names] or list(load_federation(directory))
    with connect(configs[0].path, directory) as session:
        wanted = {config.name for config in configs}
        return tuple(report for report in session.status() if report.site in wanted or not names)


def import_butler(
    files: Sequence[str | Path],
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    datastore_root: str | Path | None = None,
    copy: bool = False,
    collections: Sequence[str] = (),
    dataset_types: Sequence[str] = (),
) -> ImportReport:
    """Import registry export files of the Rubin Data Butler into a schema of a site, all of them or nothing.

    ``collections`` and ``dataset_types`` are globs that choose a part. With ``datastore_root`` the files of the
    datasets are registered where they are, or with ``copy`` copied into the site's datastore; without it, as absent.
    """
    config = find_site(site, Path(sites))
    with Registry.open(config) as registry:
        export = _chosen(registry, files, collections, dataset_types)
        if schema is not None:
            registry.create_schema(schema)
        return import_export(
            registry,
            export,
            schema=schema or registry.site,
            datastore_root=None if datastore_root is None else str(datastore_root),
            datastore=Datastore(config.datastore_url) if copy else None,
            transfer="copy" if copy else "direct",
        )


def read_butler(
    files: Sequence[str | Path],
    *,
    site: str,
    sites: str | Path = "sites",
    collections: Sequence[str] = (),
    dataset_types: Sequence[str] = (),
) -> ButlerExport:
    """What `import_butler` would import; nothing is written."""
    with Registry.open(find_site(site, Path(sites))) as registry:
        return _chosen(registry, files, collections, dataset_types)


def _chosen(
    registry: Registry, files: Sequence[str | Path], collections: Sequence[str], dataset_types: Sequence[str]
) -> ButlerExport:
    universe = registry.universe
    export = merge_exports([read_export(Path(file), universe) for file in files], universe)
    return select(export, collections=collections or None, dataset_types=dataset_types or None)


def ingest(
    files: Iterable[str | Path | IngestFile],
    *,
    site: str,
    run: str,
    dataset_type: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    data_id: Mapping[str, Any] | None = None,
    declare: str | None = None,
    once: bool = True,
) -> IngestReport:
    """Copy files into a site's datastore and register them as datasets of one type in one RUN, all or none.

    A file's data ID is ``data_id`` with what the file ``<file>.json`` or ``<file>.yaml`` beside it says. ``declare`` is
    ``dimensions:storage_class`` for a dataset type that is new. With ``once`` the same ingest again changes nothing.
    """
    config = find_site(site, Path(sites))
    known = [file if isinstance(file, IngestFile) else _described(Path(file), data_id) for file in files]
    declaration = None if declare is None else parse_declaration(dataset_type, declare)
    with Registry.open(config) as registry:
        if schema is not None:
            registry.create_schema(schema)
        return ingest_files(
            registry,
            Datastore(config.datastore_url),
            known,
            run=run,
            dataset_type=dataset_type,
            schema=schema,
            declaration=declaration,
            once=once,
        )


def _described(path: Path, data_id: Mapping[str, Any] | None) -> IngestFile:
    if not path.is_file():
        raise NotFoundError(f"file {path} does not exist", hint="check the path")
    if data_id is None:
        return read_sidecar(path)
    try:
        said = read_sidecar(path)
    except NotFoundError:
        return IngestFile(path, data_id)
    return attrs.evolve(said, data_id={**said.data_id, **data_id})


def verify_snapshot(
    path: str | Path, progress: Callable[[VerifyProgress], None] | None = None
) -> VerifyReport:
    """Read every byte of a snapshot and compare; `CorruptionError` names the first problem."""
    report = verify_bag(Path(path), progress)
    report.raise_for_problem()
    return report
