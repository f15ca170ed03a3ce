"""``federation query``: one statement over all sites, its answer, or how it would be answered."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from federation.cli.options import JsonFlag, ReadAs, SiteOption, SitesDirectory
from federation.cli.output import print_json, print_text
from federation.cli.positions import read_positions
from federation.cli.rows import Format, plain_dicts, write_rows
from federation.errors import UsageError

__all__ = ["EXAMPLE", "NOT_WHOLE", "query"]

#: exit code of a query whose answer lacks rows, as its caller allowed
NOT_WHOLE = 7

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
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="POSITIONS", help="Read no copy that lacks what is up to these."),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="POSITIONS", help="Read only copies that are exactly there."),
    ] = None,
    max_rows: Annotated[
        int | None, typer.Option("--max-rows", metavar="N", min=0, help="Refuse an answer of more rows.")
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option("--max-bytes", metavar="N", min=0, help="Refuse an answer of more bytes.")
    ] = None,
    truncate: Annotated[
        bool,
        typer.Option("--truncate", help="Give the first rows of an answer that is too large, and say so."),
    ] = False,
    user: ReadAs = None,
    json: JsonFlag = False,
) -> None:
    """Answer one SQL statement over all sites.

    Ends with 7 where the answer is not whole, as --partial or --truncate allowed.
    """
    from federation.execution.analysis import result_json
    from federation.execution.row_files import file_format_of
    from federation.planner import explain_json, explain_text
    from federation.session import connect

    if explain and analyze:
        raise UsageError("--explain and --analyze exclude one another", hint="--analyze shows the plan too")
    if format is Format.TABLE and output is not None:
        format = Format(file_format_of(output).value)  # noqa: A001
    statement = sys.stdin.read() if sql == "-" else sql
    options: dict[str, Any] = {"max_staleness_s": max_staleness, "partial": partial, "chain": chain or ()}
    options |= read_positions("after", after) | read_positions("as_of", as_of)
    with connect(site, sites, user=user) as session:
        if explain:
            plan = session.explain(statement, **options)
            if json:
                print_json(explain_json(plan))
            else:
                print_text(explain_text(plan))
            return
        result = session.query(
            statement,
            timeout_s=timeout,
            row_count_max=max_rows,
            byte_count_max=max_bytes,
            on_limit="truncate" if truncate else "error",
            **options,
        )
    if analyze:
        if json:
            print_json(result.analysis.to_json())
        else:
            print_text(result.analysis.text())
    elif json and output is None:
        print_json(result_json(result) | {"rows": list(plain_dicts(result.table))})
    else:
        write_rows(result.to_arrow(), format, output)
        if json:
            print_json(result_json(result) | {"row_count": result.row_count, "output": str(output)})
    for missing in result.missing:
        sys.stderr.write(f"missing: {missing}\n")
    if result.is_truncated:
        sys.stderr.write(f"truncated: {result.truncation}\n")
    if result.missing or result.is_truncated:
        raise typer.Exit(NOT_WHOLE)
