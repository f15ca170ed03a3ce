"""Processes killed at every step of sending, taking in and mending copies: old rows or new ones, never a mixture."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from replicated_rows import SUMMIT, rows, write
from site_processes import Sites, eventually

from federation.changelog.floor import Floor, set_floor
from federation.changelog.log import log_state, log_tables
from federation.config import SiteConfig
from federation.errors import FederationError
from federation.killpoints import KILLPOINTS
from federation.registry.registry import Registry
from federation.replication.snapshots import stamp_all
from federation.replication.verify import verify
from federation.wire.client import SiteClient

pytestmark = pytest.mark.slow

#: at the site that sends; the number says at which part
SENDING = ("copy.writing:3", "copy.before_kept", "copy.kept", "copy.before_send:3")
#: at the site that takes in, whether the whole or a difference
TAKING = (
    "copy.staged:3",
    "copy.before_rows",
    "copy.before_watermark",
    "bootstrap.before_commit",
    "copy.after_commit",
    "copy.before_discard",
)
REPAIRING = ("repair.before_commit", "repair.after_commit")

Found = dict[str, set[tuple[object, ...]]]


def _write(config: SiteConfig, first: int, count: int) -> None:
    with Registry.open(config) as registry:
        write(registry, first, count)


def _trim(config: SiteConfig) -> None:
    """Leave nothing of the log, so that whoever is behind has to copy."""
    with Registry.open(config) as registry:
        held = registry.get(SUMMIT)
        stamp_all(registry, held)
        with registry.database.write(held.physical) as connection:
            state = log_state(connection, held.physical)
            connection.execute(log_tables(held.physical).log.delete())
            set_floor(connection, held.physical, Floor(state.lsn, state.chain, state.lsn))


def _rows(config: SiteConfig) -> Found:
    with Registry.open(config) as registry:
        registry.ensure_replica(SUMMIT) if config.name != "summit" else None
        return rows(registry, SUMMIT)


def _behind(sites: Sites, *, is_empty: bool) -> None:
    """Base lacks rows, has others that are gone, and the log that would tell is trimmed."""
    _write(sites.summit, 1, 4)
    if not is_empty:
        sites.serve_here(sites.summit)
        sites.follow_here()
        with Registry.open(sites.summit) as summit, summit.transaction("summit") as tx:
            tx.put("detector", [{"instrument": "Cam", "id": 2, "full_name": "renamed"}])
            tx.delete("detector", [{"instrument": "Cam", "id": 1}])
        _write(sites.summit, 5, 3)
    _trim(sites.summit)


def _left(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*") if path.suffix in (".parts", ".writing")]


@pytest.mark.parametrize("is_empty", [True, False], ids=["whole", "difference"])
@pytest.mark.parametrize("point", [*TAKING, "copy.all_staged"])
def test_a_follower_killed_while_it_copies_shows_old_rows_or_new_ones(
    sites: Sites, point: str, is_empty: bool
) -> None:
    if point == "copy.all_staged" and is_empty:
        pytest.skip("a whole copy is applied as it arrives")
    _behind(sites, is_empty=is_empty)
    if is_empty:
        sites.serve_here(sites.summit)
    before, after = _rows(sites.base), _rows(sites.summit)
    sites.run("follow", sites.base, kill=point)
    is_done = point in ("copy.after_commit", "copy.before_discard")
    assert _rows(sites.base) == (after if is_done else before)
    _write(sites.summit, 10, 1)
    sites.follow_here()
    assert _rows(sites.base) == _rows(sites.summit)
    sites.run("follow", sites.base)


@pytest.mark.parametrize("is_empty", [True, False], ids=["whole", "difference"])
@pytest.mark.parametrize("point", SENDING)
def test_a_source_killed_while_it_copies_is_asked_again(sites: Sites, point: str, is_empty: bool) -> None:
    _write(sites.summit, 1, 4)
    if not is_empty:
        server = sites.start("serve", sites.summit)
        sites.follow_here()
        server.kill()
        server.wait()
        _write(sites.summit, 5, 3)
    _trim(sites.summit)
    server = sites.start("serve", sites.summit, kill=point)
    follower = sites.start("serve", sites.base)
    assert server.wait(60) == -signal.SIGKILL
    assert follower.poll() is None
    sites.serve_here(sites.summit)
    after = _rows(sites.summit)
    with SiteClient("base", str(sites.base.listen)) as client:
        eventually(lambda: _caught_up(client), "base caught up")
    follower.terminate()
    assert follower.wait(30) == 0
    assert _rows(sites.base) == after
    # what was being written when the process was killed was no use to anybody
    assert not [name for name in _left(sites.summit.root) if name.endswith(".writing")]


def _caught_up(client: SiteClient) -> bool:
    try:
        held = next((one for one in client.status().schemas if one.schema == SUMMIT), None)
    except FederationError:
        return False
    return held is not None and held.state == "following" and held.lsn == held.head_lsn > 0


@pytest.mark.parametrize("point", REPAIRING)
def test_a_killed_repair_has_mended_all_or_nothing(sites: Sites, point: str) -> None:
    _write(sites.summit, 1, 4)
    sites.serve_here(sites.summit)
    sites.follow_here()
    after = _rows(sites.summit)
    with Registry.open(sites.base) as base:
        held = base.get(SUMMIT)
        with base.database.write(held.physical) as connection:
            connection.exec_driver_sql(f'DELETE FROM "{held.physical}".detector WHERE id = 3')
            connection.exec_driver_sql(f'DELETE FROM "{held.physical}".ds_flat WHERE detector = 2')
    damaged = _rows(sites.base)
    sites.run("repair", sites.base, kill=point)
    assert _rows(sites.base) == (after if point == "repair.after_commit" else damaged)
    sites.run("repair", sites.base)
    with (
        Registry.open(sites.base) as base,
        SiteClient("summit", str(sites.base.peers[0].address)) as client,
    ):
        assert verify(base, client, SUMMIT).is_equal
    assert _rows(sites.base) == after


def test_every_killpoint_of_copies_is_killed_at() -> None:
    tested = {point.partition(":")[0] for point in (*SENDING, *TAKING, *REPAIRING, "copy.all_staged")}
    assert {point for point in KILLPOINTS if point.startswith(("copy.", "repair."))} <= tested
