"""``federation schema``: schemas, groups and grants of a site; with the commands for users' tables and promotion."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import attrs
import typer

from federation.cli import promotion, user_tables
from federation.cli.options import AsUser, JsonFlag, SitesDirectory, WriteSite, required
from federation.cli.output import print_json, print_table, print_text

__all__ = ["app"]

app = typer.Typer(
    help="Schemas of users and groups, grants, users' tables and their promotion.", no_args_is_help=True
)
app.add_typer(user_tables.app, name="table")
app.command("propose", epilog=promotion.EXAMPLES["propose"])(promotion.propose)
app.command("review", epilog=promotion.EXAMPLES["review"])(promotion.review)
app.command("promote", epilog=promotion.EXAMPLES["promote"])(promotion.promote)
app.command("retire", epilog=promotion.EXAMPLES["retire"])(promotion.retire)
app.command("describe", epilog=user_tables.DESCRIBE_EXAMPLE)(user_tables.describe)
app.command("felis", epilog=user_tables.FELIS_EXAMPLE)(user_tables.felis)


class Privilege(enum.StrEnum):
    """What can be granted."""

    READ = "read"
    WRITE = "write"
    SHARE = "share"


Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the schema.")]


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
