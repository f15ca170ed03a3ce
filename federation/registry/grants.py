"""Who may do what with the schemas of a site: owners, groups, and privileges that were granted.

Grants and groups are rows of the site's own schema. The schema ``alice`` belongs to user alice; one that is named as a
group is its members' to read and write; the operator, who runs the process, may do everything. Whoever may write or
share a schema may read it too.
"""

from __future__ import annotations

import enum
import os
import pwd
import re
from typing import TYPE_CHECKING, Any

import attrs
import sqlalchemy as sa

from federation.errors import ConflictError, ForbiddenError, NotFoundError, UserError
from federation.model.position import SchemaId, check_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.registry.transaction import Transaction

__all__ = [
    "Grant",
    "Grants",
    "Privilege",
    "add_member",
    "check",
    "check_operator",
    "check_user",
    "grant",
    "is_operator",
    "may",
    "operator",
    "read_grants",
    "read_grants_of",
    "remove_member",
    "revoke",
]

_USER = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.@-]*[A-Za-z0-9_])?\Z")
USER_LENGTH_MAX = 64


class Privilege(enum.StrEnum):
    """What a grant permits: to read a schema, to write it, or to grant others that they read it."""

    READ = "read"
    WRITE = "write"
    SHARE = "share"

    @classmethod
    def parse(cls, text: str) -> Privilege:
        """The privilege of this name; `UserError` names those there are."""
        try:
            return cls(text)
        except ValueError:
            raise UserError(f"privilege {text!r} is not known", hint="one of: " + ", ".join(cls)) from None


@attrs.frozen(order=True)
class Grant:
    """``grantee``, a user or a group, may do this with the schema since ``grantor`` said so."""

    schema: str
    grantee: str
    privilege: Privilege
    grantor: str


@attrs.frozen
class Grants:
    """All grants of a site and its groups: members by the group's name."""

    grants: tuple[Grant, ...]
    groups: Mapping[str, frozenset[str]]

    def may(self, user: str, privilege: Privilege, schema: str) -> bool:
        """Whether the user may do this, as owner, as member of a group, or by a grant to one of them."""
        if user == schema and user not in self.groups:
            return True
        if user in self.groups.get(schema, ()) and privilege is not Privilege.SHARE:
            return True
        enough = set(Privilege) if privilege is Privilege.READ else {privilege}
        return any(
            grant.schema == schema
            and grant.privilege in enough
            and (grant.grantee == user or user in self.groups.get(grant.grantee, ()))
            for grant in self.grants
        )

    def who_can_grant(self, privilege: Privilege, schema: str) -> str:
        """In words, who can give somebody this privilege."""
        found = [] if schema in self.groups else [f"user {schema}"]
        if privilege is Privilege.READ:
            sharers = {
                g.grantee for g in self.grants if g.schema == schema and g.privilege is Privilege.SHARE
            }
            found += sorted(sharers - {schema})
        return ", ".join(found)


def operator() -> str:
    """The user that this process runs as, who can change the registry's files in any case."""
    user_id = os.geteuid()
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:  # containers run as users that have no name
        return f"uid{user_id}"


def is_operator(user: str | None) -> bool:
    """Whether this is the operator; nobody in particular is."""
    return user is None or user == operator()


def check_user(user: str) -> str:
    """``user`` if it can name a user or group; `UserError` otherwise."""
    if not _USER.match(user) or len(user) > USER_LENGTH_MAX:
        raise UserError(
            f"user name {user!r} is not allowed",
            hint=f"letters, digits and _ . @ - inside, at most {USER_LENGTH_MAX} characters",
        )
    return user


def read_grants(registry: Registry) -> Grants:
    """The site's grants and groups now."""
    return read_grants_of(registry, registry.get(SchemaId(registry.site, registry.site)))


def read_grants_of(registry: Registry, held: HeldSchema) -> Grants:
    """The grants and groups of the site whose main schema, or replica of it, is ``held``."""
    with registry.database.read((held.physical,)) as connection:
        tables = registry.tables_in(connection, held.physical)
        if "schema_grant" not in tables:  # a registry of an older format
            return Grants((), {})
        physical = registry.physical_tables(held.physical, tuple(tables.values()))
        return _read(connection, physical["schema_grant"], physical["group_member"])


def _read(connection: sa.Connection, granted: sa.Table, members: sa.Table) -> Grants:
    grants = sorted(
        Grant(row.schema_name, row.grantee, Privilege(row.privilege), row.grantor)
        for row in connection.execute(sa.select(granted))
    )
    groups: dict[str, set[str]] = {}
    for row in connection.execute(sa.select(members)):
        groups.setdefault(row.group_name, set()).add(row.member)
    return Grants(tuple(grants), {name: frozenset(users) for name, users in sorted(groups.items())})


def _of(tx: Transaction) -> Grants:
    return _read(tx.connection, tx.physical("schema_grant"), tx.physical("group_member"))


def may(registry: Registry, user: str | None, privilege: Privilege | str, schema: str) -> bool:
    """Whether the user (None: the operator) may do this with one of the site's schemas."""
    wanted = Privilege.parse(privilege)
    return is_operator(user) or (user is not None and read_grants(registry).may(user, wanted, schema))


def check(registry: Registry, user: str | None, privilege: Privilege, schema: str) -> None:
    """`ForbiddenError` unless the user may do this; `NotFoundError` where the site owns no such schema."""
    _owned(registry, schema)
    if not is_operator(user):
        assert user is not None
        _check(registry, read_grants(registry), check_user(user), privilege, schema)


def _check(registry: Registry, known: Grants, user: str, privilege: Privilege, schema: str) -> None:
    if known.may(user, privilege, schema):
        return
    others = known.who_can_grant(privilege, schema) if schema != registry.site else ""
    raise ForbiddenError(
        f"user {user} has no {privilege} privilege on schema {schema} of site {registry.site}",
        hint=(f"ask {others} or " if others else "ask ")
        + f"the site's operator to run: federation schema grant {privilege} {schema} {user} --site {registry.site}",
    )


def check_operator(registry: Registry, user: str | None, action: str) -> None:
    """`ForbiddenError` unless this is the operator; ``action`` says what only they may do."""
    if not is_operator(user):
        raise ForbiddenError(
            f"user {user} may not {action} at site {registry.site}", hint="ask the site's operator"
        )


def _owned(registry: Registry, schema: str) -> None:
    held = registry.find(SchemaId(registry.site, schema))
    if held is None:
        own = ", ".join(h.schema.name for h in registry.held() if h.owned)
        raise NotFoundError(
            f"site {registry.site} has no schema {schema!r} of its own",
            hint=f"it has {own}; make one with: federation schema create",
        )


def grant(
    registry: Registry, user: str | None, privilege: Privilege | str, schema: str, grantee: str
) -> bool:
    """Let a user or group do this with a schema; False when they could by an earlier grant already.

    The owner and the operator grant everything; who has the share privilege grants that others read.
    """
    wanted = Privilege.parse(privilege)
    _owned(registry, schema)
    check_user(grantee)
    actor = operator() if user is None else check_user(user)
    with registry.transaction(registry.site) as tx:
        known = _of(tx)
        if not _is_owner(known, user, schema):
            needed = Privilege.SHARE
            _check(registry, known, actor, needed, schema)
            if wanted is not Privilege.READ:
                raise ForbiddenError(
                    f"user {actor} may share schema {schema}, which is to grant read, not {wanted}",
                    hint=f"ask {known.who_can_grant(wanted, schema) or 'the operator'} or the site's operator",
                )
        if any((g.schema, g.grantee, g.privilege) == (schema, grantee, wanted) for g in known.grants):
            return False
        row = {"schema_name": schema, "grantee": grantee, "privilege": wanted.value, "grantor": actor}
        tx.put("schema_grant", [row])
    return True


def revoke(
    registry: Registry, user: str | None, privilege: Privilege | str, schema: str, grantee: str
) -> None:
    """Take a grant back; `NotFoundError` where there is none.

    The owner and the operator take back any, others what they granted themselves.
    """
    wanted = Privilege.parse(privilege)
    actor = operator() if user is None else check_user(user)
    with registry.transaction(registry.site) as tx:
        known = _of(tx)
        found = [g for g in known.grants if (g.schema, g.grantee, g.privilege) == (schema, grantee, wanted)]
        if not found:
            there = ", ".join(f"{g.privilege} to {g.grantee}" for g in known.grants if g.schema == schema)
            raise NotFoundError(
                f"{grantee} was not granted {wanted} on schema {schema} of site {registry.site}",
                hint=f"granted there: {there or 'nothing'}",
            )
        if not _is_owner(known, user, schema) and found[0].grantor != actor:
            raise ForbiddenError(
                f"user {actor} may not revoke {wanted} on schema {schema} from {grantee}: "
                f"{found[0].grantor} granted it",
                hint=f"ask {found[0].grantor} or the site's operator",
            )
        tx.delete("schema_grant", [{"schema_name": schema, "grantee": grantee, "privilege": wanted.value}])


def _is_owner(known: Grants, user: str | None, schema: str) -> bool:
    return is_operator(user) or (user == schema and user not in known.groups)


def add_member(registry: Registry, user: str | None, group: str, member: str) -> bool:
    """Take a user into a group, which begins with its first member; False when they are in it already.

    Only the operator may. `ConflictError` for one name of a user and a group.
    """
    check_operator(registry, user, "change groups")
    check_name("group", group)
    check_user(member)
    with registry.transaction(registry.site) as tx:
        groups = _of(tx).groups
        if group == registry.site:
            raise ConflictError(
                f"group {group} would own the site's own schema", hint="choose another name for the group"
            )
        if group == member or any(group in members for members in groups.values()):
            raise ConflictError(f"{group} is a user and can't be a group too", hint="choose another name")
        if member in groups:
            raise ConflictError(
                f"{member} is a group and can't be a member of {group}", hint="add its members instead"
            )
        if member in groups.get(group, ()):
            return False
        tx.put("group_member", [{"group_name": group, "member": member}])
    return True


def remove_member(registry: Registry, user: str | None, group: str, member: str) -> None:
    """Take a user out of a group; only the operator may. `NotFoundError` where they are not in it."""
    check_operator(registry, user, "change groups")
    with registry.transaction(registry.site) as tx:
        members: Any = _of(tx).groups.get(group, frozenset())
        if member not in members:
            raise NotFoundError(
                f"{member} is not a member of group {group} at site {registry.site}",
                hint="its members: " + (", ".join(sorted(members)) or "none"),
            )
        tx.delete("group_member", [{"group_name": group, "member": member}])
