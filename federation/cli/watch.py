"""``federation watch``: what is committed to change logs, as it happens, one line an event."""

from __future__ import annotations

import json as json_module
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federation.cli.options import SiteOption, SitesDirectory
from federation.cli.output import print_error
from federation.errors import FederationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from federation.model.events import Event
    from federation.replication.watch import Watch

__all__ = ["EXAMPLE", "watch"]

EXAMPLE = "Example: federation watch summit/summit --dataset-type raw --state raws.json"


def watch(
    schemas: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SCHEMA]...", help="SITE/NAME, or a name at the home site, whose own it is without."
        ),
    ] = None,
    site: SiteOption = None,
    sites: SitesDirectory = Path("sites"),
    start: Annotated[
        list[str] | None,
        typer.Option(
            "--from", metavar="POSITION", help="now, start (all that is kept), or a position; repeatable."
        ),
    ] = None,
    event: Annotated[
        list[str] | None, typer.Option("--event", metavar="KIND", help="Only this kind; may be repeated.")
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option("--table", metavar="GLOB", help="Only rows of these tables; repeatable."),
    ] = None,
    dataset_type: Annotated[
        list[str] | None,
        typer.Option("--dataset-type", metavar="GLOB", help="Only of these types; repeatable."),
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(
            "--collection", metavar="GLOB", help="Only of these collections, runs included; repeatable."
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state", metavar="FILE", help="Keep the position there, and go on from it where it exists."
        ),
    ] = None,
    via: Annotated[
        str | None,
        typer.Option("--via", metavar="SITE", help="Take the logs from this site, not from their owners."),
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Read the home site's registry itself; no server is needed.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="End when all that is there now has been shown.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="End after so many events.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Follow change logs as a stream of events, until interrupted.

    Each event comes at least once. With --state, a watch that is started again goes on where it was.
    """
    from federation.watch_verbs import watch as begin_watch

    show = _print_json if json else _print_text
    try:
        with begin_watch(
            schemas or (),
            site=site,
            sites=sites,
            start=start or "now",
            via=via,
            local=local,
            events=event or (),
            tables=table or (),
            dataset_types=dataset_type or (),
            collections=collection or (),
            state=state,
            once=once,
        ) as watched:
            _show(watched, show, limit)
            _tell_end(watched)
    except FederationError as error:
        if not json:
            raise
        # what reads the lines gets the error as one of them
        told = {"event": "error", "code": error.code, "message": error.message, "hint": error.hint}
        _line(told | ({"request": error.request_id} if error.request_id else {}))
        print_error(error, as_json=False)
        raise typer.Exit(error.exit_code) from error


def _show(watched: Watch, show: Callable[[Event], None], limit: int | None) -> None:
    """Print events until there are no more, or until SIGINT or SIGTERM, which end a watch as they should."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for event in watched:
            show(event)
            sys.stdout.flush()
            if limit is not None and watched.event_count >= limit:
                watched.acknowledge()
                return
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, previous)


def _tell_end(watched: Watch) -> None:
    events = "1 event" if watched.event_count == 1 else f"{watched.event_count} events"
    places = " ".join(f"--from {position}" for position in watched.positions)
    sys.stderr.write(f"{events}; to go on: {places}\n")


def _line(value: dict[str, Any]) -> None:
    sys.stdout.write(json_module.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def _print_json(event: Event) -> None:
    from federation.model.events import event_json

    _line(event_json(event))


def _print_text(event: Event) -> None:
    from federation.model.events import event_json

    told = event_json(event)
    words = " ".join(f"{name}={_word(value)}" for name, value in _own(told))
    sys.stdout.write(f"{told['committed']}  {told['position']}  {told['event']}  {words}\n")


def _own(told: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields that are the event's own, those of a data ID or record singly."""
    for name, value in told.items():
        if name in ("event", "position", "last", "committed", "committed_tai_ns") or value in (None, {}, []):
            continue
        if isinstance(value, dict):
            yield from ((key, item) for key, item in value.items() if item is not None)
        elif name == "rows":
            yield "rows", len(value)
        else:
            yield name, value


def _word(value: Any) -> str:
    if isinstance(value, list):
        text = ",".join(map(str, value))
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    text = text if len(text) <= 80 else text[:77] + "..."
    return json_module.dumps(text, ensure_ascii=False) if any(c.isspace() for c in text) else text
