"""Runs the demonstration and tells it as it goes."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from federation.demo.fleet import Fleet
from federation.demo.lsstcam import detectors, night
from federation.demo.scenario import JOIN, Arrival, Night
from federation.errors import CorruptionError, UserError
from federation.planner import explain_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from federation.execution.result import Result

__all__ = ["run_demo"]

EXPOSURE_COUNT = 3
#: taken while the summit is cut off
LATE_COUNT = 1


@attrs.define
class _Story:
    """What is printed for a person, and what is counted for the summary."""

    console: Console
    facts: dict[str, Any] = attrs.field(factory=dict)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        began = time.monotonic()
        with self.console.status(title):
            yield
        self.console.print(f"[green]✓[/] {title} [dim]{time.monotonic() - began:.1f} s[/]")

    def say(self, text: str) -> None:
        self.console.print(f"  {text}", highlight=False)


def run_demo(workdir: Path | None, json_output: bool) -> int:
    """Run the demonstration in ``workdir`` (kept) or in a temporary directory; returns the exit code."""
    console = Console(quiet=json_output)
    story = _Story(console)
    with tempfile.TemporaryDirectory(prefix="federation-demo-", ignore_cleanup_errors=True) as temporary:
        directory = (workdir or Path(temporary)).absolute()
        if directory.exists() and any(directory.iterdir()):
            raise UserError(f"{directory} is not empty", hint="name a new directory with --workdir")
        directory.mkdir(parents=True, exist_ok=True)
        for path in (directory, *directory.parents):
            # as root, the embedded PostgreSQL runs as a user of its own who must be able to enter
            if path == Path(tempfile.gettempdir()) or path.parent == path:
                break
            if path.stat().st_uid == 0 and not path.stat().st_mode & 0o001:
                path.chmod(path.stat().st_mode | 0o011)
        began = time.monotonic()
        with Fleet(directory) as fleet:
            _tell(story, fleet)
        story.facts["seconds"] = round(time.monotonic() - began, 1)
        _summarize(story, directory if workdir else None)
    if json_output:
        print(json.dumps(story.facts))  # noqa: T201 - the answer of --json
    return 0


def _tell(story: _Story, fleet: Fleet) -> None:
    console = story.console
    console.print(
        Panel.fit(
            "One night with LSSTCam: [b]summit[/] → [b]base[/] → [b]ncsa[/]", subtitle="federation demo"
        )
    )
    with story.step("three sites start: summit on SQLite, base and ncsa on the embedded PostgreSQL"):
        fleet.create()
        for name in fleet.configs:
            fleet.start(name)
        for name in fleet.configs:
            fleet.wait_ready(name)
    exposures = night(EXPOSURE_COUNT + LATE_COUNT)
    demo = Night(fleet, exposures[:EXPOSURE_COUNT])
    with story.step(f"the summit takes {EXPOSURE_COUNT} exposures with {len(detectors())} detectors each"):
        demo.prepare()
        raws = demo.expose(demo.exposures)
    with story.step("base makes a bias for each detector and certifies them"):
        demo.wait_instrument("base")
        biases = demo.calibrate()
    with story.step("rows and files follow to ncsa"):
        arrival = demo.wait_arrival()
    story.say(
        f"{raws} raws and {biases} biases; rows {arrival.rows_s} s, files {arrival.files_s} s after the last"
    )
    with story.step("ncsa processes two visits; alice reprocesses one raft in a schema of her own"):
        processed = demo.process()
    _query(story, demo)
    _snapshot(story, fleet, demo)
    late = _outage(story, fleet, demo, exposures[EXPOSURE_COUNT:])
    story.facts = {
        "sites": {name: str(config.registry.kind) for name, config in fleet.configs.items()},
        "rows_replicated": _replicated_rows(demo),
        "files_replicated": demo.expected_files,
        "datasets": {"raw": len(demo.raw_ids), "bias": biases, "calexp": processed},
        "lag_s": {"rows": arrival.rows_s, "files": arrival.files_s, "after_outage": late.files_s},
        **story.facts,
    }


def _query(story: _Story, demo: Night) -> None:
    with demo.session("ncsa") as session:
        with story.step("one query over all three sites"):
            result = session.query(JOIN)
        story.console.print(
            Panel(explain_text(result.plan), title="the plan", border_style="dim"), highlight=False
        )
        story.console.print(_answer(result))
        replica = session.query(JOIN, max_staleness_s=60.0)
    if sorted(map(repr, replica.to_pylist())) != sorted(map(repr, result.to_pylist())):
        raise CorruptionError("replicas and owners gave different answers", hint="report this with the logs")
    story.say(
        f"with --max-staleness 60 the same answer comes from {len({f.site for f in replica.fragments})} site"
    )
    story.facts["join_rows"] = result.row_count
    story.facts["fragments"] = [
        {"site": f.site, "rows": f.row_count, "bytes": f.byte_count, "seconds": round(f.seconds, 4)}
        for f in result.fragments
    ]


def _answer(result: Result) -> Table:
    table = Table(title="the answer")
    rows = result.to_pylist()
    for name in result.table.column_names:
        table.add_column(name)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


def _snapshot(story: _Story, fleet: Fleet, demo: Night) -> None:
    target = fleet.directory / "snapshot"
    visit = demo.exposures[0].id
    sql = f"SELECT c.dataset_id FROM ncsa.calexp c WHERE c.visit = {visit} AND c.detector BETWEEN 90 AND 98"
    with story.step("a snapshot of nine images, with everything they were made from"):
        report = demo.snapshot(target, sql)
    with story.step("the snapshot is verified"):
        checked = demo.verify_snapshot(target)
    story.say(
        f"{report.datasets} datasets, {report.files} files, {report.size_bytes} bytes; every checksum right"
    )
    story.facts["snapshot"] = {
        "datasets": report.datasets,
        "files": report.files,
        "bytes": report.size_bytes,
        "verified": checked.ok,
    }


def _outage(story: _Story, fleet: Fleet, demo: Night, exposures: tuple[Any, ...]) -> Arrival:
    assert fleet.link is not None
    with story.step("the link to the summit is cut"):
        fleet.link.cut()
    with story.step("the summit goes on taking data"):
        late = demo.expose(exposures)
    count = "SELECT count(*) AS raws FROM summit.raw"
    refused = demo.refused(count)
    story.say(f"asked for the summit's own rows, ncsa says: {refused}")
    with demo.session("ncsa") as session:
        here = session.query(count, max_staleness_s=3600.0).to_pylist()[0]["raws"]
    story.say(f"with --max-staleness 3600 its replica answers: {here} of {len(demo.raw_ids)} raws")
    with story.step("the link returns, and everything arrives"):
        fleet.link.mend()
        arrival = demo.wait_arrival()
    story.facts["outage"] = {"raws_ingested": late, "raws_seen_meanwhile": here, "refused": refused}
    return arrival


def _replicated_rows(demo: Night) -> int:
    with demo.session("ncsa") as session:
        sql = "SELECT sum(rows) AS n FROM federation.tables WHERE held_by LIKE '%ncsa%' AND owner <> 'ncsa'"
        return int(session.query(sql).to_pylist()[0]["n"] or 0)


def _summarize(story: _Story, kept: Path | None) -> None:
    facts = story.facts
    table = Table.grid(padding=(0, 2))
    snapshot, lag = facts["snapshot"], facts["lag_s"]
    table.add_row(
        "replicated", f"{facts['rows_replicated']} rows and {facts['files_replicated']} files to ncsa"
    )
    table.add_row(
        "lag", f"rows {lag['rows']} s, files {lag['files']} s; {lag['after_outage']} s after the outage"
    )
    table.add_row("join", f"{facts['join_rows']} rows from {len(facts['fragments'])} fragments")
    table.add_row(
        "snapshot",
        f"{snapshot['datasets']} datasets, {snapshot['files']} files, {snapshot['bytes']} bytes, verified",
    )
    table.add_row("time", f"{facts['seconds']} s")
    if kept:
        table.add_row("kept in", str(kept))
        table.add_row(
            "look around", f"federation query --site {kept / 'snapshot'} 'SELECT * FROM federation.tables'"
        )
    story.console.print(Panel(table, title="what happened", border_style="green"))
