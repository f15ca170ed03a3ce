"""Python types by dotted name, so that a library is imported only when one of its objects is wanted."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from federation.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["known_name", "resolve", "short_name"]

#: extra of this package that installs a library
_EXTRAS = {"pandas": "pandas", "PIL": "images"}


def resolve(name: str) -> type:
    """The class behind ``package.module.Class``; a name without a dot is a builtin.

    `UserError` when the library is not installed or has no such class.
    """
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module or "builtins"), attribute)
    except ImportError as error:
        package = module.partition(".")[0]
        wanted = f"federation[{_EXTRAS[package]}]" if package in _EXTRAS else package
        raise UserError(
            f"{name} needs the package {package}, which is not installed", hint=f"run: pip install '{wanted}'"
        ) from error
    except (AttributeError, ValueError) as error:
        raise UserError(
            f"there is no Python type {name!r}", hint="write it like astropy.table.Table"
        ) from error
    if not isinstance(found, type):
        raise UserError(f"{name} is not a type", hint="write it like astropy.table.Table")
    return found


def known_name(cls: type, names: Iterable[str]) -> str | None:
    """Which of ``names`` is ``cls`` or its nearest base; libraries that nobody has imported are not asked."""
    loaded: dict[type, str] = {}
    for name in names:
        module, _, attribute = name.rpartition(".")
        holder = sys.modules.get(module or "builtins")
        found = getattr(holder, attribute, None)
        if isinstance(found, type):
            loaded.setdefault(found, name)
    return next((loaded[base] for base in cls.__mro__ if base in loaded), None)


def short_name(name: str) -> str:
    """The name as messages show it.

    >>> short_name("astropy.io.fits.HDUList")
    'HDUList'
    """
    return name.rpartition(".")[2]
