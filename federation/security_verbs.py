"""The verbs of ``federation site cert`` and ``federation token``, for programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from federation.config import find_site
from federation.services import certificates
from federation.services.certificates import CA_DAYS, SITE_DAYS, write_private
from federation.services.tokens import LIFETIME_S, TokenStore

if TYPE_CHECKING:
    from federation.services.certificates import CertificateFiles
    from federation.services.tokens import IssuedToken

__all__ = [
    "init_authority",
    "issue_certificate",
    "issue_token",
    "list_tokens",
    "revoke_token",
    "token_public_key",
]


def init_authority(directory: str | Path, *, days: int = CA_DAYS) -> CertificateFiles:
    """Make a certificate authority, ``ca.pem`` and ``ca.key``; `ConflictError` where there is one."""
    return certificates.init_ca(Path(directory), days=days)


def issue_certificate(
    name: str,
    *,
    authority: str | Path,
    output: str | Path | None = None,
    client: bool = False,
    renew: bool = False,
    days: int = SITE_DAYS,
) -> CertificateFiles:
    """Make the certificate of a site, or with ``client`` of a computer from which people work.

    ``authority`` is the directory of `init_authority`; the files go to ``output``, else there. What is there is
    replaced with ``renew`` only.
    """
    return certificates.issue(
        name,
        Path(authority),
        output=None if output is None else Path(output),
        is_client=client,
        renew=renew,
        days=days,
    )


def _store(site: str, sites: str | Path) -> TokenStore:
    config = find_site(site, Path(sites))
    return TokenStore(config.name, config.root)


def issue_token(
    user: str,
    *,
    site: str,
    sites: str | Path = "sites",
    lifetime_s: int = LIFETIME_S,
    output: str | Path | None = None,
) -> tuple[IssuedToken, str]:
    """A token with which ``user`` asks sites that accept tokens of this one; with its text, which is kept nowhere.

    ``output`` is a file to write it into, which this user alone may read.
    """
    token, text = _store(site, sites).issue(user, lifetime_s)
    if output is not None:
        write_private(Path(output), text.encode() + b"\n")
    return token, text


def list_tokens(*, site: str, sites: str | Path = "sites") -> tuple[IssuedToken, ...]:
    """The tokens that a site has issued, without their texts."""
    return _store(site, sites).tokens()


def revoke_token(token_id: str, *, site: str, sites: str | Path = "sites") -> IssuedToken:
    """End a token before its time: at once at its site, within seconds at peers that can reach it."""
    return _store(site, sites).revoke(token_id)


def token_public_key(*, site: str, sites: str | Path = "sites") -> str:
    """The PEM with which peers check the tokens of a site: their file's ``token_key``."""
    return _store(site, sites).public_key().decode("ascii")
