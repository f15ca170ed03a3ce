"""``federation site cert``: an authority, and certificates of sites and of people's computers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.options import JsonFlag
from federation.cli.output import print_json, print_text

if TYPE_CHECKING:
    from federation.services.certificates import CertificateFiles

__all__ = ["app"]

app = typer.Typer(
    help="Make a certificate authority, and certificates of sites and clients.", no_args_is_help=True
)


@app.command("init-ca", epilog="Example: federation site cert init-ca certificates")
def init_ca(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where ca.pem and ca.key go.")],
    days: Annotated[int, typer.Option("--days", min=1, metavar="DAYS", help="How long it is valid.")] = 3650,
    json: JsonFlag = False,
) -> None:
    """Make a certificate authority. Whoever has its key can make a certificate of any site."""
    from federation.security_verbs import init_authority

    made = init_authority(directory, days=days)
    if json:
        _print_files(made)
    else:
        print_text(
            f"authority {made.certificate}, valid until {made.ends:%Y-%m-%d}\n  keep {made.key} to yourself"
        )


@app.command(epilog="Example: federation site cert issue summit --ca certificates")
def issue(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the site, or of the client.")],
    ca: Annotated[Path, typer.Option("--ca", metavar="DIR", help="Directory of the authority.")] = Path(
        "certificates"
    ),
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where the files go; else beside the authority."),
    ] = None,
    client: Annotated[
        bool, typer.Option("--client", help="For a computer from which people work, not for a site.")
    ] = False,
    renew: Annotated[
        bool, typer.Option("--renew", help="Replace the files; a server that runs takes the new ones.")
    ] = False,
    days: Annotated[int, typer.Option("--days", min=1, metavar="DAYS", help="How long it is valid.")] = 90,
    json: JsonFlag = False,
) -> None:
    """Make a certificate and its key, and show the [tls] section that names them."""
    from federation.security_verbs import issue_certificate

    made = issue_certificate(name, authority=ca, output=output, client=client, renew=renew, days=days)
    if json:
        _print_files(made)
        return
    kind = "client" if client else "site"
    print_text(
        f"certificate of {kind} {name}, valid until {made.ends:%Y-%m-%d}\n\n[tls]\n"
        f'ca = "{made.ca.absolute()}"\ncertificate = "{made.certificate.absolute()}"\nkey = "{made.key.absolute()}"'
    )


def _print_files(made: CertificateFiles) -> None:
    print_json(
        {
            "ca": str(made.ca),
            "certificate": str(made.certificate),
            "key": str(made.key),
            "ends": f"{made.ends:%Y-%m-%dT%H:%M:%SZ}",
        }
    )
