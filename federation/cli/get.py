"""``federation get``: the file of one dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federation.cli.identities import parse_data_id
from federation.cli.options import JsonFlag, SitesDirectory, required
from federation.cli.output import print_json, print_text
from federation.model.timespan import Timespan, parse_tai

__all__ = ["EXAMPLE", "get"]

EXAMPLE = "Example: federation get dark instrument=MyCam detector=1 --collection MyCam/dark -o ."


def get(
    dataset: Annotated[str, typer.Argument(metavar="ID|TYPE", help="A dataset id, or a dataset type.")],
    data_id: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="With a dataset type: the data ID.", show_default=False),
    ] = None,
    collections: Annotated[
        list[str] | None,
        typer.Option("--collection", metavar="NAME", help="Search this collection; in order, if repeated."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TAI", help="Moment at which a calibration is to be valid."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="The new file, or its directory.")
    ] = Path(),
    site: Annotated[
        str | None,
        typer.Option("--site", envvar="FEDERATION_SITE", metavar="NAME", help="Site whose file it is."),
    ] = None,
    sites: SitesDirectory = Path("sites"),
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Ask another site's server for a file that is only there.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Copy the file of a dataset, found by its id or by type and data ID, out of a site's datastore."""
    from federation import object_verbs

    timespan = None if at is None else Timespan.at(parse_tai(at))
    ref, path = object_verbs.get_file(
        dataset,
        output,
        parse_data_id(",".join(data_id)) if data_id else None,
        collections=collections or (),
        timespan=timespan,
        site=required(site, "--site"),
        sites=sites,
        fetch=fetch,
    )
    if json:
        print_json(
            {
                "dataset_id": str(ref.id),
                "dataset_type": ref.dataset_type,
                "run": ref.run,
                "data_id": dict(ref.data_id),
                "path": str(path),
            }
        )
    else:
        print_text(f"{ref.dataset_type} {ref.data_id.to_text()} of {ref.run}: {path}")
