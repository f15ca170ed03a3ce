"""``federation replica``: follow other sites' schemas, see how far, prove that a replica equals its owner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import JsonFlag, SitesDirectory
from federation.cli.output import print_json, print_table, print_text
from federation.errors import CorruptionError

if TYPE_CHECKING:
    from federation.replication.verify import VerifyReport

__all__ = ["app"]

app = typer.Typer(help="Follow other sites' schemas; inspect and verify replicas.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the site, or path of its file.")]


@app.command(epilog="Example: federation replica run ncsa --once")
def run(
    name: Name,
    sites: SitesDirectory = Path("sites"),
    once: Annotated[
        bool, typer.Option("--once", help="End when everything that is there now has been applied.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Follow the site's peers in the foreground, without serving the site."""
    from federation.api import replicate

    found = replicate(name, sites=sites, once=once)
    if json:
        replicas = [
            {"schema": str(schema), "lsn": status.lsn, "head_lsn": status.head_lsn, "state": status.state}
            for schema, status in found.items()
        ]
        print_json({"site": name, "replicas": replicas})
        return
    for schema, status in found.items():
        print_text(f"{schema} at {name}: LSN {status.lsn} of {status.head_lsn}")
    if not found:
        print_text(f"site {name} follows nothing: no peer of its file has follow = [...]")


@app.command(epilog="Example: federation replica status ncsa")
def status(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Sites; all without.")
    ] = None,
    sites: SitesDirectory = Path("sites"),
    json: JsonFlag = False,
) -> None:
    """Show every replica: how far it is, how far behind, and since when."""
    from federation.api import site_status

    reports = site_status(names or [], sites=sites)
    if json:
        print_json(
            {
                "replicas": [
                    {"site": report.site, **_as_json(held)}
                    for report in reports
                    if report.status is not None
                    for held in report.status.schemas
                    if not held.owned
                ],
                "down": {report.site: report.reason for report in reports if report.status is None},
            }
        )
        return
    rows: list[list[Any]] = []
    for report in reports:
        if report.status is None:
            rows.append([report.site, "", "", "", "", "", f"down: {report.reason}"])
            continue
        for held in report.status.schemas:
            if not held.owned:
                age = "never" if held.staleness_s is None else f"{held.staleness_s:.1f} s"
                state = f"{held.state}: {held.detail}" if held.detail else held.state
                behind = max(held.head_lsn - held.lsn, 0)
                rows.append([report.site, held.schema, held.lsn, behind, age, held.files_waiting, state])
    columns = ("site", "replica of", "lsn", "behind", "age", "files waiting", "state")
    print_table(columns, rows, right=frozenset({2, 3, 4, 5}))


def _as_json(held: Any) -> dict[str, Any]:
    return {
        "schema": str(held.schema),
        "epoch": held.epoch,
        "lsn": held.lsn,
        "head_lsn": held.head_lsn,
        "lag_lsn": max(held.head_lsn - held.lsn, 0),
        "staleness_s": held.staleness_s,
        "state": held.state,
        "detail": held.detail,
        "files_waiting": held.files_waiting,
    }


@app.command(epilog="Example: federation replica verify ncsa --schema summit/summit")
def verify(
    name: Name,
    sites: SitesDirectory = Path("sites"),
    schema: Annotated[
        str | None,
        typer.Option("--schema", metavar="SITE/NAME", help="Only this one. Without it, every replica."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Compare a site's replicas with their owners, row by row where digests differ; exit code 6 when they do."""
    from federation.api import verify_replica

    reports = verify_replica(name, sites=sites, schema=schema)
    wrong = [report for report in reports if not report.is_equal]
    if json and not wrong:
        print_json({"site": name, "equal": True, "schemas": [_verified(report) for report in reports]})
    for report in () if json else reports:
        rows = sum(table.row_count for table in report.tables)
        if report.is_equal:
            print_text(f"{report.schema} at {name} equals its owner at LSN {report.lsn}: {rows} rows")
        else:
            shown = [(d.table, d.key, d.kind) for d in report.differences[:50]]
            print_table(("table", "key", "in the replica"), shown)
    if not reports and not json:
        print_text(f"site {name} holds no replica")
    if wrong:
        first = wrong[0]
        tables = ", ".join(table.table for table in first.tables if not table.is_equal)
        raise CorruptionError(
            f"{first.schema} at {name} differs from its owner at LSN {first.lsn} in {tables}: "
            + "; ".join(f"{d.table} {d.key} is {d.kind}" for d in first.differences[:3]),
            hint="make the replica again from its owner, in a registry without it",
        )


def _verified(report: VerifyReport) -> dict[str, Any]:
    return {
        "schema": str(report.schema),
        "epoch": report.epoch,
        "lsn": report.lsn,
        "tables": len(report.tables),
        "rows": sum(table.row_count for table in report.tables),
    }
