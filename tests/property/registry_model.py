"""A plain model of what registries must do: dictionaries and loops, no database, nothing clever.

It knows one dataset type over one dimension, in the schemas of one site, nearest schema first.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Literal

from federation.model.dataset import deterministic_id

__all__ = ["TYPE", "Refused", "RegistryModel"]

TYPE = "bias"
Span = tuple[int | None, int | None]


class Refused(Exception):
    """The registry must raise an error for this, and change nothing."""


def overlap(a: Span, b: Span) -> bool:
    return (a[0] is None or b[1] is None or a[0] < b[1]) and (b[0] is None or a[1] is None or b[0] < a[1])


class SchemaModel:
    """Everything that one schema says."""

    def __init__(self) -> None:
        #: dataset id -> (run, detector)
        self.datasets: dict[uuid.UUID, tuple[str, int]] = {}
        self.tags: set[tuple[str, uuid.UUID]] = set()
        self.valid: set[tuple[str, uuid.UUID, Span]] = set()
        self.chains: dict[str, tuple[str, ...]] = {}

    def copy(self) -> SchemaModel:
        other = SchemaModel()
        other.datasets, other.tags = dict(self.datasets), set(self.tags)
        other.valid, other.chains = set(self.valid), dict(self.chains)
        return other


class RegistryModel:
    """``schemas`` by name, the site's own last; ``runs`` of each; tagged and calibration collections by schema."""

    def __init__(self, schemas: Iterable[str]) -> None:
        self.schemas = {name: SchemaModel() for name in schemas}

    def _detector(self, identity: uuid.UUID) -> int | None:
        for schema in self.schemas.values():
            if identity in schema.datasets:
                return schema.datasets[identity][1]
        return None

    def insert(
        self,
        name: str,
        run: str,
        detectors: list[int],
        ids: list[uuid.UUID] | None,
        policy: Literal["refuse", "ignore", "replace"],
    ) -> list[uuid.UUID]:
        """Datasets of a run; without ids those that the data ID determines."""
        schema = self.schemas[name]
        new = schema.copy()
        out = []
        said: dict[int, uuid.UUID] = {}
        for number, detector in enumerate(detectors):
            identity = (
                deterministic_id(TYPE, run, {"instrument": "C", "detector": detector})
                if ids is None
                else ids[number]
            )
            if said.setdefault(detector, identity) != identity:
                raise Refused
            if any(other == identity and d != detector for d, other in said.items()):
                raise Refused
            for other in self.schemas.values():
                if other.datasets.get(identity, (run, detector)) != (run, detector):
                    raise Refused
            there = [i for i, what in schema.datasets.items() if what == (run, detector)]
            if there and there[0] != identity:
                if policy == "refuse":
                    raise Refused
                if policy == "ignore":
                    out.append(there[0])
                    continue
                new.datasets.pop(there[0], None)
                new.tags = {tag for tag in new.tags if tag[1] != there[0]}
                new.valid = {valid for valid in new.valid if valid[1] != there[0]}
            new.datasets[identity] = (run, detector)
            out.append(identity)
        self.schemas[name] = new
        return out

    def tag(self, name: str, collection: str, ids: list[uuid.UUID], *, replace: bool) -> None:
        schema = self.schemas[name]
        new = schema.copy()
        given: dict[int, uuid.UUID] = {}
        for identity in ids:
            detector = self._detector(identity)
            if detector is None:
                raise Refused
            if (collection, identity) in schema.tags:
                continue
            if given.setdefault(detector, identity) != identity:
                raise Refused
            for tag in schema.tags:
                if tag[0] == collection and self._detector(tag[1]) == detector:
                    if not replace:
                        raise Refused
                    new.tags.discard(tag)
            new.tags.add((collection, identity))
        self.schemas[name] = new

    def untag(self, name: str, collection: str, ids: list[uuid.UUID]) -> None:
        self.schemas[name].tags -= {(collection, identity) for identity in ids}

    def certify(self, name: str, collection: str, span: Span, ids: list[uuid.UUID]) -> None:
        schema = self.schemas[name]
        new = schema.copy()
        for identity in ids:
            detector = self._detector(identity)
            if detector is None:
                raise Refused
            if (collection, identity, span) in schema.valid:
                continue
            for other in new.valid:
                if other == (collection, identity, span):
                    continue
                if (
                    other[0] == collection
                    and self._detector(other[1]) == detector
                    and overlap(other[2], span)
                ):
                    raise Refused
            new.valid.add((collection, identity, span))
        self.schemas[name] = new

    def decertify(self, name: str, collection: str, span: Span, detectors: list[int] | None) -> None:
        schema = self.schemas[name]
        for entry in set(schema.valid):
            where, identity, (begin, end) = entry
            if where != collection or not overlap((begin, end), span):
                continue
            if detectors is not None and self._detector(identity) not in detectors:
                continue
            schema.valid.discard(entry)
            if span[0] is not None and (begin is None or begin < span[0]):
                schema.valid.add((where, identity, (begin, span[0])))
            if span[1] is not None and (end is None or span[1] < end):
                schema.valid.add((where, identity, (span[1], end)))

    def set_chain(self, name: str, chain: str, children: tuple[str, ...]) -> None:
        todo, seen = set(children), set()
        while todo:
            if chain in todo:
                raise Refused
            seen |= todo
            todo = {c for parent in todo for c in self.schemas[name].chains.get(parent, ())} - seen
        self.schemas[name].chains[chain] = children

    # -- answers ----------------------------------------------------------------------------------------------

    def leaves(self, name: str, collection: str) -> list[str]:
        chains = self.schemas[name].chains
        if collection not in chains:
            return [collection]
        out: list[str] = []
        for child in chains[collection]:
            out += [leaf for leaf in self.leaves(name, child) if leaf not in out]
        return out

    def find(self, name: str, collection: str, detector: int, moment: int) -> set[uuid.UUID]:
        """The dataset in the first collection that has one at that moment; several where that is ambiguous."""
        for leaf in self.leaves(name, collection):
            for schema in self.schemas.values():
                in_runs = {i for i, what in schema.datasets.items() if what == (leaf, detector)}
                in_tags = {i for where, i in schema.tags if where == leaf and self._detector(i) == detector}
                valid = {
                    i
                    for where, i, span in schema.valid
                    if where == leaf and self._detector(i) == detector and overlap(span, (moment, moment + 1))
                }
                if found := in_runs | in_tags | valid:
                    return found
        return set()
