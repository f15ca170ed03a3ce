"""Makes a certificate authority and certificates of sites and of people's computers, as PEM files."""

from __future__ import annotations

import datetime
import os
import re
from pathlib import Path
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.errors import ConflictError, NotFoundError, UserError
from federation.model.position import check_name
from federation.wire.tls import CLIENT_URI, SITE_URI, dns_name

__all__ = ["CertificateFiles", "init_ca", "issue", "write_private"]

CA_DAYS: Final = 3650
SITE_DAYS: Final = 90
#: clocks of sites may differ by this much
_SKEW = datetime.timedelta(minutes=5)
_CLIENT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,60}[A-Za-z0-9])?\Z")


@attrs.frozen
class CertificateFiles:
    """A certificate and its key; ``ca`` signed it (itself, for an authority). It is valid until ``ends``."""

    certificate: Path
    key: Path
    ca: Path
    ends: datetime.datetime


def init_ca(directory: Path, *, days: int = CA_DAYS) -> CertificateFiles:
    """Make an authority: ``ca.pem`` and ``ca.key`` in ``directory``. `ConflictError` when one is there."""
    certificate, key = directory / "ca.pem", directory / "ca.key"
    _must_be_free(certificate, key, remedy="keep it, or name another directory")
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "federation authority")])
    ends = _ends(days)
    made = (
        _builder(name, name, private.public_key(), ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(private, hashes.SHA256())
    )
    directory.mkdir(parents=True, exist_ok=True)
    write_private(key, _private_pem(private))
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return CertificateFiles(certificate, key, certificate, ends)


def issue(
    name: str,
    directory: Path,
    *,
    output: Path | None = None,
    is_client: bool = False,
    renew: bool = False,
    days: int = SITE_DAYS,
) -> CertificateFiles:
    """Make ``NAME.pem`` and ``NAME.key`` in ``output`` (default: ``directory``), signed by the authority there.

    The certificate is of the site of that name; with ``is_client``, of a computer from which people work, which needs
    their tokens besides. `ConflictError` when the files are there, unless ``renew``, which replaces both.
    """
    if is_client:
        if not _CLIENT_NAME.match(name):
            raise UserError(f"{name!r} cannot name a client", hint="letters, digits and _ . - inside")
    else:
        check_name("site", name)
    output = directory if output is None else output
    certificate, key = output / f"{name}.pem", output / f"{name}.key"
    if name == "ca":
        raise UserError("the name ca is the authority's own", hint="choose another name")
    if not renew:
        _must_be_free(certificate, key, remedy="--renew replaces it; -o names another directory")
    authority, authority_key = _authority(directory)
    ends = min(_ends(days), authority.not_valid_after_utc)
    private = ec.generate_private_key(ec.SECP256R1())
    made = _sign(name, is_client, private, authority, authority_key, ends)
    output.mkdir(parents=True, exist_ok=True)
    # whoever reads between the two sees a pair that does not fit, and looks again
    write_private(key, _private_pem(private))
    _replace(certificate, made.public_bytes(serialization.Encoding.PEM), 0o644)
    return CertificateFiles(certificate, key, directory / "ca.pem", ends)


def _sign(
    name: str,
    is_client: bool,
    private: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    ends: datetime.datetime,
) -> x509.Certificate:
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier((CLIENT_URI if is_client else SITE_URI) + name)
    ]
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if not is_client:
        names.append(x509.DNSName(dns_name(name)))
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        _builder(subject, authority.subject, private.public_key(), ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only this user may read, all at once."""
    _replace(path, data, 0o600)


def _replace(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _must_be_free(*paths: Path, remedy: str) -> None:
    for path in paths:
        if path.exists():
            raise ConflictError(f"{path} is there already", hint=remedy)


def _ends(days: int) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(days=days)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, ends: datetime.datetime
) -> x509.CertificateBuilder:
    starts = min(datetime.datetime.now(datetime.UTC), ends) - _SKEW
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _authority(directory: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate, key = directory / "ca.pem", directory / "ca.key"
    for path in (certificate, key):
        if not path.is_file():
            raise NotFoundError(
                f"no authority in {directory}: {path.name} is missing",
                hint=f"make one: federation site cert init-ca {directory}",
            )
    try:
        loaded = serialization.load_pem_private_key(key.read_bytes(), password=None)
        authority = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{directory} holds no authority that can be read", hint="are they PEM files?"
        ) from error
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise UserError(
            f"{key} is not a key on an elliptic curve", hint="make another authority, in another directory"
        )
    return authority, loaded
