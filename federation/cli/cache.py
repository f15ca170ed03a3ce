"""``federation cache``: a site that takes in files as they arrive, and lets go what is kept for good elsewhere."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.identities import parse_dataset_id
from federation.cli.options import JsonFlag, SitesDirectory
from federation.cli.output import byte_text, count_text, print_json, print_text

if TYPE_CHECKING:
    from federation.cache.cache_site import TakenIn
    from federation.cache.expiry import Expired
    from federation.cache.tidying import Tidied

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="A cache of files: what arrives, what is handed out, what goes.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the site, or path of its file.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of datasets.")]
Holder = Annotated[str, typer.Option("--holder", metavar="WHO", help="Who counts on the files.")]


@app.command(epilog="Example: federation cache run base")
def run(
    name: Name,
    once: Annotated[bool, typer.Option("--once", help="Do all of it once, and end.")] = False,
    sites: SitesDirectory = Path("sites"),
    json: JsonFlag = False,
) -> None:
    """Take in what arrives in the inboxes and let go what is due, until interrupted. One line for each change."""
    from federation.cache_verbs import run_cache

    stop = threading.Event()
    previous = {n: signal.signal(n, lambda *_: stop.set()) for n in (signal.SIGTERM, signal.SIGINT)}
    told: dict[str, str] = {}

    def show(change: TakenIn | Expired | Tidied) -> None:
        said = _as_json(change)
        if json:
            print_json(said)
            return
        for path, reason in said.get("refused", {}).items():
            if told.get(path) != reason:  # once, not at each attempt
                told[path] = reason
                print_text(f"not taken in, tried again: {reason}")
        text = _as_text(said)
        if text:
            print_text(text)

    try:
        run_cache(name, sites=sites, once=once, stop=stop, on_change=show)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _as_json(change: TakenIn | Expired | Tidied) -> dict[str, Any]:
    from federation.cache.cache_site import TakenIn
    from federation.cache.expiry import Expired

    if isinstance(change, TakenIn):
        return {
            "event": "taken_in",
            "files": change.files,
            "bytes": change.size_bytes,
            "refused": dict(change.refused),
        }
    if isinstance(change, Expired):
        return {
            "event": "let_go",
            "files": len(change.let_go),
            "bytes": change.size_bytes,
            "unproven": len(change.unproven),
        }
    return {
        "event": "tidied",
        "orphans": list(change.orphans),
        "missing": [str(one) for one in change.missing],
    }


def _as_text(said: dict[str, Any]) -> str:
    match said["event"]:
        case "taken_in" if said["files"]:
            return f"took in {count_text(said['files'], 'file')}, {byte_text(said['bytes'])}"
        case "let_go" if said["files"] or said["unproven"]:
            stays = f"; {said['unproven']} stay: no permanent site has them" if said["unproven"] else ""
            return f"let go {count_text(said['files'], 'file')}, {byte_text(said['bytes'])}{stays}"
        case "tidied" if said["orphans"] or said["missing"]:
            return (
                f"set aside {count_text(len(said['orphans']), 'file')} that nothing names; "
                f"{count_text(len(said['missing']), 'file')} of datasets were gone"
            )
    return ""


@app.command(epilog="Example: federation cache status base")
def status(name: Name, sites: SitesDirectory = Path("sites"), json: JsonFlag = False) -> None:
    """Show what a cache holds and what would go; nothing is changed."""
    import attrs

    from federation.cache_verbs import cache_status

    found = cache_status(name, sites=sites)
    if json:
        print_json(attrs.asdict(found))
        return
    full = 100 * found.used_bytes / max(1, found.capacity_bytes)
    print_text(
        f"{found.site}: {count_text(found.files, 'file')}, {byte_text(found.size_bytes)}; "
        f"{found.pinned} pinned, {found.leaving} on their way out, {found.waiting} in the inboxes"
    )
    print_text(f"{full:.1f} % of {byte_text(found.capacity_bytes)} used; {found.due} due to go")
    if found.unproven:
        print_text(f"{found.unproven} of them stay: no permanent site is known to have them")
    for site, problem in found.problems.items():
        print_text(f"{site} can't be asked: {problem}")


@app.command(epilog="Example: federation cache path base 5c38d6a1-0b59-5a0c-8f5b-3a4c2f0f6c11")
def path(
    name: Name,
    ids: Ids,
    holder: Holder = "reader",
    lease_s: Annotated[
        float | None,
        typer.Option("--lease", metavar="SECONDS", min=0, help="How long the files are to stay."),
    ] = None,
    sites: SitesDirectory = Path("sites"),
    json: JsonFlag = False,
) -> None:
    """Print where files are; those that are not here are brought by the site's server first."""
    from federation.cache_verbs import cache_paths

    found = cache_paths(
        [parse_dataset_id(one) for one in ids], site=name, sites=sites, holder=holder, lease_s=lease_s
    )
    if json:
        print_json({"paths": {str(key): str(value) for key, value in found.items()}})
        return
    for value in found.values():
        print_text(str(value))


@app.command(epilog="Example: federation cache pin base 5c38d6a1-0b59-5a0c-8f5b-3a4c2f0f6c11 --for 86400")
def pin(
    name: Name,
    ids: Ids,
    holder: Holder = "operator",
    for_s: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", help="For so long; without, until unpinned.")
    ] = None,
    sites: SitesDirectory = Path("sites"),
    json: JsonFlag = False,
) -> None:
    """Keep files whatever their age and however full the cache is."""
    from federation.cache_verbs import pin_cached

    _tell(
        "pinned",
        pin_cached(
            [parse_dataset_id(one) for one in ids], site=name, sites=sites, holder=holder, for_s=for_s
        ),
        json,
    )


@app.command(epilog="Example: federation cache unpin base 5c38d6a1-0b59-5a0c-8f5b-3a4c2f0f6c11")
def unpin(
    name: Name,
    ids: Ids,
    holder: Holder = "operator",
    sites: SitesDirectory = Path("sites"),
    json: JsonFlag = False,
) -> None:
    """Let files go again that were pinned."""
    from federation.cache_verbs import unpin_cached

    _tell(
        "unpinned",
        unpin_cached([parse_dataset_id(one) for one in ids], site=name, sites=sites, holder=holder),
        json,
    )


@app.command(epilog="Example: federation cache expire base")
def expire(name: Name, sites: SitesDirectory = Path("sites"), json: JsonFlag = False) -> None:
    """Let go what is due now, without waiting for the cache that runs."""
    from federation.cache_verbs import expire_cache

    said = _as_json(expire_cache(name, sites=sites))
    if json:
        print_json(said)
    else:
        print_text(_as_text(said) or "nothing is due to go")


def _tell(what: str, count: int, json: bool) -> None:
    if json:
        print_json({what: count})
    else:
        print_text(f"{what} {count_text(count, 'file')}")
