"""The verbs of ``federation schema``: schemas, groups, grants, users' tables and their promotion, for programs."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from federation.config import find_site
from federation.errors import NotFoundError, UsageError, UserError
from federation.model.logical import TableKind
from federation.model.position import SchemaId
from federation.registry import grants, proposals, schema_admin, user_tables
from federation.registry.felis import felis_text, read_felis
from federation.registry.registry import Registry
from federation.registry.table_data import read_file
from federation.session import connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from federation.registry.grants import Grant
    from federation.registry.proposals import Proposal
    from federation.registry.schema_admin import SchemaContents
    from federation.registry.table_data import TimeScale
    from federation.registry.user_tables import TableReport

__all__ = [
    "SchemaReport",
    "add_group_member",
    "append_table",
    "create_schema",
    "create_table",
    "describe_table",
    "drop_schema",
    "drop_table",
    "grant",
    "list_proposals",
    "list_schemas",
    "list_tables",
    "promote_table",
    "propose_table",
    "remove_group_member",
    "retire_table",
    "review_table",
    "revoke",
    "schema_felis",
    "show_table",
    "writable_schema",
]


@attrs.frozen
class SchemaReport:
    """One schema in a site's registry; contents and grants are told of its own schemas only."""

    schema: SchemaId
    owned: bool
    contents: SchemaContents | None
    grants: tuple[Grant, ...] = ()
    members: tuple[str, ...] = ()


@contextmanager
def _registry(site: str, sites: str | Path) -> Iterator[Registry]:
    with Registry.open(find_site(site, Path(sites))) as registry:
        yield registry


def create_schema(name: str, *, site: str, sites: str | Path = "sites", user: str | None = None) -> bool:
    """Make a schema at a site; False when it is there. A user makes the one of their own name, the operator any.

    In this and the other verbs ``user`` is on whose behalf it is done; without it, the operator, who runs the process.
    """
    with _registry(site, sites) as registry:
        return schema_admin.create_schema(registry, name, user=user)


def drop_schema(
    name: str, *, site: str, sites: str | Path = "sites", user: str | None = None, force: bool = False
) -> SchemaContents:
    """Remove a schema of a site with all its tables, its log and the grants on it, and give what went.

    `ConflictError` when it holds datasets or users' rows, unless ``force``. Files of datasets stay.
    """
    with _registry(site, sites) as registry:
        return schema_admin.drop_schema(registry, name, user=user, force=force)


def list_schemas(*, site: str, sites: str | Path = "sites") -> tuple[SchemaReport, ...]:
    """The schemas in a site's registry, its own with what they hold and who may use them."""
    with _registry(site, sites) as registry:
        known = grants.read_grants(registry)
        return tuple(
            SchemaReport(
                held.schema,
                held.owned,
                schema_admin.contents(registry, held.schema.name) if held.owned else None,
                tuple(g for g in known.grants if held.owned and g.schema == held.schema.name),
                tuple(sorted(known.groups.get(held.schema.name, ()))) if held.owned else (),
            )
            for held in registry.held()
        )


def grant(
    privilege: str,
    schema: str,
    grantee: str,
    *,
    site: str,
    sites: str | Path = "sites",
    user: str | None = None,
) -> bool:
    """Let a user or group ``read``, ``write`` or ``share`` a schema; False when they were granted it already."""
    with _registry(site, sites) as registry:
        return grants.grant(registry, user, privilege, schema, grantee)


def revoke(
    privilege: str,
    schema: str,
    grantee: str,
    *,
    site: str,
    sites: str | Path = "sites",
    user: str | None = None,
) -> None:
    """Take a grant back."""
    with _registry(site, sites) as registry:
        grants.revoke(registry, user, privilege, schema, grantee)


def add_group_member(
    group: str, member: str, *, site: str, sites: str | Path = "sites", user: str | None = None
) -> bool:
    """Take a user into a group, which begins with its first member; False when they are in it already."""
    with _registry(site, sites) as registry:
        return grants.add_member(registry, user, group, member)


def remove_group_member(
    group: str, member: str, *, site: str, sites: str | Path = "sites", user: str | None = None
) -> None:
    """Take a user out of a group."""
    with _registry(site, sites) as registry:
        grants.remove_member(registry, user, group, member)


def writable_schema(registry: Registry, chain: Sequence[str], user: str | None = None) -> str:
    """The schema that a session with this chain writes: its head, or the site's own where the chain is empty.

    Spelled as in a query: ``alice``, ``alice@base`` or ``base/alice``. `UserError` for another site's schema,
    `ForbiddenError` when the user may not write it.
    """
    head = chain[0] if chain else registry.site
    site, slash, name = head.partition("/")
    if not slash:
        name, _, site = head.partition("@")
    if site and site != registry.site:
        raise UserError(
            f"the chain begins with {head}, which site {site} owns; site {registry.site} can't write it",
            hint="begin the chain with a schema of this site",
        )
    grants.check(registry, user, grants.Privilege.WRITE, name)
    return name


def create_table(
    name: str,
    source: str | Path | pa.Table | None = None,
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str,
    query: str | None = None,
    key: Sequence[str] = (),
    doc: str = "",
    felis: str | Path | None = None,
    time_scale: TimeScale | None = None,
    user: str | None = None,
) -> TableReport:
    """Make a table in a schema from a file, an Arrow table, or the answer to ``query`` over all sites.

    The schema of a user is made with their first table. Without ``key`` a column ``row_id`` numbers the rows. Times
    are TAI, or converted with ``time_scale="utc"``. ``felis`` is a file with units, UCDs and descriptions.
    """
    if (source is None) == (query is None):
        raise UsageError("a table is made from a file or from a query", hint="give one of the two")
    if query is not None and time_scale is not None:
        raise UsageError("the times of an answer are TAI already", hint="leave out the time scale")
    described = None if felis is None else read_felis(Path(felis), name)
    if query is None:
        assert source is not None
        data, place = _data(source)
    else:
        data, place = _answer(query, site, sites, schema), "the answer"
        time_scale = "tai"
    with _registry(site, sites) as registry:
        if schema == user:
            schema_admin.create_schema(registry, schema, user=user)
        return user_tables.create_table(
            registry,
            schema,
            name,
            data,
            key=key,
            doc=doc,
            felis=described,
            time_scale=time_scale,
            place=place,
            user=user,
        )


def _data(source: str | Path | pa.Table) -> tuple[pa.Table, str]:
    if isinstance(source, (str, Path)):
        return read_file(Path(source)), str(source)
    return source, "the table"


def _answer(query: str, site: str, sites: str | Path, schema: str) -> pa.Table:
    with connect(site, sites) as session:
        known = {held.name for held in session.catalog().schemas}
        return session.query(query, chain=[schema] if schema in known else []).table


def append_table(
    name: str,
    source: str | Path | pa.Table,
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str,
    time_scale: TimeScale | None = None,
    user: str | None = None,
) -> TableReport:
    """Add the rows of a file or an Arrow table to a table, all or none."""
    data, place = _data(source)
    with _registry(site, sites) as registry:
        return user_tables.append_rows(
            registry, schema, name, data, time_scale=time_scale, place=place, user=user
        )


def drop_table(
    name: str, *, site: str, sites: str | Path = "sites", schema: str, user: str | None = None
) -> TableReport:
    """Remove a table with its rows, and give what it was."""
    with _registry(site, sites) as registry:
        return user_tables.drop_table(registry, schema, name, user=user)


def list_tables(
    *, site: str, sites: str | Path = "sites", schema: str | None = None
) -> tuple[TableReport, ...]:
    """The users' tables of a schema, or of all the site's own."""
    with _registry(site, sites) as registry:
        names = [held.schema.name for held in registry.held() if held.owned] if schema is None else [schema]
        return tuple(report for name in names for report in user_tables.list_tables(registry, name))


def show_table(name: str, *, site: str, sites: str | Path = "sites", schema: str) -> TableReport:
    """A table: its columns with units and meanings, its key, its number of rows."""
    with _registry(site, sites) as registry:
        return user_tables.find_table(registry, schema, name)


def _split(table: str) -> tuple[str, str]:
    schema, dot, name = table.partition(".")
    if not dot or not schema or not name:
        raise UsageError(f"{table!r} does not name a schema and its table", hint="write it as alice.quality")
    return schema, name


def propose_table(
    table: str, *, site: str, sites: str | Path = "sites", comment: str = "", user: str | None = None
) -> Proposal:
    """Propose ``schema.table`` for the site's own schema."""
    with _registry(site, sites) as registry:
        return proposals.propose(registry, *_split(table), comment=comment, user=user)


def list_proposals(*, site: str, sites: str | Path = "sites") -> tuple[Proposal, ...]:
    """Every proposal at a site, with its state."""
    with _registry(site, sites) as registry:
        return proposals.proposals(registry)


def review_table(
    table: str,
    *,
    approve: bool,
    site: str,
    sites: str | Path = "sites",
    comment: str = "",
    user: str | None = None,
) -> Proposal:
    """Approve or reject a proposal; the operator may, and who may share the site's schema."""
    with _registry(site, sites) as registry:
        return proposals.review(registry, *_split(table), approve=approve, comment=comment, user=user)


def promote_table(
    table: str, *, site: str, sites: str | Path = "sites", comment: str = "", user: str | None = None
) -> tuple[Proposal, int]:
    """Copy an approved table into the site's schema; with the number of rows."""
    with _registry(site, sites) as registry:
        return proposals.promote(registry, *_split(table), comment=comment, user=user)


def retire_table(
    table: str, *, site: str, sites: str | Path = "sites", comment: str = "", user: str | None = None
) -> tuple[Proposal, int]:
    """Take a promoted table out of the site's schema; with the number of rows."""
    with _registry(site, sites) as registry:
        return proposals.retire(registry, *_split(table), comment=comment, user=user)


def describe_table(
    name: str,
    felis: str | Path,
    *,
    site: str,
    sites: str | Path = "sites",
    schema: str,
    user: str | None = None,
) -> TableReport:
    """Give a table the units, UCDs and descriptions of a Felis file."""
    described = read_felis(Path(felis), name)
    with _registry(site, sites) as registry:
        return user_tables.describe_table(registry, schema, name, described, user=user)


def schema_felis(schema: str, *, site: str, sites: str | Path = "sites", every_table: bool = False) -> str:
    """The users' tables of a schema as Felis YAML; all its tables with ``every_table``.

    `NotFoundError` where there is no table to describe.
    """
    with _registry(site, sites) as registry:
        tables = registry.tables(SchemaId(registry.site, schema)).values()
        chosen = [table for table in tables if every_table or table.kind is TableKind.USER]
        if not chosen:
            raise NotFoundError(
                f"schema {schema} of site {registry.site} has no user table",
                hint=f"--all describes its other {len(tables)} tables",
            )
        return felis_text(schema, chosen, f"Schema {schema} of site {registry.site}")
