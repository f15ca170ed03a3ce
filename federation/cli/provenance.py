"""``federation provenance``: what datasets were made from, and what was made from them."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.identities import parse_dataset_id
from federation.cli.options import (
    AsUser,
    JsonFlag,
    SchemaName,
    SiteOption,
    SitesDirectory,
    WriteSite,
    required,
)
from federation.cli.output import print_json, print_table, print_text
from federation.model.lineage import Direction
from federation.model.timespan import format_tai

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.provenance_verbs import DatasetProvenance
    from federation.registry.activities import Activity
    from federation.snapshot.lineage import Lineage, LineageDataset

__all__ = ["app"]

app = typer.Typer(
    help="Record activities; show what datasets were made from, and what from them.", no_args_is_help=True
)

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Datasets.")]
Depth = Annotated[
    int | None, typer.Option("--depth", metavar="N", min=0, help="So many steps at most; without it, all.")
]
Types = Annotated[
    list[str] | None, typer.Option("--dataset-type", metavar="NAME", help="Show datasets of this type only.")
]
StopAt = Annotated[
    list[str] | None, typer.Option("--stop-at", metavar="NAME", help="Don't go beyond datasets of this type.")
]
Partial = Annotated[bool, typer.Option("--partial", help="Answer without the sites that are down.")]


@app.command("record", epilog="Example: federation provenance record quanta.jsonl --site base")
def record(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Activities as .yaml, .json or .jsonl.")
    ],
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: SchemaName = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Record activities with their provenance edges, all of them or none."""
    from federation.provenance_verbs import record_activities

    where = required(site, "--site")
    recorded = record_activities(files, site=where, sites=sites, schema=schema, user=user)
    if json:
        print_json({"site": where, "activities": recorded.activities, "edges": recorded.edges})
    else:
        print_text(f"new at {where}: activities {recorded.activities}, edges {recorded.edges}")


@app.command("upstream", epilog="Example: federation provenance upstream ID --site ncsa --dataset-type raw")
def upstream(
    ids: Ids,
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    depth: Depth = None,
    dataset_types: Types = None,
    stop_at: StopAt = None,
    partial: Partial = False,
    json: JsonFlag = False,
) -> None:
    """Show what datasets were made from, over all sites."""
    _show_lineage(
        Direction.UPSTREAM, ids, site, sites, json,
        depth=depth, dataset_types=dataset_types or (), stop_at=stop_at or (), partial=partial,
    )  # fmt: skip


@app.command(
    "downstream", epilog="Example: federation provenance downstream ID --site ncsa --dataset-type deepCoadd"
)
def downstream(
    ids: Ids,
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    depth: Depth = None,
    dataset_types: Types = None,
    stop_at: StopAt = None,
    partial: Partial = False,
    json: JsonFlag = False,
) -> None:
    """Show what was made from datasets, over all sites."""
    _show_lineage(
        Direction.DOWNSTREAM, ids, site, sites, json,
        depth=depth, dataset_types=dataset_types or (), stop_at=stop_at or (), partial=partial,
    )  # fmt: skip


def _show_lineage(
    direction: Direction, ids: list[str], site: str | None, sites: Path, json: bool, **options: Any
) -> None:
    from federation import provenance_verbs
    from federation.session import connect

    seeds = [parse_dataset_id(text) for text in ids]
    ask = provenance_verbs.upstream if direction is Direction.UPSTREAM else provenance_verbs.downstream
    with connect(site, sites) as session:
        lineage = ask(session, seeds, **options)
    _print_missing(lineage.missing)
    if json:
        print_json(_lineage_json(lineage))
        return
    if lineage.datasets:
        rows = [(one.depth, one.dataset_type, one.run, one.dataset_id) for one in lineage.datasets]
        print_table(("depth", "dataset type", "run", "dataset"), rows, right=frozenset({0}))
    print_text(f"{direction}: datasets {len(lineage.datasets)}, edges {len(lineage.edges)}")


def _lineage_json(lineage: Lineage) -> dict[str, Any]:
    return {
        "direction": lineage.direction.value,
        "datasets": [_dataset_json(one) | {"depth": one.depth} for one in lineage.datasets],
        "edges": [
            {
                "dataset_id": str(edge.dataset_id),
                "input_id": str(edge.input_id),
                "task": edge.task,
                "depth": edge.depth,
            }
            for edge in lineage.edges
        ],
        "missing": list(lineage.missing),
    }


def _print_missing(sites: Sequence[str]) -> None:
    for site in sites:
        sys.stderr.write(f"missing: what only site {site} knows, which does not answer\n")


def _dataset_json(one: LineageDataset) -> dict[str, Any]:
    return {
        "dataset_id": str(one.dataset_id),
        "dataset_type": one.dataset_type or None,
        "run": one.run or None,
    }


@app.command("show", epilog="Example: federation provenance show ID --site ncsa")
def show(
    dataset: Annotated[str, typer.Argument(metavar="ID", help="The dataset.")],
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    partial: Partial = False,
    json: JsonFlag = False,
) -> None:
    """Show the activity that made a dataset, its inputs and outputs, and what was made from it."""
    from federation.provenance_verbs import dataset_provenance
    from federation.session import connect

    dataset_id = parse_dataset_id(dataset)
    with connect(site, sites) as session:
        found = dataset_provenance(session, dataset_id, partial=partial)
    _print_missing(found.missing)
    if json:
        print_json(
            {
                "dataset": _dataset_json(found.dataset),
                "activity": None if found.activity is None else _activity_json(found.activity),
                "inputs": [_dataset_json(one) for one in found.inputs],
                "outputs": [_dataset_json(one) for one in found.outputs],
                "used_by": [_dataset_json(one) for one in found.used_by],
                "missing": list(found.missing),
            }
        )
    else:
        _print_provenance(found)


def _activity_json(activity: Activity) -> dict[str, Any]:
    begin, end = activity.timespan.begin, activity.timespan.end
    return {
        "activity_id": str(activity.id),
        "task": activity.task,
        "version": activity.version,
        "run": activity.run,
        "begin": None if begin is None else format_tai(begin),
        "end": None if end is None else format_tai(end),
        "host": activity.host,
        "status": activity.status,
        "parameters": dict(activity.parameters),
    }


def _print_provenance(found: DatasetProvenance) -> None:
    one = found.dataset
    print_text(f"dataset {one.dataset_id}: {one.dataset_type or 'not known'} in {one.run or 'no RUN'}")
    if found.activity is None:
        print_text("no activity is recorded")
    else:
        said = _activity_json(found.activity)
        said["parameters"] = (
            json_module.dumps(said["parameters"], ensure_ascii=False) if said["parameters"] else ""
        )
        print_table(
            ("activity", ""), [(name.replace("_id", ""), value) for name, value in said.items() if value]
        )
    rows = [
        (role, one.dataset_type, one.run, one.dataset_id)
        for role, ones in (
            ("made from", found.inputs),
            ("made with it", found.outputs),
            ("used by", found.used_by),
        )
        for one in ones
    ]
    if rows:
        print_table(("", "dataset type", "run", "dataset"), rows)
