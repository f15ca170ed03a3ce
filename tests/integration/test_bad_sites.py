"""Sites that cannot be opened or served say why in one line, with the remedy and the right exit code."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from forked import run_command


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    directory = tmp_path / "sites"
    directory.mkdir()
    return directory


def write_site(sites: Path, name: str, registry: str = "sqlite", port: int = 1) -> None:
    text = (
        f'name = "{name}"\nroot = "../{name}"\nlisten = "127.0.0.1:{port}"\n[registry]\nurl = "{registry}"\n'
    )
    (sites / f"{name}.toml").write_text(text)


def federation(sites: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit code, and the lines on standard error."""
    errors = sites / "errors"
    code = run_command(*arguments, "--sites", sites, errors=errors)
    return code, errors.read_text().strip().splitlines()


def test_a_port_that_another_program_holds(sites: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        write_site(sites, "a", port=taken.getsockname()[1])
        assert federation(sites, "site", "init", "a")[0] == 0

        code, lines = federation(sites, "site", "serve", "a")

    assert code == 4
    assert len(lines) == 2
    assert lines[0].startswith("error: cannot listen on 127.0.0.1:")
    assert "another listen address" in lines[1]


def test_a_database_that_does_not_answer(sites: Path) -> None:
    write_site(sites, "a", "postgresql://somebody@127.0.0.1:1/none")

    code, lines = federation(sites, "site", "init", "a")

    assert code == 4
    assert "refused" in lines[0]
    assert lines[1] == "hint: check that the database runs and the URL is right"


def test_a_user_whom_the_database_does_not_know(sites: Path, postgres_url: str) -> None:
    url = urlsplit(postgres_url)
    write_site(
        sites,
        "a",
        url._replace(
            netloc=url.netloc.replace("postgres:@", "nobody@").replace("postgres@", "nobody@")
        ).geturl(),
    )

    code, lines = federation(sites, "site", "init", "a")

    assert code == 3
    assert 'role "nobody" does not exist' in lines[0]
    assert "user and password" in lines[1]


def test_a_registry_of_another_version(sites: Path, tmp_path: Path) -> None:
    write_site(sites, "a")
    assert federation(sites, "site", "init", "a")[0] == 0
    with sqlite3.connect(tmp_path / "a" / "registry" / "federation.sqlite") as connection:
        connection.execute("UPDATE registry_info SET value = '99' WHERE key = 'format'")
    connection.close()

    code, lines = federation(sites, "site", "serve", "a")

    assert code == 3
    assert "registry format 99" in lines[0]
    assert "install a newer federation" in lines[1]


def test_a_registry_file_that_is_damaged(sites: Path, tmp_path: Path) -> None:
    write_site(sites, "a")
    assert federation(sites, "site", "init", "a")[0] == 0
    (tmp_path / "a" / "registry" / "federation.sqlite").write_bytes(b"no database at all" * 300)

    code, lines = federation(sites, "site", "init", "a")

    assert code == 6
    assert "not a database" in lines[0]
    assert "backup" in lines[1]
