"""``federation transfer``: files of chosen datasets to a site, in one command."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.options import JsonFlag, SiteOption, SitesDirectory, required
from federation.cli.output import byte_text, console, count_text, print_json, print_text
from federation.cli.snapshot_options import Collections, Ids, Sql, Types, Where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from federation.wire.messages import BroughtFile

__all__ = ["EXAMPLE", "transfer"]

EXAMPLE = "Example: federation transfer --to ncsa --collection LSSTCam/raw/all --dataset-type raw"


def transfer(
    to: Annotated[str | None, typer.Option("--to", metavar="SITE", help="Site that gets the files.")] = None,
    where: Where = None,
    dataset_type: Types = None,
    sql: Sql = None,
    ids: Ids = None,
    collection: Collections = None,
    push: Annotated[
        bool,
        typer.Option("--push", help="Send through this process, for a site that cannot reach the others."),
    ] = False,
    timeout_s: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0, help="Time for the site's replicas to catch up."),
    ] = 60.0,
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    json: JsonFlag = False,
) -> None:
    """Bring files to a site, verified and registered there; what it has already stays. Run again to go on."""
    from federation.transfer_verbs import transfer as run

    name = required(to, "--to")
    with _progress(json) as progress:
        summary = run(
            name,
            site=site,
            sites=sites,
            where=where,
            dataset_types=dataset_type or (),
            sql=sql,
            ids=ids,
            members=collection or (),
            push=push,
            timeout_s=timeout_s,
            progress=progress,
        )
    if json and not summary.failed:
        print_json(
            {
                "site": name,
                "brought": summary.brought,
                "bytes": summary.size_bytes,
                "were_there": summary.were_there,
            }
        )
    elif not json:
        print_text(
            f"{count_text(summary.brought, 'file')} came to {name}, {byte_text(summary.size_bytes)}"
            + (f"; {summary.were_there} were there" if summary.were_there else "")
            + (f"; {len(summary.failed)} failed" if summary.failed else "")
        )
    summary.raise_for_failure()


@contextmanager
def _progress(json: bool) -> Iterator[Callable[[BroughtFile, int], None] | None]:
    terminal = console(stderr=True)
    if json or not terminal.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("files"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal) as bar:
        task = bar.add_task("files", total=None)
        yield lambda _file, total: bar.update(task, total=total, advance=1)
