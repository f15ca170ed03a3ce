"""One form for what SQL writes in several: commas in FROM, doubled parentheses."""

from __future__ import annotations

from sqlglot import exp

from federation.errors import QueryError
from federation.planner.position import position_of

__all__ = ["normalize_tree"]


def normalize_tree(tree: exp.Expr, sql: str) -> None:
    """Turn commas between tables into CROSS JOIN and doubled parentheses into single ones, in place."""
    for subquery in list(tree.find_all(exp.Subquery)):
        inner = subquery.this
        while isinstance(inner, exp.Subquery) and set(_set_args(inner)) == {"this"}:
            inner = inner.this
        if inner is not subquery.this:
            subquery.set("this", inner)
    for select in tree.find_all(exp.Select):
        comma = False
        for join in select.args.get("joins") or ():
            if join.side and not join.args.get("on") and not join.args.get("using"):
                raise QueryError(
                    f"{join.side} JOIN without a condition",
                    hint="add ON condition or USING (columns)",
                    sql=sql,
                    position=position_of(join),
                )
            if not join.side and not join.kind and not join.args.get("on") and not join.args.get("using"):
                join.set("kind", "CROSS")
                comma = True
            elif comma and join.side in {"RIGHT", "FULL"}:
                raise QueryError(
                    f"{join.side} JOIN after a comma in FROM",
                    hint="write CROSS JOIN instead of the comma, or a sub-select",
                    sql=sql,
                    position=position_of(join),
                )


def _set_args(node: exp.Expr) -> list[str]:
    return [name for name, value in node.args.items() if value]
