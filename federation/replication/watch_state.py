"""Where a watch stands, in a file that outlives it: written in one step, after the reader has had the events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from federation.changelog import LogState
from federation.datastore.durable import write_file
from federation.errors import UserError
from federation.model.position import SchemaId

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["WatchState"]

_VERSION = 1


class _Saved(msgspec.Struct):
    epoch: str
    lsn: int
    chain: str = ""


class _File(msgspec.Struct):
    version: int
    positions: dict[str, _Saved]


class WatchState:
    """The file at ``path``; `load` gives nothing where there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[SchemaId, LogState]:
        """The position of each schema; `UserError` when the file is something else."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            found = msgspec.json.decode(text, type=_File)
            positions = {
                _schema(name): LogState(saved.epoch, saved.lsn, bytes.fromhex(saved.chain))
                for name, saved in found.positions.items()
            }
        except (msgspec.DecodeError, ValueError) as error:
            raise UserError(
                f"{self.path} does not hold the positions of a watch: {error}",
                hint="give another file, or remove this one to begin anew",
            ) from error
        if found.version != _VERSION:
            raise UserError(
                f"{self.path} has version {found.version}, this software reads {_VERSION}",
                hint="update this software",
            )
        return positions

    def save(self, positions: Mapping[SchemaId, LogState]) -> None:
        """Replace the file durably; a reader or a crash sees the old positions or the new ones."""
        saved = {
            str(schema): _Saved(state.epoch, state.lsn, state.chain.hex())
            for schema, state in sorted(positions.items())
        }
        write_file(
            self.path, msgspec.json.format(msgspec.json.encode(_File(_VERSION, saved)), indent=2) + b"\n"
        )


def _schema(text: str) -> SchemaId:
    site, slash, name = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is no schema")
    return SchemaId(site, name)
