"""A registry of format 1 on each kind of database: schemas base and alice, a replica of summit, of site ``base``."""

from __future__ import annotations

import zipfile
from pathlib import Path

import psycopg

__all__ = ["FORMAT_1", "restore_format_1"]

FORMAT_1 = Path(__file__).parents[1] / "data" / "format-1"


def restore_format_1(kind: str, directory: Path, url: str = "") -> None:
    """Put it into ``directory`` (SQLite) or the empty database at ``url``."""
    if kind == "sqlite":
        with zipfile.ZipFile(FORMAT_1 / "sqlite.zip") as archive:
            archive.extractall(directory)
        return
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((FORMAT_1 / "postgresql.sql").read_text())
