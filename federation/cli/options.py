"""Options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federation.errors import UsageError

__all__ = [
    "AsUser",
    "JsonFlag",
    "ReadAs",
    "SchemaName",
    "SiteOption",
    "SitesDirectory",
    "WriteSite",
    "required",
]

SitesDirectory = Annotated[
    Path,
    typer.Option("--sites", envvar="FEDERATION_SITES", metavar="DIR", help="Directory of the site files."),
]
SiteOption = Annotated[
    str | None,
    typer.Option(
        "--site",
        envvar="FEDERATION_SITE",
        metavar="NAME",
        help="Home site: a name, the path of a site file, or the directory of a snapshot. "
        "Without it, the first of the directory.",
    ),
]
WriteSite = Annotated[
    str | None,
    typer.Option(
        "--site", envvar="FEDERATION_SITE", metavar="NAME", help="Site to write: a name, or a site file."
    ),
]
SchemaName = Annotated[
    str | None,
    typer.Option("--schema", metavar="NAME", help="Schema of the site. Without it, the site's own."),
]
AsUser = Annotated[
    str | None,
    typer.Option("--as", metavar="USER", help="On whose behalf. Without it, the site's operator."),
]
ReadAs = Annotated[
    str | None,
    typer.Option("--as", metavar="USER", help="On whose behalf: what they may not read is not seen."),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def required(value: str | None, option: str) -> str:
    """``value``, or the `UsageError` that says which option was left out."""
    if not value:
        raise UsageError(f"option {option} is missing", hint="give it, or see --help")
    return value
