"""``federation ingest``: files become datasets of a site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federation.cli.options import JsonFlag, SchemaName, SitesDirectory, WriteSite, required
from federation.cli.output import byte_text, print_json, print_text

__all__ = ["EXAMPLE", "ingest"]

EXAMPLE = "Example: federation ingest --site summit --run LSSTCam/raw/all --dataset-type raw night/*.fits"


def ingest(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files, one dataset each.")],
    run: Annotated[
        str | None, typer.Option("--run", metavar="NAME", help="RUN collection of the datasets.")
    ] = None,
    dataset_type: Annotated[
        str | None, typer.Option("--dataset-type", metavar="NAME", help="Their dataset type.")
    ] = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: SchemaName = None,
    data_id: Annotated[
        str | None,
        typer.Option(
            "--data-id", metavar="KEY=VALUE,...", help="Data ID, or what FILE.json and FILE.yaml leave out."
        ),
    ] = None,
    declare: Annotated[
        str | None,
        typer.Option(
            "--declare",
            metavar="DIMENSIONS:CLASS",
            help="Declare the dataset type, e.g. visit,detector:Exposure.",
        ),
    ] = None,
    new_ids: Annotated[
        bool, typer.Option("--new-ids", help="New ids, not those that follow from type, run and data ID.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Copy files into the site's datastore and register them, all or none."""
    from federation import api
    from federation.services.ingest import parse_data_id

    name = required(site, "--site")
    report = api.ingest(
        files,
        site=name,
        sites=sites,
        run=required(run, "--run"),
        dataset_type=required(dataset_type, "--dataset-type"),
        schema=schema,
        data_id=None if data_id is None else parse_data_id(data_id),
        declare=declare,
        once=not new_ids,
    )
    if json:
        print_json(
            {
                "site": name,
                "datasets": len(report.refs),
                "new": report.new_count,
                "files": report.file_count,
                "bytes": report.size_bytes,
                "ids": [str(ref.id) for ref in report.refs],
            }
        )
    else:
        there = len(report.refs) - report.new_count
        print_text(
            f"{report.new_count} new datasets of type {dataset_type} in {run} at {name}"
            + (f", {there} were there" if there else "")
            + f"; {report.file_count} files, {byte_text(report.size_bytes)}"
        )
