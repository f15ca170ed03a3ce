"""``federation registry``: work on the registry of one site as a whole."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import JsonFlag, SitesDirectory, WriteSite, required
from federation.cli.output import print_json, print_table, print_text
from federation.errors import ConflictError, UsageError
from federation.model.timespan import format_tai

if TYPE_CHECKING:
    from federation.registry.conflicts import Conflict

__all__ = ["app"]

app = typer.Typer(help="Look after the registry of a site.", no_args_is_help=True)


class Keep(enum.StrEnum):
    """Which of two contents stays."""

    RECORDED = "recorded"
    OFFERED = "offered"


@app.command(epilog="Example: federation registry migrate base --backup /backup")
def migrate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the site, or path of its file.")],
    sites: SitesDirectory = Path("sites"),
    backup: Annotated[
        Path | None,
        typer.Option(
            "--backup", metavar="DIR", help="Where the backup goes. Without it, the site's own root."
        ),
    ] = None,
    no_backup: Annotated[bool, typer.Option("--no-backup", help="Make no backup.")] = False,
    json: JsonFlag = False,
) -> None:
    """Bring a registry of the format before to that of this software, after a backup.

    A run that was cut short is continued by the next. Refused while a server runs on the site.
    """
    from federation.migration_verbs import migrate_registry

    if backup is not None and no_backup:
        raise UsageError("--backup and --no-backup contradict each other", hint="give one of the two")
    report = migrate_registry(
        name,
        sites=sites,
        backup=False if no_backup else backup,
        progress=(lambda _line: None) if json else print_text,
    )
    if json:
        found: dict[str, Any] = {
            "site": report.site,
            "from_format": report.from_format,
            "to_format": report.to_format,
            "changed": report.changed,
            "resumed": report.resumed,
            "backup": report.backup,
            "schemas": [
                {
                    "schema": str(done.schema),
                    "changes": [{"kind": change.kind, "name": change.name} for change in done.changes],
                }
                for done in report.schemas
            ],
        }
        print_json(found)
    elif not report.changed:
        print_text(f"site {report.site}: the registry has format {report.to_format} already")


@app.command(epilog="Example: federation registry conflicts --site base --check")
def conflicts(
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    resolve: Annotated[
        str | None, typer.Option("--resolve", metavar="ID", help="Resolve this conflict.")
    ] = None,
    keep: Annotated[Keep | None, typer.Option("--keep", help="What stays, with --resolve.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with code 3 when there is any.")] = False,
    user: Annotated[
        str | None,
        typer.Option("--as", metavar="USER", help="On whose behalf. Without it, the site's operator."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """List datasets of one identity with different contents, at the site or between it and its replicas.

    A conflict stays listed until it is resolved. No file is deleted.
    """
    from federation.conflict_verbs import list_conflicts, resolve_conflict

    where = required(site, "--site")
    if (resolve is None) != (keep is None):
        raise UsageError("--resolve and --keep go together", hint="say which of the two contents stays")
    if resolve is not None and keep is not None:
        done = resolve_conflict(resolve, keep.value, site=where, sites=sites, user=user)
        if json:
            print_json({"site": where, "resolved": _conflict(done)})
        else:
            kept = done.recorded if keep is Keep.RECORDED else done.offered
            print_text(f"conflict {done.conflict_id} at {where} is resolved: {kept} is kept")
        return
    found = list_conflicts(site=where, sites=sites)
    if json:
        print_json({"site": where, "conflicts": [_conflict(one) for one in found]})
    elif found:
        rows = [
            (
                one.conflict_id, one.dataset_type, one.run, one.kind, _short(one.recorded), _short(one.offered),
                one.uri, one.site,
            )
            for one in found
        ]  # fmt: skip
        columns = (
            "conflict",
            "dataset type",
            "run",
            "kind",
            "recorded",
            "offered",
            "offered at",
            "noticed by",
        )
        print_table(columns, rows)
    else:
        print_text(f"no open conflict at {where}")
    if check and found:
        if json:
            raise typer.Exit(ConflictError.exit_code)
        raise ConflictError(
            f"{len(found)} open conflict{'' if len(found) == 1 else 's'} at {where}",
            hint=f"run: federation registry conflicts --site {where} --resolve ID --keep recorded",
        )


def _conflict(conflict: Conflict) -> dict[str, Any]:
    return {
        "id": str(conflict.conflict_id),
        "dataset_id": str(conflict.dataset_id),
        "dataset_type": conflict.dataset_type,
        "run": conflict.run,
        "kind": conflict.kind,
        "recorded": conflict.recorded,
        "offered": conflict.offered,
        "uri": conflict.uri,
        "site": conflict.site,
        "noticed": format_tai(conflict.noticed),
        "resolution": conflict.resolution,
    }


def _short(content: str) -> str:
    """A checksum with as many digits as tell contents apart; other texts as they are.

    >>> _short("sha256:" + "0123456789abcdef" * 4)
    'sha256:0123456789ab...'
    """
    algorithm, _, digits = content.partition(":")
    return f"{algorithm}:{digits[:12]}..." if algorithm.isalnum() and len(digits) > 20 else content
