"""The transfer engine: many files into a datastore, each whole and verified or not at all, resumable after a kill.

The calling thread plans, keeps the journal and tells progress; worker threads stream. A file's failure is its own:
the others go on, and the report names each that failed and why.
"""

from __future__ import annotations

import enum
import os
import queue
import threading
from typing import TYPE_CHECKING

import attrs

from federation.datastore.copying import CopyMode, CopySettings
from federation.datastore.journal import JournalRow
from federation.datastore.landing import Landing
from federation.datastore.outcomes import Failed, Progress, Published
from federation.datastore.pace import Climb, Slots
from federation.datastore.presence import Presence
from federation.datastore.throttle import Throttle
from federation.datastore.worker import WorkerPool
from federation.errors import FederationError, LimitError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from federation.datastore.journal import TransferJournal
    from federation.datastore.source import Source
    from federation.datastore.store import Datastore

__all__ = [
    "TransferEvent",
    "TransferEventKind",
    "TransferFailure",
    "TransferItem",
    "TransferReport",
    "Transferred",
    "transfer",
]

#: room for directories, the journal and rounding up to blocks
_SPACE_FACTOR = 1.05
#: files that a kill makes a later run verify again at most
_JOURNAL_BATCH = 256
#: files that one thread makes durable together
_BATCH_FILES_MAX = 128
_LOCAL_MAX = 8
_REMOTE_START = 8
_REMOTE_MAX = 16


@attrs.frozen
class TransferItem:
    """One file to bring to ``target_path``, from the first of ``sources`` that has it right.

    ``key`` names the file in journal and report; ``size_bytes`` and ``checksum`` (``algorithm:hex``) are checked
    where they are known.
    """

    key: str
    sources: tuple[Source, ...]
    target_path: str
    size_bytes: int | None = None
    checksum: str | None = None


class TransferEventKind(enum.StrEnum):
    """What happened to a file: bytes arrived, an attempt was given up, or it reached one of its ends."""

    PROGRESS = "progress"
    RETRY = "retry"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@attrs.frozen
class TransferEvent:
    """One step of one file.

    ``size_bytes`` is what arrived (PROGRESS), minus what an attempt had brought (RETRY, FAILED), or the file's size.
    """

    kind: TransferEventKind
    key: str
    size_bytes: int = 0
    detail: str = ""


@attrs.frozen
class Transferred:
    """A file that is at its target, with ``sha256:hex`` of its bytes."""

    key: str
    target_path: str
    size_bytes: int
    checksum: str


@attrs.frozen
class TransferFailure:
    """A file that is not at its target, and the error that says why."""

    key: str
    target_path: str
    error: FederationError


@attrs.frozen
class TransferReport:
    """How a transfer ended: every item is in exactly one of the three, in the order given."""

    done: tuple[Transferred, ...]
    skipped: tuple[Transferred, ...]
    failed: tuple[TransferFailure, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes that were written."""
        return sum(file.size_bytes for file in self.done)

    def raise_for_failure(self) -> None:
        """Raise the first failure, saying how many there were; nothing if there were none."""
        if not self.failed:
            return
        error, total = self.failed[0].error, len(self.done) + len(self.skipped) + len(self.failed)
        if len(self.failed) > 1:
            error = type(error)(
                f"{len(self.failed)} of {total} files failed, first: {error.message}", hint=error.hint
            )
        raise error


def transfer(
    items: Sequence[TransferItem],
    target: Datastore,
    *,
    journal: TransferJournal,
    workers: int | None = None,
    progress: Callable[[TransferEvent], None] | None = None,
    attempts: int = 4,
    backoff_s: float = 0.5,
    mode: CopyMode = CopyMode.STREAM,
    rate_bytes_s: float | None = None,
) -> TransferReport:
    """Bring every item to ``target``; files that are there already, by journal or by checksum, are skipped.

    ``progress`` is called in the calling thread. ``workers`` files are copied at a time; None means as many as disk
    and servers gain from, up to 16. ``rate_bytes_s`` bounds them all together. An `UnavailableError` is tried
    ``attempts`` times per source, after ``backoff_s`` and twice as long each time; corrupt or missing bytes lead to the
    next source at once. ``mode`` is for files that are on this computer at both ends.

    Raises `LimitError` before anything is written when a local target lacks the space, and `UserError` for two items
    with one key or target. When the target's disk fills on the way, the rest fails without being tried. An
    interrupt stops within a second or so, and the next call with this journal goes on from there.
    """
    threads, slots = _threads(items, target, workers)
    batch_files = _batch_files(len(items), threads) if target.local_root is not None else 1
    landing = None
    if target.local_root is not None:
        landing = Landing(target.local_root, journal.id, together=batch_files > 1)
    run = _Run(items, target, journal, landing, progress or (lambda _event: None))
    run.sweep()
    todo = run.skip_journaled()
    if mode is not CopyMode.LINK:
        run.check_space(todo)
    journal.plan((item.key, item.target_path) for item in todo)
    stopping = threading.Event()
    pool = WorkerPool(
        target,
        landing,
        run.presence,
        CopySettings(mode, attempts, backoff_s, Throttle(rate_bytes_s, wait=stopping.wait)),
        slots,
        workers=min(threads, len(todo)),
        batch_files=batch_files,
        owner=journal.id,
        stopping=stopping,
    )
    run.work(todo, pool)
    return run.report()


def _threads(items: Sequence[TransferItem], target: Datastore, workers: int | None) -> tuple[int, Slots]:
    """How many threads there are at most, and what says how many of them copy."""
    if workers is not None:
        return workers, Slots(None, fixed=workers)
    if target.local_root is not None and all(
        getattr(source, "is_local", False) for item in items for source in item.sources
    ):
        # each copies as fast as a processor can; a few more where disks answer slowly
        processors = os.cpu_count() or 1
        return _LOCAL_MAX, Slots(Climb(min(processors, _LOCAL_MAX), _LOCAL_MAX, step=1))
    return _REMOTE_MAX, Slots(Climb(_REMOTE_START, _REMOTE_MAX, step=4))


def _batch_files(count: int, threads: int) -> int:
    """How many local files a thread publishes together: one where there are few, so that each is there at once."""
    return max(1, min(_BATCH_FILES_MAX, count // (threads * 8)))


class _Run:
    """One call of `transfer`: what is known of each item so far."""

    def __init__(
        self,
        items: Sequence[TransferItem],
        target: Datastore,
        journal: TransferJournal,
        landing: Landing | None,
        progress: Callable[[TransferEvent], None],
    ) -> None:
        self.items = items
        self.target = target
        self.journal = journal
        self.progress = progress
        self.done: dict[str, Transferred] = {}
        self.skipped: dict[str, Transferred] = {}
        self.failed: dict[str, TransferFailure] = {}
        self._unrecorded: list[JournalRow] = []
        seen_keys: set[str] = set()
        seen_paths: set[str] = set()
        for item in items:
            if item.key in seen_keys or item.target_path in seen_paths:
                raise UserError(
                    f"two files with key {item.key!r} or target {item.target_path!r} in one transfer",
                    hint="give each file a key and a path of its own",
                )
            seen_keys.add(item.key)
            seen_paths.add(target.relative(item.target_path))
        self.presence = Presence(target, landing, items)

    def sweep(self) -> None:
        """Remove temporaries that an earlier run with this journal left."""
        for path in self.journal.unfinished():
            self.target.sweep(path, self.journal.id)

    def skip_journaled(self) -> list[TransferItem]:
        """The items that the journal does not show to be there unchanged; the others are skipped."""
        todo = []
        for item in self.items:
            row = self.journal.published_file(item.key)
            if row is not None and self._is_unchanged(item, row):
                self._skip(Transferred(item.key, item.target_path, row.size_bytes, row.checksum))
            else:
                todo.append(item)
        return todo

    def _is_unchanged(self, item: TransferItem, row: JournalRow) -> bool:
        expected = item.checksum.lower() if item.checksum else None
        return (
            row.target_path == item.target_path
            and item.size_bytes in (None, row.size_bytes)
            # a checksum by another algorithm can't be compared with the journal's
            and (expected is None or expected == row.checksum)
            and self._is_at_version(row)
        )

    def _is_at_version(self, row: JournalRow) -> bool:
        found = self.presence.info(row.target_path)
        return (
            found is not None
            and found.size_bytes == row.size_bytes
            and (row.version is None or found.version == row.version)
        )

    def check_space(self, todo: list[TransferItem]) -> None:
        """Raise `LimitError` when the files to come will not fit."""
        free = self.target.free_bytes()
        if free is None:
            return
        needed = 0
        for item in todo:
            there = self.presence.info(item.target_path) if item.size_bytes else None
            if there is None or there.size_bytes != item.size_bytes:
                needed += item.size_bytes or 0
        if needed * _SPACE_FACTOR > free:
            raise LimitError(
                f"{self.target.url} has {free} bytes free, {len(todo)} files need {round(needed * _SPACE_FACTOR)}",
                hint="free some space or choose another target",
            )

    def work(self, todo: list[TransferItem], pool: WorkerPool) -> None:
        """Run the pool over ``todo`` until every item has ended."""
        paths = {item.key: item.target_path for item in todo}
        left = len(todo)
        try:
            pool.start(todo)
            while left:
                try:
                    outcome = pool.outcomes.get_nowait()
                except queue.Empty:
                    self._record()  # nothing to do: a good moment to commit
                    outcome = pool.outcomes.get()
                if isinstance(outcome, Progress):
                    kind = TransferEventKind.RETRY if outcome.detail else TransferEventKind.PROGRESS
                    self.progress(TransferEvent(kind, outcome.key, outcome.size_bytes, outcome.detail))
                    continue
                left -= len(outcome.items)
                for ended in outcome.items:
                    self._settle(ended, paths[ended.key])
                fatal = next((one for one in outcome.items if isinstance(one, Failed) and one.is_fatal), None)
                if fatal is not None:
                    for item in pool.withdraw():
                        self._settle(Failed(item.key, fatal.error), item.target_path)
                        left -= 1
        finally:
            for published in pool.stop():
                self._unrecorded.append(_row(published, paths[published.key]))
            self._record()

    def _settle(self, outcome: Published | Failed, path: str) -> None:
        """Take in what became of an item."""
        key = outcome.key
        if isinstance(outcome, Failed):
            self.failed[key] = TransferFailure(key, path, outcome.error)
            self.progress(
                TransferEvent(TransferEventKind.FAILED, key, -outcome.size_bytes, str(outcome.error))
            )
            return
        stored = outcome.stored
        file = Transferred(key, path, stored.size_bytes, stored.checksum)
        self._unrecorded.append(_row(outcome, path))
        if len(self._unrecorded) >= _JOURNAL_BATCH:
            self._record()
        if outcome.was_there:
            self._skip(file)
            return
        self.done[key] = file
        if outcome.untold_bytes:
            self.progress(TransferEvent(TransferEventKind.PROGRESS, key, outcome.untold_bytes))
        self.progress(TransferEvent(TransferEventKind.DONE, key, file.size_bytes))

    def _skip(self, file: Transferred) -> None:
        self.skipped[file.key] = file
        self.progress(TransferEvent(TransferEventKind.SKIPPED, file.key, file.size_bytes))

    def _record(self) -> None:
        rows, self._unrecorded = self._unrecorded, []
        if rows:
            self.journal.publish(rows)

    def report(self) -> TransferReport:
        keys = [item.key for item in self.items]
        return TransferReport(
            tuple(self.done[key] for key in keys if key in self.done),
            tuple(self.skipped[key] for key in keys if key in self.skipped),
            tuple(self.failed[key] for key in keys if key in self.failed),
        )


def _row(published: Published, path: str) -> JournalRow:
    stored = published.stored
    return JournalRow(published.key, path, stored.size_bytes, stored.checksum, published.version)
