"""A plan as text for people and as data for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from sqlglot import parse_one

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.planner.plan import Fragment, KeyInput, Missing, OutputColumn, Plan

__all__ = ["FORMAT", "byte_size_text", "columns_json", "explain_json", "explain_text", "missing_json"]

#: of the JSON values: fields are added under one number, and nothing else changes
FORMAT = 1


def _indented(text: str, dialect: str, indent: str) -> list[str]:
    pretty = parse_one(text, read=dialect).sql(dialect, pretty=True, identify=False)
    return [indent + line for line in pretty.splitlines()]


def byte_size_text(byte_count: int) -> str:
    """A size for reading."""
    size = float(byte_count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def _columns(columns: tuple[OutputColumn, ...]) -> str:
    return ", ".join(f"{column.name} {column.type or '?'}" for column in columns)


def _fragment_lines(fragment: Fragment) -> list[str]:
    estimate = "rows unknown"
    if fragment.row_count_estimate is not None and fragment.byte_estimate is not None:
        rows = fragment.row_count_estimate
        estimate = f"about {rows} row{'' if rows == 1 else 's'}, {byte_size_text(fragment.byte_estimate)}"
    lines = [f"fragment {fragment.id} at {fragment.site}: {estimate}"]
    for source in fragment.inputs:
        copy = f"replica, {source.staleness_s:.1f} s old" if source.is_replica else "owner"
        lines.append(f"  reads {source.schema} {source.table} ({copy})")
    for key in fragment.keys:
        lines.append(f"  waits for {_key_text(key)}")
    lines.append(f"  gives {_columns(fragment.columns)}")
    lines.extend(_indented(fragment.sql, "postgres", "    "))
    return lines


def _key_text(key: KeyInput) -> str:
    givers = " and ".join(f"({', '.join(source.columns)}) of {source.fragment}" for source in key.sources)
    if not key.filter_count_max:
        how = ""
    elif key.expects_filter:
        how = "asked with a Bloom filter of them, "
    else:
        how = f"as a Bloom filter when there are more than {key.key_count_max}, "
    return (
        f"{givers} as keys {key.name}: about {key.key_count_estimate}, "
        f"{how}not sent when there are more than {max(key.key_count_max, key.filter_count_max)}"
    )


def explain_text(plan: Plan) -> str:
    """The plan for reading: its fragments, the local statement, and why it is so."""
    lines: list[str] = []
    for fragment in plan.fragments:
        lines += [*_fragment_lines(fragment), ""]
    for literal in plan.literal_tables:
        lines += [f"table {literal.name}: {len(literal.rows)} rows known here", ""]
    for pairs in plan.pair_tables:
        what = "regions that overlap" if pairs.kind == "overlap" else "regions and the positions in them"
        lines += [f"table {pairs.name}: pairs of {what}, of"]
        lines += [*_indented(pairs.left_sql, "duckdb", "    "), "  and of"]
        lines += [*_indented(pairs.right_sql, "duckdb", "    "), ""]
    if plan.find_first is not None:
        found = plan.find_first
        lines += [
            f"find first: of {found.fragment}, which comes in order of {found.place}, the first row for each",
            f"  ({', '.join(found.key)}) is kept as it comes, without the local engine; the same as",
            "",
        ]
    if plan.region_match is not None:
        match = plan.region_match
        lines += [
            f"match regions: rows of {match.left} and {match.right} beside each other for each pair, without the local",
            "  engine; the same as",
            "",
        ]
    lines += [
        "local statement",
        f"  gives {_columns(plan.columns)}",
        *_indented(plan.local_sql, "duckdb", "    "),
        "",
    ]
    if plan.missing:
        lines += ["missing", *(f"  {missing}" for missing in plan.missing), ""]
    lines += ["because", *(f"  {decision}" for decision in plan.decisions)]
    return "\n".join(lines) + "\n"


def columns_json(known: Iterable[OutputColumn]) -> list[dict[str, Any]]:
    """Columns by name and type; the type is null where only the local engine knows it."""
    return [{"name": column.name, "type": column.type.value if column.type else None} for column in known]


def missing_json(missing: Iterable[Missing]) -> list[dict[str, Any]]:
    """What a partial answer lacks."""
    return [
        {
            "site": one.site,
            "schema": str(one.schema) if one.schema else None,
            "table": one.table,
            "reason": one.reason,
            "rows": one.row_count,
            "ranges": [
                {"column": known.column, "least": known.least, "greatest": known.greatest}
                for known in one.ranges
            ],
        }
        for one in missing
    ]


def _fragment_json(fragment: Fragment, stage: int) -> dict[str, Any]:
    return {
        "id": fragment.id,
        "site": fragment.site,
        "stage": stage,
        "sql": fragment.sql,
        "columns": columns_json(fragment.columns),
        "sources": [
            {
                "schema": str(source.schema),
                "table": source.table,
                "is_replica": source.is_replica,
                "staleness_s": source.staleness_s,
            }
            for source in fragment.inputs
        ],
        "keys": [
            {
                "name": key.name,
                "columns": list(key.columns),
                "sources": [attrs.asdict(source) for source in key.sources],
                "key_count_estimate": key.key_count_estimate,
                "key_count_max": key.key_count_max,
                "filter_count_max": key.filter_count_max,
                "is_filter": key.expects_filter,
            }
            for key in fragment.keys
        ],
        "row_count_estimate": fragment.row_count_estimate,
        "byte_estimate": fragment.byte_estimate,
    }


def explain_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values, in the format that docs/reference/explain.md describes."""
    stages = plan.stages
    return {
        "format": FORMAT,
        "sql": plan.sql,
        "round_trips": max(stages.values(), default=0),
        "fragments": [_fragment_json(fragment, stages[fragment.id]) for fragment in plan.fragments],
        "local_sql": plan.local_sql,
        "columns": columns_json(plan.columns),
        "literal_tables": [{"name": table.name, "rows": len(table.rows)} for table in plan.literal_tables],
        "pair_tables": [attrs.asdict(pairs) for pairs in plan.pair_tables],
        "find_first": attrs.asdict(plan.find_first) if plan.find_first else None,
        "region_match": attrs.asdict(plan.region_match) if plan.region_match else None,
        "missing": missing_json(plan.missing),
        "decisions": [
            {"rule": rule, "reason": reason}
            for rule, reason in zip(plan.deciders, plan.decisions, strict=False)
        ],
    }
