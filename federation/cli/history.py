"""``federation site log``, ``backup`` and ``restore``; ``federation replica forget``: the history of a site."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from federation.cli.options import JsonFlag, SitesDirectory, WriteSite, required
from federation.cli.output import print_json, print_table, print_text
from federation.errors import UsageError

if TYPE_CHECKING:
    from federation.history_verbs import FollowerReport, LogReport

__all__ = ["register"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the site, or path of its file.")]


def register(site: typer.Typer, replica: typer.Typer) -> None:
    """Add the commands to their groups."""
    site.command(epilog="Example: federation site log summit")(log)
    site.command(epilog="Example: federation site backup summit /backup/summit-monday")(backup)
    site.command(epilog="Example: federation site restore summit --from /backup/summit-monday --yes")(restore)
    replica.command(epilog="Example: federation replica forget laptop --site ncsa")(forget)


def log(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Sites; all without.")
    ] = None,
    sites: SitesDirectory = Path("sites"),
    json: JsonFlag = False,
) -> None:
    """Show the change logs of sites: what is kept, who follows and how far, what would be trimmed."""
    from federation.history_verbs import site_log

    reports = site_log(names or [], sites=sites)
    if json:
        print_json({"logs": [_as_json(report) for report in reports]})
        return
    rows = [
        (
            one.site,
            one.schema,
            one.epoch,
            f"{one.first_lsn}-{one.head_lsn}" if one.first_lsn <= one.head_lsn else "none",
            _size(one.size_bytes),
            _age(one.age_s),
            one.to_trim.entry_count,
            one.refusal and "not published",
        )
        for one in reports
    ]
    columns = ("site", "log of", "epoch", "entries kept", "size", "oldest", "to trim", "state")
    print_table(columns, rows, right=frozenset({4, 5, 6}))
    found = [(report, one) for report in reports for one in report.followers]
    if found:
        shown = [
            (report.site, report.schema, one.follower.name, one.lag_lsn, _age(one.age_s), _kept(report, one))
            for report, one in found
        ]
        columns_of_followers = ("site", "log of", "follower", "behind", "heard", "the log")
        print_table(columns_of_followers, shown, right=frozenset({3, 4}))
    for report in reports:
        if report.refusal:
            print_text(report.refusal)


def _kept(report: LogReport, one: FollowerReport) -> str:
    if one.follower.name in report.to_trim.left_behind:
        return "outgrows its limit before it comes"
    return "waits for it" if one.is_waited_for else "does not wait for it"


def _as_json(report: LogReport) -> dict[str, Any]:
    return {
        "site": report.site,
        "schema": str(report.schema),
        "epoch": report.epoch,
        "first_lsn": report.first_lsn,
        "head_lsn": report.head_lsn,
        "size_bytes": report.size_bytes,
        "age_s": report.age_s,
        "refusal": report.refusal,
        "epochs": [{"epoch": one.name, "start_lsn": one.start_lsn} for one in report.epochs],
        "to_trim": attrs.asdict(report.to_trim),
        "followers": [
            {
                "name": one.follower.name,
                "epoch": one.follower.epoch,
                "lsn": one.follower.lsn,
                "lag_lsn": one.lag_lsn,
                "age_s": one.age_s,
                "is_waited_for": one.is_waited_for,
            }
            for one in report.followers
        ],
    }


def _size(size_bytes: int) -> str:
    """A size with a unit.

    >>> _size(999), _size(1_250_000)
    ('999 B', '1.2 MB')
    """
    size, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"


def _age(age_s: float) -> str:
    """A time span with one unit.

    >>> _age(59.0), _age(7200.0), _age(172_800.0)
    ('59 s', '2.0 h', '2.0 d')
    """
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if age_s >= length_s:
            return f"{age_s / length_s:.1f} {unit}"
    return f"{age_s:.0f} s"


def backup(
    name: Name,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="New directory for the backup.")],
    sites: SitesDirectory = Path("sites"),
    json: JsonFlag = False,
) -> None:
    """Copy the registry of a site, as it is at one moment, to a new directory; the site goes on meanwhile."""
    from federation.history_verbs import backup_site

    made = backup_site(name, target, sites=sites)
    if json:
        print_json({"site": name, "backup": str(made)})
    else:
        print_text(f"backup of the registry of {name}: {made}")


def restore(
    name: Name,
    sites: SitesDirectory = Path("sites"),
    backup_directory: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="Backup to put in the registry's place. Without it, you have put one there.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    json: JsonFlag = False,
) -> None:
    """Let a site go on after its registry was restored from a backup, or copied: its logs begin new epochs.

    Followers that had no more than the backup go on; the others copy what differs. Refused while a server runs.
    """
    from federation.history_verbs import restore_site

    if not yes:
        if json or not sys.stdin.isatty():
            raise UsageError("site restore asks before it acts, and nobody can answer", hint="add --yes")
        what = f"replaces its registry by {backup_directory} and " if backup_directory else ""
        typer.confirm(f"Restoring {name} {what}begins a new epoch of each of its logs. Go on?", abort=True)
    report = restore_site(name, sites=sites, backup=backup_directory)
    if json:
        logs = [attrs.asdict(one, recurse=False) | {"schema": str(one.schema)} for one in report.logs]
        replaced = str(report.replaced) if report.replaced else None
        print_json({"site": report.site, "replaced": replaced, "logs": logs})
        return
    if report.replaced:
        print_text(f"the registry that was there is kept in {report.replaced}")
    for one in report.logs:
        known = f"; followers may have it up to {one.shown_lsn}" if one.shown_lsn is not None else ""
        print_text(f"{one.schema} goes on after {one.lsn} in epoch {one.epoch}{known}")


def forget(
    follower: Annotated[str, typer.Argument(metavar="FOLLOWER", help="Name of the site that followed.")],
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: Annotated[
        str | None, typer.Option("--schema", metavar="NAME", help="Only the log of this schema.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Keep the logs of a site no longer for a follower that won't come back."""
    from federation.history_verbs import forget_replica

    where = required(site, "--site")
    schemas = [str(one) for one in forget_replica(follower, site=where, sites=sites, schema=schema)]
    if json:
        print_json({"site": where, "follower": follower, "schemas": schemas})
    else:
        print_text(f"{where} keeps its logs no longer for {follower}: {', '.join(schemas)}")
