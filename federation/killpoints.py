"""Points in the code at which tests end the process as if by ``kill -9``.

``FEDERATION_KILL=apply.before_commit`` ends it when it first passes that point, ``apply.before_commit:3`` at the third
time. Without the variable a point is one comparison.
"""

from __future__ import annotations

import itertools
import os
import signal
from typing import Final

__all__ = ["KILLPOINTS", "killpoint"]

#: every point there is
KILLPOINTS: Final = frozenset(
    {
        "cache.taken_in",
        "cache.before_chosen",
        "cache.after_chosen",
        "cache.after_row",
        "cache.before_aside",
        "cache.after_aside",
        "cache.after_delete",
        "transaction.before_append",
        "transaction.before_commit",
        "transaction.after_commit",
        "retire.written",
        "retire.before_forget",
        "retire.marked",
        "retire.copy_withdrawn",
        "retire.copy_removed",
        "stamp.before_commit",
        "stamp.after_commit",
        "publisher.before_send",
        "apply.before_rows",
        "apply.before_watermark",
        "apply.before_commit",
        "apply.after_commit",
        "bootstrap.before_commit",
        "copy.writing",
        "copy.before_kept",
        "copy.kept",
        "copy.before_send",
        "copy.staged",
        "copy.all_staged",
        "copy.before_rows",
        "copy.before_watermark",
        "copy.after_commit",
        "copy.before_discard",
        "repair.before_commit",
        "repair.after_commit",
        "files.before_rename",
        "files.after_rename",
        "files.before_record",
        "trim.before_commit",
        "trim.after_commit",
        "epoch.before_commit",
        "epoch.after_commit",
        "restore.before_replace",
        "restore.after_replace",
        "migration.after_backup",
        "migration.before_commit",
        "migration.after_commit",
        "migration.before_format",
    }
)

_NAME, _, _COUNT = os.environ.get("FEDERATION_KILL", "").partition(":")
_PASSES = itertools.count(1)


def killpoint(name: str) -> None:
    """End the process here if it was asked for."""
    if name == _NAME and next(_PASSES) >= int(_COUNT or 1):
        os.kill(os.getpid(), signal.SIGKILL)
