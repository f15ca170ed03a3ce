"""Verifies a bag: every byte of every file, tag files included, and that nothing is missing or surplus."""

from __future__ import annotations

import enum
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import attrs

from federation.datastore import checksum as checksums
from federation.datastore.io_errors import as_federation_error
from federation.errors import CorruptionError, FederationError, NotFoundError, UserError
from federation.snapshot import bag_text
from federation.snapshot.bag import walk_files
from federation.snapshot.bag_text import BAG_INFO, MANIFEST, PAYLOAD, TAG_MANIFEST

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Problem", "ProblemKind", "VerifyProgress", "VerifyReport", "verify_bag"]


class ProblemKind(enum.StrEnum):
    """MISSING: listed and not there; CHANGED: other bytes than written; SURPLUS: there and not listed."""

    MISSING = "missing"
    CHANGED = "changed"
    SURPLUS = "surplus"


@attrs.frozen
class Problem:
    """What is wrong with one file of the bag."""

    path: str
    kind: ProblemKind
    detail: str


@attrs.frozen
class VerifyProgress:
    """Bytes read so far, and in all."""

    path: str
    done_bytes: int
    total_bytes: int


@attrs.frozen
class VerifyReport:
    """What a verification found; ``ok`` when it found nothing wrong."""

    file_count: int
    size_bytes: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    def raise_for_problem(self) -> None:
        """`CorruptionError` naming the first problem and how many there are; nothing when all is well."""
        if self.problems:
            first, more = self.problems[0], len(self.problems) - 1
            others = f" (and {more} more)" if more else ""
            raise CorruptionError(
                f"{first.path} is {first.kind}: {first.detail}{others}",
                hint="restore the files from another copy, or make the snapshot again",
            )


def verify_bag(
    directory: Path, progress: Callable[[VerifyProgress], None] | None = None, *, workers: int = 2
) -> VerifyReport:
    """Read the whole bag in ``directory`` and compare.

    ``progress`` is called in the calling thread, after each file. `NotFoundError` when there is no directory or it
    never became a bag; whatever else is wrong is in the report.
    """
    if not directory.is_dir():
        raise NotFoundError(f"{directory} is not a directory", hint="name the directory of a snapshot")
    present = dict(walk_files(directory))
    if TAG_MANIFEST not in present and MANIFEST not in present:
        raise NotFoundError(
            f"{directory} is no snapshot: it has no {TAG_MANIFEST}", hint="name the directory"
        )
    problems: list[Problem] = []
    listed: dict[str, str] = {}
    for name in (TAG_MANIFEST, MANIFEST):
        listed.update(_read_manifest(directory, name, problems))
    problems += _compare_names(listed, present)
    readable = {
        path: listed[path]
        for path in listed
        if path in present and present[path].is_file(follow_symlinks=False)
    }
    size_bytes, changed = _compare_bytes(directory, readable, present, progress, workers)
    problems += changed
    if not problems:
        problems += _compare_oxum(directory, present)
    unique = {(problem.path, problem.kind): problem for problem in reversed(problems)}
    return VerifyReport(
        len(readable),
        size_bytes,
        tuple(sorted(unique.values(), key=lambda problem: (problem.path, problem.kind))),
    )


def _read_manifest(directory: Path, name: str, problems: list[Problem]) -> dict[str, str]:
    try:
        content = (directory / name).read_bytes()
        files = bag_text.parse_manifest(content, name)
        for path in files:
            bag_text.check_path(path)
    except FileNotFoundError:
        problems.append(Problem(name, ProblemKind.MISSING, "without it the bag is not complete"))
        return {}
    except OSError as error:
        problems.append(Problem(name, ProblemKind.CHANGED, as_federation_error(error, "read", name).message))
        return {}
    except (CorruptionError, UserError) as error:
        problems.append(Problem(name, ProblemKind.CHANGED, error.message))
        return {}
    # nothing lists the tag manifest: it has to be exactly what is written for these files
    if name == TAG_MANIFEST and content != bag_text.render_manifest(files):
        problems.append(Problem(name, ProblemKind.CHANGED, "its lines are not in order"))
    misplaced = [path for path in files if path.startswith(f"{PAYLOAD}/") != (name == MANIFEST)]
    problems.extend(
        Problem(name, ProblemKind.CHANGED, f"lists {path}, of the other manifest") for path in misplaced
    )
    return files


def _compare_names(listed: Mapping[str, str], present: Mapping[str, os.DirEntry[str]]) -> list[Problem]:
    problems = []
    for path in listed:
        if path not in present:
            problems.append(Problem(path, ProblemKind.MISSING, "listed in the manifest"))
        elif not present[path].is_file(follow_symlinks=False):
            problems.append(Problem(path, ProblemKind.CHANGED, "is no regular file now"))
    problems.extend(
        Problem(path, ProblemKind.SURPLUS, "in no manifest")
        for path in present
        if path not in listed and path != TAG_MANIFEST
    )
    return problems


def _compare_bytes(
    directory: Path,
    listed: Mapping[str, str],
    present: Mapping[str, os.DirEntry[str]],
    progress: Callable[[VerifyProgress], None] | None,
    workers: int,
) -> tuple[int, list[Problem]]:
    """(bytes read, problems) of the files that are there."""

    def compare(item: tuple[str, str]) -> tuple[str, int, Problem | None]:
        path, expected = item
        try:
            size_bytes, found = checksums.of_file(directory / path)
        except FederationError as error:
            return path, 0, Problem(path, ProblemKind.CHANGED, error.message)
        if found == expected:
            return path, size_bytes, None
        return path, size_bytes, Problem(path, ProblemKind.CHANGED, f"{found} where {expected} was written")

    total = sum(present[path].stat(follow_symlinks=False).st_size for path in listed)
    done, problems = 0, []
    with ThreadPoolExecutor(workers, "verify") as pool:
        try:
            for path, size_bytes, problem in pool.map(compare, listed.items()):
                done += size_bytes
                if problem is not None:
                    problems.append(problem)
                if progress is not None:
                    progress(VerifyProgress(path, done, total))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # an interrupt must not wait for the rest
            raise
    return done, problems


def _compare_oxum(directory: Path, present: Mapping[str, os.DirEntry[str]]) -> list[Problem]:
    payload = [entry for path, entry in present.items() if path.startswith(f"{PAYLOAD}/")]
    found = bag_text.oxum(sum(entry.stat(follow_symlinks=False).st_size for entry in payload), len(payload))
    stated = bag_text.parse_info((directory / BAG_INFO).read_bytes()).get(bag_text.OXUM, found)
    if stated == found:
        return []
    return [Problem(BAG_INFO, ProblemKind.CHANGED, f"{bag_text.OXUM} is {stated}, the payload has {found}")]
