"""A source whose batches come twice, in another order, cut short or damaged: the follower has right rows or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import msgspec
import pytest
from publishing_sites import CountingPublisher, Site, eventually
from replicated_rows import SUMMIT, database_of, open_registry, rows, write

from federation.replication import follower as follower_module
from federation.replication.verify import verify
from federation.wire.messages import FollowBatch, FollowFrom

pytestmark = pytest.mark.slow

#: so many batches are harmed in each way; the follower connects anew, or sees through it
HARMED = 3
WRITES_MAX = 40


def _twice(batch: FollowBatch) -> Sequence[FollowBatch]:
    return batch, batch


def _backwards(batch: FollowBatch) -> Sequence[FollowBatch]:
    """As two batches of which the later one comes first, or with its entries in another order."""
    middle = len(batch.entries) // 2
    if middle == 0:
        return ()
    first = attrs.evolve(batch, entries=batch.entries[:middle])
    second = attrs.evolve(
        batch,
        entries=batch.entries[middle:],
        prev_lsn=batch.entries[middle - 1].lsn,
        prev_chain=batch.entries[middle - 1].chain,
    )
    return second, first


def _shuffled(batch: FollowBatch) -> Sequence[FollowBatch]:
    return (attrs.evolve(batch, entries=tuple(reversed(batch.entries))),)


def _without_first(batch: FollowBatch) -> Sequence[FollowBatch]:
    return (attrs.evolve(batch, entries=batch.entries[1:]),)


def _without_last(batch: FollowBatch) -> Sequence[FollowBatch]:
    return (attrs.evolve(batch, entries=batch.entries[:-1]),)


def _lost(_batch: FollowBatch) -> Sequence[FollowBatch]:
    return ()


def _harmed_body(batch: FollowBatch, change: Callable[[bytes], bytes]) -> Sequence[FollowBatch]:
    *before, last = batch.entries
    return (attrs.evolve(batch, entries=(*before, msgspec.structs.replace(last, body=change(last.body)))),)


def _flipped(batch: FollowBatch) -> Sequence[FollowBatch]:
    return _harmed_body(batch, lambda body: bytes([*body[:-5], body[-5] ^ 4, *body[-4:]]))


def _cut_short(batch: FollowBatch) -> Sequence[FollowBatch]:
    return _harmed_body(batch, lambda body: body[: len(body) // 2])


HARMS = (_twice, _backwards, _shuffled, _without_first, _without_last, _lost, _flipped, _cut_short)


class HarmfulPublisher(CountingPublisher):
    """Harms the next batches that have entries, ``left`` of them."""

    harm: Callable[[FollowBatch], Sequence[FollowBatch]]
    left = 0

    def follow(self, start: FollowFrom, is_active: Callable[[], bool]) -> Iterator[FollowBatch]:
        for batch in super().follow(start, is_active):
            if batch.entries and self.left > 0:
                self.left -= 1
                yield from self.harm(batch)
            else:
                yield batch


@pytest.fixture(params=["sqlite", "postgresql"])
def pair(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Site, Site]]:
    monkeypatch.setattr(follower_module, "BACKOFF_MAX_S", 0.3)
    url = request.getfixturevalue("fresh_postgres_database") if request.param == "postgresql" else ""
    with (
        open_registry(database_of(request.param, tmp_path / "base", url), "base") as here,
        open_registry(database_of("sqlite", tmp_path / "summit"), "summit") as source,
    ):
        summit, base = Site(source), Site(here)
        summit.publisher = HarmfulPublisher(source)
        try:
            yield summit, base
        finally:
            base.end()
            summit.end()


def test_whatever_happens_to_batches_no_wrong_row_is_applied(
    pair: tuple[Site, Site], subtests: pytest.Subtests
) -> None:
    summit, base = pair
    write(summit.registry, 1, 3)
    address = summit.serve()
    follower = base.follower(address)
    follower.start()
    eventually(lambda: base.lsn() == 3, "a replica at a position, behind which the stream is harmed")
    copies, number = summit.publisher.copies, 3
    for harm in HARMS:
        with subtests.test(harm=harm.__name__):
            summit.publisher.harm, summit.publisher.left = harm, HARMED
            for _ in range(WRITES_MAX):
                if summit.publisher.left == 0:
                    break
                write(summit.registry, number + 1, 2)
                number += 2
                eventually(lambda: summit.publisher.left == 0 or base.lsn() == number, "something comes")  # noqa: B023
                # none out of turn, and none that the source did not have: a state that it once was in
                found = {int(str(row[1])) for row in rows(base.registry, SUMMIT)["detector"]}
                assert found == set(range(1, len(found) + 1))
            assert summit.publisher.left == 0
            eventually(lambda: base.lsn() == number, "the follower has all")  # noqa: B023
            assert rows(base.registry, SUMMIT) == rows(summit.registry, SUMMIT)
            assert verify(base.registry, base.client("summit", address), SUMMIT).is_equal
    # asking again is enough: nothing was copied
    assert summit.publisher.copies == copies
