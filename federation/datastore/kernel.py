"""Copying and writing out by the kernel: calls that Python has no functions of its own for."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final

from federation.datastore.io_errors import as_federation_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from federation.datastore.local_files import LocalReading

__all__ = ["begin_writing_out", "kernel_copy", "sync_file_system"]

#: linux/fs.h: share the blocks of another file (btrfs, XFS, bcachefs)
_FICLONE: Final = 0x40049409
_NO_KERNEL_COPY: Final = {
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EBADF,
    errno.ETXTBSY,
}
#: copied by the kernel in one call, between two looks at whether to stop
_KERNEL_BYTES: Final = 16 << 20
_WRITE_OUT_BYTES: Final = 4 << 20
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
#: of glibc and musl; elsewhere each file is synced by itself
_SYNCFS: Final = getattr(_LIBC, "syncfs", None)
#: of Linux, and only to have less to wait for in the end
_SYNC_FILE_RANGE: Final = getattr(_LIBC, "sync_file_range", None)
#: fcntl.h: begin, and don't wait
_SYNC_FILE_RANGE_WRITE: Final = 2


def begin_writing_out(descriptor: int, begun: int, written: int) -> int:
    """Let the disk begin with what was written from ``begun`` on, in large pieces; how far it has begun."""
    if _SYNC_FILE_RANGE is None or written - begun < _WRITE_OUT_BYTES:
        return begun
    _SYNC_FILE_RANGE(
        descriptor,
        ctypes.c_int64(begun),
        ctypes.c_int64(written - begun),
        ctypes.c_uint(_SYNC_FILE_RANGE_WRITE),
    )
    return written


def sync_file_system(descriptor: int) -> bool:
    """Make all that was written to the file system of an open file durable; False where that can't be said."""
    return _SYNCFS is not None and _SYNCFS(descriptor) == 0


def kernel_copy(source: LocalReading, writing: int, target: str, on_bytes: Callable[[int], None]) -> bool:
    """Copy a file without reading it; False, with nothing written, where this kernel or file system can't."""
    reading, size_bytes = source.descriptor, source.size_bytes
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
    except OSError:
        pass  # most file systems can't; what is wrong with the disk shows below
    else:
        on_bytes(size_bytes)
        return True
    copied = 0
    try:
        while copied < size_bytes:
            count = os.copy_file_range(reading, writing, min(size_bytes - copied, _KERNEL_BYTES))
            if count == 0:
                return True  # cut while it was copied: the caller compares sizes
            copied += count
            on_bytes(count)
    except OSError as error:
        if copied == 0 and error.errno in _NO_KERNEL_COPY:
            return False
        raise as_federation_error(error, "write", target) from error
    return True
