"""What a formatter is: it reads and writes files of one format, and tells cheaply what a file holds."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

__all__ = ["Formatter"]


class Formatter(abc.ABC):
    """One file format; instances hold no state and may be shared by threads.

    ``types`` are the dotted names of the Python types that it reads, and writes too unless ``reads_only`` has them;
    the first is what it gives when nothing else is known. The first of ``suffixes`` is that of new files.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()
    types: ClassVar[tuple[str, ...]]
    reads_only: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def read(self, path: Path, type_: str) -> Any:
        """The content of a local file as one of ``types``, independent of the file from then on.

        `UserError` naming the file when it is damaged or holds nothing of that type.
        """

    @abc.abstractmethod
    def write(self, content: Any, type_: str, path: Path) -> None:
        """Write an object of one of ``types`` to a local path; `UserError` when the format can't hold it."""

    def check(self, path: Path) -> None:  # noqa: B027 - most formats have no cheap test
        """Raise `UserError` naming the file when it can be seen cheaply that it is not whole."""

    def metadata(self, path: Path, names: Collection[str]) -> Mapping[str, Any]:  # noqa: ARG002
        """Those of the quantities ``names`` that a local file tells without being read whole."""
        return {}

    @property
    def writes(self) -> tuple[str, ...]:
        """The types that it writes."""
        return tuple(name for name in self.types if name not in self.reads_only)
