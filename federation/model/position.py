"""Positions in change logs.

>>> a = Position("summit", "summit", "e1", 7)
>>> str(a)
'summit/summit@e1:7'
>>> Position.parse(str(a)) == a
True
"""

from __future__ import annotations

import re

import attrs

from federation.errors import UserError

__all__ = ["GENESIS", "Position", "SchemaId", "check_name", "name_from"]

#: hash that precedes the first entry of every log
GENESIS = b"\0" * 16

_NAME = re.compile(r"[a-z](?:_?[a-z0-9])*\Z")
_RESERVED = {"federation", "main", "temp", "public", "information_schema", "param", "pg_catalog", "pg_toast"}


def check_name(kind: str, name: str) -> str:
    """``name`` if it can name a site or schema; `UserError` otherwise.

    Names are lower-case identifiers of at most 28 characters without a double underscore, which separates site
    and schema in physical names.
    """
    if not _NAME.match(name) or len(name) > 28 or name in _RESERVED:
        raise UserError(
            f"{kind} name {name!r} is not allowed",
            hint="lower-case letters, digits and single underscores, at most 28 characters, "
            "not one of " + ", ".join(sorted(_RESERVED)),
        )
    return name


def name_from(text: str) -> str:
    """The allowed name that is nearest to a free text, such as a directory's name.

    >>> name_from("My-Snapshot 2")
    'my_snapshot_2'
    """
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    if not name or not name[0].isalpha() or name in _RESERVED:
        name = f"s_{name}".rstrip("_")
    return name[:28].rstrip("_")


@attrs.frozen(order=True)
class SchemaId:
    """A schema of the federation: the site that owns it and its name there."""

    site: str
    name: str

    def __str__(self) -> str:
        return f"{self.site}/{self.name}"


@attrs.frozen
class Position:
    """How far a change log has been written or applied: everything up to and with ``lsn``."""

    site: str
    schema: str
    epoch: str
    lsn: int

    @property
    def schema_id(self) -> SchemaId:
        return SchemaId(self.site, self.schema)

    def __str__(self) -> str:
        return f"{self.site}/{self.schema}@{self.epoch}:{self.lsn}"

    @classmethod
    def parse(cls, text: str) -> Position:
        match = re.match(r"([a-z0-9_]+)/([a-z0-9_]+)@([0-9a-z]*):(\d+)\Z", text)
        if match is None:
            raise UserError(f"{text!r} is not a position", hint="write SITE/SCHEMA@EPOCH:LSN")
        return cls(match[1], match[2], match[3], int(match[4]))
