"""Credentials of gRPC channels and servers from certificate files, read anew when the files have changed."""

from __future__ import annotations

import datetime
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import attrs
import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from federation.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from federation.config.security import TlsConfig

__all__ = [
    "CLIENT_URI",
    "SITE_URI",
    "TlsFiles",
    "channel",
    "check_own",
    "dns_name",
    "server_credentials",
    "site_of",
]

#: what a certificate's subject alternative name begins with: of a site, and of a computer from which people work
SITE_URI: Final = "federation://site/"
CLIENT_URI: Final = "federation://client/"


def dns_name(site: str) -> str:
    """The name under which TLS itself checks a site's certificate, wherever the site listens.

    >>> dns_name("summit")
    'summit.federation'
    """
    return f"{site}.federation"


def site_of(names: Iterable[str]) -> str | None:
    """The site that a verified certificate with these alternative names belongs to; None for one of people."""
    found = [name.removeprefix(SITE_URI) for name in names if name.startswith(SITE_URI)]
    return found[0] if len(found) == 1 else None


def check_own(config: TlsConfig, site: str) -> None:
    """`ConfigError` where the certificate of a site that is to be served is not its own: no peer would believe it."""
    certificate = x509.load_pem_x509_certificates(_read(config).certificate)[0]
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = found.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        names = []
    if site_of(names) != site:
        raise ConfigError(
            f"[tls] certificate: {config.certificate} is of {', '.join(names) or 'no site'}, not of site {site}",
            hint=f"make one: federation site cert issue {site}",
        )


@attrs.frozen(repr=False)
class _Pems:
    """The contents of the three files, which fit together."""

    ca: bytes
    certificate: bytes
    key: bytes


class TlsFiles:
    """The files of a ``[tls]`` section, as they are now; safe between threads."""

    def __init__(self, config: TlsConfig) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._seen = self._fingerprint()
        self._reported = self._seen
        self._pems = _read(config)

    def read(self) -> _Pems:
        """The latest contents that were whole and fit together; `has_changed` looks for later ones."""
        with self._lock:
            return self._pems

    def has_changed(self) -> bool:
        """Whether there are new contents since the last call. Files that don't fit together (yet) are left alone."""
        now = self._fingerprint()
        with self._lock:
            if now == self._seen:
                return False
            try:
                self._pems = _read(self.config)
            except ConfigError as error:
                # the old ones serve on: somebody may be in the middle of replacing them
                if now != self._reported:
                    self._reported = now
                    sys.stderr.write(f"the certificate stays as it was: {error}\n")
                return False
            self._seen = now
            return True

    def _fingerprint(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(_stat(path) for path in self.config.files)


def _stat(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return found.st_mtime_ns, found.st_size, found.st_ino


def _bytes(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"[tls] {key}: cannot read {path}: {error.strerror}",
            hint="check the path, or make one: federation site cert issue",
        ) from error


def _read(config: TlsConfig) -> _Pems:
    """The files' contents; `ConfigError` for what is no certificate, has ended, or has another key."""
    pems = _Pems(
        *(_bytes(path, key) for path, key in zip(config.files, ("ca", "certificate", "key"), strict=True))
    )
    try:
        x509.load_pem_x509_certificates(pems.ca)
        certificate = x509.load_pem_x509_certificates(pems.certificate)[0]
    except ValueError as error:
        raise ConfigError(
            f"[tls]: no certificate in {config.ca} or {config.certificate}", hint="they are PEM files"
        ) from error
    try:
        key = serialization.load_pem_private_key(pems.key, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"[tls] key: {config.key} holds no private key that can be read",
            hint="it is a PEM file without a password, readable by this user only",
        ) from error
    if key.public_key() != certificate.public_key():
        raise ConfigError(
            f"[tls]: {config.key} is not the key of {config.certificate}", hint="name the files of one pair"
        )
    ends = certificate.not_valid_after_utc
    if ends < datetime.datetime.now(datetime.UTC):
        raise ConfigError(
            f"[tls] certificate: {config.certificate} ended at {ends:%Y-%m-%d %H:%M} UTC",
            hint="make a new one: federation site cert issue --renew",
        )
    return pems


def channel(files: TlsFiles, site: str, address: str, options: Iterable[tuple[str, Any]]) -> grpc.Channel:
    """A channel that only this site's certificate can answer."""
    pems = files.read()
    credentials = grpc.ssl_channel_credentials(pems.ca, pems.key, pems.certificate)
    return grpc.secure_channel(
        address, credentials, options=(*options, ("grpc.ssl_target_name_override", dns_name(site)))
    )


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials of a server that asks every client for a certificate; each new connection gets the latest files."""

    def latest() -> Any:
        return _configuration(files) if files.has_changed() else None

    return grpc.dynamic_ssl_server_credentials(
        _configuration(files), latest, require_client_authentication=True
    )


def _configuration(files: TlsFiles) -> Any:
    pems = files.read()
    return grpc.ssl_server_certificate_configuration(
        [(pems.key, pems.certificate)], root_certificates=pems.ca
    )
