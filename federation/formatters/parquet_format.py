"""Parquet files, through pyarrow."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from federation.errors import UserError
from federation.formatters.formatter import Formatter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

__all__ = ["ParquetFormatter"]


class ParquetFormatter(Formatter):
    """A table; its quantities are ``nrows`` and ``ncolumns``."""

    name: ClassVar[str] = "parquet"
    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".parq", ".pq")
    types: ClassVar[tuple[str, ...]] = ("pyarrow.Table", "pyarrow.Schema")
    reads_only: ClassVar[tuple[str, ...]] = ("pyarrow.Schema",)

    def read(self, path: Path, type_: str) -> Any:
        with _damaged(path):
            return pq.read_schema(path) if type_ == "pyarrow.Schema" else pq.read_table(path)

    def write(self, content: Any, type_: str, path: Path) -> None:  # noqa: ARG002
        try:
            pq.write_table(content, path)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UserError(f"Parquet can't hold this table: {error}", hint="change its columns") from error

    def check(self, path: Path) -> None:
        with _damaged(path):
            pq.read_metadata(path)

    def metadata(self, path: Path, names: Collection[str]) -> Mapping[str, Any]:
        with _damaged(path):
            found = pq.read_metadata(path)
        values = {"nrows": found.num_rows, "ncolumns": found.num_columns}
        return {name: value for name, value in values.items() if name in names}


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is not a whole Parquet file: {reason}", hint="copy it again from where it was made"
        ) from error
