"""Datasets out of a site's registry in two steps: retired, which can be undone, then purged with their files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from federation.clock import tai_now
from federation.config import find_site
from federation.datastore import Datastore
from federation.errors import NotFoundError, UserError
from federation.killpoints import killpoint
from federation.registry import grants, retirement
from federation.registry.registry import Registry

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Sequence

    from federation.config import SiteConfig
    from federation.registry.retirement import Retired
    from federation.registry.transaction import Transaction

__all__ = ["list_retired", "purge_retired", "restore_retired", "retire_datasets"]

_SECOND_NS = 1_000_000_000


def retire_datasets(
    ids: Iterable[uuid.UUID] = (),
    *,
    site: str,
    run: str | None = None,
    sites: str | Path = "sites",
    schema: str | None = None,
    reason: str = "",
    user: str | None = None,
) -> Retired:
    """Take datasets, or all of a RUN, out of a schema of a site (None: its own), and so out of all its replicas.

    All that the schema says of them is kept until `restore_retired` or `purge_retired`; their files stay in place
    meanwhile, here and elsewhere. `NotFoundError` for a dataset of another schema, `ConflictError` when a collection
    of another schema holds one; nothing is done then.
    """
    config = find_site(site, Path(sites))
    with Registry.open(config) as registry:
        name = schema or registry.site
        grants.check(registry, user, grants.Privilege.WRITE, name)
        with registry.transaction(name) as tx:
            wanted = [*ids, *(_of_run(tx, run) if run is not None else ())]
            if not wanted:
                raise UserError("no datasets to retire", hint="give ids, or a RUN that holds some")
            return retirement.retire(tx, wanted, _directory(config), reason)


def _of_run(tx: Transaction, run: str) -> list[uuid.UUID]:
    return [row["dataset_id"] for row in tx.select("dataset", ("run",), [(run,)])]


def list_retired(site: str, *, sites: str | Path = "sites") -> list[Retired]:
    """What is retired at a site and neither restored nor purged, oldest first."""
    return retirement.list_retired(_directory(find_site(site, Path(sites))))


def restore_retired(name: str, *, site: str, sites: str | Path = "sites", user: str | None = None) -> int:
    """Put back what was retired under ``name``; how many datasets came back.

    `ConflictError` when others have their data IDs by now, or a collection they were in is gone.
    """
    config = find_site(site, Path(sites))
    directory = _directory(config)
    with Registry.open(config) as registry:
        schema = retirement.read_retired(directory, name).schema
        grants.check(registry, user, grants.Privilege.WRITE, schema)
        with registry.transaction(schema) as tx:
            count = retirement.restore(tx, directory, name)
        retirement.forget(directory, name)
        return count


def purge_retired(
    names: Sequence[str] = (),
    *,
    site: str,
    sites: str | Path = "sites",
    older_than_s: float | None = None,
    user: str | None = None,
) -> list[tuple[Retired, int]]:
    """Delete for good what was retired under ``names``, or so many seconds ago: each with how many files went.

    A file that is named again meanwhile stays. Replicas are told, and remove their copies where their site files say
    so. Cut short, it goes on when it is run again.
    """
    config = find_site(site, Path(sites))
    directory = _directory(config)
    store = Datastore(config.datastore_url, config.datastore_options)
    done = []
    with Registry.open(config) as registry:
        known = {one.name: one for one in retirement.list_retired(directory)}
        for name in names:
            if name not in known:
                raise NotFoundError(f"nothing was retired as {name!r}", hint="see federation dataset retired")
        limit_ns = None if older_than_s is None else tai_now() - int(older_than_s * _SECOND_NS)
        chosen = [known[name] for name in names] if names else [
            one for one in known.values() if limit_ns is not None and one.retired_ns <= limit_ns
        ]  # fmt: skip
        for one in chosen:
            grants.check(registry, user, grants.Privilege.WRITE, one.schema)
            deleted = 0
            for uri in retirement.files_to_delete(registry, directory, one.name):
                if store.exists(uri):
                    store.remove(uri)
                    deleted += 1
            with registry.transaction(one.schema) as tx:
                retirement.mark_purged(tx, one)
            killpoint("retire.marked")
            retirement.forget(directory, one.name)
            done.append((one, deleted))
    return done


def _directory(config: SiteConfig) -> Path:
    return config.root / retirement.RETIRED_DIRECTORY
