"""``federation schema propose``, ``review``, ``promote`` and ``retire``: users' tables in the common schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import AsUser, JsonFlag, SitesDirectory, WriteSite, required
from federation.cli.output import print_json, print_table, print_text
from federation.errors import UsageError

if TYPE_CHECKING:
    from federation.registry.proposals import Proposal

__all__ = ["EXAMPLES", "promote", "propose", "retire", "review"]

#: by command
EXAMPLES = {
    "propose": "Example: federation schema propose alice.quality --site base --comment 'seeing of each visit'",
    "review": "Example: federation schema review alice.quality --approve --site base",
    "promote": "Example: federation schema promote alice.quality --site base",
    "retire": "Example: federation schema retire alice.quality --site base",
}

FullName = Annotated[str, typer.Argument(metavar="SCHEMA.TABLE", help="The table, as in alice.quality.")]
Comment = Annotated[str, typer.Option("--comment", metavar="TEXT", help="What is to be said about it.")]


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
