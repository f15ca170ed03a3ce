"""``federation replica``: follow other sites' schemas, see how far, prove that a replica equals its owner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import JsonFlag, SitesDirectory
from federation.cli.output import byte_text, print_error, print_json, print_table, print_text
from federation.cli.replica_words import advice, duration_text, follower_advice, site_words
from federation.errors import CorruptionError
from federation.logs import log_as_server

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.replication.verify import RepairReport, VerifyReport
    from federation.session import SiteReport
    from federation.wire.messages import SchemaStatus

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

    log_as_server()
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
    """Show every replica: how far it is, what is missing, since when, through which path, and what to do about it."""
    from federation.api import site_status

    reports = site_status(names or [], sites=sites)
    if json:
        print_json(_status_json(reports))
        return
    rows: list[list[Any]] = []
    for report in reports:
        if report.status is None:
            rows.append([report.site, *[""] * 7, "down"])
            continue
        rows += [[report.site, *_status_row(held)] for held in report.status.schemas if not held.owned]
    columns = ("site", "replica of", "lsn", "behind", "bytes", "age", "files waiting", "through", "state")
    print_table(columns, rows, right=frozenset({2, 3, 4, 5, 6}))
    for line in (words for report in reports for words in site_words(report)):
        print_text(f"\n{line}")


def _status_row(held: SchemaStatus) -> list[Any]:
    age = "never" if held.staleness_s is None else duration_text(held.staleness_s)
    size = "" if held.lag_bytes is None else byte_text(held.lag_bytes)
    part = " (part)" if held.filter else ""
    return [
        f"{held.schema}{part}",
        held.lsn,
        held.lag_entries,
        size,
        age,
        held.files_waiting,
        " > ".join(held.path),
        f"{held.state} for {duration_text(held.since_s)}" if held.since_s >= 1 else held.state,
    ]


def _status_json(reports: Iterable[SiteReport]) -> dict[str, Any]:
    held = [
        (report.site, one) for report in reports if report.status is not None for one in report.status.schemas
    ]
    return {
        "replicas": [{"site": site, **_replica_json(one)} for site, one in held if not one.owned],
        "logs": [{"site": site, **_log_json(one)} for site, one in held if one.owned and one.followers],
        "down": {report.site: report.reason for report in reports if report.status is None},
    }


def _replica_json(held: SchemaStatus) -> dict[str, Any]:
    return {
        "schema": str(held.schema),
        "epoch": held.epoch,
        "lsn": held.lsn,
        "head_lsn": held.head_lsn,
        "lag_lsn": max(held.head_lsn - held.lsn, 0),
        "lag_bytes": held.lag_bytes,
        "staleness_s": held.staleness_s,
        "state": held.state,
        "since_s": held.since_s,
        "path": list(held.path),
        "filter": {
            "tables": list(held.filter.tables),
            "dataset_types": list(held.filter.dataset_types),
            "collections": list(held.filter.collections),
        },
        "detail": held.detail,
        "files_waiting": held.files_waiting,
        "advice": advice(held),
    }


def _log_json(held: SchemaStatus) -> dict[str, Any]:
    return {
        "schema": str(held.schema),
        "epoch": held.epoch,
        "first_lsn": held.first_lsn,
        "lsn": held.lsn,
        "followers": [
            {
                "follower": one.name,
                "lsn": one.lsn,
                "lag_lsn": one.lag_entries,
                "lag_bytes": one.lag_bytes,
                "oldest_s": one.oldest_s,
                "heard_s": one.heard_s,
                "advice": follower_advice(held.schema.site, one),
            }
            for one in held.followers
        ],
    }


@app.command(epilog="Example: federation replica verify ncsa --schema summit/summit")
def verify(
    name: Name,
    sites: SitesDirectory = Path("sites"),
    schema: Annotated[
        str | None,
        typer.Option("--schema", metavar="SITE/NAME", help="Only this one. Without it, every replica."),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write what differs as its owner has it, and nothing else.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Compare a site's replicas with their owners, row by row where digests differ; exit code 6 when they do."""
    from federation.api import verify_replica
    from federation.repair_verbs import repair_replica

    repairs = repair_replica(name, sites=sites, schema=schema) if repair else ()
    for done in () if json else repairs:
        _print_repair(name, done)
    reports = verify_replica(name, sites=sites, schema=schema)
    wrong = [report for report in reports if not report.is_equal]
    if json:
        answer: dict[str, Any] = {"site": name, "equal": not wrong}
        if repair:
            answer["repaired"] = [_repaired(done) for done in repairs]
        answer["schemas"] = [_verified(report) for report in reports]
        if wrong:  # one document tells both what is wrong and that it is
            error = _differs(name, wrong[0])
            answer["error"] = {"code": error.code, "message": error.message, "hint": error.hint}
        print_json(answer)
        if wrong:
            print_error(error, as_json=False)
            raise typer.Exit(error.exit_code)
        return
    for report in reports:
        rows = sum(table.row_count for table in report.tables)
        if report.is_equal:
            print_text(f"{report.schema} at {name} equals its owner at LSN {report.lsn}: {rows} rows")
        else:
            shown = [(d.table, d.key, d.kind) for d in report.differences]
            print_table(("table", "key", "in the replica"), shown)
            if report.difference_count > len(shown):
                print_text(f"and {report.difference_count - len(shown)} more rows")
    if not reports:
        print_text(f"site {name} holds no replica")
    if wrong:
        raise _differs(name, wrong[0])


def _differs(name: str, report: VerifyReport) -> CorruptionError:
    tables = ", ".join(table.table for table in report.tables if not table.is_equal)
    return CorruptionError(
        f"{report.schema} at {name} differs from its owner at LSN {report.lsn} in {report.difference_count} rows of "
        f"{tables}: " + "; ".join(f"{d.table} {d.key} is {d.kind}" for d in report.differences[:3]),
        hint=f"run: federation replica verify {name} --repair",
    )


def _print_repair(name: str, done: RepairReport) -> None:
    if done.copied:
        print_text(
            f"{done.schema} at {name}: its owner's log does not continue it; what differed was copied, LSN {done.lsn}"
        )
    if not done.mended:
        print_text(f"{done.schema} at {name}: nothing to repair")
        return
    rows = [[table, one.missing, one.changed, one.extra] for table, one in done.mended.items()]
    print_table(("table", "put in", "corrected", "taken out"), rows, right=frozenset({1, 2, 3}))


def _repaired(done: RepairReport) -> dict[str, Any]:
    return {
        "schema": str(done.schema),
        "lsn": done.lsn,
        "copied": done.copied,
        "tables": {
            table: {"put_in": one.missing, "corrected": one.changed, "taken_out": one.extra}
            for table, one in done.mended.items()
        },
    }


def _verified(report: VerifyReport) -> dict[str, Any]:
    return {
        "schema": str(report.schema),
        "epoch": report.epoch,
        "lsn": report.lsn,
        "tables": len(report.tables),
        "rows": sum(table.row_count for table in report.tables),
        "difference_count": report.difference_count,
        "differences": [{"table": d.table, "key": d.key, "kind": d.kind} for d in report.differences],
    }
