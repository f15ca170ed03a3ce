"""What benchmarks/replication.py runs beside the two sides: PostgreSQL servers, and a TCP proxy that delays and counts.

    python benchmarks/replication_server.py PORT DELAY_S   the proxy: prints its own port, then answers commands

The proxy delays what passes by ``DELAY_S`` in each direction. Commands are lines on its standard input: ``bytes``
answers how many bytes have passed so far, ``cut`` breaks connections and refuses new ones until ``heal``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import psycopg
from registry_server import programs

#: a link of 150 ms with a GB/s in flight
HELD_BYTES_MAX = 256 << 20
SETTINGS = {
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "fsync": "on",
    "synchronous_commit": "on",
    "log_min_messages": "fatal",
}


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def postgres_pair(root: Path) -> Iterator[tuple[int, int]]:
    """Two servers with the same settings, the data of which is below ``root``; their ports."""
    with contextlib.ExitStack() as stack:
        yield (
            stack.enter_context(postgres(root / "pub")),
            stack.enter_context(postgres(root / "sub")),
        )


@contextlib.contextmanager
def postgres(data: Path, settings: Mapping[str, str] = SETTINGS) -> Iterator[int]:
    """An installed PostgreSQL with its own data in a new directory within this context; its port."""
    data.mkdir()
    port = free_port()
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to be run by root
        user = "postgres"
        account = pwd.getpwnam(user)
        data.parent.chmod(0o755)
        os.chown(data, account.pw_uid, account.pw_gid)

    def run(program: str, *arguments: str) -> None:
        command = [programs() / program, "-D", data, *arguments]
        subprocess.run(
            command, check=True, user=user, cwd=data, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    settings = {**settings, "port": str(port), "unix_socket_directories": str(data)}
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    run("pg_ctl", "-w", "-l", str(data / "log"), "start")
    try:
        yield port
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")


def server_url(port: int, database: str = "postgres") -> str:
    """URL of a database on one of the servers."""
    return f"postgresql://postgres@127.0.0.1:{port}/{database}"


def make_database(port: int, name: str) -> str:
    """Make an empty database on the server, dropping one of that name, and return its URL."""
    with psycopg.connect(server_url(port), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    return server_url(port, name)


def checkpoint(*ports: int) -> None:
    """What was written before is on disk: it costs what comes next nothing."""
    for port in ports:
        with psycopg.connect(server_url(port), autocommit=True) as connection:
            connection.execute("CHECKPOINT")


def cpu_seconds(root: Path) -> float:
    """Processor time so far of this process, those that it has begun, and the servers below ``root``."""
    masters = [int(file.read_text().split()[0]) for file in root.glob("*/postmaster.pid")]
    total = 0.0
    for pid in (os.getpid(), *masters):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


# -- proxy ------------------------------------------------------------------------------------------------------------


class Proxy:
    """A proxy in a process of its own, in front of a port of this machine."""

    def __init__(self, target: int, delay_s: float = 0.0) -> None:
        command = [sys.executable, __file__, str(target), str(delay_s)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def ask(self, command: str) -> int:
        """Do a command; the number that it answers."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()


class _Link:
    """The proxy's work: every connection to it is one to the target."""

    def __init__(self, target: int, delay_s: float) -> None:
        self._target, self._delay_s = target, delay_s
        self.byte_count = 0
        self.is_cut = False
        self.writers: set[asyncio.StreamWriter] = set()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target, limit=1 << 20)
        self.writers |= {writer, far_writer}
        await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
        self.writers -= {writer, far_writer}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        room = asyncio.Event()
        room.set()
        held = 0

        async def deliver() -> None:
            nonlocal held
            while True:
                due, data = await queue.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()
                held -= len(data)
                room.set()

        delivering = asyncio.create_task(deliver())
        try:
            while data := await reader.read(1 << 18):
                self.byte_count += len(data)
                held += len(data)
                queue.put_nowait((loop.time() + self._delay_s, data))
                if held > HELD_BYTES_MAX:
                    room.clear()
                    await room.wait()
            queue.put_nowait((loop.time() + self._delay_s, b""))
            await delivering
        except ConnectionError:
            delivering.cancel()
            writer.close()

    def do(self, command: str) -> int:
        if command in ("cut", "heal"):
            self.is_cut = command == "cut"
            for writer in tuple(self.writers) if self.is_cut else ():
                writer.transport.abort()
        return self.byte_count


async def _serve_proxy(target: int, delay_s: float) -> None:
    link = _Link(target, delay_s)
    server = await asyncio.start_server(link.connect, "127.0.0.1", 0, limit=1 << 20)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    while line := (await commands.readline()).decode().strip():
        sys.stdout.write(f"{link.do(line)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve_proxy(int(sys.argv[1]), float(sys.argv[2])))
