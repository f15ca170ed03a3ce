"""Files come from and go to a real SSH server."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from free_ports import free_port

from federation.datastore import Datastore, TransferItem, TransferJournal, transfer
from federation.errors import CorruptionError, NotFoundError, UnavailableError, UserError

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(SSHD is None, reason="there is no sshd on this computer")


@attrs.frozen
class Server:
    """An SSH server of this computer; ``home`` has the keys of its user."""

    port: int
    home: Path
    files: Path

    @property
    def url(self) -> str:
        return f"sftp://127.0.0.1:{self.port}{self.files}"


def _key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text()


def _start(directory: Path, port: int) -> subprocess.Popen[bytes]:
    (directory / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\n"
        f"AuthorizedKeysFile {directory}/authorized\nPasswordAuthentication no\nStrictModes no\n"
        f"UsePAM no\nPidFile none\nSubsystem sftp internal-sftp\n"
    )
    assert SSHD is not None
    # in the foreground; it wants a directory that its package makes at boot
    Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", str(directory / "sshd_config")], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            continue
        return process
    process.kill()
    raise AssertionError("sshd does not answer")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True)
    files = tmp_path / "files"
    files.mkdir()
    port = free_port()
    host = _key(tmp_path / "host")
    (tmp_path / "authorized").write_text(_key(ssh / "mine"))
    (ssh / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}")
    user = pwd.getpwuid(os.getuid()).pw_name
    (ssh / "config").write_text(f"Host 127.0.0.1\n  User {user}\n  IdentityFile {ssh}/mine\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    process = _start(tmp_path, port)
    try:
        yield Server(port, tmp_path / "home", files)
    finally:
        process.kill()
        process.wait()


def content(number: int) -> bytes:
    return bytes([number]) * (200_000 * number + 7)


def items(source: Datastore, count: int = 4) -> list[TransferItem]:
    return [
        TransferItem(
            str(n), (source.source(f"run/{n % 2}/{n}.fits"),), f"run/{n % 2}/{n}.fits", len(content(n)),
            f"sha256:{hashlib.sha256(content(n)).hexdigest()}",
        )
        for n in range(count)
    ]  # fmt: skip


def test_files_go_there_and_come_back_verified(server: Server, tmp_path: Path) -> None:
    here, there, back = (Datastore(url) for url in (str(tmp_path / "a"), server.url, str(tmp_path / "b")))
    assert there.url == server.url
    for n in range(4):
        here.put_stream([content(n)], f"run/{n % 2}/{n}.fits")
    for number, (source, target) in enumerate(((here, there), (there, back))):
        with TransferJournal(tmp_path / f"journal{number}") as journal:
            assert len(transfer(items(source), target, journal=journal).done) == 4
    assert sorted(path for path, _ in there.backend.walk()) == [f"run/{n % 2}/{n}.fits" for n in (0, 2, 1, 3)]
    assert (tmp_path / "b" / "run/1/3.fits").read_bytes() == content(3)
    with TransferJournal(tmp_path / "journal0") as journal:
        assert len(transfer(items(here), there, journal=journal).skipped) == 4
    there.remove("run/1/3.fits")
    assert there.info("run/1/3.fits") is None
    with pytest.raises(NotFoundError), there.source("run/1/3.fits").open() as chunks:
        next(chunks)


def test_damaged_bytes_are_not_kept(server: Server) -> None:
    there = Datastore(server.url)
    with pytest.raises(CorruptionError):
        there.put_stream([b"other"], "a.fits", checksum=f"sha256:{hashlib.sha256(b'bytes').hexdigest()}")
    assert list(there.backend.walk()) == []


def test_a_server_that_is_not_known_is_refused(server: Server) -> None:
    (server.home / ".ssh" / "known_hosts").write_text("")
    with pytest.raises(UnavailableError, match="not found in known_hosts"):
        Datastore(server.url.replace("/files", "/files/unknown"))


def test_a_password_in_the_url_is_refused(server: Server) -> None:
    with pytest.raises(UserError, match="has a password") as caught:
        Datastore(server.url.replace("127.0.0.1", "me:secret@127.0.0.1"))
    assert "secret" not in str(caught.value)
