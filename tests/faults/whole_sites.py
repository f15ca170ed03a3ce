"""What must hold of two sites whatever has happened to them, and whether a site tells the truth of itself meanwhile."""

from __future__ import annotations

import time

import attrs
from replicated_rows import SUMMIT, rows
from site_processes import Sites, eventually

from federation.changelog import chain_hash, digest_of, log_state, read_entries
from federation.changelog.floor import floor_of
from federation.datastore import Datastore
from federation.errors import FederationError
from federation.model.position import SchemaId
from federation.registry.registry import Registry
from federation.replication.snapshots import stamp_all
from federation.replication.verify import verify
from federation.wire.client import SiteClient
from federation.wire.messages import SchemaStatus

Found = dict[str, set[tuple[object, ...]]]


def assert_equal_and_whole(sites: Sites) -> int:
    """Base has what summit has, transaction by transaction, and summit's log is whole; how many there are.

    Summit must be served, and base have caught up. Transactions are those of `replicated_rows.write`, from 1 on.
    """
    with Registry.open(sites.summit) as summit, Registry.open(sites.base) as base:
        _assert_log_whole(summit)
        found = rows(summit, SUMMIT)
        count = _assert_transactions_whole(found)
        assert rows(base, SUMMIT) == found
        assert base.position(SUMMIT) == summit.position(SUMMIT)
        with SiteClient("summit", str(sites.base.peers[0].address)) as client:
            report = verify(base, client, SUMMIT)
        assert report.is_equal, report.differences
        assert report.replica_lsn == report.lsn == summit.position(SUMMIT).lsn
        _assert_files_whole(sites, found, rows(base, SchemaId("base", "base")))
    left = [*sites.summit.root.rglob("*.writing"), *sites.base.root.rglob("*.parts")]
    assert not left, "a temporary file remained"
    return count


def _assert_log_whole(registry: Registry) -> None:
    """No entry is missing, none has other bytes than were committed, and the chain is that of all of them."""
    held = registry.get(SUMMIT)
    stamp_all(registry, held)
    with registry.database.read((held.physical,)) as connection:
        floor, state = floor_of(connection, held.physical), log_state(connection, held.physical)
        lsn, chain = floor.lsn, floor.chain
        for entry in read_entries(connection, held.physical, floor.lsn, 1 << 30):
            lsn, chain = lsn + 1, chain_hash(chain, entry.digest)
            assert (entry.lsn, entry.chain, entry.digest) == (lsn, chain, digest_of(entry.body))
        assert (lsn, chain) == (state.lsn, state.chain)


def _assert_transactions_whole(found: Found) -> int:
    """Each transaction is there with all it wrote, once, and what its rows refer to."""
    numbers = sorted(int(str(row[1])) for row in found["detector"])
    assert numbers == list(range(1, len(numbers) + 1))
    datasets = {row[0] for row in found["dataset"]}
    for table in ("flat", "calibration", "provenance", "dataset"):
        assert len(found[table]) == len(numbers), table
    assert {row[0] for row in found["flat"]} == {row[0] for row in found["provenance"]} == datasets
    return len(numbers)


def _assert_files_whole(sites: Sites, source: Found, here: Found) -> None:
    """Every file of summit is at base, once, with the same bytes."""
    stores = Datastore(sites.summit.datastore_url), Datastore(sites.base.datastore_url)
    uris = [{row[0]: str(row[2]) for row in found["artifact"]} for found in (source, here)]
    assert uris[0].keys() == uris[1].keys()
    for identity, uri in uris[0].items():
        with stores[0].open(uri) as sent, stores[1].open(uris[1][identity]) as brought:
            assert sent.read() == brought.read()
    if stores[1].local_root is not None and stores[1].local_root.exists():
        assert sum(path.is_file() for path in stores[1].local_root.rglob("*")) == len(uris[1])


@attrs.define
class Witness:
    """Asks base how it stands, and sees that no answer takes back what an earlier one said."""

    client: SiteClient
    last: SchemaStatus | None = None

    def look(self) -> SchemaStatus | None:
        """Base's word about its replica of summit; None while it does not answer."""
        try:
            found = next((one for one in self.client.status().schemas if one.schema == SUMMIT), None)
        except FederationError:
            return None
        if found is not None:
            assert found.head_lsn >= found.lsn
            assert found.lag_entries == found.head_lsn - found.lsn
            if self.last is not None and self.last.epoch == found.epoch:
                assert found.lsn >= self.last.lsn
            self.last = found
        return found

    def await_equal(self, sites: Sites) -> None:
        """Wait until base has, and says that it has, all that summit has committed by now."""
        with Registry.open(sites.summit) as summit:
            held = summit.get(SUMMIT)

            def is_equal() -> bool:
                stamp_all(summit, held)
                found, state = self.look(), summit.position(SUMMIT)
                return (
                    found is not None
                    and (found.epoch, found.lsn, found.head_lsn) == (state.epoch, state.lsn, state.lsn)
                    and (found.state, found.detail) == ("following", "")
                )

            eventually(is_equal, "base has what summit has, and says so")
            sent = rows(summit, SUMMIT)["artifact"]
        with Registry.open(sites.base) as base:
            own = SchemaId("base", "base")
            eventually(lambda: len(rows(base, own)["artifact"]) >= len(sent), "base has the files too")

    def assert_owns_up(self, committed: float) -> None:
        """Base says that summit is away, and that it may lack what was ``committed`` (monotonic) since it was."""

        def is_said() -> bool:
            begun, found = time.monotonic(), self.look()
            if found is None or found.state not in ("waiting", "connecting") or not found.detail:
                return False
            assert found.staleness_s is None or found.staleness_s >= begun - committed
            return True

        eventually(is_said, "base says that summit is away")
