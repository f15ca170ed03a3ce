"""``federation positions``: where the logs of a site's own schemas stand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federation.cli.options import JsonFlag, SitesDirectory, WriteSite, required
from federation.cli.output import print_json, print_text

__all__ = ["EXAMPLE", "positions", "read_positions"]

EXAMPLE = "Example: federation positions --site base > written"


def positions(
    schemas: Annotated[
        list[str] | None, typer.Argument(metavar="[SCHEMA]...", help="Schemas of the site; all of its own.")
    ] = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    json: JsonFlag = False,
) -> None:
    """Print the positions of a site's own schemas, as federation query --after takes them."""
    from federation.consistency_verbs import positions as find

    found = [str(position) for position in find(required(site, "--site"), tuple(schemas or ()), sites)]
    if json:
        print_json({"positions": found})
    else:
        print_text("\n".join(found))


def read_positions(option: str, given: str | None) -> dict[str, object]:
    """An option of a query, from a file of positions or from the positions themselves."""
    from federation.model.position_vector import parse_positions

    if given is None:
        return {}
    path = Path(given)
    text = path.read_text(encoding="utf-8") if "@" not in given and path.is_file() else given
    return {option: parse_positions(text)}
