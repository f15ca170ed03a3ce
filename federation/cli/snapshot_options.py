"""What the commands of ``federation snapshot`` share: options, progress, and how reports are printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.output import byte_text, console, print_json, print_text
from federation.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.snapshot.assemble import SnapshotReport
    from federation.snapshot.progress import SnapshotProgress

__all__ = [
    "Calibrations", "Collections", "Depth", "Discard", "DryRun", "Ids", "NoFiles", "NoIntermediates", "NoMetrics",
    "Outputs", "Sql", "StopAt", "Target", "Types", "UserTables", "Where", "chosen", "print_report", "progress_bar",
]  # fmt: skip

Target = Annotated[Path, typer.Argument(metavar="TARGET", help="Directory of the snapshot.")]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="CONDITION", help="SQL condition on the tables of --dataset-type."),
]
Types = Annotated[
    list[str] | None, typer.Option("--dataset-type", metavar="NAME", help="Dataset type to choose from.")
]
Sql = Annotated[str | None, typer.Option("--sql", metavar="SQL", help="A statement that gives dataset_id.")]
Ids = Annotated[
    Path | None,
    typer.Option("--ids", metavar="FILE", help="A file with one dataset id a line; - reads them."),
]
Collections = Annotated[
    list[str] | None, typer.Option("--collection", metavar="NAME", help="Every dataset of a collection.")
]
Calibrations = Annotated[
    list[str] | None,
    typer.Option(
        "--calibrations", metavar="NAME", help="Add calibrations of this collection valid for what is chosen."
    ),
]
Depth = Annotated[
    int | None, typer.Option("--depth", metavar="N", min=0, help="Inputs at most so many steps away.")
]
StopAt = Annotated[
    list[str] | None, typer.Option("--stop-at", metavar="NAME", help="Dataset type beyond which not to go.")
]
NoIntermediates = Annotated[
    bool, typer.Option("--no-intermediates", help="Of the inputs, only the first ones of all.")
]
Outputs = Annotated[bool, typer.Option("--outputs", help="Choose what was made from the chosen, too.")]
NoMetrics = Annotated[bool, typer.Option("--no-metrics", help="Leave out metrics.")]
UserTables = Annotated[
    list[str] | None,
    typer.Option("--table", metavar="NAME", help="Add rows of a user's table, by its column dataset_id."),
]
NoFiles = Annotated[bool, typer.Option("--no-files", help="Registry only; leave the files where they are.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count datasets, files and bytes; write nothing.")]
Discard = Annotated[
    bool, typer.Option("--discard", help="Forget a run that was cut short, in place of going on with it.")
]


def chosen(
    where: str | None,
    dataset_types: list[str] | None,
    sql: str | None,
    ids: Path | None,
    members: list[str] | None,
    calibrations: list[str] | None,
) -> dict[str, Any]:
    """The options that choose datasets, as arguments of the Python API."""
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
def progress_bar(as_json: bool) -> Iterator[Callable[[SnapshotProgress], None] | None]:
    """Progress on standard error, where that is a terminal; after an interrupt, how to go on."""
    try:
        err = console(stderr=True)
        if as_json or not err.is_terminal:
            yield None
            return
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        from federation.snapshot.progress import Phase

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("datasets", total=None)

            def update(event: SnapshotProgress) -> None:
                if event.phase is Phase.FILES:
                    bar.update(task, description="files", completed=event.done, total=event.total)
                else:
                    bar.update(task, description=f"{event.done} {_WORDS[event.phase]}", total=None)

            yield update
    except KeyboardInterrupt:
        sys.stderr.write("what was done is kept: the same command goes on from here, --discard begins anew\n")
        raise


#: what the phases before the files count
_WORDS = {"closure": "datasets found", "rows": "rows"}


def print_report(verb: str, target: Path, report: SnapshotReport, as_json: bool) -> None:
    """What became of a snapshot."""
    if as_json:
        print_json(_as_json(target, report))
        return
    print_text(
        f"{target} {verb}: {report.datasets} datasets, {report.records} rows, {report.files} files, "
        f"{byte_text(report.size_bytes)}; closure in {report.rounds} rounds, {report.seconds:.1f} s"
    )
    if report.dry_run and report.free_bytes is not None:
        fits = "fits" if report.needed_bytes <= report.free_bytes else "DOES NOT FIT"
        print_text(
            f"needs about {byte_text(report.needed_bytes)}, {byte_text(report.free_bytes)} are free: {fits}"
        )
    for one in report.refused:
        print_text(f"left out, may not be read: {one.what}: {one.reason}")
    for table, keys in report.missing.items():
        if table != "schema":
            print_text(f"no site has: {table} {_some(keys)}")
    if report.gone:
        print_text(f"no site has any more, kept as they were: {_some(report.gone)}")


def _some(keys: tuple[str, ...]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _as_json(target: Path, report: SnapshotReport) -> dict[str, Any]:
    return {
        "snapshot": str(target),
        "dry_run": report.dry_run,
        "datasets": report.datasets,
        "records": report.records,
        "files": report.files,
        "bytes": report.size_bytes,
        "needed_bytes": report.needed_bytes,
        "free_bytes": report.free_bytes,
        "rounds": report.rounds,
        "positions": [str(position) for position in report.positions],
        "missing": {table: list(keys) for table, keys in report.missing.items()},
        "refused": [{"what": one.what, "reason": one.reason, "remedy": one.remedy} for one in report.refused],
        "gone": list(report.gone),
        "seconds": round(report.seconds, 3),
    }
