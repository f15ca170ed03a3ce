"""From what a caller of snapshot commands names to the selection."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from federation.datastore.io_errors import as_federation_error
from federation.errors import UsageError, UserError
from federation.model.sql_text import quoted
from federation.snapshot.options import ClosureOptions
from federation.snapshot.selection import Selection

__all__ = ["read_ids", "selection_of"]


def selection_of(
    where: str | None,
    dataset_types: Sequence[str],
    sql: str | None,
    ids: Iterable[uuid.UUID] | Path | None,
    members: Sequence[str],
    calibrations: Sequence[str],
    options: ClosureOptions | None = None,
) -> Selection:
    """The selection; ``where`` is a condition on the tables of ``dataset_types``, added to what ``sql`` gives."""
    if where and not dataset_types:
        raise UsageError(
            "a condition without a dataset type", hint="say which datasets it is about: --dataset-type NAME"
        )
    statements = [sql.strip().rstrip(";")] if sql else []
    for name in dataset_types:
        statements.append(f"SELECT dataset_id FROM {quoted(name)}" + (f" WHERE ({where})" if where else ""))
    if len(statements) > 1:
        statements = [" UNION ".join(f"({statement})" for statement in statements)]
    known = read_ids(ids) if isinstance(ids, Path) else tuple(ids or ())
    return Selection(
        sql=statements[0] if statements else "",
        ids=known,
        members=tuple(members),
        calibrations=tuple(calibrations),
        collections=tuple(members),
        options=options or ClosureOptions(),
    )


def read_ids(path: Path) -> tuple[uuid.UUID, ...]:
    """Dataset ids of a file (``-``: standard input), one a line; `UserError` names file, line and what is none."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise as_federation_error(error, "read", str(path)) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text", hint="write one dataset id a line") from error
    lines = text.splitlines()
    out = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#"):
            try:
                out.append(uuid.UUID(text))
            except ValueError:
                raise UserError(
                    f"{path}:{number}: {text!r} is not a UUID", hint="write one dataset id a line"
                ) from None
    return tuple(out)
