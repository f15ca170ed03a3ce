"""The sections of benchmarks/replication.py: what each measures on both sides, and the goals."""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import replication_ours as ours
import replication_peer as peer
from replication_server import Proxy, checkpoint, cpu_seconds, make_database, server_url

#: datasets in a commit
STEPS = (1, 50, 5000)
#: 150 ms there and back
DELAY_S = 0.075
LAG_RATE = 200.0


@attrs.frozen
class Setting:
    """What sections are given: a directory, the servers' ports, how many datasets, and pairs of kinds of databases."""

    root: Path
    pub: int
    sub: int
    n: int
    pairs: tuple[tuple[str, ...], ...]
    is_quick: bool = False
    _numbers: Iterator[int] = attrs.field(factory=itertools.count)

    def source(self, kind: str) -> Path:
        """The site file of a new source."""
        return self._site("summit", kind, self.pub)

    def replica(self, kind: str) -> Path:
        """The site file of a new replica's site."""
        return self._site("base", kind, self.sub)

    def _site(self, name: str, kind: str, port: int) -> Path:
        number = next(self._numbers)
        url = make_database(port, f"ours_{number}") if kind == "pg" else None
        return ours.site_file(self.root / f"site{number}", name, url)

    def peer(self, n: int, *, ordered: bool = False, port: int | None = None) -> peer.Peer:
        """The peer's pair of databases, made anew, with ``n`` datasets to be loaded."""
        for server in (self.pub, self.sub):
            make_database(server, "peer")
        made = peer.Peer(self.pub, self.sub, "peer", port)
        made.create(n, ordered=ordered)
        return made

    def settle(self) -> None:
        checkpoint(self.pub, self.sub)


@attrs.frozen
class Figure:
    """One comparison; ``more_is_better`` of rates, not of times and bytes."""

    name: str
    rows: int
    ours: float
    peer: float
    goal: float
    more_is_better: bool = True

    def line(self) -> dict[str, Any]:
        ratio = self.ours / self.peer if self.more_is_better else self.peer / self.ours
        found = attrs.asdict(self, filter=lambda field, _: field.name != "more_is_better")
        return {
            **found,
            "ours": round(self.ours, 4),
            "peer": round(self.peer, 4),
            "ratio": round(ratio, 3),
        }


def _goal(pair: tuple[str, ...]) -> float:
    return 1.2 if pair == ("sqlite", "sqlite") else 1.3


# -- rates ------------------------------------------------------------------------------------------------------------


def drain(setting: Setting) -> Iterator[Figure]:
    """Rows a second of a backlog, from connected to applied, and processor time of all processes that take part."""
    n = setting.n
    for ordered, step in itertools.product((False, True), STEPS):
        order = "ordered" if ordered else "random"
        rate, cpu_us = _peer_drain(setting, step, ordered=ordered)
        for source, replicas in _by_source(setting):
            path = setting.source(source)
            ours.run("fill", path, n, step, order)
            with ours.served(path) as port:
                for replica in replicas:
                    name = f"drain {source}-{replica} {2 * step}-row commits, {order} ids"
                    mine, my_cpu_us = _our_drain(setting, port, replica)
                    yield Figure(name, 2 * n, mine, rate, _goal((source, replica)))
                    yield Figure(
                        f"{name}, cpu (us a row)", 2 * n, my_cpu_us, cpu_us, 0.0, more_is_better=False
                    )


def _by_source(setting: Setting) -> Iterator[tuple[str, list[str]]]:
    for source in dict.fromkeys(source for source, _ in setting.pairs):
        yield source, [replica for other, replica in setting.pairs if other == source]


def _peer_drain(setting: Setting, step: int, *, ordered: bool = False) -> tuple[float, float]:
    """(rows a second, microseconds of processor time a row)."""
    n = setting.n
    with setting.peer(n, ordered=ordered) as side:
        side.subscribe()
        side.wait_applied()
        side.disable()
        side.load(0, n, step, durable=False)
        setting.settle()
        side.enable()
        side.wait_active()
        began, cpu_s = time.perf_counter(), cpu_seconds(setting.root)
        side.wait_applied()
        seconds, cpu_s = time.perf_counter() - began, cpu_seconds(setting.root) - cpu_s
        _check(side.count(), n)
        return 2 * n / seconds, cpu_s * 1e6 / (2 * n)


def _our_drain(setting: Setting, port: int, kind: str) -> tuple[float, float]:
    """(rows a second, microseconds of processor time a row)."""
    path = setting.replica(kind)
    with ours.Process("follower", path, port) as follower:
        setting.settle()
        cpu_s = cpu_seconds(setting.root)
        seconds = float(follower.ask("drain")["seconds"])
        cpu_s = cpu_seconds(setting.root) - cpu_s
        _check(follower.ask("count")["datasets"], setting.n)
    return 2 * setting.n / seconds, cpu_s * 1e6 / (2 * setting.n)


def _check(found: int, wanted: int) -> None:
    if found != wanted:
        raise SystemExit(f"{found} datasets were replicated, {wanted} were written")


def live(setting: Setting) -> Iterator[Figure]:
    """Rows a second from the first commit to the last row applied, while one writer commits as fast as it can."""
    for step in STEPS:
        n = min(setting.n, 5000 if step == 1 else 50_000 if step == 50 else setting.n)
        with setting.peer(n) as side:
            side.subscribe()
            side.wait_applied()
            began = time.perf_counter()
            side.load(0, n, step)
            side.wait_applied()
            rate = 2 * n / (time.perf_counter() - began)
        for source, replica in setting.pairs:
            with _followed(setting, source, replica, n) as (path, follower):
                follower.ask("start")
                with ours.Process("writer", path, 0, n, step, 0, "log") as writer:
                    written = writer.ask("go")
                ended = follower.ask(f"wait {n - 1}")["ended"]
            name = f"live {source}-{replica} {2 * step}-row commits"
            yield Figure(name, 2 * n, 2 * n / (ended - written["began"]), rate, 0.0)


@contextlib.contextmanager
def _followed(setting: Setting, source: str, replica: str, n: int) -> Iterator[tuple[Path, ours.Process]]:
    """A served source without datasets, with what ``n`` of them depend on, and a follower that has all of that."""
    path = setting.source(source)
    ours.run("fill", path, n, 1, "base")
    with ours.served(path) as port, ours.Process("follower", setting.replica(replica), port) as follower:
        follower.ask("drain")
        setting.settle()
        yield path, follower


# -- lag --------------------------------------------------------------------------------------------------------------


def lag(setting: Setting) -> Iterator[Figure]:
    """Milliseconds from the return of a commit to its row being visible, at 200 commits a second."""
    n = 400 if setting.is_quick else 3000
    with setting.peer(n) as side:
        side.subscribe()
        side.wait_applied()
        pub, sub = (server_url(port, "peer") for port in (setting.pub, setting.sub))
        with (
            ours.Process("poller", sub, "public", n) as poller,
            _program(peer.__file__, pub, 0, n, 1, LAG_RATE) as process,
        ):
            theirs = _lags(_told(process), poller.answer())
    for source, replica in setting.pairs:
        with _followed(setting, source, replica, n) as (path, follower):
            follower.ask("start")
            with (
                ours.Process("poller", follower.site, "summit__summit", n) as poller,
                ours.Process("writer", path, 0, n, 1, LAG_RATE, "log") as writer,
            ):
                mine = _lags(writer.ask("go"), poller.answer())
        for name, part in (("p50", 0.5), ("p99", 0.99)):
            found = [sorted(side)[int(part * (n - 1))] for side in (mine, theirs)]
            title = f"lag {source}-{replica} {name} (ms)"
            yield Figure(title, 2 * n, found[0], found[1], 0.33, more_is_better=False)


def _lags(writer: dict[str, Any], poller: dict[str, Any]) -> list[float]:
    return [1000 * (seen - written) for seen, written in zip(poller["times"], writer["times"], strict=True)]


@contextlib.contextmanager
def _program(file: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, file, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def _told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Let a process begin that waits for a line, and take what it says at its end."""
    said, _ = process.communicate("go\n")
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer


# -- copies, bytes, writers -------------------------------------------------------------------------------------------


def bootstrap(setting: Setting) -> Iterator[Figure]:
    """Rows a second of a first copy."""
    n = setting.n
    with setting.peer(n) as side:
        side.load(0, n, 5000, durable=False)
        side.pub.execute("VACUUM ANALYZE")
        setting.settle()
        began = time.perf_counter()
        side.subscribe(copy=True)
        side.wait_copied()
        rate = 2 * n / (time.perf_counter() - began)
        _check(side.count(), n)
    for source, replicas in _by_source(setting):
        path = setting.source(source)
        ours.run("fill", path, n, 5000, "random")
        with ours.served(path) as port:
            for replica in replicas:
                with ours.Process("follower", setting.replica(replica), port) as follower:
                    setting.settle()
                    seconds = follower.ask("copy")["seconds"]
                    _check(follower.ask("count")["datasets"], n)
                yield Figure(f"bootstrap {source}-{replica}", 2 * n, 2 * n / seconds, rate, 0.9)


def wire(setting: Setting) -> Iterator[Figure]:
    """Bytes a row between source and replica, in both directions."""
    n = min(setting.n, 50_000)
    for step in STEPS:
        with Proxy(setting.pub) as proxy, setting.peer(n, port=proxy.port) as side:
            side.subscribe()
            side.wait_applied()
            before = proxy.ask("bytes")
            side.load(0, n, step, durable=False)
            side.wait_applied()
            theirs = (proxy.ask("bytes") - before) / (2 * n)
        path = setting.source("sqlite")
        ours.run("fill", path, n, step, "random")
        with (
            ours.served(path) as port,
            Proxy(port) as proxy,
            ours.Process("follower", setting.replica("sqlite"), proxy.port) as follower,
        ):
            before = proxy.ask("bytes")
            follower.ask("drain")
            mine = (proxy.ask("bytes") - before) / (2 * n)
        title = f"wire {2 * step}-row commits (bytes a row)"
        yield Figure(title, 2 * n, mine, theirs, 3.0, more_is_better=False)


def writer(setting: Setting) -> Iterator[Figure]:
    """Datasets a second that writers register, with the log relative to without: one by one, in bulk, four at once."""
    for kind in dict.fromkeys(source for source, _ in setting.pairs):
        for name, count, step, writers, goal in (
            ("single", 300 if setting.is_quick else 2000, 1, 1, 0.85),
            ("bulk", min(setting.n, 100_000), 5000, 1, 0.9),
            ("4 writers", 100 if setting.is_quick else 600, 1, 4, 0.8),
        ):
            rates: dict[str, list[float]] = {"log": [], "none": []}
            for log in ("log", "none") * (1 if setting.is_quick else 3):
                path = setting.source(kind)
                ours.run("fill", path, count * writers, 1, "base")
                rates[log].append(_write_rate(setting, path, count, step, writers, log))
            with_log, without = (statistics.median(rates[log]) for log in ("log", "none"))
            yield Figure(f"writer {kind} {name}, peer: no log", 2 * count * writers, with_log, without, goal)


def _write_rate(setting: Setting, path: Path, count: int, step: int, writers: int, log: str) -> float:
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(ours.Process("writer", path, k * count, (k + 1) * count, step, 0, log))
            for k in range(writers)
        ]
        setting.settle()
        for process in processes:
            process.tell("go")
        answers = [process.answer() for process in processes]
    seconds = max(answer["ended"] for answer in answers) - min(answer["began"] for answer in answers)
    return count * writers / seconds


# -- links ------------------------------------------------------------------------------------------------------------


def rtt(setting: Setting) -> Iterator[Figure]:
    """Rows a second of a backlog over a link of 150 ms, relative to one without delay, both through a proxy."""
    for source, replicas in _by_source(setting):
        path = setting.source(source)
        ours.run("fill", path, setting.n, 50, "random")
        with ours.served(path) as port:
            for replica in replicas:
                rates = []
                for delay_s in (0.0, DELAY_S):
                    with Proxy(port, delay_s) as proxy:
                        rates.append(_our_drain(setting, proxy.port, replica)[0])
                name = f"150 ms {source}-{replica} 100-row commits, peer: 0 ms"
                yield Figure(name, 2 * setting.n, rates[1], rates[0], 0.9)


def cut(setting: Setting) -> Iterator[Figure]:
    """Seconds from the return of a link that was cut to less than 1,000 rows behind, at 5,000 rows written a second."""
    cut_s, step, rate = (5.0 if setting.is_quick else 60.0), 25, 100.0
    n = int((2 * cut_s + 20) * rate * step)
    pairs = [pair for pair in setting.pairs if pair[0] == pair[1]]
    theirs = _peer_cut(setting, n, step, rate, cut_s)
    for source, replica in pairs:
        with _followed(setting, source, replica, n) as (path, follower):
            follower.ask("start")
            with ours.Process("writer", path, 0, n, step, rate, "log") as process:
                process.tell("go")
                time.sleep(2)
                follower.ask("stop")
                time.sleep(cut_s)
                began = time.perf_counter()
                follower.ask("start")
                follower.ask(f"near {500 // step}")
                seconds = time.perf_counter() - began
        yield Figure(
            f"catch-up {source}-{replica} after {cut_s:g} s (s)",
            n,
            seconds,
            theirs,
            0.5,
            more_is_better=False,
        )


def _peer_cut(setting: Setting, n: int, step: int, rate: float, cut_s: float) -> float:
    with setting.peer(0) as side:
        side.subscribe()
        side.wait_applied()
        with _program(peer.__file__, server_url(setting.pub, "peer"), 0, n, step, rate) as process:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            time.sleep(2)
            side.disable()
            time.sleep(cut_s)
            began = time.perf_counter()
            side.enable()
            while peer.one(side.pub, "SELECT count(*) FROM ds_raw") - side.count() > 500:
                time.sleep(0.02)
            seconds = time.perf_counter() - began
            process.kill()
    return seconds


SECTIONS: dict[str, Callable[[Setting], Iterator[Figure]]] = {
    "drain": drain,
    "live": live,
    "lag": lag,
    "bootstrap": bootstrap,
    "wire": wire,
    "writer": writer,
    "rtt": rtt,
    "cut": cut,
}
