"""What the standing of replicas and logs means, in words, and what there is to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.cli.output import byte_text

if TYPE_CHECKING:
    from federation.session import SiteReport
    from federation.wire.messages import FollowerStanding, SchemaStatus

__all__ = ["advice", "duration_text", "follower_advice", "log_advice", "site_words"]

#: a follower acknowledges every second or so; one that was not heard for longer has something
SILENT_S = 30.0


def duration_text(seconds: float) -> str:
    """A time for reading.

    >>> duration_text(7.25), duration_text(150), duration_text(200_000)
    ('7.2 s', '2 min 30 s', '2 d 7 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    for big, small, size in (("min", "s", 60), ("h", "min", 3600), ("d", "h", 86_400)):
        if seconds < {"min": 3600, "h": 86_400, "d": float("inf")}[big]:
            whole, rest = divmod(int(seconds), size)
            part = rest // {"s": 1, "min": 60, "h": 3600}[small]
            return f"{whole} {big} {part} {small}" if part else f"{whole} {big}"
    raise AssertionError


def _count(number: int, one: str, more: str) -> str:
    return f"1 {one}" if number == 1 else f"{number} {more}"


def _missing(held: SchemaStatus) -> str:
    """What of the owner's log is known to be missing; ``""`` where nothing is."""
    if not held.lag_entries:
        return ""
    size = f" (about {byte_text(held.lag_bytes)})" if held.lag_bytes else ""
    return f"{_count(held.lag_entries, 'entry', 'entries')}{size}"


def _age(held: SchemaStatus) -> str:
    if held.staleness_s is None:
        return "It has not equalled its owner since this server began"
    return f"It last equalled its owner {duration_text(held.staleness_s)} ago"


def _without_hint(detail: str) -> str:
    """An error's message without the remedy in parentheses after it."""
    message, bracket, _ = detail.rpartition(" (")
    return message if bracket and detail.endswith(")") else detail


def advice(held: SchemaStatus) -> str:
    """What a replica's standing means and what to do; ``""`` where all is well."""
    owner, since = held.schema.site, duration_text(held.since_s)
    missing = _missing(held)
    match held.state:
        case "following" if not missing:
            words = ""
        case "following":
            words = f"catching up: {missing} to come. Nothing to do."
        case "copying":
            words = (
                f"being copied from its owner for {since}. Queries see the rows of before until the copy is complete. "
                "Nothing to do."
            )
        case "connecting" | "waiting":
            known = f"As last heard, {missing} not yet here. " if missing else ""
            reason = f": {_without_hint(held.detail)}" if held.detail else ""
            words = (
                f"cut off for {since}{reason}. {known}{_age(held)}. Queries that allow for that age are answered from "
                f"here, and this site goes on taking in data. It catches up by itself when {owner} answers: "
                f"check the link and run: federation site status {owner}"
            )
        case "refused":
            words = (
                f"refused for {since}: {held.detail}. Nothing changes until somebody acts on that; "
                "then restart this site's server."
            )
        case "stopped":
            words = "its follower has ended. Restart this site's server."
        case _:
            reason = f" ({held.detail})" if held.detail else ""
            words = (
                f'nobody follows it{reason}. To go on with it, add follow = ["{held.schema.name}"] to [[peer]] {owner} '
                "in the site file and restart this site's server."
            )
    if held.files_waiting:
        files = _count(held.files_waiting, "file is", "files are")
        words = f"{words} {files} still to be brought here; that goes on by itself.".strip()
    return words


def follower_advice(site: str, follower: FollowerStanding) -> str:
    """What a follower of a log that ``site`` owns lacks, and what that means; ``""`` where it lacks nothing."""
    if not follower.lag_entries:
        return ""
    size = f", about {byte_text(follower.lag_bytes)}" if follower.lag_bytes else ""
    age = f", the oldest {duration_text(follower.oldest_s)} old" if follower.oldest_s is not None else ""
    entries = _count(follower.lag_entries, "entry waits", "entries wait")
    words = f"{entries} for {follower.name}{size}{age}."
    if follower.heard_s > SILENT_S:
        words += (
            f" It was last heard {duration_text(follower.heard_s)} ago: it is cut off or stopped. They are kept for it "
            "as [log] of the site file says, and it takes them by itself when it is back; if it is gone for good, run: "
            f"federation replica forget {follower.name} --site {site}"
        )
    return words


def log_advice(held: SchemaStatus) -> list[str]:
    """What there is to say of an owned schema's log, if anything."""
    found = [follower_advice(held.schema.site, follower) for follower in held.followers]
    return [*([held.detail] if held.detail else []), *filter(None, found)]


def site_words(report: SiteReport) -> list[str]:
    """Every line that is to be said of a site."""
    if report.status is None:
        return [
            f"{report.site} does not answer: {report.reason}. Its own data is safe where it is; others answer from "
            f"their replicas. Run: federation site serve {report.site}"
        ]
    lines = []
    for held in report.status.schemas:
        if held.owned:
            lines += [f"{held.schema} at {report.site}: {words}" for words in log_advice(held)]
        elif words := advice(held):
            lines.append(f"{held.schema} at {report.site}: {words}")
    return lines
