"""The demonstration does what it tells, and loses nothing when its sites are killed on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from federation import api, snapshot_verbs
from federation.demo.fleet import Fleet
from federation.demo.lsstcam import detectors, night
from federation.demo.scenario import JOIN, Night

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_tells_what_it_did_as_one_object(postgres_directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "federation", "demo", "--json", "--workdir", str(postgres_directory / "demo")],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert set(facts["sites"]) == {"summit", "base", "ncsa"}
    assert facts["files_replicated"] == 4 * 189 + 189
    assert facts["rows_replicated"] > 2 * facts["files_replicated"]
    assert facts["join_rows"] > 0
    assert {fragment["site"] for fragment in facts["fragments"]} == {"summit", "base", "ncsa"}
    assert facts["snapshot"] == {**facts["snapshot"], "datasets": 27, "files": 27, "verified": True}
    assert facts["outage"]["raws_ingested"] == 189
    snapshot = postgres_directory / "demo" / "snapshot"
    moved = postgres_directory / "elsewhere"
    snapshot.rename(moved)
    with api.open_snapshot(moved) as session:
        rows = session.query("SELECT count(*) AS n FROM provenance").to_pylist()
    assert rows == [{"n": 18}]
    assert snapshot_verbs.verify_snapshot(moved).ok


def test_loses_nothing_when_sites_are_killed(postgres_directory: Path) -> None:
    with Fleet(postgres_directory) as fleet:
        fleet.create()
        for name in fleet.configs:
            fleet.start(name)
        for name in fleet.configs:
            fleet.wait_ready(name)
        demo = Night(fleet, night(2), processed_visits=1)
        demo.prepare()
        demo.expose(demo.exposures[:1])
        fleet.kill("ncsa")  # while rows and files are on their way
        demo.wait_instrument("base")
        fleet.kill("base")
        demo.expose(demo.exposures[1:])
        fleet.kill("summit")
        fleet.start("base")
        demo_biases = demo.calibrate()
        fleet.start("ncsa")
        fleet.start("summit")
        for name in fleet.configs:
            fleet.wait_ready(name)
        fleet.kill("ncsa")  # again, in the middle of catching up
        fleet.start("ncsa")
        fleet.wait_ready("ncsa")

        demo.wait_arrival()
        processed = demo.process()

        reports = api.verify_replica("ncsa", sites=fleet.sites)
        assert {str(report.schema) for report in reports} == {"summit/summit", "base/base"}
        assert all(report.is_equal for report in reports)
        with demo.session("ncsa") as session:
            counts = session.query(
                "SELECT dataset_type, count(*) AS n FROM dataset GROUP BY dataset_type"
            ).to_pylist()
            assert session.query(JOIN).row_count > 0
        sensors = len(detectors())
        assert demo_biases == sensors
        assert {row["dataset_type"]: row["n"] for row in counts} == {
            "raw": 2 * sensors, "bias": sensors, "calexp": processed,
        }  # fmt: skip
