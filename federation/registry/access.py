"""What a caller may read of the schemas that a registry holds: its own, and replicas of other sites'.

Callers are named by texts: ``""`` is the operator and reads everything, ``site:NAME`` is another site speaking for
itself, anything else is a user. A replica is read by the grants of its owner, as far as they have come here.
"""

from __future__ import annotations

import fnmatch
import hashlib
import threading
from typing import TYPE_CHECKING

import attrs

from federation.errors import ForbiddenError, NotFoundError
from federation.model.position import SchemaId
from federation.registry.grants import Grants, Privilege, check_user, read_grants_of
from federation.registry.marks import glance_at_marks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from federation.model.catalog import SiteCatalog
    from federation.registry.marks import Mark
    from federation.registry.registry import Registry

__all__ = ["SITE_CALLER", "Access", "may_follow"]

#: a caller that is another site, not a person; no user's name can begin so
SITE_CALLER = "site:"


def may_follow(schema: SchemaId, site: str, allowed: Sequence[str]) -> bool:
    """Whether a list of names and globs covers a schema that ``site`` holds.

    A schema of the site's own goes by its name or by ``site/name``, a replica by the latter; ``*`` covers all.
    """
    names = (str(schema), schema.name) if schema.site == site else (str(schema),)
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in allowed)


class Access:
    """Who may read which schema of one registry; safe between threads.

    ``peers`` says which schemas each other site may follow, and so read too; a site's own schema is read by everyone.
    """

    def __init__(self, registry: Registry, peers: Mapping[str, Sequence[str]] | None = None) -> None:
        self._registry = registry
        self._peers = dict(peers or {})
        self._known: dict[str, tuple[Mark, Grants]] = {}
        self._lock = threading.Lock()

    def refusal(self, caller: str, schema: SchemaId) -> ForbiddenError | None:
        """Why the caller may not read the schema; None where they may. `UserError` for what names no caller."""
        if not caller or schema.name == schema.site:
            return None
        here = self._registry.site
        if caller.startswith(SITE_CALLER):
            site = caller.removeprefix(SITE_CALLER)
            if site == here or may_follow(schema, here, self._peers.get(site, ())):
                return None
            return ForbiddenError(
                f"site {site} may not read schema {schema} at site {here}",
                hint=f"the operator of {here} adds it to may_follow of [[peer]] {site}, or ask as a user: --as USER",
            )
        check_user(caller)
        grants = self._grants(schema.site)
        if grants is None:
            return ForbiddenError(
                f"user {caller} may not read the replica of {schema} at {here}, which has no grants of {schema.site}",
                hint=f"let {here} follow schema {schema.site} of {schema.site} too, or ask site {schema.site}",
            )
        if grants.may(caller, Privilege.READ, schema.name):
            return None
        others = grants.who_can_grant(Privilege.READ, schema.name)
        return ForbiddenError(
            f"user {caller} has no read privilege on schema {schema.name} of site {schema.site}",
            hint=(f"ask {others} or " if others else "ask ")
            + f"the site's operator to run: federation schema grant read {schema.name} {caller} --site {schema.site}",
        )

    def check(self, caller: str, schema: SchemaId) -> None:
        """`ForbiddenError` unless the caller may read the schema."""
        refused = self.refusal(caller, schema)
        if refused is not None:
            raise refused

    def catalog_for(self, caller: str, catalog: SiteCatalog) -> SiteCatalog:
        """The catalog as the caller may see it: of what they may not read there is the name, and whom to ask."""
        if not caller:
            return catalog
        refused = {
            held.schema: error
            for held in catalog.schemas
            if (error := self.refusal(caller, held.schema)) is not None
        }
        if not refused:
            return catalog
        schemas = tuple(
            attrs.evolve(held, tables=(), stats={}, metrics={}, forbidden=(error.message, error.hint))
            if (error := refused.get(held.schema)) is not None
            else held
            for held in catalog.schemas
        )
        text = "\n".join(sorted(map(str, refused)))
        suffix = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        return attrs.evolve(
            catalog,
            version=f"{catalog.version}-{suffix}",
            layout=f"{catalog.layout}-{suffix}" if catalog.layout else "",
            statistics=f"{catalog.statistics}-{suffix}" if catalog.statistics else "",
            schemas=schemas,
        )

    def _grants(self, site: str) -> Grants | None:
        """The grants of a site, its own or as its replica says; None where they are not here."""
        held = self._registry.find(SchemaId(site, site))
        if held is None:
            return None
        try:
            (mark,) = glance_at_marks(self._registry.database, (held.physical,))
        except NotFoundError:  # the replica is being made
            return None
        with self._lock:
            known = self._known.get(site)
        if known is not None and known[0] == mark:
            return known[1]
        grants = read_grants_of(self._registry, held)
        with self._lock:
            self._known[site] = (mark, grants)
        return grants
