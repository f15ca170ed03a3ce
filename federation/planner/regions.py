"""Calls of region functions checked, and those of constants evaluated while the statement is planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from federation.errors import UserError
from federation.model.logical import LogicalType
from federation.model.region import circle, polygon
from federation.model.skypix import pixel_region, pixelization, skypix_id
from federation.planner.region_signatures import REGION_FUNCTIONS
from federation.planner.sqltypes import logical_type, sql_type
from federation.planner.wording import function_name

if TYPE_CHECKING:
    from federation.planner.draft import Draft
    from federation.planner.region_signatures import Signature

__all__ = ["check_region_functions", "fold_region_functions"]

_NUMBERS = {LogicalType.INT64, LogicalType.FLOAT64}


def check_region_functions(draft: Draft) -> None:
    """Rule: count arguments, check skypix systems, and write ``region_overlaps_pixel`` as an overlap of regions."""
    for call in list(draft.tree.find_all(exp.Anonymous)):
        name = function_name(call)
        signature = REGION_FUNCTIONS.get(name)
        if signature is None:
            continue
        call.set("this", name)
        _check_count(draft, call, name, signature)
        if signature.skypix_first:
            _check_system(draft, call.expressions[0], name)
        if name == "region_overlaps_pixel":
            system, pixel, region = call.expressions
            of_pixel = exp.Anonymous(this="skypix_region", expressions=[system, pixel])
            of_pixel.meta.update(call.meta)
            call.set("this", "region_overlaps")
            call.set("expressions", [of_pixel, region])
            if isinstance(call.parent, exp.Select):
                parent, index = call.parent, call.index
                parent.set("expressions", exp.alias_(call.copy(), name, quoted=True), index=index)


def _check_count(draft: Draft, call: exp.Anonymous, name: str, signature: Signature) -> None:
    count, expected = len(call.expressions), len(signature.arguments)
    if signature.of_constants:
        if count < expected or count % 2:
            raise draft.error(
                f"{name} takes three or more positions, not {count} numbers",
                call,
                hint=f"{name}({signature.usage})",
            )
    elif count != expected:
        raise draft.error(
            f"{name} takes {expected} arguments, not {count}", call, hint=f"{name}({signature.usage})"
        )


def _check_system(draft: Draft, argument: exp.Expr, name: str) -> None:
    if not (isinstance(argument, exp.Literal) and argument.is_string):
        raise draft.error(
            f"the first argument of {name} is not the name of a skypix system",
            argument,
            hint="write it as a text: 'htm7'",
        )
    try:
        pixelization(argument.name)
    except UserError as error:
        raise draft.error(error.message, argument, hint=error.hint) from error


def fold_region_functions(draft: Draft) -> None:
    """Rule: check the types of arguments, and replace calls whose arguments are all numbers by their value."""
    for call in reversed(list(draft.tree.find_all(exp.Anonymous))):
        signature = REGION_FUNCTIONS.get(function_name(call))
        if signature is not None:
            _check_types(draft, call, signature)
            _fold(draft, call, signature)


def _check_types(draft: Draft, call: exp.Anonymous, signature: Signature) -> None:
    name = function_name(call)
    if signature.of_constants and any(_number(argument) is None for argument in call.expressions):
        raise draft.error(f"{name} takes numbers only", call, hint="columns can make a circle, not a polygon")
    for argument, (label, expected) in zip(call.expressions, signature.arguments, strict=False):
        kind = logical_type(argument)
        if isinstance(argument.unnest(), (exp.Null, exp.HexString)) or kind is expected:
            continue
        if expected is LogicalType.FLOAT64 and kind in _NUMBERS:
            continue
        shown = argument.sql("postgres").replace('"', "")[:60]
        raise draft.error(
            f"argument {label} of {name} is {shown}, of type {kind or 'unknown'}",
            argument if isinstance(argument, exp.Column) else call,
            hint=f"it is of type {expected}",
        )


def _fold(draft: Draft, call: exp.Anonymous, signature: Signature) -> None:
    arguments = call.expressions[signature.skypix_first :]
    numbers = [_number(argument) for argument in arguments]
    values = [number for number in numbers if number is not None]
    name = function_name(call)
    if len(values) < len(arguments) or name not in {"circle", "polygon", "skypix_id", "skypix_region"}:
        return
    system = call.expressions[0].name
    try:
        match name:
            case "circle":
                fresh = _region(circle(*values))
            case "polygon":
                fresh = _region(polygon(list(zip(values[::2], values[1::2], strict=True))))
            case "skypix_region":
                fresh = _region(pixel_region(system, int(values[0])))
            case _:
                fresh = exp.Literal.number(skypix_id(system, *values))
    except UserError as error:
        raise draft.error(error.message, call, hint=error.hint) from error
    fresh.type = sql_type(signature.returns)
    call.replace(fresh)


def _region(encoded: bytes) -> exp.Expr:
    return exp.HexString(this=encoded.hex())


def _number(node: exp.Expr) -> float | None:
    """The value of a number, with or without a sign; None for anything else."""
    inner = node.unnest()
    if isinstance(inner, exp.Neg):
        value = _number(inner.this)
        return None if value is None else -value
    if isinstance(inner, exp.Literal) and not inner.is_string:
        return float(inner.name) if not inner.name.isdigit() else int(inner.name)
    return None
