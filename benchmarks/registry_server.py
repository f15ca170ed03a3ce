"""A PostgreSQL server for benchmarks/registry.py, one that both sides can use."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg

URL_VARIABLE = "FEDERATION_TEST_POSTGRES_URL"
#: the Butler does not start without it, and the embedded PostgreSQL has no extensions of this kind
EXTENSION = "btree_gist"


def programs() -> Path:
    """Where an installed PostgreSQL has its programs, the newest one's."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if not versions:
        raise SystemExit(
            f"lsst-daf-butler needs a PostgreSQL with {EXTENSION}, which the embedded one has not: install "
            f"postgresql and postgresql-contrib, or set {URL_VARIABLE} to the URL of a superuser on a server"
        )
    return versions[-1]


@contextlib.contextmanager
def postgres_server(root: Path) -> Iterator[str]:
    """URL of a server: the one that the environment names, or an installed one, run on data below ``root``."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        yield given
        return
    installed = programs()
    data = root / "postgres"
    data.mkdir()
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to be run by root
        user = "postgres"
        account = pwd.getpwnam(user)
        root.chmod(0o755)
        os.chown(data, account.pw_uid, account.pw_gid)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [installed / program, "-D", data, *arguments],
            check=True,
            user=user,
            cwd=data,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
    run("pg_ctl", "-w", "-l", str(data / "log"), "-o", f"-k {data} -c listen_addresses=''", "start")
    try:
        yield f"postgresql://postgres@/postgres?host={data}"
    finally:
        run("pg_ctl", "-m", "fast", "stop")


def make_database(url: str, name: str) -> str:
    """Make an empty database on the server, dropping one of that name, and return its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    made = url.replace("/postgres?", f"/{name}?") if "?" in url else f"{url.rsplit('/', 1)[0]}/{name}"
    with psycopg.connect(made, autocommit=True) as connection:
        connection.execute(f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}")
    return made


def analyze(url: str) -> None:
    """What autovacuum would have done by now on a server that is up for longer."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")
