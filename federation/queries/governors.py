"""A dimension that a governor numbers means nothing without it: ``visit = 5`` of which instrument?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from federation.errors import QueryError
from federation.queries import syntax
from federation.queries.names import ElementField, Key

if TYPE_CHECKING:
    from federation.queries.facts import Facts
    from federation.queries.names import Names

__all__ = ["GovernorCheck"]


@attrs.frozen(eq=False)
class GovernorCheck:
    """Refuses values of dimensions whose governor is left open, unless there is only one; ``text`` is for errors."""

    names: Names
    facts: Facts
    text: str

    def fixed(self, node: syntax.Node) -> frozenset[str]:
        """The governors that a condition gives values."""
        match node:
            case syntax.And(parts=parts):
                return frozenset().union(*map(self.fixed, parts))
            case syntax.Or(parts=parts):
                return frozenset.intersection(*map(self.fixed, parts))
            case syntax.Compare(operator="="):
                return self._governors(node.left) | self._governors(node.right)
            case syntax.In(negated=False) | syntax.Like(negated=False):
                return self._governors(node.part)
        return frozenset()

    def _governors(self, node: syntax.Node) -> frozenset[str]:
        if isinstance(node, syntax.Name):
            meaning = self.names.resolve(node, self.text)
            if isinstance(meaning, Key) and self.names.universe[meaning.dimension].governor:
                return frozenset({meaning.dimension})
        return frozenset()

    def check(self, node: syntax.Node, known: frozenset[str]) -> None:
        """`QueryError` for the first value of a dimension whose governor is neither ``known`` nor given beside it."""
        known = known | self.fixed(node)
        if isinstance(node, (syntax.And, syntax.Or, syntax.Not)):
            for child in node.children():
                self.check(child, known)
            return
        if isinstance(node, (syntax.Compare, syntax.In, syntax.Between, syntax.Like)):
            children = list(node.children())
            if any(not isinstance(child, syntax.Name) for child in children):
                for child in children:
                    self._check_name(child, known)

    def _check_name(self, node: syntax.Node, known: frozenset[str]) -> None:
        if not isinstance(node, syntax.Name):
            return
        meaning = self.names.resolve(node, self.text)
        if isinstance(meaning, Key):
            dimension = meaning.dimension
        elif isinstance(meaning, ElementField) and meaning.alternate_key:
            dimension = meaning.element
        else:
            return
        universe = self.names.universe
        for required in universe[dimension].required:
            if not universe[required].governor or required in known:
                continue
            values = self.facts.governors.get(required, ())
            if len(values) > 1:
                shown = ", ".join(values[:8]) + (", ..." if len(values) > 8 else "")
                raise QueryError(
                    f"a value of {dimension!r} means nothing without {required!r}",
                    hint=f"add {required} = '...' (one of {shown})",
                    sql=self.text,
                    position=node.position,
                )
