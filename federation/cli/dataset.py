"""``federation dataset``: datasets out of a registry in two steps, the first of which can be undone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.identities import parse_dataset_id
from federation.cli.options import AsUser, JsonFlag, SchemaName, SitesDirectory, WriteSite, required
from federation.cli.output import byte_text, count_text, print_json, print_table, print_text
from federation.errors import UsageError
from federation.model.timespan import format_tai

if TYPE_CHECKING:
    from federation.registry.retirement import Retired

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Retire datasets, undo that, or purge them with their files.")


@app.command(epilog='Example: federation dataset retire --run MyCam/test --reason "wrong gain" --site base')
def retire(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of datasets.", show_default=False)
    ] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="All datasets of a RUN.")] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with them.")] = "",
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    schema: SchemaName = None,
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Take datasets out of a site's registry and its replicas; they can be restored until they are purged."""
    from federation.retirement_verbs import retire_datasets

    found = retire_datasets(
        [parse_dataset_id(one) for one in ids or ()],
        site=required(site, "--site"),
        run=run,
        sites=sites,
        schema=schema,
        reason=reason,
        user=user,
    )
    if json:
        print_json(_as_json(found))
    else:
        print_text(f"retired {count_text(len(found.dataset_ids), 'dataset')} as {found.name}")


@app.command(epilog="Example: federation dataset retired --site base")
def retired(site: WriteSite = None, sites: SitesDirectory = Path("sites"), json: JsonFlag = False) -> None:
    """List what is retired at a site and neither restored nor purged."""
    from federation.retirement_verbs import list_retired

    found = list_retired(required(site, "--site"), sites=sites)
    if json:
        print_json({"retired": [_as_json(one) for one in found]})
        return
    rows = [
        (
            one.name,
            one.schema,
            format_tai(one.retired_ns)[:19],
            str(len(one.dataset_ids)),
            byte_text(one.size_bytes),
            one.reason,
        )
        for one in found
    ]
    print_table(
        ("name", "schema", "retired (TAI)", "datasets", "files", "reason"), rows, right=frozenset({3, 4})
    )


@app.command(epilog="Example: federation dataset restore 5f0c2a9e --site base")
def restore(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Under which they were retired.")],
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Put retired datasets back, with all that was said of them."""
    from federation.retirement_verbs import restore_retired

    count = restore_retired(name, site=required(site, "--site"), sites=sites, user=user)
    if json:
        print_json({"restored": count})
    else:
        print_text(f"restored {count_text(count, 'dataset')}")


@app.command(epilog="Example: federation dataset purge --older-than 2592000 --site base")
def purge(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Under which they were retired.", show_default=False),
    ] = None,
    older_than_s: Annotated[
        float | None, typer.Option("--older-than", metavar="SECONDS", min=0, help="Retired so long ago.")
    ] = None,
    site: WriteSite = None,
    sites: SitesDirectory = Path("sites"),
    user: AsUser = None,
    json: JsonFlag = False,
) -> None:
    """Delete retired datasets for good, with their files at the site."""
    from federation.retirement_verbs import purge_retired

    if bool(names) == (older_than_s is not None):
        raise UsageError("give names, or --older-than", hint="see federation dataset retired")
    found = purge_retired(
        names or (), site=required(site, "--site"), sites=sites, older_than_s=older_than_s, user=user
    )
    if json:
        print_json({"purged": [{**_as_json(one), "files_deleted": files} for one, files in found]})
        return
    datasets = sum(len(one.dataset_ids) for one, _ in found)
    files = sum(files for _, files in found)
    print_text(f"purged {count_text(datasets, 'dataset')}, deleted {count_text(files, 'file')}")


def _as_json(one: Retired) -> dict[str, Any]:
    return {
        "name": one.name,
        "schema": one.schema,
        "retired": format_tai(one.retired_ns),
        "reason": one.reason,
        "datasets": [str(dataset_id) for dataset_id in one.dataset_ids],
        "files": list(one.uris),
        "bytes": one.size_bytes,
    }
