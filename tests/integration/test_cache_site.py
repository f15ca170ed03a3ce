"""A cache takes in what arrives, hands it out, and lets go only what a permanent site has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cache_sites import Sites, content, identity, served, write_sites
from free_ports import free_port

import federation
from federation.cache.index import FOREVER_NS, Phase, Pin
from federation.cli.main import main
from federation.errors import LimitError, NotFoundError
from federation.registry.files.ingest import ingest_files

DAY_S = 86_400.0


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return write_sites(
        tmp_path, (free_port(), free_port()), keep_s=DAY_S, capacity="100kB", high_water=0.2, low_water=0.1
    )


@pytest.fixture
def both(sites: Sites) -> Iterator[Sites]:
    with served(sites.base, sites.ncsa):
        yield sites


def test_what_is_complete_is_taken_in_and_handed_out(sites: Sites) -> None:
    sites.deliver(1, 2)
    (sites.inbox / "late.dat.part").write_bytes(b"half")
    (sites.inbox / ".hidden.dat").write_bytes(b"half")
    with sites.cache() as cache:
        taken = cache.take_in()
        assert (taken.files, taken.refused) == (2, {})
        assert cache.path(identity(1)).read_bytes() == content(1)
        assert cache.take_in().files == 0
    assert sorted(path.name for path in sites.inbox.iterdir()) == [".hidden.dat", "late.dat.part"]


def test_what_cannot_be_taken_in_stays_and_is_tried_again(sites: Sites) -> None:
    (sites.inbox / "what.dat").write_bytes(b"?")
    sites.deliver(1)
    with sites.cache() as cache:
        taken = cache.take_in()
        assert taken.files == 1
        assert "nothing says what" in taken.refused[str(sites.inbox / "what.dat")]
        # not before a while has passed, though its sidecar is there by now
        (sites.inbox / "what.dat.json").write_text('{"data_id": {"instrument": "C", "detector": 1}}')
        assert cache.take_in().files == 0
        sites.later(6)
        # now it is another content for a dataset that is there
        assert "other content" in cache.take_in().refused[str(sites.inbox / "what.dat")]
    assert (sites.inbox / "what.dat").read_bytes() == b"?"


def test_a_file_that_no_permanent_site_has_never_goes(sites: Sites) -> None:
    sites.deliver(1, 2)
    with sites.cache() as cache, served(sites.base):  # nobody answers for ncsa
        cache.take_in()
        sites.later(2 * DAY_S)
        expired = cache.expire()
        assert (len(expired.let_go), len(expired.unproven)) == (0, 2)
        assert "ncsa" in cache.permanent.problems
    assert sites.place(1).exists()


def test_a_file_goes_once_it_is_old_and_elsewhere_and_can_be_had_again(both: Sites) -> None:
    both.deliver(1)
    with both.cache() as cache:
        cache.take_in()
        both.await_permanent(1)
        place = both.place(1)
        assert cache.expire().let_go == ()
        both.later(2 * DAY_S)
        (gone,) = cache.expire().let_go
        assert gone.dataset_id == identity(1)
        assert both.named("base") == {}
        (leaving,) = cache.index.leaving()
        assert (leaving.phase, "sha256:" in leaving.proof, "base/base" in leaving.proof) == (
            Phase.UNNAMED,
            True,
            True,
        )
        for phase in (Phase.UNNAMED, Phase.ASIDE):
            assert [one.phase for one in cache.index.leaving()] == [phase]
            assert place.exists() == (phase is Phase.UNNAMED)
            both.later(61)
            cache.expire()
        assert cache.index.leaving() == []
        assert cache.path(identity(1)).read_bytes() == content(1)
    assert both.named("base").keys() == {identity(1)}


@pytest.mark.parametrize("phase", [Phase.UNNAMED, Phase.ASIDE])
def test_a_file_on_its_way_out_comes_back_when_it_is_asked_for(both: Sites, phase: Phase) -> None:
    both.deliver(1)
    with both.cache() as cache:
        cache.take_in()
        both.await_permanent(1)
        both.later(2 * DAY_S)
        cache.expire()
        for _ in range(phase - Phase.UNNAMED):
            both.later(61)
            cache.expiry.sweep()
        assert [one.phase for one in cache.index.leaving()] == [phase]
        assert cache.path(identity(1)).read_bytes() == content(1)
        both.later(61)
        cache.expiry.sweep()
        assert cache.path(identity(1)).exists()
        assert cache.index.leaving() == []
    assert both.named("base").keys() == {identity(1)}


def test_a_row_that_comes_back_by_itself_keeps_its_file(both: Sites) -> None:
    both.deliver(1)
    with both.cache() as cache:
        cache.take_in()
        both.await_permanent(1)
        both.later(2 * DAY_S)
        cache.expire()
        cache._brought(identity(1))  # the site's server brings it anew, to the same place
        for _ in Phase:
            both.later(61)
            cache.expiry.sweep()
        assert both.place(1).read_bytes() == content(1)
    assert both.named("base").keys() == {identity(1)}


def test_above_the_high_mark_the_least_recently_used_go_down_to_the_low_one(both: Sites) -> None:
    numbers = range(25)
    with both.cache() as cache:
        for number in numbers:
            both.deliver(number)
            cache.take_in()
            both.later(1)
        both.await_permanent(*numbers)
        cache.path(identity(0), lease_s=0)  # the oldest, but just used
        cache.index.pin([Pin(identity(1), "me", FOREVER_NS)])
        cache.path(identity(2), lease_s=3600)
        both.later(10)
        expired = cache.expire()
        left = sorted(file.dataset_id for file in cache.index.files())
        kept = {0, 1, 2} | set(range(3 + len(expired.let_go), 25))
        assert left == sorted(identity(number) for number in kept)
        assert expired.room.excess_bytes <= expired.size_bytes
        assert sum(file.size_bytes for file in cache.index.files()) <= 10_000
        assert cache.expire().let_go == ()  # what is on its way out counts as room


def test_a_full_disk_takes_in_again_once_something_has_gone(
    both: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = range(20)
    with both.cache() as cache:
        both.deliver(*numbers)
        cache.take_in()
        both.await_permanent(*numbers)
        both.deliver(20)
        attempts = []

        def full_at_first(*args: object, **options: object) -> object:
            attempts.append(args)
            if len(attempts) == 1:
                raise LimitError("no space left on the disk", hint="make room")
            return ingest_files(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr("federation.cache.cache_site.ingest_files", full_at_first)
        assert cache.take_in().files == 1
        assert len(attempts) == 2
        assert cache.index.leaving() == []
        assert cache.path(identity(20)).read_bytes() == content(20)


def test_orphans_are_set_aside_and_rows_without_files_taken_back(sites: Sites) -> None:
    sites.deliver(1, 2)
    with sites.cache() as cache:
        cache.take_in()
        lost = sites.place(1)
        orphan = lost.with_name("orphan.dat")
        orphan.write_bytes(b"whose?")
        fresh = lost.with_name("fresh.dat")
        fresh.write_bytes(b"just now")
        os.utime(orphan, (1, 1))
        lost.unlink()
        tidied = cache.tidy()
        assert [Path(path).name for path in tidied.orphans] == ["orphan.dat"]
        assert tidied.missing == (identity(1),)
        assert fresh.exists()
        assert not orphan.exists()
        assert next((sites.base.root / "cache" / "orphans").rglob("orphan.dat")).read_bytes() == b"whose?"
        cache._bring = None
        with pytest.raises(NotFoundError, match="has no file here"):
            cache.path(identity(1))
    assert sites.named("base").keys() == {identity(2)}


def test_the_commands(both: Sites, capsys: pytest.CaptureFixture[str]) -> None:
    both.deliver(1, 2)
    where = ["--sites", str(both.directory)]
    assert main(["cache", "run", "base", "--once", *where]) == 0
    assert "took in 2 files" in capsys.readouterr().out
    assert main(["cache", "path", "base", str(identity(1)), *where]) == 0
    assert Path(capsys.readouterr().out.strip()).read_bytes() == content(1)
    assert main(["cache", "pin", "base", str(identity(2)), *where]) == 0
    assert main(["cache", "status", "base", *where]) == 0
    assert "2 files, 2.0 kB; 2 pinned" in capsys.readouterr().out
    assert main(["cache", "unpin", "base", str(identity(2)), *where]) == 0
    assert main(["cache", "expire", "base", *where]) == 0
    assert "nothing is due" in capsys.readouterr().out
    assert main(["cache", "pin", "base", "what", *where]) == 2
    assert main(["cache", "status", "ncsa", *where]) == 3
    assert "no [cache]" in capsys.readouterr().err


def test_files_of_retired_datasets_stay(sites: Sites) -> None:
    sites.deliver(1)
    with sites.cache() as cache:
        cache.take_in()
        place = sites.place(1)
        os.utime(place, (1, 1))
        federation.retire_datasets([identity(1)], site="base", sites=sites.directory)
        cache.take_stock()
        assert cache.tidy().orphans == ()
        assert place.read_bytes() == content(1)
