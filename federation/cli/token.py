"""``federation token``: tokens for people, which a site issues, lists and revokes."""

from __future__ import annotations

import datetime
import re
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import attrs
import typer

from federation.cli.options import JsonFlag, SitesDirectory, required
from federation.cli.output import print_json, print_table, print_text
from federation.errors import UsageError

__all__ = ["app"]

app = typer.Typer(help="Tokens for people: issue, list, revoke.", no_args_is_help=True)

_DURATION = re.compile(r"(\d{1,9})([smhd])\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Issuer = Annotated[
    str | None,
    typer.Option("--site", envvar="FEDERATION_SITE", metavar="NAME", help="Site that issues the tokens."),
]


@app.command(epilog="Example: federation token issue alice --site base -o alice.token")
def issue(
    user: Annotated[str, typer.Argument(metavar="USER", help="Who it is for.")],
    site: Issuer = None,
    sites: SitesDirectory = Path("sites"),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="File for the token; - prints it.")
    ] = None,
    lifetime: Annotated[
        str,
        typer.Option("--lifetime", metavar="TIME", help="How long it is good: 30m, 12h, 7d; at most 31d."),
    ] = "12h",
    json: JsonFlag = False,
) -> None:
    """Make a token for a user; its text is in the file alone."""
    from federation.security_verbs import issue_token

    where = required(site, "--site")
    if output is None:
        raise UsageError("option --output is missing", hint="name a file for the token: -o FILE")
    is_printed = str(output) == "-"
    if is_printed and json:
        raise UsageError("--json and --output - exclude one another", hint="name a file for the token")
    token, text = issue_token(
        user, site=where, sites=sites, lifetime_s=_seconds(lifetime), output=None if is_printed else output
    )
    if json:
        print_json({"site": where, "output": str(output)} | attrs.asdict(token))
    elif is_printed:
        sys.stdout.write(text + "\n")
    else:
        print_text(
            f"token {token.id} of user {user}, good until {_time(token.expires)}, is in {output}\n"
            f"  use it with: export FEDERATION_TOKEN_FILE={output.absolute()}"
        )


@app.command("list", epilog="Example: federation token list --site base")
def list_(site: Issuer = None, sites: SitesDirectory = Path("sites"), json: JsonFlag = False) -> None:
    """Show the tokens that a site has issued, without their texts."""
    from federation.security_verbs import list_tokens

    where = required(site, "--site")
    tokens = list_tokens(site=where, sites=sites)
    now = time.time()
    if json:
        print_json(
            {"site": where, "tokens": [attrs.asdict(token) | {"state": token.state(now)} for token in tokens]}
        )
        return
    print_table(
        ("id", "user", "issued", "until", "state"),
        [(t.id, t.user, _time(t.issued), _time(t.expires), t.state(now)) for t in tokens],
    )


@app.command(epilog="Example: federation token revoke 3f1c1a52-6a5e-4a4e-9b0e-1a2b3c4d5e6f --site base")
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="Id of the token, as list shows it.")],
    site: Issuer = None,
    sites: SitesDirectory = Path("sites"),
    json: JsonFlag = False,
) -> None:
    """End a token before its time."""
    from federation.security_verbs import revoke_token

    where = required(site, "--site")
    gone = revoke_token(token, site=where, sites=sites)
    if json:
        print_json({"site": where} | attrs.asdict(gone))
    else:
        print_text(f"token {gone.id} of user {gone.user} is revoked at {where}")


@app.command("public-key", epilog="Example: federation token public-key --site base > base.token.pub")
def public_key(site: Issuer = None, sites: SitesDirectory = Path("sites"), json: JsonFlag = False) -> None:
    """Print the key with which peers check the site's tokens: token_key of their [[peer]]."""
    from federation.security_verbs import token_public_key

    where = required(site, "--site")
    pem = token_public_key(site=where, sites=sites)
    if json:
        print_json({"site": where, "public_key": pem})
    else:
        sys.stdout.write(pem)


def _seconds(text: str) -> int:
    match = _DURATION.match(text)
    if match is None:
        raise UsageError(f"--lifetime {text!r} is not a time", hint="write a number and s, m, h or d: 12h")
    return int(match[1]) * _SECONDS[match[2]]


def _time(seconds: int) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M UTC}"
