"""How a site's datastore is reached: endpoint and region of an object store, and where its credentials are kept."""

from __future__ import annotations

import configparser
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from federation.config.sections import KEYS, read_path
from federation.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from federation.config.table import TomlTable

__all__ = ["Credentials", "StoreOptions", "read_store_options"]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_ENDPOINT = re.compile(r"https?://[^/@?#\s]+/?\Z")
#: no others may do anything with a file of secrets
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@attrs.frozen(repr=False)
class Credentials:
    """Keys of an object store; never printed."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return "Credentials(...)"


@attrs.frozen
class StoreOptions:
    """What an ``s3://`` URL leaves open; without any of it the environment's ``AWS_...`` variables say it.

    Credentials are named, not held: ``credentials_env`` is the beginning of the names of environment variables,
    ``credentials_file`` a file in the form of ``~/.aws/credentials`` with a section ``profile``. ``site_file`` is for
    messages.
    """

    endpoint: str | None = None
    region: str | None = None
    credentials_env: str | None = None
    credentials_file: Path | None = None
    profile: str = "default"
    anonymous: bool = False
    site_file: Path | None = None

    def credentials(self, environ: Mapping[str, str] = os.environ) -> Credentials | None:
        """The keys, read now; None where the environment's own are to be used. `ConfigError` when they are missing."""
        if self.credentials_env is not None:
            names = [f"{self.credentials_env}_{end}" for end in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")]
            missing = [name for name in names if not environ.get(name, "").strip()]
            if missing:
                raise ConfigError(
                    f"{self._place('credentials_env')}: environment variable {missing[0]} is not set",
                    hint=f"export {names[0]} and {names[1]}",
                )
            token = environ.get(f"{self.credentials_env}_SESSION_TOKEN")
            return Credentials(environ[names[0]].strip(), environ[names[1]].strip(), token)
        if self.credentials_file is not None:
            return self._from_file(self.credentials_file)
        return None

    def _from_file(self, path: Path) -> Credentials:
        place = self._place("credentials_file")
        parser = configparser.ConfigParser(interpolation=None, default_section="")
        try:
            if path.stat().st_mode & _OTHERS:
                raise ConfigError(f"{place}: other users may read {path}", hint=f"run: chmod 600 {path}")
            parser.read_string(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"{place}: cannot read {path}: {error.strerror}", hint="correct the path or make the file"
            ) from error
        except (configparser.Error, UnicodeDecodeError) as error:
            # without the parser's own words, which show the line
            raise ConfigError(
                f"{place}: {path} is not a file of credentials",
                hint=f"write [{self.profile}], aws_access_key_id = ... and aws_secret_access_key = ...",
            ) from error
        section = parser[self.profile] if parser.has_section(self.profile) else {}
        keys = [section.get(name, "").strip() for name in ("aws_access_key_id", "aws_secret_access_key")]
        if not all(keys):
            raise ConfigError(
                f"{place}: {path} has no keys in [{self.profile}]",
                hint="write aws_access_key_id and aws_secret_access_key there",
            )
        return Credentials(keys[0], keys[1], section.get("aws_session_token") or None)

    def _place(self, key: str) -> str:
        return f"{self.site_file}: [datastore] {key}" if self.site_file is not None else key


def read_store_options(top: TomlTable) -> StoreOptions:
    """``[datastore]`` without its URL."""
    table = top.table("datastore", KEYS["datastore"])
    given = [key for key in ("credentials_env", "credentials_file", "anonymous") if table.values.get(key)]
    if len(given) > 1:
        raise ConfigError(
            f"{table.file}: [datastore] has {' and '.join(given)}", hint="keep exactly one of them"
        )
    endpoint = table.text("endpoint") if table.has("endpoint") else None
    if endpoint is not None and not _ENDPOINT.match(endpoint):
        # shown could hold a password
        raise table.error(
            "endpoint", "is not the URL of a server", hint='write "https://host:port"', shown="..."
        )
    variable = table.text("credentials_env") if table.has("credentials_env") else None
    if variable is not None and not _VARIABLE.match(variable):
        raise table.error(
            "credentials_env",
            "does not begin names of environment variables",
            hint='"SUMMIT_S3" stands for SUMMIT_S3_ACCESS_KEY_ID and SUMMIT_S3_SECRET_ACCESS_KEY',
            shown="...",
        )
    anonymous = table.values.get("anonymous", False)
    if not isinstance(anonymous, bool):
        raise table.error("anonymous", "is neither true nor false", hint="write anonymous = true")
    return StoreOptions(
        endpoint=endpoint,
        region=table.text("region") if table.has("region") else None,
        credentials_env=variable,
        credentials_file=read_path(table, "credentials_file") if table.has("credentials_file") else None,
        profile=table.text("profile", "default"),
        anonymous=anonymous,
        site_file=table.file,
    )
