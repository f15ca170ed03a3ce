"""``federation schema``: schemas, groups and grants of a site, users' tables, and their way into the common schema."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from federation.cli.options import JsonFlag, SitesDirectory, WriteSite, required
from federation.cli.output import print_json, print_table, print_text
from federation.errors import UsageError

if TYPE_CHECKING:
    from federation.registry.proposals import Proposal
    from federation.registry.user_tables import TableReport

__all__ = ["app"]

app = typer.Typer(
    help="Schemas of users and groups, grants, users' tables and their promotion.", no_args_is_help=True
)
table_app = typer.Typer(help="Make, extend and drop users' tables.", no_args_is_help=True)
app.add_typer(table_app, name="table")


class Privilege(enum.StrEnum):
    """What can be granted."""

    READ = "read"
    WRITE = "write"
    SHARE = "share"


class TimeScale(enum.StrEnum):
    """What times without a zone mean."""

    TAI = "tai"
    UTC = "utc"


AsUser = Annotated[
    str | None,
    typer.Option("--as", metavar="USER", help="On whose behalf. Without it, the site's operator."),
]
TableSchema = Annotated[
    str | None, typer.Option("--schema", metavar="NAME", help="Schema that the table is in.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the schema.")]
TableName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the table.")]
FullName = Annotated[str, typer.Argument(metavar="SCHEMA.TABLE", help="The table, as in alice.quality.")]
Comment = Annotated[str, typer.Option("--comment", metavar="TEXT", help="What is to be said about it.")]
TimeScaleOption = Annotated[
    TimeScale | None,
    typer.Option("--time-scale", help="Times of the file are TAI (so by default), or UTC to be converted."),
]
FelisFile = Annotated[
    Path | None,
    typer.Option("--felis", metavar="FILE", help="Felis file with units, UCDs and descriptions."),
]


@app.command(epilog="Example: federation schema create alice --site base")
def create(
    name: Name,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Make a schema at a site, for the user or group of its name."""
    from federation.schema_verbs import create_schema

    where = required(site, "--site")
    is_new = create_schema(name, site=where, sites=sites, user=user)
    if json:
        print_json({"site": where, "schema": name, "new": is_new})
    else:
        print_text(f"schema {name} at {where}" if is_new else f"schema {name} at {where} was there")


@app.command(epilog="Example: federation schema drop alice --site base")
def drop(
    name: Name,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    force: Annotated[bool, typer.Option("--force", help="Even when it holds datasets or rows.")] = False,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Remove a schema with its tables, its log and the grants on it; files of datasets stay."""
    from federation.schema_verbs import drop_schema

    where = required(site, "--site")
    gone = drop_schema(name, site=where, sites=sites, user=user, force=force)
    if json:
        print_json({"site": where} | attrs.asdict(gone))
    else:
        print_text(f"dropped schema {name} of {where}: {gone}")


@app.command("list", epilog="Example: federation schema list --site base")
def list_(site: WriteSite = None, sites: SitesDirectory = Path("sites"), json: JsonFlag = False) -> None:
    """Show the schemas in a site's registry, what its own hold, and who may use them."""
    from federation.schema_verbs import list_schemas

    where = required(site, "--site")
    reports = list_schemas(site=where, sites=sites)
    if json:
        print_json(
            {
                "site": where,
                "schemas": [
                    {
                        "schema": str(report.schema),
                        "owned": report.owned,
                        "datasets": report.contents.dataset_count if report.contents else None,
                        "user_tables": list(report.contents.user_tables) if report.contents else None,
                        "grants": [attrs.asdict(grant) for grant in report.grants],
                        "members": list(report.members),
                    }
                    for report in reports
                ],
            }
        )
        return
    rows = [
        (
            report.schema,
            "own" if report.owned else "replica",
            report.contents.dataset_count if report.contents else "",
            ", ".join(report.contents.user_tables) if report.contents else "",
            ", ".join(report.members),
            ", ".join(f"{grant.grantee} {grant.privilege}" for grant in report.grants),
        )
        for report in reports
    ]
    print_table(
        ("schema", "role", "datasets", "user tables", "group of", "granted"), rows, right=frozenset({2})
    )


GrantedSchema = Annotated[str, typer.Argument(metavar="SCHEMA", help="Name of the schema.")]
Grantee = Annotated[str, typer.Argument(metavar="USER|GROUP", help="Who may do it.")]
Privileged = Annotated[
    Privilege, typer.Argument(help="read, write, or share: to grant others that they read.")
]


@app.command(epilog="Example: federation schema grant read alice bob --site base")
def grant(
    privilege: Privileged,
    schema: GrantedSchema,
    grantee: Grantee,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Let a user or group read, write or share a schema."""
    from federation import schema_verbs

    where = required(site, "--site")
    is_new = schema_verbs.grant(privilege.value, schema, grantee, site=where, sites=sites, user=user)
    if json:
        print_json(
            {"site": where, "schema": schema, "grantee": grantee, "privilege": privilege.value, "new": is_new}
        )
    else:
        print_text(
            f"{grantee} may {privilege} schema {schema} at {where}" + ("" if is_new else ", as before")
        )


@app.command(epilog="Example: federation schema revoke read alice bob --site base")
def revoke(
    privilege: Privileged,
    schema: GrantedSchema,
    grantee: Grantee,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Take a grant back."""
    from federation import schema_verbs

    where = required(site, "--site")
    schema_verbs.revoke(privilege.value, schema, grantee, site=where, sites=sites, user=user)
    if json:
        print_json({"site": where, "schema": schema, "grantee": grantee, "privilege": privilege.value})
    else:
        print_text(f"{grantee} was granted {privilege} on schema {schema} at {where}, and is no longer")


Group = Annotated[str, typer.Argument(metavar="GROUP", help="Name of the group.")]
Member = Annotated[str, typer.Argument(metavar="USER", help="A user.")]


@app.command("group-add", epilog="Example: federation schema group-add commissioning alice --site base")
def group_add(
    group: Group,
    member: Member,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Take a user into a group, which begins with its first member."""
    from federation.schema_verbs import add_group_member

    where = required(site, "--site")
    is_new = add_group_member(group, member, site=where, sites=sites, user=user)
    if json:
        print_json({"site": where, "group": group, "member": member, "new": is_new})
    else:
        print_text(f"{member} is in group {group} at {where}" + ("" if is_new else ", as before"))


@app.command("group-remove", epilog="Example: federation schema group-remove commissioning alice --site base")
def group_remove(
    group: Group,
    member: Member,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Take a user out of a group."""
    from federation.schema_verbs import remove_group_member

    where = required(site, "--site")
    remove_group_member(group, member, site=where, sites=sites, user=user)
    if json:
        print_json({"site": where, "group": group, "member": member})
    else:
        print_text(f"{member} is no longer in group {group} at {where}")


@table_app.command(
    "create",
    epilog="Example: federation schema table create quality --from quality.csv --site base --schema alice",
)
def table_create(
    name: TableName,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A .csv, .tsv, .parquet, .arrow or .feather file."),
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", metavar="SQL", help="The answer to a statement over all sites.")
    ] = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: TableSchema = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="COLUMN,...", help="Columns that identify a row; else row_id is added."
        ),
    ] = None,
    doc: Annotated[str, typer.Option("--doc", metavar="TEXT", help="What the table is.")] = "",
    felis: FelisFile = None,
    time_scale: TimeScaleOption = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Make a table in a schema from a file or a query, and put its rows."""
    from federation.schema_verbs import create_table

    report = create_table(
        name,
        source,
        query=query,
        site=required(site, "--site"),
        sites=sites,
        schema=required(schema, "--schema"),
        key=[part.strip() for part in key.split(",")] if key else (),
        doc=doc,
        felis=felis,
        time_scale=None if time_scale is None else time_scale.value,
        user=user,
    )
    _print_report(report, json, f"table {schema}.{name} of {report.row_count} rows")


@table_app.command(
    "append",
    epilog="Example: federation schema table append quality --from more.csv --site base --schema alice",
)
def table_append(
    name: TableName,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A .csv, .tsv, .parquet, .arrow or .feather file."),
    ] = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: TableSchema = None,
    time_scale: TimeScaleOption = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Add the rows of a file to a table, all or none."""
    from federation.schema_verbs import append_table

    if source is None:
        raise UsageError("option --from is missing", hint="give it, or see --help")
    report = append_table(
        name,
        source,
        site=required(site, "--site"),
        sites=sites,
        schema=required(schema, "--schema"),
        time_scale=None if time_scale is None else time_scale.value,
        user=user,
    )
    _print_report(report, json, f"table {schema}.{name} has {report.row_count} rows")


@table_app.command("drop", epilog="Example: federation schema table drop quality --site base --schema alice")
def table_drop(
    name: TableName,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: TableSchema = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Remove a table with its rows."""
    from federation.schema_verbs import drop_table

    report = drop_table(
        name, site=required(site, "--site"), sites=sites, schema=required(schema, "--schema"), user=user
    )
    _print_report(report, json, f"dropped table {schema}.{name} of {report.row_count} rows")


@table_app.command("list", epilog="Example: federation schema table list --site base")
def table_list(
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: Annotated[
        str | None, typer.Option("--schema", metavar="NAME", help="Of this schema only.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show the users' tables of a site."""
    from federation.schema_verbs import list_tables

    reports = list_tables(site=required(site, "--site"), sites=sites, schema=schema)
    if json:
        print_json({"site": site, "tables": [_as_json(report) for report in reports]})
        return
    rows = [
        (r.schema, r.table.name, r.row_count, ", ".join(r.table.key), len(r.table.columns), r.table.doc)
        for r in reports
    ]
    print_table(("schema", "table", "rows", "key", "columns", "description"), rows, right=frozenset({2, 4}))


@table_app.command("show", epilog="Example: federation schema table show quality --site base --schema alice")
def table_show(
    name: TableName,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: TableSchema = None,
    json: JsonFlag = False,
) -> None:
    """Show a table's columns with their types, units and meanings."""
    from federation.schema_verbs import show_table

    report = show_table(name, site=required(site, "--site"), sites=sites, schema=required(schema, "--schema"))
    if json:
        print_json(_as_json(report))
        return
    rows = [
        (c.name, c.type.value, "key" if c.name in report.table.key else "", c.unit, c.ucd, c.doc)
        for c in report.table.columns
    ]
    print_table(("column", "type", "", "unit", "UCD", "description"), rows)
    print_text(f"{report.row_count} rows")


def _as_json(report: TableReport) -> dict[str, Any]:
    return {
        "schema": report.schema,
        "table": report.table.name,
        "rows": report.row_count,
        "key": list(report.table.key),
        "description": report.table.doc,
        "columns": [
            {
                "name": column.name,
                "type": column.type.value,
                "nullable": column.nullable,
                "unit": column.unit,
                "ucd": column.ucd,
                "description": column.doc,
            }
            for column in report.table.columns
        ],
        "notes": list(report.notes),
    }


def _print_report(report: TableReport, as_json: bool, text: str) -> None:
    if as_json:
        print_json(_as_json(report))
        return
    for note in report.notes:
        print_text(f"note: {note}")
    print_text(text)


@app.command(
    epilog="Example: federation schema propose alice.quality --site base --comment 'seeing of each visit'"
)
def propose(
    table: FullName,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    comment: Comment = "",
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Propose a user's table for the site's own schema."""
    from federation.schema_verbs import propose_table

    made = propose_table(table, site=required(site, "--site"), sites=sites, comment=comment, user=user)
    _print_proposal(made, json)


@app.command(epilog="Example: federation schema review alice.quality --approve --site base")
def review(
    table: Annotated[
        str | None, typer.Argument(metavar="SCHEMA.TABLE", help="The table; all proposals without.")
    ] = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    approve: Annotated[
        bool, typer.Option("--approve", help="What the table holds now may be promoted.")
    ] = False,
    reject: Annotated[bool, typer.Option("--reject", help="It may not.")] = False,
    comment: Comment = "",
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Approve or reject a proposed table; without either, show the proposals."""
    from federation.schema_verbs import list_proposals, review_table

    where = required(site, "--site")
    if approve or reject:
        if approve and reject:
            raise UsageError("--approve and --reject exclude one another", hint="give one of them")
        if table is None:
            raise UsageError("which table is not said", hint="name it, as in alice.quality")
        made = review_table(table, approve=approve, site=where, sites=sites, comment=comment, user=user)
        _print_proposal(made, json)
        return
    found = [p for p in list_proposals(site=where, sites=sites) if table in (None, str(p))]
    if json:
        print_json({"site": where, "proposals": [_proposal_json(proposal) for proposal in found]})
        return
    rows = [(str(p), p.state, p.actor, _when(p), p.comment) for p in found]
    print_table(("table", "state", "by", "when (TAI)", "comment"), rows)


@app.command(epilog="Example: federation schema promote alice.quality --site base")
def promote(
    table: FullName,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    comment: Comment = "",
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Copy an approved table into the site's own schema, as it was approved."""
    from federation.schema_verbs import promote_table

    made, count = promote_table(table, site=required(site, "--site"), sites=sites, comment=comment, user=user)
    _print_proposal(made, json, count)


@app.command(epilog="Example: federation schema retire alice.quality --site base")
def retire(
    table: FullName,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    comment: Comment = "",
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Take a promoted table out of the site's own schema; the user's stays."""
    from federation.schema_verbs import retire_table

    made, count = retire_table(table, site=required(site, "--site"), sites=sites, comment=comment, user=user)
    _print_proposal(made, json, count)


def _when(proposal: Proposal) -> str:
    from federation.model.timespan import format_tai

    return format_tai(proposal.changed // 1_000_000_000 * 1_000_000_000)


def _proposal_json(proposal: Proposal) -> dict[str, Any]:
    return {
        "table": str(proposal),
        "state": proposal.state.value,
        "comment": proposal.comment,
        "actor": proposal.actor,
        "changed": _when(proposal),
    }


def _print_proposal(proposal: Proposal, as_json: bool, row_count: int | None = None) -> None:
    if as_json:
        print_json(_proposal_json(proposal) | ({} if row_count is None else {"rows": row_count}))
    else:
        print_text(f"{proposal} is {proposal.state}" + ("" if row_count is None else f", {row_count} rows"))


@app.command(
    epilog="Example: federation schema describe quality --felis quality.yaml --site base --schema alice"
)
def describe(
    name: TableName,
    felis: FelisFile = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: TableSchema = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Give a table the units, UCDs and descriptions of a Felis file."""
    from federation.schema_verbs import describe_table

    if felis is None:
        raise UsageError("option --felis is missing", hint="give it, or see --help")
    report = describe_table(
        name,
        felis,
        site=required(site, "--site"),
        sites=sites,
        schema=required(schema, "--schema"),
        user=user,
    )
    _print_report(report, json, f"table {schema}.{name} is described")


@app.command(epilog="Example: federation schema felis alice --site base -o alice.yaml")
def felis(
    schema: GrantedSchema,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    every_table: Annotated[
        bool, typer.Option("--all", help="All tables of the schema, not only users' tables.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Describe the users' tables of a schema as Felis YAML."""
    from federation.schema_verbs import schema_felis

    text = schema_felis(schema, site=required(site, "--site"), sites=sites, every_table=every_table)
    if output is not None:
        output.write_text(text, encoding="utf-8")
    if json:
        print_json({"site": site, "schema": schema, "output": output and str(output), "felis": text})
    elif output is None:
        print_text(text)
