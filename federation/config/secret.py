"""Database URLs whose credentials are read where they are used, and are never printed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from federation.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SecretUrl", "redact"]

_USERINFO = re.compile(r"^([A-Za-z][\w+.-]*://[^:/@?#]*):(.+)@")
_PARAMETER = re.compile(r"([?&](?:ssl)?password=)[^&#]+", re.IGNORECASE)


def redact(url: str) -> str:
    """``url`` with every password in it replaced.

    >>> redact("postgresql://butler:pa@ss@db.example/registry?sslpassword=x")
    'postgresql://butler:***@db.example/registry?sslpassword=***'
    """
    return _PARAMETER.sub(r"\1***", _USERINFO.sub(r"\1:***@", url))


@attrs.frozen(repr=False)
class SecretUrl:
    """A ``postgresql://`` URL, or where to find it: ``reference`` is the URL, a variable's name or a file's path.

    The value is read by `reveal` and kept nowhere, so that no representation of a configuration can hold it and a
    process that doesn't connect needs no credentials. ``site_file`` is for messages.
    """

    source: Literal["url", "url_env", "url_file"]
    reference: str
    site_file: Path

    def reveal(self, environ: Mapping[str, str] = os.environ) -> str:
        """The URL itself, to be given to a database driver and to nothing else."""
        if self.source == "url":
            return self.reference
        if self.source == "url_env":
            value, place = environ.get(self.reference, ""), f"environment variable {self.reference}"
            if not value.strip():
                raise ConfigError(
                    f"{self.site_file}: [registry] url_env: {place} is not set",
                    hint=f"export {self.reference}=postgresql://user:password@host/database",
                )
        else:
            place = f"file {self.reference}"
            try:
                value = Path(self.reference).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise ConfigError(
                    f"{self.site_file}: [registry] url_file: cannot read {place}: {reason}",
                    hint="put the URL postgresql://user:password@host/database into it, readable by this user only",
                ) from error
        value = value.strip()
        if not value.startswith("postgresql://") or len(value.split()) != 1:
            raise ConfigError(
                f"{self.site_file}: [registry] {self.source}: {place} does not hold a postgresql:// URL",
                hint="it must be one line, postgresql://user:password@host/database",
            )
        return value

    def __str__(self) -> str:
        if self.source == "url":
            return redact(self.reference)
        return f"${self.reference}" if self.source == "url_env" else f"(in {self.reference})"

    def __repr__(self) -> str:
        return f"SecretUrl({self})"
