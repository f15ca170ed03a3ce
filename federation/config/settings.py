"""The values that a site file is made of: addresses, registry, peers, file policies, query limits."""

from __future__ import annotations

import fnmatch
import math
import re
from pathlib import Path
from typing import Final, Literal

import attrs

from federation.config.secret import SecretUrl
from federation.errors import UserError
from federation.model.log_filter import LogFilter

__all__ = [
    "Address",
    "FilePolicy",
    "PeerConfig",
    "QueryConfig",
    "RegistryConfig",
    "RegistryKind",
    "size_bytes",
]

RegistryKind = Literal["sqlite", "postgresql", "embedded-postgresql"]

#: addresses of a machine's own loopback interface, and those that stand for all of its interfaces
LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "::1")
WILDCARD_HOSTS: Final = ("0.0.0.0", "::")  # noqa: S104 - recognised here, bound nowhere

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+)):(\d{1,5})\Z")


@attrs.frozen
class Address:
    """Where a gRPC server listens or is reached."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """An address from ``host:port``; an IPv6 host stands in brackets.

        >>> str(Address.parse("[::1]:50051"))
        '[::1]:50051'
        """
        match = _ADDRESS.match(text)
        if match is None or int(match[3]) > 65535:
            raise UserError(f"{text!r} is not an address", hint='write "host:port", e.g. "127.0.0.1:50051"')
        return cls(match[1] or match[2], int(match[3]))

    def collides(self, other: Address) -> bool:
        """Whether two servers surely couldn't both listen: one port of this machine's loopback, or one address."""
        if self.port != other.port or self.port == 0 or self.host in WILDCARD_HOSTS:
            return False
        return self.host == other.host or (self.host in LOOPBACK_HOSTS and other.host in LOOPBACK_HOSTS)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class RegistryConfig:
    """Where the registry is; ``url`` only for a PostgreSQL server that the site doesn't start itself."""

    kind: RegistryKind = "sqlite"
    url: SecretUrl | None = None
    universe_path: Path | None = None


@attrs.frozen
class PeerConfig:
    """Another site; ``follow`` are the names of its schemas to replicate here, ``"*"`` stands for all.

    They are taken from the peers in ``via`` while it does not answer, passed on to other sites with ``relay``, and
    without the rows that ``filter`` leaves out. ``may_follow`` are names and globs of the schemas here that the peer
    may follow and read, where sites prove who they are; ``token_key`` is the file that checks tokens which it issued.
    """

    name: str
    address: Address
    follow: tuple[str, ...] = ()
    via: tuple[str, ...] = ()
    relay: bool = False
    filter: LogFilter = attrs.field(factory=LogFilter)
    may_follow: tuple[str, ...] = ()
    token_key: Path | None = None

    def follows(self, schema: str) -> bool:
        """Whether the peer's own schema of this name is replicated here."""
        return schema in self.follow or "*" in self.follow


@attrs.frozen
class FilePolicy:
    """Files that follow their rows here: of dataset types and collections that match globs, from one site or any.

    They go to ``datastore_url`` (None: the site's own), those of higher ``priority`` first, at ``rate_bytes_s`` at most
    (None: as fast as they come). Without ``collections``, every dataset of the types is meant.
    """

    dataset_types: tuple[str, ...]
    from_site: str | None = None
    collections: tuple[str, ...] = ()
    datastore_url: str | None = None
    priority: int = 0
    rate_bytes_s: float | None = None

    def covers(self, dataset_type: str, site: str) -> bool:
        """Whether files of this dataset type, owned by ``site``, are copied here (as far as collections allow)."""
        return self.from_site in (None, site) and _matches(dataset_type, self.dataset_types)

    def covers_collection(self, name: str) -> bool:
        """Whether the datasets of this collection are meant."""
        return not self.collections or _matches(name, self.collections)


_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT])(i?)B\Z", re.IGNORECASE)


def size_bytes(text: str) -> int:
    """Bytes of a size such as ``2GB`` or ``512 MiB``; `ValueError` for what is none, or less than one.

    >>> size_bytes("2GB"), size_bytes("1.5 kiB")
    (2000000000, 1536)
    """
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(text)
    found = int(float(match[1]) * (1024 if match[3] else 1000) ** ("KMGT".index(match[2].upper()) + 1))
    if found < 1:
        raise ValueError(text)
    return found


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in globs)


@attrs.frozen
class QueryConfig:
    """Defaults and limits of queries that are asked at this site, and of fragments that are sent to it.

    Rows of an answer, and of one fragment; bytes of an answer that is held whole; memory of the local engine, and what
    goes to files under ``spill_directory`` (None: where the system has its temporary files) beyond it. A site gives no
    fragment more than ``fragment_timeout_s``, and none at all to one whose estimated cost is above
    ``fragment_cost_max`` (see `federation.execution.cost`).
    """

    max_staleness_s: float = 0.0
    row_count_max: int = 10_000_000
    memory_limit: str = "2GB"
    timeout_s: float = 300.0
    byte_count_max: int = attrs.field(default=4_000_000_000, kw_only=True)
    spill_limit: str = attrs.field(default="20GB", kw_only=True)
    spill_directory: Path | None = attrs.field(default=None, kw_only=True)
    fragment_timeout_s: float = attrs.field(default=3600.0, kw_only=True)
    fragment_cost_max: float = attrs.field(default=math.inf, kw_only=True)
