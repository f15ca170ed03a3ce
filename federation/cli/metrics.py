"""``federation metrics``: key-value metrics of datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federation.cli.identities import parse_dataset_id
from federation.cli.options import (
    AsUser,
    JsonFlag,
    SchemaName,
    SiteOption,
    SitesDirectory,
    WriteSite,
    required,
)
from federation.cli.output import print_json, print_table, print_text
from federation.cli.rows import plain_dicts, print_rows
from federation.errors import UsageError

__all__ = ["app"]

app = typer.Typer(help="Record metrics of datasets, and list them.", no_args_is_help=True)


@app.command("put", epilog="Example: federation metrics put psf.csv --site base")
def put(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...", help=".csv, .jsonl or .parquet: dataset_id, name, value and unit."
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="ID", help="The dataset that --set is about.")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A number or text for --dataset.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option("--unit", metavar="UNIT", help="Unit of the values of --set.")
    ] = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: SchemaName = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Record metrics of datasets, each in place of the one before, all of them or none."""
    where = required(site, "--site")
    if bool(dataset) != bool(values):
        raise UsageError("--dataset and --set belong together", hint="see --help")
    if not files and not values:
        raise UsageError("there is nothing to record", hint="give files, or --dataset ID --set NAME=VALUE")

    from federation.provenance_verbs import put_metrics
    from federation.registry.metric_files import parse_value
    from federation.registry.metrics import Metric

    given: list[Metric | str | Path] = list(files or [])
    for text in values or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{text!r} is not NAME=VALUE", hint="write --set psf_fwhm=0.7")
        given.append(Metric(parse_dataset_id(dataset or ""), name.strip(), parse_value(value.strip()), unit))
    count = put_metrics(given, site=where, sites=sites, schema=schema, user=user)
    if json:
        print_json({"site": where, "metrics": count})
    else:
        print_text(f"written at {where}: metrics {count}")


@app.command("list", epilog="Example: federation metrics list --site ncsa")
def list_(
    datasets: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Show the metrics of these datasets.")
    ] = None,
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    json: JsonFlag = False,
) -> None:
    """List the names of metrics that queries can use, or the metrics of datasets."""
    from federation.provenance_verbs import metric_names
    from federation.session import connect

    ids = [parse_dataset_id(text) for text in datasets or ()]
    with connect(site, sites) as session:
        if ids:
            listed = ", ".join(f"'{dataset_id}'" for dataset_id in ids)
            table = session.query(
                "SELECT dataset_id, name, value, value_text, unit FROM metric"
                f" WHERE dataset_id IN ({listed}) ORDER BY dataset_id, name"
            ).table
            if json:
                print_json({"metrics": list(plain_dicts(table))})
            else:
                print_rows(table)
            return
        names = metric_names(session)
    if json:
        print_json(
            {
                "metrics": [
                    {"name": one.name, "type": one.type.value, "schemas": list(one.schemas)} for one in names
                ]
            }
        )
    else:
        print_table(
            ("metric", "type", "schemas"), [(one.name, one.type, ", ".join(one.schemas)) for one in names]
        )
