"""``federation collection``: named sets of datasets at a site."""

from __future__ import annotations

import enum
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.identities import parse_data_id, parse_dataset_id
from federation.cli.options import AsUser, JsonFlag, SchemaName, SitesDirectory, WriteSite, required
from federation.cli.output import print_json, print_table, print_text
from federation.errors import UsageError
from federation.model.collection import CollectionType
from federation.model.timespan import Timespan, parse_tai

if TYPE_CHECKING:
    from federation.registry.collection_info import CollectionInfo

__all__ = ["app"]

app = typer.Typer(help="List, make, fill and remove collections of a site.", no_args_is_help=True)


class ChainMode(enum.StrEnum):
    """What becomes of the children that are named."""

    REDEFINE = "redefine"
    PREPEND = "prepend"
    EXTEND = "extend"
    REMOVE = "remove"


Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the collection.")]
Types = Annotated[
    list[str] | None, typer.Option("--dataset-type", metavar="NAME", help="Datasets of this type.")
]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="CONDITION", help="SQL condition on the tables of --dataset-type."),
]
Sql = Annotated[str | None, typer.Option("--sql", metavar="SQL", help="A statement that gives dataset_id.")]
Id = Annotated[list[str] | None, typer.Option("--id", metavar="UUID", help="This dataset.")]
Ids = Annotated[Path | None, typer.Option("--ids", metavar="FILE", help="A file with one dataset id a line.")]
Begin = Annotated[
    str | None, typer.Option("--begin", metavar="TAI", help="First moment; without it, from ever.")
]
End = Annotated[
    str | None, typer.Option("--end", metavar="TAI", help="First moment after it; without it, for ever.")
]


@app.command("list", epilog="Example: federation collection list --site base 'LSSTCam/*'")
def list_(
    globs: Annotated[
        list[str] | None, typer.Argument(metavar="[GLOB]...", help="Names; all without.")
    ] = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    type_: Annotated[
        list[CollectionType] | None, typer.Option("--type", case_sensitive=False, help="Only of this type.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Show the collections in a site's registry, replicas included."""
    from federation.collection_verbs import list_collections

    where = required(site, "--site")
    found = list_collections(globs or [], site=where, sites=sites, types=type_ or [])
    if json:
        print_json({"site": where, "collections": [_as_json(info) for info in found]})
        return
    rows = [(info.name, info.type, info.schema, " ".join(info.children), info.doc) for info in found]
    print_table(("name", "type", "schema", "children", "what it is for"), rows)


def _as_json(info: CollectionInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "type": info.type.value,
        "schema": str(info.schema),
        "doc": info.doc,
        "children": list(info.children),
    }


@app.command(epilog="Example: federation collection show LSSTCam/calib --site base")
def show(
    name: Name, site: WriteSite = None, sites: SitesDirectory = Path("sites"), json: JsonFlag = False
) -> None:
    """Show one collection: its chains, and the dataset types that it holds, for which instruments and the like."""
    from federation.collection_verbs import show_collection

    where = required(site, "--site")
    found = show_collection(name, site=where, sites=sites)
    held = {
        type_: {governor: sorted(values) for governor, values in governors.items()}
        for type_, governors in sorted(found.summary.types.items())
    }
    if json:
        print_json(
            {
                "site": where,
                **_as_json(found.info),
                "parents": [{"schema": schema, "name": parent} for schema, parent in found.parents],
                "searches": list(found.members),
                "counts": found.counts,
                "summary": held if found.summary.known else None,
            }
        )
        return
    print_text(f"{found.info.name} is a {found.info.type} collection of {found.info.schema}")
    if found.info.doc:
        print_text(found.info.doc)
    for label, names in (
        ("children", found.info.children),
        ("searches", found.members),
        ("in chains", tuple(f"{parent} ({schema})" for schema, parent in found.parents)),
    ):
        if names:
            print_text(f"{label}: {', '.join(names)}")
    unit = "ranges" if found.info.type is CollectionType.CALIBRATION else "datasets"
    rows = [
        (
            type_,
            count,
            "; ".join(f"{key}: {', '.join(values)}" for key, values in held.get(type_, {}).items()),
        )
        for type_, count in found.counts.items()
    ]
    print_table(("dataset type", unit, "of"), rows, right=frozenset({1}))


@app.command(epilog="Example: federation collection create LSSTCam/calib --type CALIBRATION --site base")
def create(
    name: Name,
    type_: Annotated[
        CollectionType, typer.Option("--type", case_sensitive=False, help="What kind of collection.")
    ],
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: SchemaName = None,
    child: Annotated[
        list[str] | None, typer.Option("--child", metavar="NAME", help="Child of a CHAINED one, in order.")
    ] = None,
    doc: Annotated[str | None, typer.Option("--doc", metavar="TEXT", help="What it is for.")] = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Register a collection; the same again changes nothing."""
    from federation.collection_verbs import create_collection

    where = required(site, "--site")
    changed = create_collection(
        name, type_, site=where, sites=sites, schema=schema, doc=doc, children=child or [], user=user
    )
    if json:
        print_json({"site": where, "name": name, "type": type_.value, "changed": changed})
    else:
        print_text(f"{type_} collection {name} at {where}" + ("" if changed else " was there"))


@app.command(epilog="Example: federation collection chain LSSTCam/defaults run/2 --mode prepend --site base")
def chain(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the CHAINED collection.")],
    children: Annotated[list[str], typer.Argument(metavar="CHILD...", help="Collections, in order.")],
    mode: Annotated[ChainMode, typer.Option("--mode", help="What to do with them.")] = ChainMode.REDEFINE,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: SchemaName = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Redefine a chain, put children before or after the others, or take some out."""
    from federation.collection_verbs import chain_collections

    where = required(site, "--site")
    found = chain_collections(
        name, children, site=where, sites=sites, schema=schema, mode=mode.value, user=user
    )
    if json:
        print_json({"site": where, "name": name, "children": list(found)})
    else:
        print_text(f"{name} at {where}: {', '.join(found) or 'no children'}")


@app.command(
    epilog="Example: federation collection tag good --dataset-type raw --where 'detector = 4' --site base"
)
def tag(
    name: Name,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: SchemaName = None,
    dataset_type: Types = None,
    where: Where = None,
    sql: Sql = None,
    id_: Id = None,
    ids: Ids = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take out what is there of the same type and data ID.")
    ] = False,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Put datasets into a TAGGED collection, which holds one of a type for a data ID."""
    from federation.collection_verbs import tag_datasets

    place = required(site, "--site")
    count = tag_datasets(
        name, _ids(id_, ids, dataset_type, sql), site=place, sites=sites, schema=schema,
        dataset_types=dataset_type or [], where=where, sql=sql, replace=replace, user=user,
    )  # fmt: skip
    _report(json, place, name, "tagged", count, ("dataset put into", "datasets put into"))


@app.command(epilog="Example: federation collection untag good --ids bad.txt --site base")
def untag(
    name: Name,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: SchemaName = None,
    dataset_type: Types = None,
    where: Where = None,
    sql: Sql = None,
    id_: Id = None,
    ids: Ids = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Take datasets out of a TAGGED collection."""
    from federation.collection_verbs import untag_datasets

    place = required(site, "--site")
    count = untag_datasets(
        name, _ids(id_, ids, dataset_type, sql), site=place, sites=sites, schema=schema,
        dataset_types=dataset_type or [], where=where, sql=sql, user=user,
    )  # fmt: skip
    _report(json, place, name, "untagged", count, ("dataset taken out of", "datasets taken out of"))


@app.command(
    epilog="Example: federation collection certify LSSTCam/calib --begin 2026-01-01 --dataset-type bias --site base"
)
def certify(
    name: Name,
    begin: Begin = None,
    end: End = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: SchemaName = None,
    dataset_type: Types = None,
    where: Where = None,
    sql: Sql = None,
    id_: Id = None,
    ids: Ids = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Declare calibrations valid for a timespan in a CALIBRATION collection."""
    from federation.collection_verbs import certify_datasets

    place = required(site, "--site")
    count = certify_datasets(
        name, _timespan(begin, end), _ids(id_, ids, dataset_type, sql), site=place, sites=sites, schema=schema,
        dataset_types=dataset_type or [], where=where, sql=sql, user=user,
    )  # fmt: skip
    _report(json, place, name, "certified", count, ("validity range added to", "validity ranges added to"))


@app.command(
    epilog="Example: federation collection decertify LSSTCam/calib bias --begin 2026-01-01 --site base"
)
def decertify(
    name: Name,
    dataset_type: Annotated[str, typer.Argument(metavar="TYPE", help="Dataset type.")],
    begin: Begin = None,
    end: End = None,
    data_id: Annotated[
        list[str] | None,
        typer.Option("--data-id", metavar="KEY=VALUE,...", help="Only this data ID; may be repeated."),
    ] = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: SchemaName = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Make nothing of a type valid in a timespan; what of a range lies outside it stays."""
    from federation.collection_verbs import decertify_datasets

    place = required(site, "--site")
    count = decertify_datasets(
        name, dataset_type, _timespan(begin, end), site=place, sites=sites, schema=schema,
        data_ids=[parse_data_id(text) for text in data_id] if data_id else None, user=user,
    )  # fmt: skip
    _report(json, place, name, "decertified", count, ("validity range cut in", "validity ranges cut in"))


@app.command(epilog="Example: federation collection remove old/run --purge --site base")
def remove(
    name: Name,
    unchain: Annotated[
        bool, typer.Option("--unchain", help="Take it out of chains first, which would refuse it.")
    ] = False,
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Remove the datasets and files of a RUN too, which would refuse it."),
    ] = False,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: SchemaName = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Remove a collection; of a TAGGED or CALIBRATION one the datasets stay."""
    from federation.collection_verbs import remove_collection

    place = required(site, "--site")
    datasets, files = remove_collection(
        name, site=place, sites=sites, schema=schema, unchain=unchain, purge=purge, user=user
    )
    if json:
        print_json({"site": place, "name": name, "datasets": datasets, "files": files})
    else:
        gone = f", {datasets} datasets and {files} files" if datasets else ""
        print_text(f"removed collection {name} of {place}{gone}")


def _ids(
    given: list[str] | None, file: Path | None, dataset_types: list[str] | None, sql: str | None
) -> list[uuid.UUID] | Path | None:
    if given and file:
        raise UsageError("--id and --ids contradict each other", hint="give one of the two")
    if not (given or file or dataset_types or sql):
        raise UsageError("no datasets are chosen", hint="give --dataset-type, --sql, --id or --ids")
    return file or [parse_dataset_id(text) for text in given or ()]


def _timespan(begin: str | None, end: str | None) -> Timespan:
    return Timespan(parse_tai(begin) if begin else None, parse_tai(end) if end else None)


def _report(json: bool, site: str, name: str, what: str, count: int, text: tuple[str, str]) -> None:
    if json:
        print_json({"site": site, "name": name, what: count})
    else:
        print_text(f"{count} {text[0] if count == 1 else text[1]} {name} at {site}")
