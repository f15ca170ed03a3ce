"""Where a session finds the token of the person it works for: always a reference, never an argument.

In this order: the file that ``FEDERATION_TOKEN_FILE`` names, the variable ``FEDERATION_TOKEN``, the file that
``[auth] token_file`` of the home site's file names. Files are read for each call, so that a new token takes effect.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from federation.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from federation.config import SiteConfig

__all__ = ["TOKEN", "TOKEN_FILE", "find_token"]

TOKEN_FILE = "FEDERATION_TOKEN_FILE"  # noqa: S105 - names of variables
TOKEN = "FEDERATION_TOKEN"  # noqa: S105

#: a JSON Web Token: three parts in base64url
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")


def find_token(home: SiteConfig, environ: Mapping[str, str] = os.environ) -> Callable[[], str] | None:
    """What gives the token when it is needed; None where there is none, and where no connection would protect it.

    `ConfigError` for a file that can't be read, and for what is no token; the message never has it.
    """
    if home.tls is None:
        return None
    if path := environ.get(TOKEN_FILE, ""):
        return _reader(Path(path), TOKEN_FILE)
    if environ.get(TOKEN, ""):
        return lambda: _checked(environ.get(TOKEN, ""), f"environment variable {TOKEN}")
    if home.token_file is not None:
        return _reader(home.token_file, f"{home.path}: [auth] token_file")
    return None


def _reader(path: Path, source: str) -> Callable[[], str]:
    def read() -> str:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigError(
                f"{source}: cannot read {path}: {reason}",
                hint="put the token that federation token issue made into it, readable by this user only",
            ) from error
        return _checked(text, f"file {path}")

    return read


def _checked(text: str, place: str) -> str:
    token = text.strip()
    if not _FORM.match(token):
        raise ConfigError(f"{place} does not hold a token", hint="make one: federation token issue USER")
    return token
