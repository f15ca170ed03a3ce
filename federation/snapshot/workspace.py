"""Where a snapshot is made before it appears: ``TARGET.partial``, held by one process, renamed into place at the end.

Layout of ``TARGET.partial``: ``lock``, ``journal.sqlite``, ``transfer.sqlite``, and ``staging``, which becomes the
snapshot (creation) or holds what replaces its tag files (extension). A run that stops early leaves it for the next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import sqlalchemy as sa

from federation.datastore.durable import fsync_directory, make_directories
from federation.datastore.io_errors import as_federation_error, free_bytes
from federation.errors import ConflictError, LimitError, NotFoundError, UnavailableError, UserError
from federation.snapshot.bag import COMMIT, recover_bag, remove_surplus
from federation.snapshot.bag_text import TAG_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Workspace", "creation", "extension", "full_disk_as_limit", "has_unfinished_extension"]

#: with less than this, a failed write of a database means that the disk is full
_FULL_BELOW_BYTES = 256 * 1024
_LOCAL_ERRORS = (OSError, sqlite3.Error, sa.exc.OperationalError)


@attrs.frozen
class Workspace:
    """The working directory of one creation or extension of the snapshot at ``target``."""

    target: Path
    directory: Path

    @property
    def staging(self) -> Path:
        return self.directory / "staging"

    @property
    def journal_path(self) -> Path:
        return self.directory / "journal.sqlite"

    @property
    def transfer_path(self) -> Path:
        return self.directory / "transfer.sqlite"

    @property
    def ready_path(self) -> Path:
        """A mark: all that an extension replaces has been put into ``staging``."""
        return self.staging / "READY"

    @property
    def is_finished(self) -> bool:
        """Whether the result has left ``staging``: renamed as a whole, or moved into the snapshot it extends."""
        if not self.staging.is_dir():
            return True
        return (
            self.ready_path.exists()
            and not (self.staging / COMMIT).exists()
            and not (self.staging / TAG_MANIFEST).exists()
            and not (self.staging / "snapshot.json").exists()
        )

    def clear(self) -> None:
        """Remove all that a run left, but for the lock."""
        for path in self.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()

    def publish(self) -> None:
        """Give a created snapshot, complete and durable in ``staging``, its name."""
        try:
            _check_absent(self.target)
            self.staging.replace(self.target)
            fsync_directory(self.target.parent)
        except OSError as error:
            raise as_federation_error(error, "write", str(self.target)) from error

    def discard(self) -> None:
        """Remove the working directory: its work is done or not wanted."""
        shutil.rmtree(self.directory)
        fsync_directory(self.directory.parent)


@contextmanager
def full_disk_as_limit(target: Path) -> Iterator[None]:
    """Turn what goes wrong because the disk of ``target`` is full into `LimitError`.

    SQLite tells a full disk in several ways, some of them plain I/O errors: the free space decides.
    """
    try:
        yield
    except (OSError, sqlite3.Error, UnavailableError) as error:
        local = isinstance(
            error if not isinstance(error, UnavailableError) else error.__cause__, _LOCAL_ERRORS
        )
        free = free_bytes(target.absolute())
        if local and free is not None and free < _FULL_BELOW_BYTES:
            raise LimitError(
                f"cannot write the snapshot {target}: no space left, {free} bytes free ({error})",
                hint="free some space, then run the same command again; it goes on from here",
            ) from error
        if isinstance(error, UnavailableError):
            raise
        if isinstance(error, OSError):
            raise as_federation_error(error, "write", str(target)) from error
        raise UnavailableError(
            f"cannot write the snapshot {target}: {error}", hint="check the disk it is on, then run again"
        ) from error


@contextmanager
def creation(target: Path, *, discard: bool = False) -> Iterator[Workspace]:
    """A workspace for a snapshot that shall appear at ``target``, which must not exist or be an empty directory.

    Left in place, to go on from, unless `Workspace.discard` is called. ``discard`` forgets what an earlier run left.
    `UserError` for a target in use, `ConflictError` while another process works on it.
    """
    _check_absent(target)
    with _held(target) as workspace:
        _check_absent(target)  # another process may have finished between the check and the lock
        if discard:
            workspace.clear()
        make_directories(workspace.staging)
        yield workspace


@contextmanager
def extension(target: Path, *, discard: bool = False) -> Iterator[Workspace]:
    """A workspace for extending the snapshot at ``target``; first completes an extension that was cut short.

    ``discard`` forgets one that was not yet decided, with the files that it had brought.
    """
    if not (target / TAG_MANIFEST).is_file():
        raise NotFoundError(f"{target} has no {TAG_MANIFEST}", hint="name the directory of a snapshot")
    with _held(target) as workspace:
        recover_bag(target, workspace.staging)
        if workspace.is_finished:
            workspace.clear()  # a run that published and was killed before it could tidy up
        elif discard:
            remove_surplus(target)
            workspace.clear()
        make_directories(workspace.staging)
        yield workspace


def has_unfinished_extension(target: Path) -> bool:
    """Whether an extension of ``target`` was cut short after its commit; `extension` completes it on entry."""
    return (Workspace(target.absolute(), _working_directory(target)).staging / COMMIT).is_file()


def _working_directory(target: Path) -> Path:
    return target.absolute().with_name(f"{target.absolute().name}.partial")


def _check_absent(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UserError(f"{target} exists and is no directory", hint="choose another target")
    if target.is_dir() and any(target.iterdir()):
        raise UserError(
            f"{target} exists and is not empty",
            hint="choose another target, or use: federation snapshot extend",
        )


@contextmanager
def _held(target: Path) -> Iterator[Workspace]:
    directory = _working_directory(target)
    lock = directory / "lock"
    while True:
        try:
            make_directories(directory)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            continue  # the holder discarded the directory just now
        except OSError as error:
            raise as_federation_error(error, "write", str(directory)) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(lock.stat(), os.fstat(descriptor)):
                break
        except BlockingIOError as error:
            os.close(descriptor)
            raise ConflictError(
                f"another process is working on {target}", hint="wait for it to end, or choose another target"
            ) from error
        except FileNotFoundError:
            pass
        os.close(descriptor)
    try:
        yield Workspace(target.absolute(), directory)
    finally:
        os.close(descriptor)
