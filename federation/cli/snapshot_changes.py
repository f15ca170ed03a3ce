"""``federation snapshot fetch``, ``refresh`` and ``export``: what can be done with a snapshot that is there."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

import typer

from federation.cli.options import JsonFlag, ReadAs, SiteOption, SitesDirectory
from federation.cli.output import byte_text, print_json, print_text
from federation.cli.snapshot_options import Discard, DryRun, Ids, Target, print_report, progress_bar
from federation.errors import UsageError, UserError

__all__ = ["register"]


def fetch(
    target: Target,
    dataset: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of datasets.")] = None,
    ids: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="Of all datasets that lack theirs.")] = False,
    dry_run: DryRun = False,
    discard: Discard = False,
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    user: ReadAs = None,
    json: JsonFlag = False,
) -> None:
    """Bring files of datasets that a snapshot has as rows only."""
    from federation.snapshot_choice import read_ids
    from federation.snapshot_verbs import fetch_files

    if bool(dataset or ids) == everything:
        raise UsageError("say which files", hint="give ids, --ids FILE, or --all")
    wanted = None if everything else [*map(_uuid, dataset or ()), *(read_ids(ids) if ids else ())]
    with progress_bar(json) as progress:
        report = fetch_files(
            target,
            wanted,
            site=site,
            sites=sites,
            dry_run=dry_run,
            discard=discard,
            progress=progress,
            user=user,
        )
    print_report("would get files" if dry_run else "got files", target, report, json)


def refresh(
    target: Target,
    files: Annotated[bool, typer.Option("--files", help="Bring files that it lacks, too.")] = False,
    discard: Discard = False,
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    user: ReadAs = None,
    json: JsonFlag = False,
) -> None:
    """Bring the rows of a snapshot's datasets up to date with the sites; no dataset is added or lost."""
    from federation.snapshot_verbs import refresh_snapshot

    with progress_bar(json) as progress:
        report = refresh_snapshot(
            target, site=site, sites=sites, files=files, discard=discard, progress=progress, user=user
        )
    print_report("refreshed", target, report, json)


def export(
    target: Target,
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Where to write.")],
    direct: Annotated[
        bool, typer.Option("--direct", help="Name the files in the snapshot; copy none.")
    ] = False,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Leave out what a Butler can't hold, and say so.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Write a snapshot as an export file that a Butler imports, with its files."""
    from federation.snapshot_verbs import export_snapshot

    report = export_snapshot(target, directory, copy=not direct, leave_out=leave_out)
    if json:
        print_json(
            {
                "export": str(directory / "export.yaml"),
                "datasets": report.datasets,
                "records": report.records,
                "files": report.files,
                "copied_bytes": report.copied_bytes,
                "warnings": list(report.warnings),
            }
        )
        return
    print_text(
        f"{directory / 'export.yaml'}: {report.datasets} datasets, {report.records} records, {report.files} files, "
        f"{byte_text(report.copied_bytes)} copied"
    )
    for warning in report.warnings:
        print_text(warning)


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise UserError(f"{text!r} is not a dataset id", hint="give UUIDs") from None


def register(app: typer.Typer) -> None:
    """Add the commands to ``federation snapshot``."""
    app.command(epilog="Example: federation snapshot fetch night1 --all")(fetch)
    app.command(epilog="Example: federation snapshot refresh night1")(refresh)
    app.command(epilog="Example: federation snapshot export night1 for-butler")(export)
