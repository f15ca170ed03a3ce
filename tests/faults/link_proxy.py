"""A process between a follower and its source that passes bytes on, and can cut, silence or delay the link.

``link_proxy.py LISTEN_PORT TARGET_PORT`` prints ``ready`` and reads commands, one a line, each answered by ``done``:
``cut`` closes every connection and refuses new ones, ``silence`` keeps them open and passes nothing on, ``delay S``
holds each piece back for S seconds, ``pass`` lets everything through again (of what was silenced, nothing comes late).
"""

from __future__ import annotations

import asyncio
import sys


class Proxy:
    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.mode, self.delay_s = "pass", 0.0
        self.open: set[asyncio.StreamWriter] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "cut":
            writer.transport.abort()
            return
        if self.mode == "silence":  # as a host that is gone: the connection opens, and nothing answers
            self.open.add(writer)
            return
        try:
            back, out = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self.open |= {writer, out}
        await asyncio.gather(self.copy(reader, out), self.copy(back, writer))

    async def copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        is_lost = False
        try:
            while data := await source.read(1 << 16):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                # once something was lost, nothing after it makes sense: the connection stays half open
                is_lost = is_lost or self.mode == "silence"
                if not is_lost:
                    sink.write(data)
                    await sink.drain()
        except OSError:
            pass
        finally:
            if not is_lost:
                sink.close()

    def command(self, line: str) -> None:
        self.mode, _, number = line.partition(" ")
        self.delay_s = float(number) if self.mode == "delay" else 0.0
        if self.mode == "cut":
            for writer in self.open:
                writer.transport.abort()
            self.open.clear()


async def main(listen_port: int, target_port: int) -> None:
    proxy = Proxy(target_port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", listen_port)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    print("ready", flush=True)
    async with server:
        while line := (await commands.readline()).decode().strip():
            proxy.command(line)
            print("done", flush=True)


asyncio.run(main(*map(int, sys.argv[1:])))
