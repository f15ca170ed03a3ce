"""``federation snapshot``: datasets with all they depend on, as a directory that works offline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import JsonFlag, ReadAs, SiteOption, SitesDirectory
from federation.cli.output import byte_text, console, print_json, print_table, print_text
from federation.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.snapshot.assemble import SnapshotReport
    from federation.snapshot.diff import SnapshotDiff
    from federation.snapshot.progress import SnapshotProgress

__all__ = ["app"]

app = typer.Typer(help="Make, extend, verify and compare snapshots.", no_args_is_help=True)

Target = Annotated[Path, typer.Argument(metavar="TARGET", help="Directory of the snapshot.")]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="CONDITION", help="SQL condition on the tables of --dataset-type."),
]
Types = Annotated[
    list[str] | None, typer.Option("--dataset-type", metavar="NAME", help="Dataset type to choose from.")
]
Sql = Annotated[str | None, typer.Option("--sql", metavar="SQL", help="A statement that gives dataset_id.")]
Ids = Annotated[Path | None, typer.Option("--ids", metavar="FILE", help="A file with one dataset id a line.")]
Members = Annotated[
    list[str] | None, typer.Option("--collection", metavar="NAME", help="Every dataset of a collection.")
]
Calibrations = Annotated[
    list[str] | None,
    typer.Option(
        "--calibrations", metavar="NAME", help="Add calibrations of this collection valid for what is chosen."
    ),
]
NoFiles = Annotated[bool, typer.Option("--no-files", help="Registry only; leave the files where they are.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count datasets, files and bytes; write nothing.")]


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
    collection: Members = None,
    calibrations: Calibrations = None,
    no_files: NoFiles = False,
    dry_run: DryRun = False,
    name: Name = "",
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    user: ReadAs = None,
    json: JsonFlag = False,
) -> None:
    """Make a snapshot of chosen datasets, their inputs, calibrations, records, collections and files."""
    from federation.api import create_snapshot

    chosen = _selection(where, dataset_type, sql, ids, collection, calibrations)
    with _progress(json) as progress:
        report = create_snapshot(
            target,
            name=name,
            site=site,
            sites=sites,
            files=not no_files,
            dry_run=dry_run,
            progress=progress,
            user=user,
            **chosen,
        )
    _print_report("would be made" if dry_run else "made", target, report, json)


@app.command(epilog="Example: federation snapshot extend night1 --dataset-type calexp --where \"band = 'i'\"")
def extend(
    target: Target,
    where: Where = None,
    dataset_type: Types = None,
    sql: Sql = None,
    ids: Ids = None,
    collection: Members = None,
    calibrations: Calibrations = None,
    no_files: NoFiles = False,
    dry_run: DryRun = False,
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    user: ReadAs = None,
    json: JsonFlag = False,
) -> None:
    """Add datasets to a snapshot; what it holds already is not copied again."""
    from federation.api import extend_snapshot

    chosen = _selection(where, dataset_type, sql, ids, collection, calibrations)
    with _progress(json) as progress:
        report = extend_snapshot(
            target,
            site=site,
            sites=sites,
            files=not no_files,
            dry_run=dry_run,
            progress=progress,
            user=user,
            **chosen,
        )
    _print_report("would be extended" if dry_run else "extended", target, report, json)


@app.command(epilog="Example: federation snapshot verify night1")
def verify(target: Target, json: JsonFlag = False) -> None:
    """Read every byte and compare with what was written; exit code 6 when anything differs."""
    from federation.api import verify_snapshot

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
    b: Annotated[Path, typer.Argument(metavar="B", help="Directory of another.")],
    json: JsonFlag = False,
) -> None:
    """Compare two snapshots: datasets in one only, and what differs in both. Differences are no error."""
    from federation.snapshot.diff import diff as compare

    found = compare(a, b)
    if json:
        print_json(_diff_json(found))
        return
    if found.same:
        print_text("the snapshots hold the same")
        return
    rows: list[tuple[Any, ...]] = [
        ("-", "dataset", dataset_id, f"in {a} only") for dataset_id in found.only_a
    ]
    rows += [("+", "dataset", dataset_id, f"in {b} only") for dataset_id in found.only_b]
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


def _selection(
    where: str | None,
    dataset_types: list[str] | None,
    sql: str | None,
    ids: Path | None,
    members: list[str] | None,
    calibrations: list[str] | None,
) -> dict[str, Any]:
    """The options as arguments of the Python API."""
    if not (where or dataset_types or sql or ids or members):
        raise UsageError(
            "nothing is chosen", hint="give --dataset-type (and --where), --sql, --ids or --collection"
        )
    return {
        "where": where,
        "dataset_types": dataset_types or (),
        "sql": sql,
        "ids": ids,
        "members": members or (),
        "calibrations": calibrations or (),
    }


@contextmanager
def _progress(as_json: bool) -> Iterator[Callable[[SnapshotProgress], None] | None]:
    """A progress bar on standard error, where that is a terminal."""
    err = console(stderr=True)
    if as_json or not err.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from federation.snapshot.progress import Phase

    columns = (TextColumn("files"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("files", total=None)

        def update(event: SnapshotProgress) -> None:
            if event.phase is Phase.FILES:
                bar.update(task, completed=event.done, total=event.total)

        yield update


def _print_report(verb: str, target: Path, report: SnapshotReport, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "snapshot": str(target),
                "dry_run": report.dry_run,
                "datasets": report.datasets,
                "records": report.records,
                "files": report.files,
                "bytes": report.size_bytes,
                "rounds": report.rounds,
                "positions": [str(position) for position in report.positions],
                "missing": {table: list(keys) for table, keys in report.missing.items()},
                "seconds": round(report.seconds, 3),
            }
        )
        return
    print_text(
        f"{target} {verb}: {report.datasets} datasets, {report.records} rows, {report.files} files, "
        f"{byte_text(report.size_bytes)}; closure in {report.rounds} rounds, {report.seconds:.1f} s"
    )
    for table, keys in report.missing.items():
        shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
        print_text(
            f"left out, may not be read: {shown}" if table == "schema" else f"no site has: {table} {shown}"
        )
