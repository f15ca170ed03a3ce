"""What a query took, by site and by step, beside what its plan expected: EXPLAIN ANALYZE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from federation.planner import explain_json, explain_text
from federation.planner.explain import FORMAT, byte_size_text, columns_json, missing_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from federation.execution.result import FragmentStats, Result
    from federation.planner import Fragment

__all__ = ["Analysis", "SiteWork", "Step", "result_json"]


@attrs.frozen
class Step:
    """One fragment: what came of it beside what was expected; estimates are None where there are no statistics."""

    stats: FragmentStats
    stage: int
    row_count_estimate: int | None
    byte_estimate: int | None
    staleness_s: float

    @classmethod
    def of(cls, fragment: Fragment, stage: int, stats: FragmentStats) -> Step:
        """The step of a fragment of the plan."""
        staleness_s = max((source.staleness_s for source in fragment.inputs), default=0.0)
        return cls(stats, stage, fragment.row_count_estimate, fragment.byte_estimate, staleness_s)

    @property
    def transfer_seconds(self) -> float:
        """What was not the site's work: the way there and back, and the reader's own time."""
        return max(0.0, self.stats.seconds - self.stats.site_seconds)

    def to_json(self) -> dict[str, Any]:
        stats = self.stats
        return {
            "id": stats.id,
            "site": stats.site,
            "stage": self.stage,
            "rows": stats.row_count,
            "rows_estimate": self.row_count_estimate,
            "bytes": stats.byte_count,
            "bytes_estimate": self.byte_estimate,
            "round_trips": stats.round_trips,
            "seconds": round(stats.seconds, 6),
            "site_seconds": round(stats.site_seconds, 6),
            "transfer_seconds": round(self.transfer_seconds, 6),
            "staleness_s": self.staleness_s,
            "keys": [attrs.asdict(key) for key in stats.keys],
        }


@attrs.frozen
class SiteWork:
    """What one site did for the query, all its fragments together; seconds are sums, though they may run at once."""

    site: str
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        stats = [step.stats for step in self.steps]
        return {
            "site": self.site,
            "fragments": len(stats),
            "rows": sum(one.row_count for one in stats),
            "bytes": sum(one.byte_count for one in stats),
            "round_trips": sum(one.round_trips for one in stats),
            "seconds": round(sum(one.seconds for one in stats), 6),
            "site_seconds": round(sum(one.site_seconds for one in stats), 6),
            "transfer_seconds": round(sum(step.transfer_seconds for step in self.steps), 6),
            "staleness_s": max(step.staleness_s for step in self.steps),
        }


@attrs.frozen(eq=False)
class Analysis:
    """A result's account of itself, for reading and for programs."""

    result: Result

    @property
    def steps(self) -> tuple[Step, ...]:
        """The fragments, in the plan's order."""
        plan = self.result.plan
        stages, known = plan.stages, {fragment.id: fragment for fragment in plan.fragments}
        return tuple(Step.of(known[stats.id], stages[stats.id], stats) for stats in self.result.fragments)

    @property
    def sites(self) -> tuple[SiteWork, ...]:
        """The work by site, in order of their first step."""
        steps = self.steps
        names = dict.fromkeys(step.stats.site for step in steps)
        return tuple(
            SiteWork(name, tuple(step for step in steps if step.stats.site == name)) for name in names
        )

    @property
    def round_trips(self) -> int:
        """Round trips that followed each other: stages in which a site was asked."""
        return len({step.stage for step in self.steps if step.stats.round_trips})

    def to_json(self) -> dict[str, Any]:
        """JSON values, in the format that docs/reference/explain.md describes."""
        result = self.result
        return {
            "format": FORMAT,
            **result_json(result),
            "round_trips": self.round_trips,
            "bytes": sum(step.stats.byte_count for step in self.steps),
            "sites": [site.to_json() for site in self.sites],
            "row_count": result.row_count,
            "plan": explain_json(result.plan),
        }

    def text(self) -> str:
        """The plan, then a table of steps and one of sites."""
        result = self.result
        lines = [explain_text(result.plan).rstrip("\n"), ""]
        lines += _table(
            (
                "step",
                "site",
                "stage",
                "rows",
                "expected",
                "bytes",
                "expected",
                "time",
                "at the site",
                "on the way",
            ),
            [*map(_step_row, self.steps), _local_row(result)],
        )
        sites = [site.to_json() for site in self.sites]
        lines += [""]
        lines += _table(
            ("site", "fragments", "round trips", "rows", "bytes", "time", "staleness"),
            [
                (
                    *(one["site"], str(one["fragments"]), str(one["round_trips"]), str(one["rows"])),
                    *(byte_size_text(one["bytes"]), f"{one['seconds']:.3f} s", f"{one['staleness_s']:.1f} s"),
                )
                for one in sites
            ],
        )
        for step in self.steps:
            for key in step.stats.keys:
                how = "sent" if key.is_sent else "too many to send"
                how += " as a Bloom filter" * key.as_filter
                lines += ["", f"keys {key.name} for {step.stats.id}: {key.count}, {how}"]
        if result.positions:
            lines += ["", "read at", *(f"  {position}" for position in result.positions)]
        if result.truncation:
            lines += ["", f"truncated: {result.truncation}"]
        trips = self.round_trips
        lines += [
            "",
            f"{result.row_count} row{'' if result.row_count == 1 else 's'} in {result.seconds:.3f} s, "
            f"{trips} round trip{'' if trips == 1 else 's'} after another",
        ]
        return "\n".join(lines) + "\n"


def result_json(result: Result) -> dict[str, Any]:
    """What is said of a result besides its rows."""
    return {
        "columns": columns_json(result.columns),
        "positions": [str(position) for position in result.vector],
        "missing": missing_json(result.missing),
        "truncation": result.truncation or None,
        "fragments": [step.to_json() for step in Analysis(result).steps],
        "seconds": round(result.seconds, 6),
        "local_seconds": round(result.local_seconds, 6),
    }


def _step_row(step: Step) -> tuple[str, ...]:
    stats = step.stats
    rows = "?" if step.row_count_estimate is None else str(step.row_count_estimate)
    size = "?" if step.byte_estimate is None else byte_size_text(step.byte_estimate)
    seconds = (stats.seconds, stats.site_seconds, step.transfer_seconds)
    return (
        *(stats.id, stats.site, str(step.stage), str(stats.row_count), rows),
        *(byte_size_text(stats.byte_count), size, *(f"{value:.3f} s" for value in seconds)),
    )


def _local_row(result: Result) -> tuple[str, ...]:
    return ("local", "", "", str(result.row_count), "", "", "", f"{result.local_seconds:.3f} s", "", "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns under each other; names at the left, figures at the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(head))]
    shown = []
    for line in lines:
        cells = [
            cell.ljust(width) if number < 2 and not cell[:1].isdigit() else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        shown.append("  ".join(cells).rstrip())
    return shown
