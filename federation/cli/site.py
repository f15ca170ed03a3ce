"""``federation site``: make a site, serve it, see how all of them stand, exchange registries with a Butler."""

from __future__ import annotations

import enum
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from federation.cli.options import JsonFlag, SchemaName, SitesDirectory, WriteSite, required
from federation.cli.output import print_json, print_table, print_text
from federation.errors import UsageError
from federation.logs import log_as_server

if TYPE_CHECKING:
    from federation.config import SiteConfig
    from federation.registry.butler.content import ButlerExport
    from federation.session import SiteReport

__all__ = ["app"]

app = typer.Typer(help="Make, serve and inspect sites.", no_args_is_help=True)


class TransferName(enum.StrEnum):
    """How an export names the files of datasets."""

    NONE = "none"
    DIRECT = "direct"
    COPY = "copy"


Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the site, or path of its file.")]


@app.command(epilog="Example: federation site init summit")
def init(
    name: Name,
    sites: SitesDirectory = Path("sites"),
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="Registry and files of a new site.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="Where a new site's server listens.")
    ] = None,
    registry: Annotated[
        str,
        typer.Option(
            "--registry", metavar="KIND", help="Of a new site: sqlite, postgresql (of its own), or a URL."
        ),
    ] = "sqlite",
    follow: Annotated[
        list[str] | None,
        typer.Option(
            "--follow",
            metavar="SITE=SCHEMA",
            help="Schema that a new site replicates; * for all of a site's.",
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make the registry of a site, and its file where there is none."""
    from federation.site_verbs import init_site

    config = init_site(
        name, sites=sites, root=root, listen=listen, registry=registry, follow=_followed(follow or [])
    )
    if json:
        print_json(
            {
                "site": config.name,
                "file": str(config.path),
                "root": str(config.root),
                "listen": str(config.listen),
                "registry": config.registry.kind,
                "datastore": config.datastore_url,
            }
        )
    else:
        print_text(
            f"site {config.name}: {config.registry.kind} registry in {config.root}\n"
            f"  file       {config.path}\n  datastore  {config.datastore_url}\n"
            f"  serve it   federation site serve {name}"
        )


def _followed(texts: list[str]) -> dict[str, list[str]]:
    followed: dict[str, list[str]] = {}
    for text in texts:
        site, equals, schema = text.partition("=")
        if not equals or not site or not schema:
            raise UsageError(
                f"--follow {text!r} is not SITE=SCHEMA", hint="write it like --follow 'summit=*'"
            )
        followed.setdefault(site, []).append(schema)
    return followed


@app.command(epilog="Example: federation site serve summit")
def serve(name: Name, sites: SitesDirectory = Path("sites"), json: JsonFlag = False) -> None:
    """Serve a site and follow its peers, until interrupted."""
    from federation import site_verbs

    def bound(config: SiteConfig, address: str) -> None:
        print_json({"site": config.name, "address": address})
        sys.stdout.flush()

    log_as_server()
    site_verbs.serve(name, sites=sites, on_bound=bound if json else None)


@app.command(epilog="Example: federation site status")
def status(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Sites; all without.")
    ] = None,
    sites: SitesDirectory = Path("sites"),
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="Wait until all of them are up.")
    ] = 0.0,
    json: JsonFlag = False,
) -> None:
    """Show every site: up or down, its schemas, their positions and lag, files that wait.

    With --wait it fails (exit code 4) unless all are up in time.
    """
    from federation.api import site_status

    reports = site_status(names or [], sites=sites, wait_s=wait)
    if json:
        print_json({"sites": [_as_json(report) for report in reports]})
        return
    rows = [row for report in reports for row in _status_rows(report)]
    print_table(
        ("site", "server", "schema", "role", "lsn", "behind", "age", "datasets", "files waiting", "state"),
        rows,
        right=frozenset({4, 5, 6, 7, 8}),
    )


def _status_rows(report: SiteReport) -> list[list[Any]]:
    if report.status is None:
        return [[report.site, "down", *[""] * 7, report.reason]]
    rows = []
    for held in report.status.schemas:
        behind = max(held.head_lsn - held.lsn, 0)
        age = "" if held.owned else "never" if held.staleness_s is None else f"{held.staleness_s:.1f} s"
        state = f"{held.state}: {held.detail}" if held.detail else held.state
        rows.append(
            [
                report.site,
                "up",
                held.schema,
                "owner" if held.owned else "replica",
                held.lsn,
                "" if held.owned else behind,
                age,
                held.dataset_count,
                held.files_waiting,
                held.detail if held.owned else state,
            ]
        )
    return rows


def _as_json(report: SiteReport) -> dict[str, Any]:
    if report.status is None:
        return {"site": report.site, "address": report.address, "up": False, "reason": report.reason}
    status = report.status
    return {
        "site": report.site,
        "address": report.address,
        "up": True,
        "software_version": status.software_version,
        "registry": status.registry_kind,
        "universe": status.universe,
        "schemas": [
            attrs.asdict(held) | {"schema": str(held.schema), "lag_lsn": max(held.head_lsn - held.lsn, 0)}
            for held in status.schemas
        ],
    }


@app.command(
    "import-butler",
    epilog="Example: federation site import-butler base.yaml datasets.yaml --site base --datastore-root /repo",
)
def import_butler(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Export files (YAML).")],
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: SchemaName = None,
    datastore_root: Annotated[
        str | None,
        typer.Option(
            "--datastore-root", metavar="DIR", help="Where the files are. Without it they count as absent."
        ),
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files into the site's datastore.")] = False,
    collections: Annotated[
        list[str] | None, typer.Option("--collections", metavar="GLOB", help="Only these collections.")
    ] = None,
    dataset_types: Annotated[
        list[str] | None, typer.Option("--dataset-types", metavar="GLOB", help="Only these dataset types.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count; write nothing.")] = False,
    json: JsonFlag = False,
) -> None:
    """Import registry exports of the Rubin Data Butler into a schema, all of it or nothing."""
    from federation import butler_verbs

    name = required(site, "--site")
    chosen: dict[str, Any] = {"collections": collections or (), "dataset_types": dataset_types or ()}
    if dry_run:
        export = butler_verbs.read_butler(files, site=name, sites=sites, **chosen)
        found, warnings = _counted(export), export.warnings
    else:
        report = butler_verbs.import_butler(
            files, site=name, sites=sites, schema=schema, datastore_root=datastore_root, copy=copy, **chosen
        )
        found, warnings = attrs.asdict(report), report.warnings
    found["warnings"] = list(warnings)
    if json:
        print_json({"site": name, "dry_run": dry_run, **found})
        return
    for warning in warnings:
        print_text(f"note: {warning}")
    rows = [
        (label.replace("_", " "), value)
        for label, value in found.items()
        if isinstance(value, int) and label != "changed"
    ]
    print_table(("in the files" if dry_run else "imported", "count"), rows, right=frozenset({1}))


@app.command(
    "export-butler",
    epilog="Example: federation site export-butler --site base --dataset-types raw -o raw.yaml",
)
def export_butler(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Export file to write.")
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(
            "--site", envvar="FEDERATION_SITE", metavar="NAME", help="Site to read: a name, or a site file."
        ),
    ] = None,
    sites: SitesDirectory = Path("sites"),
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema", metavar="NAME", help="Schema of the site, or SITE/NAME of a replica; else its own."
        ),
    ] = None,
    collections: Annotated[
        list[str] | None,
        typer.Option(
            "--collections", metavar="GLOB", help="Only these collections, and what chains lead to."
        ),
    ] = None,
    dataset_types: Annotated[
        list[str] | None, typer.Option("--dataset-types", metavar="GLOB", help="Only these dataset types.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--where", metavar="SQL", help="Condition on the tables of the dataset types."),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option("--ids", metavar="FILE", help="Only datasets whose ids are in it, one a line."),
    ] = None,
    transfer: Annotated[
        TransferName,
        typer.Option(
            "--transfer", help="Name files as recorded, by absolute URL, or copy them below --directory."
        ),
    ] = TransferName.NONE,
    directory: Annotated[
        Path | None, typer.Option("--directory", metavar="DIR", help="Where --transfer copy puts the files.")
    ] = None,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Leave out what a Butler can't hold, instead of refusing.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Write datasets of a schema, with all they depend on, as an export file that the Rubin Data Butler imports."""
    from federation import butler_verbs

    if output is None:
        raise UsageError("option --output is missing", hint="name the file to write: -o FILE.yaml")
    name = required(site, "--site")
    report = butler_verbs.export_butler(
        output,
        site=name,
        sites=sites,
        schema=schema,
        collections=collections or (),
        dataset_types=dataset_types or (),
        where=where,
        ids=ids,
        transfer=transfer.value,
        directory=directory,
        leave_out=leave_out,
    )
    found = attrs.asdict(report)
    if json:
        print_json({"site": name, "file": str(output), **found, "warnings": list(report.warnings)})
        return
    for warning in report.warnings:
        print_text(f"note: {warning}")
    rows = [(label.replace("_", " "), value) for label, value in found.items() if isinstance(value, int)]
    print_table(("exported", "count"), rows, right=frozenset({1}))


def _counted(export: ButlerExport) -> dict[str, Any]:
    types = Counter(dataset.dataset_type for dataset in export.datasets)
    return {
        "records": sum(len(rows) for rows in export.dimension_records.values()),
        "dataset_types": len({*types, *(known.name for known in export.dataset_types)}),
        "collections": len(export.collections),
        "datasets": len(export.datasets),
        "members": sum(len(ids) for ids in export.tags.values()),
        "validity_ranges": len(export.validity),
    }
