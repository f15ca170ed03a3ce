"""Distributed data federation for multi-site dataset registries.

>>> import federation
>>> with federation.connect("ncsa", sites="sites") as session:  # doctest: +SKIP
...     for row in session.query("SELECT instrument, count(*) AS n FROM raw GROUP BY instrument"):
...         print(row)

``connect`` and ``open_snapshot`` give a `Session`; the other verbs are those of the command line. Every error is one
of `federation.errors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from federation import errors

if TYPE_CHECKING:
    from federation.api import (
        Session,
        connect,
        create_snapshot,
        diff_snapshots,
        extend_snapshot,
        import_butler,
        ingest,
        init_site,
        open_snapshot,
        replicate,
        serve,
        site_status,
        verify_replica,
        verify_snapshot,
    )
    from federation.execution.result import Result

__all__ = [
    "Result",
    "Session",
    "connect",
    "create_snapshot",
    "diff_snapshots",
    "errors",
    "extend_snapshot",
    "import_butler",
    "ingest",
    "init_site",
    "open_snapshot",
    "replicate",
    "serve",
    "site_status",
    "verify_replica",
    "verify_snapshot",
]


def __getattr__(name: str) -> Any:
    # loaded when first used: the database and Arrow libraries take most of a second
    if name not in __all__:
        raise AttributeError(f"module 'federation' has no attribute {name!r}")
    module = "federation.execution.result" if name == "Result" else "federation.api"
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
