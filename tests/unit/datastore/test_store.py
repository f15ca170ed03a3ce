"""A datastore writes whole files or none, below its root or nowhere."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path

import pytest

from federation.datastore import Datastore
from federation.errors import ConflictError, CorruptionError, NotFoundError, UnavailableError, UserError

CONTENT = b"SIMPLE  =                    T"
CHECKSUM = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class TestPutting:
    def test_returns_size_and_checksum_and_keeps_the_bytes(self, store: Datastore) -> None:
        stored = store.put_stream([CONTENT[:7], CONTENT[7:]], "run/raw/file.fits")
        assert (stored.size_bytes, stored.checksum) == (len(CONTENT), CHECKSUM)
        with store.open("run/raw/file.fits") as file:
            assert file.read() == CONTENT
        assert store.size("run/raw/file.fits") == len(CONTENT)

    def test_copies_a_file_by_path_and_by_url(self, store: Datastore, tmp_path: Path) -> None:
        source = tmp_path / "with space #1.fits"
        source.write_bytes(CONTENT)
        assert store.put_file(source, "a.fits").checksum == CHECKSUM
        assert store.put_file(f"file://{source}", "b.fits", checksum=CHECKSUM).size_bytes == len(CONTENT)

    def test_replaces_a_file_in_one_step(self, store: Datastore, names_below) -> None:
        store.put_stream([b"old"], "a/b")
        store.put_stream([b"newer"], "a/b")
        with store.open("a/b") as file:
            assert file.read() == b"newer"
        assert names_below(store) == ["a/b"]

    def test_keeps_an_empty_file(self, store: Datastore) -> None:
        assert store.put_stream([], "empty").size_bytes == 0
        assert store.exists("empty")
        assert store.size("empty") == 0

    @pytest.mark.parametrize(
        "expected",
        [{"size_bytes": 3}, {"checksum": "sha256:" + "0" * 64}, {"checksum": "md5:" + "0" * 32}],
    )
    def test_leaves_nothing_of_bytes_that_are_not_as_expected(self, store, names_below, expected) -> None:
        with pytest.raises(CorruptionError, match=r"file\.fits"):
            store.put_stream([CONTENT], "a/file.fits", **expected)
        assert names_below(store) == []

    def test_leaves_the_old_file_when_the_source_fails_midway(self, store, names_below, scripted) -> None:
        store.put_stream([b"old"], "a/b")
        source = scripted("tape", (b"new", UnavailableError("tape robot stuck")))
        with pytest.raises(UnavailableError, match="robot"), source.open() as chunks:
            store.put_stream(chunks, "a/b")
        with store.open("a/b") as file:
            assert file.read() == b"old"
        assert names_below(store) == ["a/b"]

    def test_accepts_a_checksum_of_another_algorithm(self, store: Datastore) -> None:
        stored = store.put_stream([CONTENT], "a", checksum="md5:" + hashlib.md5(CONTENT).hexdigest().upper())
        assert stored.checksum == CHECKSUM

    def test_names_a_missing_source(self, store: Datastore, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match=r"gone\.fits: no such file"):
            store.put_file(tmp_path / "gone.fits", "a")
        with pytest.raises(NotFoundError, match=r"memory://nowhere/gone\.fits"):
            store.put_file("memory://nowhere/gone.fits", "a")

    def test_survives_a_name_as_long_as_the_system_allows(self, store: Datastore, names_below) -> None:
        name = "n" * 255
        store.put_stream([CONTENT], f"a/{name}")
        assert names_below(store) == [f"a/{name}"]


class TestALocalStore:
    def test_reuses_what_a_killed_writer_left(self, local_store, names_below) -> None:
        root = local_store.local_root
        (root / "a").mkdir(parents=True)
        (root / local_store.temporary_path("a/b", "")).write_bytes(b"half of something else")
        local_store.put_stream([b"x"], "a/b")
        assert (root / "a/b").read_bytes() == b"x"
        assert names_below(local_store) == ["a/b"]

    def test_refuses_a_second_writer_of_one_path(self, local_store) -> None:
        temporary = local_store.local_root / local_store.temporary_path("b", "")
        temporary.parent.mkdir()
        with temporary.open("wb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(ConflictError, match="another process"):
                local_store.put_stream([b"x"], "b")
        assert temporary.exists()

    def test_names_the_file_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(UserError, match="file/store/a: File exists") as caught:
            Datastore(str(tmp_path / "file" / "store")).put_stream([b"x"], "a")
        assert caught.value.hint

    def test_does_not_follow_a_link_out_of_its_root(self, local_store, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.mkdir()
        (secret / "key").write_bytes(b"key")
        local_store.local_root.mkdir()
        (local_store.local_root / "way").symlink_to(secret)
        (local_store.local_root / "key").symlink_to(secret / "key")
        for attempt in (
            lambda: local_store.open("way/key"),
            lambda: local_store.open("key"),
            lambda: local_store.put_stream([b"x"], "way/key"),
            lambda: local_store.remove("way/key"),
            lambda: local_store.size("way/key"),
        ):
            with pytest.raises(UserError, match="outside of"):
                attempt()
        assert (secret / "key").read_bytes() == b"key"

    def test_says_when_its_root_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="does not exist"):
            Datastore(str(tmp_path / "nowhere")).check_readable()

    def test_knows_its_free_space_before_it_exists(self, tmp_path: Path) -> None:
        assert (Datastore(str(tmp_path / "not" / "yet")).free_bytes() or 0) > 0


BAD_PATHS = [
    "",
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a/..",
    "./a",
    "a//b",
    "a/",
    "a\0b",
    "a\\..\\b",
    "..",
    ".",
]


class TestPaths:
    @pytest.mark.parametrize("path", BAD_PATHS)
    def test_stay_below_the_root(self, store: Datastore, path: str) -> None:
        for attempt in (
            lambda: store.put_stream([b""], path),
            lambda: store.open(path),
            lambda: store.exists(path),
            lambda: store.remove(path),
            lambda: store.resolve(path),
        ):
            with pytest.raises(UserError, match="path"):
                attempt()

    def test_resolve_to_urls_that_open_again(self, store: Datastore) -> None:
        store.put_stream([CONTENT], "a/b c.fits")
        url = store.resolve("a/b c.fits")
        assert "://" in url
        with store.open(url) as file:
            assert file.read() == CONTENT
        assert store.contains(url)

    def test_of_other_stores_resolve_to_themselves_and_do_not_open(self, store: Datastore) -> None:
        assert store.resolve("s3://bucket/key") == "s3://bucket/key"
        assert not store.contains("file:///etc/passwd")
        for url in ("file:///etc/passwd", f"{store.url}/../secret", f"{store.url}x/secret"):
            with pytest.raises(UserError):
                store.open(url)

    def test_of_missing_files_are_named(self, store: Datastore) -> None:
        assert not store.exists("a/b")
        for attempt in (store.open, store.size, store.remove):
            with pytest.raises(NotFoundError, match="a/b"):
                attempt("a/b")

    def test_of_directories_are_no_files(self, store: Datastore) -> None:
        store.put_stream([CONTENT], "a/b")
        assert not store.exists("a")

    def test_can_be_removed(self, store: Datastore) -> None:
        store.put_stream([CONTENT], "a/b")
        store.remove("a/b")
        assert not store.exists("a/b")


class TestUrls:
    @pytest.mark.parametrize("url", ["gopher://host/path", "s3\0://x"])
    def test_of_unknown_protocols_are_refused_with_the_remedy(self, url: str) -> None:
        with pytest.raises(UserError) as caught:
            Datastore(url)
        assert caught.value.hint

    def test_show_no_credentials(self) -> None:
        with pytest.raises(UserError) as caught:
            Datastore("gopher://user:secret@host/path?token=secret")
        assert "secret" not in str(caught.value)
