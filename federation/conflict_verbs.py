"""The verbs of ``federation registry conflicts``, for programs."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from federation.config import find_site
from federation.datastore import Datastore
from federation.datastore.checksum import of_chunks
from federation.errors import ConflictError, NotFoundError, UserError
from federation.registry import conflicts, grants
from federation.registry.artifacts import differ
from federation.registry.conflict_search import find_across
from federation.registry.registry import Registry
from federation.registry.views import views

if TYPE_CHECKING:
    from federation.registry.conflicts import Conflict, Keep

__all__ = ["list_conflicts", "resolve_conflict"]


def list_conflicts(*, site: str, sites: str | Path = "sites") -> list[Conflict]:
    """Open conflicts in a site's registry, after comparing all schemas held there; those found are recorded."""
    with Registry.open(find_site(site, Path(sites))) as registry:
        find_across(registry)
        return conflicts.list_open(registry)


def resolve_conflict(
    identity: uuid.UUID | str, keep: Keep, *, site: str, sites: str | Path = "sites", user: str | None = None
) -> Conflict:
    """Resolve a conflict at a site: keep what is ``recorded``, or the content that was ``offered``.

    An offered file that can be read, and has the offered checksum, takes the place of the recorded one, which stays
    where it is but is no dataset's any more. One that another site holds can't be read here: then the site gives up its
    own file, and the other is brought as files are.
    """
    try:
        wanted = identity if isinstance(identity, uuid.UUID) else uuid.UUID(identity)
    except ValueError:
        raise UserError(f"{identity!r} is not a conflict's id", hint="a UUID; list the conflicts") from None
    config = find_site(site, Path(sites))
    with Registry.open(config) as registry:
        found = conflicts.read(registry, [wanted])
        size_bytes = None
        if keep == "offered" and found and found[0].kind == "checksum":
            store = Datastore(config.datastore_url, config.datastore_options)
            size_bytes = _size_of_offered(registry, store, found[0])
        schema = _schema_of(registry, wanted)
        grants.check(registry, user, grants.Privilege.WRITE, schema)
        with registry.transaction(schema) as tx:
            return conflicts.resolve(tx, wanted, keep, size_bytes=size_bytes, present=size_bytes is not None)


def _schema_of(registry: Registry, identity: uuid.UUID) -> str:
    """The schema of this site that recorded a conflict; the site's own for one that another site recorded."""
    for view in views(registry):
        if view.held.owned and any(view.rows("conflict", ("conflict_id",), [(identity,)])):
            return view.held.schema.name
    return registry.site


def _size_of_offered(registry: Registry, store: Datastore, conflict: Conflict) -> int | None:
    """Size of the offered content where it can be read here; None where another site holds it."""
    uri = conflict.uri
    held_sites = {held.schema.site for held in registry.held()}
    if uri is None or ("://" not in uri and uri.partition(":")[0] in held_sites):
        return None
    try:
        with store.source_of(uri).open() as chunks:
            size_bytes, checksum = of_chunks(chunks)
    except NotFoundError as error:
        raise NotFoundError(
            f"the offered content of dataset {conflict.dataset_id} is no longer at {uri}",
            hint="put the file back there, or keep the recorded one",
        ) from error
    if differ(checksum, conflict.offered):
        raise ConflictError(
            f"{uri} has checksum {checksum}, offered was {conflict.offered}",
            hint="put the offered file back there, or keep the recorded one",
        )
    return size_bytes
