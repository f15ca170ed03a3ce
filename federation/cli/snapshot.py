"""``federation snapshot``: datasets with all they depend on, as a directory that works offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli import snapshot_changes
from federation.cli.options import JsonFlag, ReadAs, SiteOption, SitesDirectory
from federation.cli.output import byte_text, print_json, print_table, print_text
from federation.cli.snapshot_options import (
    Calibrations,
    Collections,
    Depth,
    Discard,
    DryRun,
    Ids,
    NoFiles,
    NoIntermediates,
    NoMetrics,
    Outputs,
    Sql,
    StopAt,
    Target,
    Types,
    UserTables,
    Where,
    chosen,
    print_report,
    progress_bar,
)

if TYPE_CHECKING:
    from federation.snapshot.diff import SnapshotDiff
    from federation.snapshot.options import ClosureOptions

__all__ = ["app"]

app = typer.Typer(help="Make, extend, verify and compare snapshots.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Option(
        "--name", metavar="NAME", help="Name of the snapshot as a site. Without it, the directory's."
    ),
]


@app.command(epilog="Example: federation snapshot create night1 --dataset-type calexp --where \"band = 'r'\"")
def create(
    target: Target,
    where: Where = None,
    dataset_type: Types = None,
    sql: Sql = None,
    ids: Ids = None,
    collection: Collections = None,
    calibrations: Calibrations = None,
    depth: Depth = None,
    stop_at: StopAt = None,
    no_intermediates: NoIntermediates = False,
    outputs: Outputs = False,
    no_metrics: NoMetrics = False,
    table: UserTables = None,
    no_files: NoFiles = False,
    dry_run: DryRun = False,
    discard: Discard = False,
    name: Name = "",
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    user: ReadAs = None,
    json: JsonFlag = False,
) -> None:
    """Make a snapshot of chosen datasets, their inputs, calibrations, records, collections and files."""
    from federation.snapshot_verbs import create_snapshot

    selected = chosen(where, dataset_type, sql, ids, collection, calibrations)
    options = _options(depth, stop_at, no_intermediates, outputs, no_metrics, table)
    with progress_bar(json) as progress:
        report = create_snapshot(
            target,
            name=name,
            site=site,
            sites=sites,
            files=not no_files,
            dry_run=dry_run,
            progress=progress,
            user=user,
            options=options,
            discard=discard,
            **selected,
        )
    print_report("would be made" if dry_run else "made", target, report, json)


@app.command(epilog="Example: federation snapshot extend night1 --dataset-type calexp --where \"band = 'i'\"")
def extend(
    target: Target,
    where: Where = None,
    dataset_type: Types = None,
    sql: Sql = None,
    ids: Ids = None,
    collection: Collections = None,
    calibrations: Calibrations = None,
    depth: Depth = None,
    stop_at: StopAt = None,
    no_intermediates: NoIntermediates = False,
    outputs: Outputs = False,
    no_metrics: NoMetrics = False,
    table: UserTables = None,
    no_files: NoFiles = False,
    dry_run: DryRun = False,
    discard: Discard = False,
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    user: ReadAs = None,
    json: JsonFlag = False,
) -> None:
    """Add datasets to a snapshot; what it holds already is not copied again."""
    from federation.snapshot_verbs import extend_snapshot

    selected = chosen(where, dataset_type, sql, ids, collection, calibrations)
    options = _options(depth, stop_at, no_intermediates, outputs, no_metrics, table)
    with progress_bar(json) as progress:
        report = extend_snapshot(
            target,
            site=site,
            sites=sites,
            files=not no_files,
            dry_run=dry_run,
            progress=progress,
            user=user,
            options=options,
            discard=discard,
            **selected,
        )
    print_report("would be extended" if dry_run else "extended", target, report, json)


@app.command(epilog="Example: federation snapshot verify night1")
def verify(target: Target, json: JsonFlag = False) -> None:
    """Read every byte and compare with what was written; exit code 6 when anything differs."""
    from federation.snapshot_verbs import verify_snapshot

    report = verify_snapshot(target)
    if json and report.ok:
        print_json(
            {"snapshot": str(target), "ok": True, "files": report.file_count, "bytes": report.size_bytes}
        )
    if not json:
        if report.problems:
            print_table(
                ("file", "problem", "detail"), [(p.path, p.kind, p.detail) for p in report.problems[:50]]
            )
        else:
            print_text(f"{target}: {report.file_count} files, {byte_text(report.size_bytes)}, all as written")
    report.raise_for_problem()


@app.command(epilog="Example: federation snapshot diff night1 night2")
def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="Directory of a snapshot.")],
    b: Annotated[
        Path | None, typer.Argument(metavar="[B]", help="Directory of another. Without it, the sites.")
    ] = None,
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    user: ReadAs = None,
    json: JsonFlag = False,
) -> None:
    """Compare two snapshots, or one with the sites: what is in one only, and what differs. Differences are no error."""
    from federation.snapshot_verbs import diff_snapshots

    found = diff_snapshots(a, b, site=site, sites=sites, user=user)
    other = str(b or "the sites")
    if json:
        print_json(_diff_json(found))
        return
    if found.same:
        print_text(f"{a} and {other} hold the same")
        return
    rows: list[tuple[Any, ...]] = [
        ("-", "dataset", dataset_id, f"in {a} only") for dataset_id in found.only_a
    ]
    rows += [("+", "dataset", dataset_id, f"in {other} only") for dataset_id in found.only_b]
    rows += [
        ("~", "dataset", one.dataset_id, "differs in " + ", ".join(one.differs)) for one in found.changed
    ]
    for record in found.records:
        sign = "~" if record.in_a and record.in_b else "-" if record.in_a else "+"
        rows.append((sign, record.table, ", ".join(map(str, record.key)), ""))
    print_table(("", "what", "key", "how"), rows)


def _diff_json(found: SnapshotDiff) -> dict[str, Any]:
    return {
        "same": found.same,
        "only_a": [str(dataset_id) for dataset_id in found.only_a],
        "only_b": [str(dataset_id) for dataset_id in found.only_b],
        "changed": [
            {"dataset_id": str(one.dataset_id), "differs": list(one.differs)} for one in found.changed
        ],
        "records": [
            {"table": one.table, "key": [str(value) for value in one.key], "in_a": one.in_a, "in_b": one.in_b}
            for one in found.records
        ],
    }


def _options(
    depth: int | None,
    stop_at: list[str] | None,
    no_intermediates: bool,
    outputs: bool,
    no_metrics: bool,
    tables: list[str] | None,
) -> ClosureOptions:
    from federation.snapshot.options import ClosureOptions

    return ClosureOptions(
        depth, tuple(stop_at or ()), not no_intermediates, outputs, not no_metrics, tuple(tables or ())
    )


snapshot_changes.register(app)
