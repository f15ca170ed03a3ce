"""``federation datastore``: check the files of a site against its registry; copy files from store to store."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import JsonFlag, SitesDirectory
from federation.cli.output import byte_text, console, count_text, print_json, print_text
from federation.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from federation.config import StoreOptions
    from federation.datastore import TransferEvent
    from federation.datastore.meter import Meter
    from federation.registry.file_check import Finding

__all__ = ["app"]

app = typer.Typer(
    help="Check the files of a site's datastore; copy files from store to store.", no_args_is_help=True
)

_RATE = re.compile(r"(\d+(?:\.\d+)?) ?([kMG]?)B/s\Z", re.IGNORECASE)
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}

Rate = Annotated[
    str | None, typer.Option("--rate-limit", metavar="RATE", help='Bytes a second at most, as in "20 MB/s".')
]


@app.command(epilog="Example: federation datastore check base --deep")
def check(
    site: Annotated[str, typer.Argument(metavar="SITE", help="Name of the site, or path of its file.")],
    sites: SitesDirectory = Path("sites"),
    deep: Annotated[bool, typer.Option("--deep", help="Read every file and compare its checksum.")] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Record lost files as not here, so that they are fetched again; remove what killed writers left.",
        ),
    ] = False,
    older_than_s: Annotated[
        float,
        typer.Option(
            "--older-than", metavar="SECONDS", min=0, help="Age of leftovers that --repair removes."
        ),
    ] = 3600.0,
    rate_limit: Rate = None,
    json: JsonFlag = False,
) -> None:
    """Find missing, changed, corrupt, retired and surplus files. Exit code 6 when a recorded one is not right."""
    from federation.datastore_verbs import check_datastore

    findings: list[dict[str, Any]] = []

    def tell(finding: Finding) -> None:
        if json:
            findings.append(_as_json(finding))
        else:
            which = f"  dataset {finding.dataset_id} of {finding.schema}" if finding.dataset_id else ""
            detail = f"  ({finding.detail})" if finding.detail else ""
            print_text(f"{finding.trouble:<11} {finding.uri}{which}{detail}")

    summary = check_datastore(
        site,
        sites=sites,
        deep=deep,
        repair=repair,
        older_than_s=older_than_s,
        rate_bytes_s=_rate(rate_limit),
        on_finding=tell,
    )
    counts = {str(trouble): count for trouble, count in sorted(summary.counts.items())}
    if json:
        if not summary.lost:  # the error is a JSON object too, and there is one document
            print_json(
                {
                    "site": summary.site,
                    "files": summary.files,
                    "bytes": summary.size_bytes,
                    **counts,
                    "withdrawn": summary.withdrawn,
                    "removed": summary.removed,
                    "findings": findings,
                }
            )
    else:
        what = "compared by checksum" if deep else "compared by size"
        told = "".join(f", {count} {name}" for name, count in counts.items()) or ", all as recorded"
        print_text(f"{summary.site}: {count_text(summary.files, 'file')} {what}{told}")
        if repair:
            print_text(
                f"{summary.withdrawn} recorded as not here, {count_text(summary.removed, 'leftover')} removed"
            )
    summary.raise_for_loss()


@app.command(
    epilog="Example: federation datastore copy var/base/datastore s3://archive/base --rate-limit 100MB/s"
)
def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A directory or URL.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A directory or URL.")],
    source_site: Annotated[
        str | None,
        typer.Option("--source-site", metavar="NAME", help="Site whose file says how SOURCE is reached."),
    ] = None,
    target_site: Annotated[
        str | None,
        typer.Option("--target-site", metavar="NAME", help="Site whose file says how TARGET is reached."),
    ] = None,
    sites: SitesDirectory = Path("sites"),
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            metavar="MODE",
            help="Between directories: stream (read and hash), clone (by the kernel) or link (hard links).",
        ),
    ] = "stream",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", min=1, max=64, help="Files at one time; else as many as pays."
        ),
    ] = None,
    rate_limit: Rate = None,
    journal: Annotated[
        Path | None, typer.Option("--journal", metavar="PATH", help="Keep what was copied, for the next run.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Copy every file below SOURCE to TARGET, verified; run again to go on after a failure."""
    from federation.datastore import CopyMode
    from federation.datastore_verbs import copy_datastore

    if mode not in list(CopyMode):
        raise UsageError(f"--mode {mode!r} is unknown", hint=", ".join(CopyMode))
    with _progress(json) as progress:
        report = copy_datastore(
            source,
            target,
            journal=journal,
            mode=CopyMode(mode),
            workers=workers,
            rate_bytes_s=_rate(rate_limit),
            source_options=_options(source_site, sites),
            target_options=_options(target_site, sites),
            progress=progress,
        )
    if json and not report.failed:
        print_json(
            {"copied": len(report.done), "bytes": report.size_bytes, "were_there": len(report.skipped)}
        )
    elif not json:
        print_text(
            f"{count_text(len(report.done), 'file')} copied, {byte_text(report.size_bytes)}"
            + (f"; {len(report.skipped)} were there" if report.skipped else "")
            + (f"; {len(report.failed)} failed" if report.failed else "")
        )
        for failure in report.failed[:20]:
            print_text(f"failed  {failure.target_path}: {failure.error.message}")
    report.raise_for_failure()


def _options(site: str | None, sites: Path) -> StoreOptions | None:
    from federation.config import find_site

    return None if site is None else find_site(site, sites).datastore_options


def _rate(text: str | None) -> float | None:
    if text is None:
        return None
    match = _RATE.match(text)
    if match is None or float(match[1]) <= 0:
        raise UsageError(
            f"--rate-limit {text!r} is not a rate", hint="write a number and B/s, kB/s, MB/s or GB/s"
        )
    return float(match[1]) * _FACTORS[match[2].lower()]


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "trouble": str(finding.trouble),
        "uri": finding.uri,
        "dataset_id": str(finding.dataset_id) if finding.dataset_id else None,
        "schema": finding.schema or None,
        "bytes": finding.size_bytes,
        "detail": finding.detail,
    }


@contextmanager
def _progress(json: bool) -> Iterator[Callable[[Meter, TransferEvent], None] | None]:
    terminal = console(stderr=True)
    if json or not terminal.is_terminal:
        yield None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.fields[files]}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=terminal) as bar:
        task = bar.add_task("files", total=None, files="")

        def tell(meter: Meter, _event: TransferEvent) -> None:
            bar.update(
                task,
                total=meter.total_bytes,
                completed=meter.copied_bytes + meter.skipped_bytes,
                files=f"{meter.files} of {count_text(meter.total_files, 'file')}",
            )

        yield tell
