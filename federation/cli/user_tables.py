"""``federation schema table``, ``describe`` and ``felis``: users' tables and what is said of them."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import AsUser, JsonFlag, SitesDirectory, WriteSite, required
from federation.cli.output import print_json, print_table, print_text
from federation.errors import UsageError

if TYPE_CHECKING:
    from federation.registry.user_tables import TableReport

__all__ = ["DESCRIBE_EXAMPLE", "FELIS_EXAMPLE", "app", "describe", "felis"]

app = typer.Typer(help="Make, extend and drop users' tables.", no_args_is_help=True)

DESCRIBE_EXAMPLE = (
    "Example: federation schema describe quality --felis quality.yaml --site base --schema alice"
)
FELIS_EXAMPLE = "Example: federation schema felis alice --site base -o alice.yaml"


class TimeScale(enum.StrEnum):
    """What times without a zone mean."""

    TAI = "tai"
    UTC = "utc"


TableSchema = Annotated[
    str | None, typer.Option("--schema", metavar="NAME", help="Schema that the table is in.")
]
TableName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the table.")]
TimeScaleOption = Annotated[
    TimeScale | None,
    typer.Option("--time-scale", help="Times of the file are TAI (so by default), or UTC to be converted."),
]
FelisFile = Annotated[
    Path | None,
    typer.Option("--felis", metavar="FILE", help="Felis file with units, UCDs and descriptions."),
]


@app.command(
    "create",
    epilog="Example: federation schema table create quality --from quality.csv --site base --schema alice",
)
def table_create(
    name: TableName,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A .csv, .tsv, .parquet, .arrow or .feather file."),
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", metavar="SQL", help="The answer to a statement over all sites.")
    ] = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: TableSchema = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="COLUMN,...", help="Columns that identify a row; else row_id is added."
        ),
    ] = None,
    doc: Annotated[str, typer.Option("--doc", metavar="TEXT", help="What the table is.")] = "",
    felis: FelisFile = None,
    time_scale: TimeScaleOption = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Make a table in a schema from a file or a query, and put its rows."""
    from federation.schema_verbs import create_table

    report = create_table(
        name,
        source,
        query=query,
        site=required(site, "--site"),
        sites=sites,
        schema=required(schema, "--schema"),
        key=[part.strip() for part in key.split(",")] if key else (),
        doc=doc,
        felis=felis,
        time_scale=None if time_scale is None else time_scale.value,
        user=user,
    )
    _print_report(report, json, f"table {schema}.{name} of {report.row_count} rows")


@app.command(
    "append",
    epilog="Example: federation schema table append quality --from more.csv --site base --schema alice",
)
def table_append(
    name: TableName,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="A .csv, .tsv, .parquet, .arrow or .feather file."),
    ] = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: TableSchema = None,
    time_scale: TimeScaleOption = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Add the rows of a file to a table, all or none."""
    from federation.schema_verbs import append_table

    if source is None:
        raise UsageError("option --from is missing", hint="give it, or see --help")
    report = append_table(
        name,
        source,
        site=required(site, "--site"),
        sites=sites,
        schema=required(schema, "--schema"),
        time_scale=None if time_scale is None else time_scale.value,
        user=user,
    )
    _print_report(report, json, f"table {schema}.{name} has {report.row_count} rows")


@app.command("drop", epilog="Example: federation schema table drop quality --site base --schema alice")
def table_drop(
    name: TableName,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: TableSchema = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Remove a table with its rows."""
    from federation.schema_verbs import drop_table

    report = drop_table(
        name, site=required(site, "--site"), sites=sites, schema=required(schema, "--schema"), user=user
    )
    _print_report(report, json, f"dropped table {schema}.{name} of {report.row_count} rows")


@app.command("list", epilog="Example: federation schema table list --site base")
def table_list(
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: Annotated[
        str | None, typer.Option("--schema", metavar="NAME", help="Of this schema only.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show the users' tables of a site."""
    from federation.schema_verbs import list_tables

    reports = list_tables(site=required(site, "--site"), sites=sites, schema=schema)
    if json:
        print_json({"site": site, "tables": [_as_json(report) for report in reports]})
        return
    rows = [
        (r.schema, r.table.name, r.row_count, ", ".join(r.table.key), len(r.table.columns), r.table.doc)
        for r in reports
    ]
    print_table(("schema", "table", "rows", "key", "columns", "description"), rows, right=frozenset({2, 4}))


@app.command("show", epilog="Example: federation schema table show quality --site base --schema alice")
def table_show(
    name: TableName,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: TableSchema = None,
    json: JsonFlag = False,
) -> None:
    """Show a table's columns with their types, units and meanings."""
    from federation.schema_verbs import show_table

    report = show_table(name, site=required(site, "--site"), sites=sites, schema=required(schema, "--schema"))
    if json:
        print_json(_as_json(report))
        return
    rows = [
        (c.name, c.type.value, "key" if c.name in report.table.key else "", c.unit, c.ucd, c.doc)
        for c in report.table.columns
    ]
    print_table(("column", "type", "", "unit", "UCD", "description"), rows)
    print_text(f"{report.row_count} rows")


def _as_json(report: TableReport) -> dict[str, Any]:
    return {
        "schema": report.schema,
        "table": report.table.name,
        "rows": report.row_count,
        "key": list(report.table.key),
        "description": report.table.doc,
        "columns": [
            {
                "name": column.name,
                "type": column.type.value,
                "nullable": column.nullable,
                "unit": column.unit,
                "ucd": column.ucd,
                "description": column.doc,
            }
            for column in report.table.columns
        ],
        "notes": list(report.notes),
    }


def _print_report(report: TableReport, as_json: bool, text: str) -> None:
    if as_json:
        print_json(_as_json(report))
        return
    for note in report.notes:
        print_text(f"note: {note}")
    print_text(text)


def describe(
    name: TableName,
    felis: FelisFile = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: TableSchema = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Give a table the units, UCDs and descriptions of a Felis file."""
    from federation.schema_verbs import describe_table

    if felis is None:
        raise UsageError("option --felis is missing", hint="give it, or see --help")
    report = describe_table(
        name,
        felis,
        site=required(site, "--site"),
        sites=sites,
        schema=required(schema, "--schema"),
        user=user,
    )
    _print_report(report, json, f"table {schema}.{name} is described")


def felis(
    schema: Annotated[str, typer.Argument(metavar="SCHEMA", help="Name of the schema.")],
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    every_table: Annotated[
        bool, typer.Option("--all", help="All tables of the schema, not only users' tables.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Describe the users' tables of a schema as Felis YAML."""
    from federation.schema_verbs import schema_felis

    text = schema_felis(schema, site=required(site, "--site"), sites=sites, every_table=every_table)
    if output is not None:
        output.write_text(text, encoding="utf-8")
    if json:
        print_json({"site": site, "schema": schema, "output": output and str(output), "felis": text})
    elif output is None:
        print_text(text)
