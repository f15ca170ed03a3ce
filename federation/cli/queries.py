"""``federation site queries``: what a site was asked, by whom, and what it took."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import attrs
import typer

from federation.cli.options import JsonFlag, SitesDirectory
from federation.cli.output import byte_text, print_json, print_table

__all__ = ["register"]

#: characters of a statement that the table shows
_SHOWN = 100


def register(site: typer.Typer) -> None:
    """Add the command to its group."""
    site.command(epilog="Example: federation site queries ncsa --slower 1")(queries)


def queries(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the site, or path of its file.")],
    sites: SitesDirectory = Path("sites"),
    last: Annotated[int, typer.Option("--last", metavar="N", min=1, help="So many, the latest ones.")] = 50,
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help='Of one user; "" is the operator.')
    ] = None,
    slower: Annotated[
        float,
        typer.Option("--slower", metavar="S", min=0.0, help="Those that took at least so many seconds."),
    ] = 0.0,
    failed: Annotated[bool, typer.Option("--failed", help="Those that did not end well.")] = False,
    json: JsonFlag = False,
) -> None:
    """Show what a site was asked: by whom, the statement without its values, rows, bytes, time and outcome."""
    from federation.query_log_verbs import site_queries

    records = site_queries(name, sites, last=last, user=user, slower_s=slower, failed=failed)
    if json:
        print_json({"queries": [attrs.asdict(record) for record in records]})
        return
    rows = [
        (
            *(one.time_tai, one.user or "(operator)", one.outcome, one.rows, byte_text(one.bytes)),
            *(f"{one.seconds:.3f} s", one.sql if len(one.sql) <= _SHOWN else one.sql[:_SHOWN] + "..."),
        )
        for one in records
    ]
    columns = ("time (TAI)", "user", "outcome", "rows", "bytes", "time", "statement")
    print_table(columns, rows, right=frozenset({3, 4, 5}))
