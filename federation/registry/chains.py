"""CHAINED collections: their children in search order, and that none ever contains itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from federation.errors import NotFoundError, UserError
from federation.model.collection import CollectionType
from federation.registry.members import find_collection
from federation.registry.views import views

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from federation.registry.transaction import Transaction
    from federation.registry.views import Source

__all__ = [
    "children_of",
    "extend_chain",
    "flatten",
    "parents_of",
    "prepend_to_chain",
    "redefine_chain",
    "remove_from_chain",
    "set_children",
]


def redefine_chain(tx: Transaction, name: str, children: Sequence[str]) -> bool:
    """Make ``children`` the members of a CHAINED collection, in this order; True when anything changed.

    Children may live at other sites; one named twice counts where it stands first. `UserError` where the chain would
    contain itself, at any depth, through chains of whatever schema is held here.
    """
    _own_chain(tx, name)
    return set_children(tx, name, children)


def prepend_to_chain(tx: Transaction, name: str, children: Sequence[str]) -> bool:
    """Put ``children`` before the others; one that is in the chain moves. True when anything changed."""
    return redefine_chain(tx, name, (*children, *_own_chain(tx, name)))


def extend_chain(tx: Transaction, name: str, children: Sequence[str]) -> bool:
    """Put ``children`` after the others; one that is in the chain moves. True when anything changed."""
    kept = (child for child in _own_chain(tx, name) if child not in children)
    return redefine_chain(tx, name, (*kept, *children))


def remove_from_chain(tx: Transaction, name: str, children: Sequence[str]) -> bool:
    """Take ``children`` out of a chain; those that are not in it are ignored. True when anything changed."""
    return redefine_chain(tx, name, [child for child in _own_chain(tx, name) if child not in children])


def _own_chain(tx: Transaction, name: str) -> tuple[str, ...]:
    """Children of a chain that the transaction's schema owns."""
    rows = tx.select("collection", ("name",), [(name,)])
    if not rows:
        found = find_collection(tx, name)
        where = f"; it belongs to {found[0].schema}" if found else ""
        raise NotFoundError(
            f"no collection {name!r} in {tx.held.schema}{where}", hint="only its owner changes a chain"
        )
    if rows[0]["type"] != CollectionType.CHAINED.value:
        raise UserError(
            f"collection {name!r} is {rows[0]['type']}, not CHAINED", hint="use another collection"
        )
    chain = sorted(
        (row["position"], row["child"]) for row in tx.select("collection_chain", ("parent",), [(name,)])
    )
    return tuple(child for _, child in chain)


def set_children(tx: Transaction, name: str, children: Sequence[str]) -> bool:
    """`redefine_chain` for a chain that the transaction's schema is known to register."""
    children = tuple(dict.fromkeys(children))
    _check_acyclic(tx, name, children)
    old = {row["position"]: row["child"] for row in tx.select("collection_chain", ("parent",), [(name,)])}
    new = dict(enumerate(children))
    if old == new:
        return False
    tx.delete("collection_chain", [{"parent": name, "position": place} for place in old if place not in new])
    changed = [place for place in new if old.get(place) != new[place]]
    tx.put(
        "collection_chain", [{"parent": name, "position": place, "child": new[place]} for place in changed]
    )
    return True


def _check_acyclic(tx: Transaction, name: str, children: Sequence[str]) -> None:
    parent_of = dict.fromkeys(children, name)
    todo = list(children)
    while todo:
        if name in todo:
            path = [name, parent_of[name]]
            while path[-1] != name:
                path.append(parent_of[path[-1]])
            raise UserError(
                f"chain {name!r} would contain itself: {' -> '.join(reversed(path))}",
                hint="leave out the child that leads back to it",
            )
        following = []
        for view in views(tx):
            for parent, child in view.rows(
                "collection_chain", ("parent",), [(one,) for one in todo], ("parent", "child")
            ):
                if child not in parent_of:
                    parent_of[child] = parent
                    following.append(child)
        todo = following


def children_of(source: Source, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Children of chains in search order, as the chain of all schemas here shows them: the nearest row wins."""
    keys = [(name,) for name in dict.fromkeys(names)]
    found: dict[tuple[str, int], str] = {}
    for view in views(source):
        for parent, position, child in view.rows("collection_chain", ("parent",), keys):
            found.setdefault((parent, position), child)
    chains: dict[str, list[str]] = {}
    for (parent, _), child in sorted(found.items()):
        chains.setdefault(parent, []).append(child)
    return {parent: tuple(children) for parent, children in chains.items()}


def parents_of(source: Source, name: str) -> list[tuple[str, str]]:
    """(schema, parent) of every chain held here that a collection is a child of."""
    return sorted(
        (str(view.held.schema), parent)
        for view in views(source)
        for (parent,) in view.rows("collection_chain", ("child",), [(name,)], ("parent",))
    )


def flatten(source: Source, name: str) -> tuple[str, ...]:
    """The collections that a search of ``name`` goes through, in order, each once; itself where it is no chain."""
    known: dict[str, tuple[str, ...]] = {}
    todo = [name]
    while todo:
        found = children_of(source, todo)
        known.update({parent: found.get(parent, ()) for parent in todo})
        todo = [child for children in found.values() for child in children if child not in known]
    ordered: dict[str, None] = {}
    # what was visited is not entered again: two sites may each have made half of a cycle that neither saw
    visited: set[str] = set()
    pending = [name]
    while pending:
        one = pending.pop()
        if one in visited:
            continue
        visited.add(one)
        if known[one]:
            pending.extend(reversed(known[one]))
        else:
            ordered[one] = None
    return tuple(ordered)
