"""``federation ingest``: files become datasets of a site."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from federation.cli.identities import parse_data_id
from federation.cli.options import AsUser, JsonFlag, SchemaName, SitesDirectory, WriteSite, required
from federation.cli.output import byte_text, count_text, print_json, print_text
from federation.errors import UsageError
from federation.model.dataset import DatasetType

__all__ = ["EXAMPLE", "ingest"]


class Mode(enum.StrEnum):
    """How a file gets into the datastore."""

    COPY = "copy"
    MOVE = "move"
    LINK = "link"
    DIRECT = "direct"


class OnConflict(enum.StrEnum):
    """What becomes of a file whose dataset is recorded with another content."""

    REFUSE = "refuse"
    RECORD = "record"
    IGNORE = "ignore"
    REPLACE = "replace"


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
    header_mapping: Annotated[
        Path | None,
        typer.Option(
            "--header-mapping", metavar="FILE", help="TOML file that maps FITS keywords to dimensions."
        ),
    ] = None,
    header_rules: Annotated[
        Path | None,
        typer.Option(
            "--header-rules", metavar="FILE", help="TOML file of rules for headers of known instruments."
        ),
    ] = None,
    no_records: Annotated[
        bool, typer.Option("--no-records", help="Make no dimension records from headers.")
    ] = False,
    declare_from: Annotated[
        Path | None,
        typer.Option("--declare-from", metavar="FILE", help="Declare the dataset types of a TOML file."),
    ] = None,
    mode: Annotated[
        Mode, typer.Option("--mode", help="What becomes of the file; direct leaves it.")
    ] = Mode.COPY,
    new_ids: Annotated[
        bool, typer.Option("--new-ids", help="New ids, not those that follow from type, run and data ID.")
    ] = False,
    on_conflict: Annotated[
        OnConflict,
        typer.Option("--on-conflict", help="What becomes of a file whose dataset has another content."),
    ] = OnConflict.REFUSE,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Bring files into the site's datastore and register them, all or none.

    FILE.json or FILE.yaml beside a file says what it is, or --data-id does, or its FITS header.
    """
    from federation import api

    if dataset_type is None:
        raise UsageError("option --dataset-type is missing", hint="give it, or see --help")
    name = required(site, "--site")
    report = api.ingest(
        files,
        site=name,
        sites=sites,
        run=required(run, "--run"),
        dataset_type=dataset_type,
        schema=schema,
        data_id=None if data_id is None else parse_data_id(data_id),
        header_mapping=header_mapping,
        header_rules=header_rules,
        records=not no_records,
        declare_from=declare_from,
        declare=None if declare is None else parse_declaration(dataset_type, declare),
        mode=mode.value,
        once=not new_ids,
        on_conflict=on_conflict.value,
        user=user,
    )
    if json:
        print_json(
            {
                "site": name,
                "new": len(report.new),
                "known": len(report.known),
                "files": report.files,
                "bytes": report.bytes,
                "ids": [str(dataset_id) for dataset_id in report.new],
                "conflicts": list(report.conflicts),
            }
        )
    else:
        print_text(
            f"{count_text(len(report.new), 'new dataset')} of type {dataset_type} in {run} at {name}"
            + (f", {len(report.known)} were there" if report.known else "")
            + f"; {count_text(report.files, 'file')}, {byte_text(report.bytes)}"
            + (f"; {len(report.conflicts)} left out, of other content" if report.conflicts else "")
        )


def parse_declaration(name: str, text: str) -> DatasetType:
    """A dataset type from ``dimension,dimension:storage_class``.

    >>> parse_declaration("raw", "exposure,detector:Exposure").dimensions
    ('exposure', 'detector')
    """
    dimensions, colon, storage_class = text.rpartition(":")
    if not colon or not storage_class.strip():
        raise UsageError(
            f"declaration {text!r} has no storage class", hint="write it like exposure,detector:Exposure"
        )
    names = tuple(item.strip() for item in dimensions.split(",") if item.strip())
    return DatasetType(name, names, storage_class.strip())
