"""Files over SSH, as fsspec sees them: servers are known by their keys, and who logs in how, ``~/.ssh`` says."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem

from federation.errors import UserError

__all__ = ["SftpSystem"]

_CONNECT_S = 15.0
_KEEPALIVE_S = 30


class SftpSystem(SFTPFileSystem):  # type: ignore[misc]
    """The server of ``sftp://[user@]host[:port]``, where ``host`` may be a name of ``~/.ssh/config``.

    Keys come from there, from the agent, or are the user's usual ones; a server must be in ``~/.ssh/known_hosts``. A
    connection that was lost is made anew for the next call.
    """

    def __init__(self, host: str, **kwargs: Any) -> None:
        if kwargs.get("password"):
            raise UserError(
                f"URL of {host} has a password", hint="use a key: ssh-copy-id, and leave the password out"
            )
        self._connecting = threading.Lock()
        self._sessions = threading.local()
        super().__init__(host, **kwargs)

    @property
    def ftp(self) -> paramiko.SFTPClient:
        """The session of this thread: paramiko's can't be shared. It ends with the thread."""
        session: paramiko.SFTPClient | None = getattr(self._sessions, "ftp", None)
        channel = None if session is None else session.get_channel()
        if session is None or channel is None or channel.closed:
            session = self._sessions.ftp = self._session()
        return session

    def _session(self) -> paramiko.SFTPClient:
        with self._connecting:
            transport = self.client.get_transport()
            if transport is not None and transport.is_active():
                try:
                    return self.client.open_sftp()
                except paramiko.ChannelException:
                    pass  # a server allows some sessions a connection (ten where nothing is said)
            self._connect()
            return self.client.open_sftp()

    def _connect(self) -> None:
        known = _of_config(self.host)
        self.client = paramiko.SSHClient()
        self.client.load_system_host_keys()
        self.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        self.client.connect(
            known.get("hostname", self.host),
            port=int(self.ssh_kwargs.get("port") or known.get("port") or 22),
            username=self.ssh_kwargs.get("username") or known.get("user"),
            key_filename=[str(Path(one).expanduser()) for one in known.get("identityfile", ())] or None,
            timeout=_CONNECT_S,
            banner_timeout=_CONNECT_S,
            auth_timeout=_CONNECT_S,
        )
        transport = self.client.get_transport()
        if transport is not None:
            transport.set_keepalive(_KEEPALIVE_S)

    def unstrip_protocol(self, name: str) -> str:
        """The URL of a path, with its server; the user is left out, as in every URL that is shown."""
        port = self.ssh_kwargs.get("port")
        return f"sftp://{self.host}{f':{port}' if port else ''}{self._strip_protocol(name)}"

    def makedirs(self, path: str, exist_ok: bool = False, mode: int = 0o777) -> None:
        """As fsspec's; several threads may make the same directories at a time."""
        for place in reversed([path, *map(str, Path(path).parents)]):
            if not self.exists(place):
                with suppress(OSError):  # another thread has made it; else what follows says what is wrong
                    self.ftp.mkdir(place, mode)
        if not exist_ok and not self.isdir(path):
            raise FileNotFoundError(path)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **kwargs: Any) -> Any:  # noqa: ARG002
        """Writes don't wait for each answer: an error comes with a later write or with the end."""
        file = self.ftp.open(path, mode, bufsize=block_size or -1)
        if "w" in mode:
            file.set_pipelined(True)
        return file


def _of_config(host: str) -> dict[str, Any]:
    """What ``~/.ssh/config`` says of a host."""
    path = Path("~/.ssh/config").expanduser()
    if not path.is_file():
        return {}
    try:
        found = paramiko.SSHConfig.from_path(str(path)).lookup(host)
    except (paramiko.ssh_exception.ConfigParseError, OSError) as error:
        raise UserError(f"cannot read {path}: {error}", hint="correct the file") from error
    return dict(found)
