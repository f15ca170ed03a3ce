"""``federation demo``: the three sites, started and used before your eyes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federation.cli.options import JsonFlag

__all__ = ["EXAMPLE", "demo"]

EXAMPLE = "Example: federation demo --workdir /tmp/federation-demo"


def demo(
    workdir: Annotated[
        Path | None,
        typer.Option(
            "--workdir", metavar="DIR", help="Keep everything here. Without it, a temporary directory."
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Start three sites, take a night's data, replicate, query, snapshot, cut a link and heal it."""
    from federation.demo import run_demo

    raise typer.Exit(run_demo(workdir, json))
