"""``federation query``: one statement over all sites, its answer, or how it would be answered."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import JsonFlag, ReadAs, SiteOption, SitesDirectory
from federation.cli.output import byte_text, print_json, print_table, print_text
from federation.cli.rows import Format, plain_dicts, write_rows
from federation.errors import UsageError

if TYPE_CHECKING:
    from federation.execution.result import Result

__all__ = ["EXAMPLE", "query"]

EXAMPLE = (
    "Example: federation query --site ncsa 'SELECT instrument, count(*) AS n FROM raw GROUP BY instrument'"
)


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="The statement; - reads it from standard input.")],
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    explain: Annotated[bool, typer.Option("--explain", help="Show the plan; run nothing.")] = False,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Run it; show the plan with rows, bytes and seconds.")
    ] = False,
    format: Annotated[Format, typer.Option("--format", help="How rows are written.")] = Format.TABLE,  # noqa: A002
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the rows to a file.")
    ] = None,
    max_staleness: Annotated[
        float | None,
        typer.Option("--max-staleness", metavar="S", min=0.0, help="Accept replicas so many seconds old."),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Answer without the sites that are down, and name them.")
    ] = False,
    chain: Annotated[
        list[str] | None, typer.Option("--chain", metavar="SCHEMA", help="Schemas to search first, in order.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="S", min=0.001, help="Give up after so many seconds.")
    ] = None,
    user: ReadAs = None,
    json: JsonFlag = False,
) -> None:
    """Answer one SQL statement over all sites."""
    from federation.planner import explain_json, explain_text
    from federation.session import connect

    if explain and analyze:
        raise UsageError("--explain and --analyze exclude one another", hint="--analyze shows the plan too")
    if format is Format.TABLE and output is not None:
        format = _format_of(output)  # noqa: A001
    statement = sys.stdin.read() if sql == "-" else sql
    options: dict[str, Any] = {"max_staleness_s": max_staleness, "partial": partial, "chain": chain or ()}
    with connect(site, sites, user=user) as session:
        if explain:
            plan = session.explain(statement, **options)
            if json:
                print_json(explain_json(plan))
            else:
                print_text(explain_text(plan))
            return
        result = session.query(statement, timeout_s=timeout, **options)
    if analyze:
        _print_analysis(result, json)
    elif json and output is None:
        print_json(_as_json(result) | {"rows": list(plain_dicts(result.table))})
    else:
        write_rows(result.table, format, output)
        if json:
            print_json(_as_json(result) | {"row_count": result.row_count, "output": str(output)})
    for missing in result.missing:
        sys.stderr.write(f"missing: {missing}\n")


def _format_of(output: Path) -> Format:
    """The format that a file's name says."""
    try:
        return Format(output.suffix.removeprefix("."))
    except ValueError:
        raise UsageError(
            f"{output} does not say its format", hint="give --format csv, json, parquet or arrow"
        ) from None


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "columns": [
            {"name": column.name, "type": column.type.value if column.type else None}
            for column in result.columns
        ],
        "positions": [str(position) for position in result.positions],
        "missing": [
            {
                "site": missing.site,
                "schema": str(missing.schema) if missing.schema else None,
                "table": missing.table,
                "reason": missing.reason,
            }
            for missing in result.missing
        ],
        "fragments": [
            {
                "id": fragment.id,
                "site": fragment.site,
                "rows": fragment.row_count,
                "bytes": fragment.byte_count,
                "seconds": round(fragment.seconds, 6),
            }
            for fragment in result.fragments
        ],
        "seconds": round(result.seconds, 6),
        "local_seconds": round(result.local_seconds, 6),
    }


def _print_analysis(result: Result, as_json: bool) -> None:
    from federation.planner import explain_json, explain_text

    if as_json:
        print_json(_as_json(result) | {"row_count": result.row_count, "plan": explain_json(result.plan)})
        return
    print_text(explain_text(result.plan))
    rows = [
        (f.id, f.site, f.row_count, byte_text(f.byte_count), f"{f.seconds:.3f} s") for f in result.fragments
    ]
    rows.append(("local", "", result.row_count, "", f"{result.local_seconds:.3f} s"))
    print_text("")
    print_table(("fragment", "site", "rows", "bytes", "time"), rows, right=frozenset({2, 3, 4}))
    print_text(f"{result.row_count} rows in {result.seconds:.3f} s")
