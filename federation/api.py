"""The verbs of the command line for programs and notebooks; ``import federation`` gives them all."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from federation.config import find_site, load_federation
from federation.datastore import Datastore
from federation.errors import NotFoundError, UnavailableError, UserError
from federation.model.position import SchemaId
from federation.registry.dataset_types import declare as declare_type
from federation.registry.files.dataset_type_file import load_dataset_types
from federation.registry.files.header_config import load_header_rules, shipped_header_rules
from federation.registry.files.header_translation import HeaderTranslator
from federation.registry.files.ingest import (
    FileToIngest,
    HeaderMapping,
    IngestReport,
    Mode,
    OnConflict,
    ingest_files,
    load_header_mapping,
    read_data_id,
)
from federation.registry.registry import Registry
from federation.registry.row_values import typed_data_id
from federation.registry.schema_admin import schema_to_write
from federation.replication.follower_status import FollowerStatus
from federation.replication.verify import VerifyReport as ReplicaReport
from federation.replication.verify import chosen_replicas, verify
from federation.services.following import Following
from federation.services.server_lock import ServerLock
from federation.services.telemetry import LOOK_S, ReplicaStates
from federation.session import Session, SiteReport, connect, open_snapshot
from federation.wire.client import SiteClient

if TYPE_CHECKING:
    from federation.model.dataset import DatasetType

__all__ = [
    "FileToIngest",
    "Session",
    "SiteReport",
    "connect",
    "ingest",
    "open_snapshot",
    "replicate",
    "site_status",
    "verify_replica",
]


def site_status(
    names: Sequence[str] = (), *, sites: str | Path = "sites", wait_s: float = 0.0
) -> tuple[SiteReport, ...]:
    """Every site of the directory, or those named, by their own account.

    With ``wait_s`` it waits until all are up; `UnavailableError` names one that isn't in time.
    """
    directory = Path(sites)
    configs = [find_site(name, directory) for name in names] or list(load_federation(directory))
    wanted = {config.name for config in configs}
    deadline = time.monotonic() + wait_s
    with connect(configs[0].path, directory) as session:
        while True:
            reports = tuple(report for report in session.status() if report.site in wanted or not names)
            down = [report for report in reports if report.status is None]
            if not down or not wait_s:
                return reports
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"site {down[0].site} is not up after {wait_s:g} s: {down[0].reason}",
                    hint=f"run: federation site serve {down[0].site}",
                )
            time.sleep(0.2)


def replicate(
    site: str, *, sites: str | Path = "sites", once: bool = False
) -> dict[SchemaId, FollowerStatus]:
    """Follow what a site's file names without serving the site; how each replica stands at the end.

    With ``once`` it ends when all that the peers have now is applied, else at SIGINT. `ConflictError` while the site's
    server runs, which follows by itself; `UnavailableError` when ``once`` and a peer does not answer.
    """
    config = find_site(site, Path(sites))
    with contextlib.ExitStack() as stack:
        lock = ServerLock(config.root, config.name)
        stack.callback(lock.release)
        registry = stack.enter_context(Registry.open(config))
        clients = {
            peer.name: stack.enter_context(SiteClient(peer.name, str(peer.address), tls=config.tls))
            for peer in config.peers
        }
        following = Following(registry, config.peers, clients, lambda: None)
        if once:
            return following.once()
        following.start()
        states, interrupted = ReplicaStates(), threading.Event()
        try:
            while not interrupted.wait(LOOK_S):
                states.look(following.status())
        except KeyboardInterrupt:
            return following.status()
        finally:
            following.stop()
    raise AssertionError


def verify_replica(
    site: str, *, sites: str | Path = "sites", schema: str | None = None
) -> tuple[ReplicaReport, ...]:
    """Compare the replicas of a site, or that of ``schema`` (``site/name``), with their owners, row by row.

    Writers and followers may go on meanwhile. `NotFoundError` where there is no such replica, `UnavailableError` when
    an owner does not answer, `LimitError` when a replica is too far behind.
    """
    directory = Path(sites)
    config = find_site(site, directory)
    with Registry.open(config) as registry, connect(config.path, directory) as session:
        replicas = chosen_replicas(registry, schema)
        return tuple(verify(registry, session.client(replica.site), replica) for replica in replicas)


def ingest(
    files: Iterable[str | Path | FileToIngest],
    *,
    site: str,
    run: str,
    dataset_type: str,
    sites: str | Path = "sites",
    schema: str | None = None,
    data_id: Mapping[str, Any] | None = None,
    header_mapping: HeaderMapping | Path | None = None,
    header_rules: Path | None = None,
    records: bool = True,
    declare: DatasetType | None = None,
    declare_from: Path | None = None,
    mode: Mode = "copy",
    once: bool = True,
    on_conflict: OnConflict = "refuse",
    user: str | None = None,
) -> IngestReport:
    """Bring files into a site's datastore and register them as datasets of one type in one RUN, all or none.

    What a file is says ``<file>.json`` or ``<file>.yaml`` beside it, or its FITS header: through ``header_mapping``,
    else translated for the instruments that are known, with the dimension records it needs unless ``records`` is false
    (by ``header_rules``, else by those that come with the universe). ``data_id`` adds to that, or stands for it.
    ``declare`` declares the dataset type first, ``declare_from`` those of a TOML file. ``mode`` is ``copy``, ``move``,
    ``link`` or ``direct`` (leave the file where it is). With ``once`` ids follow from type, run and data ID, so that a
    file ingested at two sites is one dataset; the same ingest again changes nothing either way. ``on_conflict`` says
    what becomes of a file whose dataset has another content. ``user`` is on whose behalf it is done, into their own
    schema unless another is named that they may write; without it, the operator.
    """
    config = find_site(site, Path(sites))
    if declare is not None and declare.name != dataset_type:
        raise UserError(
            f"dataset type {dataset_type!r} can't be declared as {declare.name!r}", hint="use one name"
        )
    mapping = load_header_mapping(header_mapping) if isinstance(header_mapping, Path) else header_mapping
    with Registry.open(config) as registry:
        universe = registry.universe
        given = None if data_id is None else typed_data_id(universe, data_id)
        types = () if declare_from is None else load_dataset_types(declare_from, universe)
        rules = (
            shipped_header_rules(universe)
            if header_rules is None
            else load_header_rules(header_rules, universe)
        )
        translator = None if rules is None else HeaderTranslator(universe, rules, records=records)
        described = [
            file if isinstance(file, FileToIngest) else _described(file, mapping, translator, given)
            for file in files
        ]
        name = schema_to_write(registry, schema, user, create=True)
        declared = [*(t.dataset_type for t in types), *([] if declare is None else [declare])]
        if declared:
            with registry.transaction(name) as tx:
                for dataset_type_ in declared:
                    declare_type(tx, dataset_type_)
        return ingest_files(
            registry,
            Datastore(config.datastore_url, config.datastore_options),
            schema=name,
            run=run,
            dataset_type=dataset_type,
            files=described,
            mode=mode,
            once=once,
            on_conflict=on_conflict,
            keywords=next((t.keywords for t in types if t.dataset_type.name == dataset_type), None),
        )


def _described(
    file: str | Path,
    mapping: HeaderMapping | None,
    translator: HeaderTranslator | None,
    data_id: Mapping[str, Any] | None,
) -> FileToIngest:
    if "://" not in str(file) and not Path(file).is_file():
        raise NotFoundError(f"no file {file}", hint="check the path")
    if data_id is None:
        return read_data_id(file, mapping, translator)
    try:
        known = read_data_id(file, mapping, translator)
    except NotFoundError:
        return FileToIngest(str(file), data_id)
    return attrs.evolve(known, data_id={**known.data_id, **data_id})
