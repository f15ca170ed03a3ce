"""Lets files go that are kept for good elsewhere, in an order that no crash turns into a loss.

A file is chosen, and that is written down with the proof that a permanent site has it; its row goes from the registry;
after a grace period the file goes from its place; after another one it is deleted. What was begun is gone on with by
the next process. Up to the last step everything can be undone: a file that is asked for comes back.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import attrs

from federation.cache.index import Phase
from federation.cache.victims import Marks, candidates, room
from federation.errors import ConfigError, UnavailableError
from federation.killpoints import killpoint
from federation.model.position import SchemaId
from federation.model.system_tables import system_tables
from federation.registry.artifacts import Artifact, record
from federation.registry.transaction import select_rows

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from federation.cache.index import CacheIndex, Leaving
    from federation.cache.permanent import PermanentSites
    from federation.cache.victims import CachedFile, Room
    from federation.config import CacheConfig
    from federation.datastore import Datastore
    from federation.registry.registry import Registry

__all__ = ["Expired", "Expiry"]

_SECOND_NS = 1_000_000_000
#: files whose proof is asked for at once, and how long one without a proof is not asked for again
_ASKED, _ASK_AGAIN_NS = 500, 60 * _SECOND_NS


@attrs.frozen
class Expired:
    """What one pass came to: files let go, and those that had to stay though they were due, as no site has them."""

    let_go: tuple[CachedFile, ...]
    unproven: tuple[CachedFile, ...]
    room: Room

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.let_go)


class Expiry:
    """Of one cache; ``directory`` is where files lie before they are deleted, on the datastore's file system."""

    def __init__(
        self,
        registry: Registry,
        datastore: Datastore,
        index: CacheIndex,
        permanent: PermanentSites,
        config: CacheConfig,
        directory: Path,
        clock: Callable[[], int],
    ) -> None:
        if datastore.local_root is None:
            raise ConfigError(
                f"the datastore {datastore.url} is not local: a cache hands out paths",
                hint="give a directory as datastore of a site with [cache]",
            )
        self._registry, self._index, self._permanent = registry, index, permanent
        self._config, self._clock = config, clock
        self._root, self._aside = datastore.local_root, directory
        self._marks = Marks(int(config.keep_s * _SECOND_NS), config.high_water, config.low_water)
        #: when no permanent site had a file
        self._unproven: dict[uuid.UUID, int] = {}
        directory.mkdir(parents=True, exist_ok=True)

    # -- letting go -------------------------------------------------------------------------------------------

    def room(self, wanted_bytes: int = 0) -> Room:
        """How much room there is: by the capacity of the site file, else as the file system says."""
        capacity = self._config.capacity_bytes
        if capacity is not None:
            return room(self._index.used_bytes(), capacity, self._marks, wanted_bytes)
        said = shutil.disk_usage(self._root)
        return room(said.used, said.used + said.free, self._marks, wanted_bytes)

    def due(self, wanted_bytes: int = 0) -> tuple[Sequence[CachedFile], Room]:
        """The files that would go now, if a permanent site has them."""
        found = self.room(wanted_bytes)
        return candidates(self._index.files(), self._clock(), self._marks, self._excess(found)), found

    def expire(self, wanted_bytes: int = 0) -> Expired:
        """Let go what is due, and take those already begun a step further.

        Files that no permanent site has stay; in their place, others go that were used less long ago.
        """
        self.sweep()
        self._index.drop_pins(self._clock())
        _, found = self.due(wanted_bytes)
        proven, unproven = self._proven(self._excess(found))
        killpoint("cache.before_chosen")
        begun = self._index.let_go(proven, self._clock())
        killpoint("cache.after_chosen")
        self._unname(begun)
        return Expired(tuple(one.file for one in begun), tuple(unproven), found)

    def _excess(self, found: Room) -> int:
        """What must go beyond what is going already."""
        return max(0, found.excess_bytes - sum(one.file.size_bytes for one in self._index.leaving()))

    def _proven(self, excess_bytes: int) -> tuple[list[tuple[CachedFile, str]], list[CachedFile]]:
        """The files to let go with their proofs, and those that were due but have none."""
        now = self._clock()
        self._unproven = {key: at for key, at in self._unproven.items() if now - at < _ASK_AGAIN_NS}
        files = {file.dataset_id: file for file in self._index.files()}
        proofs: dict[uuid.UUID, str] = {}
        while True:
            free = [file for key, file in files.items() if key not in self._unproven]
            chosen = candidates(free, now, self._marks, excess_bytes)
            asked = [file for file in chosen if file.dataset_id not in proofs]
            if not asked:
                break
            for start in range(0, len(asked), _ASKED):
                proofs |= self._permanent.proofs(asked[start : start + _ASKED])
            self._unproven |= {file.dataset_id: now for file in asked if file.dataset_id not in proofs}
        due = candidates(files.values(), now, self._marks, excess_bytes)
        return (
            [(file, proofs[file.dataset_id]) for file in chosen],
            [file for file in due if file.dataset_id in self._unproven],
        )

    def empty(self) -> int:
        """Delete all that is on its way out now, without a grace period: the disk is full."""
        return sum(self.sweep(0.0) for _ in Phase)

    def sweep(self, grace_s: float | None = None) -> int:
        """Take every file on its way out as far as it may go by now; how many were deleted.

        It stays ``grace_s`` (None: the site file's) in each phase.
        """
        now = self._clock()
        grace_ns = int((self._config.grace_s if grace_s is None else grace_s) * _SECOND_NS)
        leaving = self._index.leaving()
        self._unname([one for one in leaving if one.phase is Phase.CHOSEN])
        for one in leaving:
            if one.phase is Phase.UNNAMED and now - one.since_ns >= grace_ns:
                self._put_aside(one)
        deleted = 0
        for one in leaving:
            if one.phase is Phase.ASIDE and now - one.since_ns >= grace_ns:
                deleted += self._delete(one)
        return deleted

    def _unname(self, leaving: Iterable[Leaving]) -> None:
        """Take the rows out of the registry."""
        by_schema: dict[str, list[Leaving]] = {}
        for one in leaving:
            by_schema.setdefault(one.file.schema, []).append(one)
        for schema, group in by_schema.items():
            site = self._registry.site
            with self._registry.transaction(schema) as tx:
                keys = [(one.file.dataset_id, site) for one in group]
                rows = {row["dataset_id"]: row for row in tx.select("artifact", ("dataset_id", "site"), keys)}
                same = [one for one in group if _names(rows.get(one.file.dataset_id), one.file)]
                tx.delete_keys("artifact", [(one.file.dataset_id, site) for one in same])
            killpoint("cache.after_row")
            self._index.move_on((one.file.dataset_id for one in group), Phase.UNNAMED, self._clock())

    def _put_aside(self, one: Leaving) -> None:
        """Move a file out of its place, unless it has been named again meanwhile: it was brought anew."""
        if self._is_named(one):
            self._index.keep(one.file.dataset_id, self._clock())
            return
        killpoint("cache.before_aside")
        try:
            (self._root / one.file.uri).rename(self._aside_of(one))
        except (
            FileNotFoundError
        ):  # moved by a process that was killed before it said so; or somebody deleted it
            pass
        except OSError as error:
            raise UnavailableError(
                f"{self._root / one.file.uri} can't be moved: {error.strerror}", hint="it is tried again"
            ) from error
        killpoint("cache.after_aside")
        self._index.move_on([one.file.dataset_id], Phase.ASIDE, self._clock())

    def _delete(self, one: Leaving) -> bool:
        """Delete a file for good; False where a row came to name it while it was moved: it goes back."""
        aside, place = self._aside_of(one), self._root / one.file.uri
        if self._is_named(one):
            if aside.exists() and not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                aside.rename(place)
            aside.unlink(missing_ok=True)
            self._index.keep(one.file.dataset_id, self._clock())
            return False
        aside.unlink(missing_ok=True)
        killpoint("cache.after_delete")
        self._index.gone([one.file.dataset_id])
        return True

    # -- taking back ------------------------------------------------------------------------------------------

    def restore(self, dataset_id: uuid.UUID) -> bool:
        """Take back a file that is on its way out; False when it is not, or is not there any more."""
        one = self._index.left(dataset_id)
        if one is None:
            return False
        aside, place = self._aside_of(one), self._root / one.file.uri
        if aside.exists() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            aside.rename(place)
        if not place.exists():
            return False
        file = one.file
        with self._registry.transaction(file.schema) as tx:
            record(tx, [Artifact(dataset_id, file.uri, file.size_bytes, file.checksum, file.formatter)])
        self._index.keep(dataset_id, self._clock())
        return True

    def _aside_of(self, one: Leaving) -> Path:
        return self._aside / one.file.dataset_id.hex

    def _is_named(self, one: Leaving) -> bool:
        held = self._registry.get(SchemaId(self._registry.site, one.file.schema))
        with self._registry.database.read((held.physical,)) as connection:
            table = self._registry.physical_tables(held.physical, system_tables())["artifact"]
            key = (one.file.dataset_id.bytes, self._registry.site)
            rows = list(select_rows(connection, table, ("dataset_id", "site"), [key]))
        return any(row["present"] and row["uri"] == one.file.uri for row in rows)


def _names(row: dict[str, object] | None, file: CachedFile) -> bool:
    return row is not None and row["uri"] == file.uri and row["checksum"] == file.checksum
