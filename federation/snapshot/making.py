"""The steps that making and changing a snapshot have in common: its rows, then its files; each is done once.

Every step leaves durable results in the workspace beside the target and is marked in its journal, so that a run
after a kill goes on behind the last finished step with the same rows.
"""

from __future__ import annotations

import shutil
import uuid
from typing import TYPE_CHECKING, Any

import attrs

from federation.datastore import Datastore, TransferJournal, transfer
from federation.datastore.copying import CopyMode
from federation.datastore.durable import fsync_directory, make_directories
from federation.datastore.io_errors import free_bytes
from federation.errors import ForbiddenError, LimitError
from federation.model.position import Position
from federation.snapshot import bag_text
from federation.snapshot.bag import walk_files
from federation.snapshot.closure import ClosureState
from federation.snapshot.files import FilePlanner
from federation.snapshot.manifest import Counts, Refusal
from federation.snapshot.packed_ids import PackedIds
from federation.snapshot.progress import FileProgress, Phase, SnapshotProgress
from federation.snapshot.registry_copy import (
    copy_rows,
    dataset_ids,
    open_registry,
    own_totals,
    record_files,
    recorded,
    row_counts,
)
from federation.snapshot.registry_seal import REGISTRY
from federation.snapshot.report import missing_keys
from federation.snapshot.selection import find_seeds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from federation.datastore import TransferFailure, Transferred
    from federation.model.dimension import DimensionUniverse
    from federation.model.timespan import Clock
    from federation.registry.registry import Registry
    from federation.snapshot.closure import Closure
    from federation.snapshot.journal import SnapshotJournal
    from federation.snapshot.selection import Selection
    from federation.snapshot.source import SnapshotSource
    from federation.snapshot.workspace import Workspace

__all__ = ["Making", "closure_of", "counts_of"]

_SPACE_FACTOR = 1.05


@attrs.frozen
class Making:
    """One run: where from, where to, and whom to tell."""

    source: SnapshotSource
    workspace: Workspace
    journal: SnapshotJournal
    tell: Callable[[SnapshotProgress], None]
    workers: int
    clock: Clock
    mode: CopyMode = CopyMode.STREAM

    def rows(
        self,
        find: Callable[[], Closure],
        make: Callable[[Closure], Registry],
        gone: Callable[[Closure], list[str]],
        *,
        moves: bool = True,
    ) -> dict[str, Any]:
        """Put what ``find`` gives into the registry that ``make`` gives, unless an earlier run has; what was found.

        Of the result, ``positions`` are `Position`; the rest is plain: ``created_tai``, ``missing``, ``refused``,
        ``gone`` and ``rounds``, 0 for what an earlier run found. The members are kept by the journal.
        """
        result = self.journal.result("rows")
        rounds = 0
        if result is None:
            shutil.rmtree(
                self.workspace.staging / REGISTRY, ignore_errors=True
            )  # of a run killed in this step
            created = self.clock()
            positions = self.source.positions()
            closure = find()
            total = sum(len(part.rows) for part in closure.rows)
            self.tell(SnapshotProgress(Phase.ROWS, 0, total))
            used = {part.source for part in closure.rows}
            positions = tuple(position for position in positions if moves and position.schema_id in used)
            with make(closure) as registry:
                copy_rows(registry, closure, positions)
            self.tell(SnapshotProgress(Phase.ROWS, total, total))
            result = {
                "created_tai": created,
                "positions": [str(position) for position in positions],
                "missing": missing_keys(closure),
                "refused": [attrs.astuple(one) for one in self.source.refusals],
                "gone": gone(closure),
            }
            fsync_directory(self.workspace.staging)
            self.journal.mark("rows", result, PackedIds(closure.members))
            rounds = closure.rounds
        return {
            **result,
            "positions": [Position.parse(text) for text in result["positions"]],
            "rounds": rounds,
        }

    def files(self, name: str, *, wanted: bool, before_bytes: int = 0) -> dict[str, Any]:
        """Where ``wanted``, copy the members' files that the registry does not have, and record them.

        The result are the ids of those ``absent`` from all sites, and what was ``refused``. ``before_bytes`` of the
        recorded files were there before.
        """
        done: dict[str, Any] | None = self.journal.result("files")
        if done is not None:
            return done
        staging = self.workspace.staging
        make_directories(staging / bag_text.PAYLOAD)
        absent: list[str] = []
        refused: list[tuple[str, str, str]] = []
        with (
            open_registry(staging, name) as registry,
            TransferJournal(self.workspace.transfer_path) as transfers,
        ):
            planner = FilePlanner(registry, self.source)
            total = sum(map(planner.size_bytes, self._lacking(registry, wanted=wanted)))
            self._check_space(total, own_totals(registry)[1] - before_bytes)
            follow = FileProgress(self.tell, total)
            for lacking in self._lacking(registry, wanted=wanted):
                plan = planner.plan(lacking)
                report = transfer(
                    plan.items, Datastore(str(staging)), journal=transfers, workers=self.workers, progress=follow,
                    mode=self.mode,
                )  # fmt: skip
                refused += [attrs.astuple(_refusal(failure)) for failure in _refused(report.failed)]
                attrs.evolve(
                    report, failed=tuple(f for f in report.failed if not isinstance(f.error, ForbiddenError))
                ).raise_for_failure()
                record_files(
                    registry,
                    [_row(name, file, plan.formatters) for file in (*report.done, *report.skipped)],
                )
                absent += map(str, plan.absent)
        done = {"absent": absent, "refused": refused}
        self.journal.mark("files", done)
        return done

    def _lacking(self, registry: Registry, *, wanted: bool) -> Iterator[list[uuid.UUID]]:
        """The members whose files the registry does not have, some thousand at a time, which bounds memory."""
        for members in self.journal.members() if wanted else ():
            there = recorded(registry, members)
            yield [one for one in members if one not in there]

    def _check_space(self, lacking_bytes: int, recorded_bytes: int) -> None:
        """`LimitError` when files that are not recorded will not fit; some of them may be there already."""
        payload = self.workspace.staging / bag_text.PAYLOAD
        there = sum(entry.stat(follow_symlinks=False).st_size for _, entry in walk_files(payload))
        free = free_bytes(self.workspace.staging)
        needed = round(max(0, lacking_bytes - max(0, there - recorded_bytes)) * _SPACE_FACTOR)
        if free is not None and needed > free:
            raise LimitError(
                f"{self.workspace.target} has {free} bytes free, the files need {needed}",
                hint="free some space, then run the same command again, or choose another target",
            )


def closure_of(
    source: SnapshotSource,
    universe: DimensionUniverse,
    selection: Selection,
    tell: Callable[[SnapshotProgress], None],
) -> Closure:
    """All that a selection stands for, now."""
    state = ClosureState(universe, selection.options)
    requests = state.start(
        find_seeds(source, selection),
        collections=(*selection.members, *selection.collections),
        calibration_collections=selection.calibrations,
    )
    while requests:
        requests = state.receive(source.lookup(requests))
        tell(SnapshotProgress(Phase.CLOSURE, state.member_count, 0))
    return state.closure()


def counts_of(registry: Registry) -> Counts:
    """How much is in the registry of a snapshot."""
    return Counts(len(dataset_ids(registry)), *own_totals(registry), row_counts(registry))


def _refused(failures: tuple[TransferFailure, ...]) -> list[TransferFailure]:
    return [failure for failure in failures if isinstance(failure.error, ForbiddenError)]


def _refusal(failure: TransferFailure) -> Refusal:
    return Refusal(f"file of dataset {failure.key}", failure.error.message, failure.error.hint)


def _row(name: str, file: Transferred, formatters: Any) -> dict[str, Any]:
    return {
        "dataset_id": uuid.UUID(file.key), "site": name, "uri": file.target_path, "size_bytes": file.size_bytes,
        "checksum": file.checksum, "formatter": formatters.get(file.key), "present": True,
    }  # fmt: skip
