"""WITH queries used once become sub-selects, so that they can be cut together with what surrounds them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sqlglot import exp

from federation.planner.scopes import is_closed

if TYPE_CHECKING:
    from federation.planner.draft import Draft

__all__ = ["inline_ctes"]


def inline_ctes(draft: Draft) -> None:
    """Rule: inline every closed, non-recursive WITH query that is used once; drop those that are not used."""
    changed = True
    while changed:
        changed = any(_inline_first(draft.tree, cte) for cte in list(draft.tree.find_all(exp.CTE)))


def _inline_first(tree: exp.Expr, cte: exp.CTE) -> bool:
    with_ = cte.parent
    if not isinstance(with_, exp.With) or with_.args.get("recursive"):
        return False
    names = Counter(other.alias for other in tree.find_all(exp.CTE))
    uses = [table for table in tree.find_all(exp.Table) if table.name == cte.alias]
    if names[cte.alias] > 1 or len(uses) > 1 or not is_closed(cte.this):
        return False
    if uses:
        alias = exp.TableAlias(this=uses[0].args["alias"].this.copy())
        uses[0].replace(exp.Subquery(this=cte.this.copy(), alias=alias))
    query = with_.parent
    cte.pop()
    if query is not None and not with_.expressions:
        query.set("with_", None)
    return True
