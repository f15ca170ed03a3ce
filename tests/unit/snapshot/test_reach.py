"""Walks over several sites: what a plain search finds in the union of their edges, in few rounds."""

from __future__ import annotations

import uuid
from collections.abc import Collection

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import CorruptionError, LimitError, UserError
from federation.model.catalog import FederationCatalog, SchemaCatalog, SiteCatalog
from federation.model.lineage import Direction
from federation.model.position import SchemaId
from federation.snapshot.reach import Reach, SiteWalks, walk_readers
from federation.wire.walks import WalkAnswer, WalkCall, answer_in, answer_out, call_in, call_out

Edge = tuple[int, int]
TYPES = ("raw", "calexp", "coadd")


def uid(number: int) -> uuid.UUID:
    return uuid.UUID(int=number)


def type_of(number: int) -> str:
    return TYPES[number % len(TYPES)]


@attrs.define
class FakeSite:
    """A site that knows some edges, and the types of the datasets that it made; everything goes through messages."""

    name: str
    edges: set[Edge]
    knows: set[int]
    calls: int = 0

    def walk(self, call: WalkCall) -> WalkAnswer:
        self.calls += 1
        call = call_in(call_out(call))
        seeds = [uuid.UUID(bytes=call.ids[at : at + 16]).int for at in range(0, len(call.ids), 16)]
        given = call.steps.tolist() if call.steps is not None else [0] * len(seeds)
        steps = dict(zip(seeds, given, strict=True))
        expanded: set[int] = set()
        found: set[Edge] = set()
        changed = True
        while changed:
            changed = False
            for node, step in list(steps.items()):
                stops = bool(call.stop_at) and node not in seeds
                stops = stops and (node not in self.knows or type_of(node) in call.stop_at)
                if stops or (call.depth is not None and step >= call.depth):
                    continue
                expanded.add(node)
                for made, used in self.edges:
                    near, far = (made, used) if call.direction is Direction.UPSTREAM else (used, made)
                    if near == node:
                        found.add((near, far))
                        if steps.get(far, 10**6) > step + 1:
                            steps[far] = step + 1
                            changed = True
        order = {node: place for place, node in enumerate(steps)}
        answer = WalkAnswer(
            (),
            b"".join(uid(node).bytes for node in steps),
            np.array(list(steps.values()), np.int32),
            np.array([node in expanded for node in steps], np.bool_),
            tuple(type_of(node) if node in self.knows else None for node in steps) if call.stop_at else (),
            np.array([order[near] for near, _ in found], np.int32),
            np.array([order[far] for _, far in found], np.int32),
            np.zeros(len(found), np.int16),
            ((SchemaId(self.name, self.name), None),),
        )
        return answer_in(answer_out(answer), self.name, with_types=bool(call.stop_at))


def plain(
    edges: Collection[Edge], seeds: set[int], depth: int | None, stop_at: Collection[str]
) -> tuple[dict[int, int], set[Edge]]:
    """Fewest steps by dataset, and the edges gone over."""
    steps = dict.fromkeys(seeds, 0)
    gone: set[Edge] = set()
    frontier, level = set(seeds), 0
    while frontier and (depth is None or level < depth):
        level += 1
        going = {n for n in frontier if n in seeds or type_of(n) not in stop_at}
        over = {edge for edge in edges if edge[0] in going}
        gone |= over
        frontier = {far for _, far in over} - steps.keys()
        steps.update(dict.fromkeys(frontier, level))
    return steps, gone


def walks(sites: list[FakeSite]) -> SiteWalks:
    return SiteWalks(
        {site.name: site for site in sites},  # type: ignore[misc]
        {site.name: (SchemaId(site.name, site.name),) for site in sites},
        describe=lambda ids: {one.bytes: type_of(one.int) for one in ids},
    )


def found(reach: Reach) -> tuple[dict[int, int], set[Edge]]:
    ids = [uuid.UUID(bytes=reach.ids[at : at + 16]).int for at in range(0, len(reach.ids), 16)]
    edges = list(zip(reach.near.tolist(), reach.far.tolist(), strict=True))
    assert len(set(zip(edges, reach.labels.tolist(), strict=True))) == len(edges)
    return dict(zip(ids, reach.steps.tolist(), strict=True)), {(ids[near], ids[far]) for near, far in edges}


@given(
    edges=st.lists(
        st.tuples(st.integers(0, 14), st.integers(0, 14), st.integers(0, 2)).filter(lambda e: e[0] != e[1]),
        max_size=40,
    ),
    seeds=st.sets(st.integers(0, 16), min_size=1, max_size=4),
    depth=st.none() | st.integers(0, 5),
    stop_at=st.sets(st.sampled_from(TYPES), max_size=2),
    direction=st.sampled_from(Direction),
)
def test_any_graph_over_three_sites(
    edges: list[tuple[int, int, int]],
    seeds: set[int],
    depth: int | None,
    stop_at: set[str],
    direction: Direction,
) -> None:
    sites = [
        FakeSite(
            name,
            {(a, b) for a, b, site in edges if site == number},
            {n for a, b, site in edges if site == number for n in (a,)},
        )
        for number, name in enumerate(("summit", "base", "ncsa"))
    ]
    reach = walks(sites).walk(direction, map(uid, seeds), depth=depth, stop_at=stop_at)
    turned = {(a, b) if direction is Direction.UPSTREAM else (b, a) for a, b, _ in edges}
    assert found(reach) == plain(turned, seeds, depth, stop_at)


def test_a_chain_takes_a_round_for_each_part_and_one_to_see_that_it_has_ended() -> None:
    chain = [(n, n + 1) for n in range(60)]
    parts = [set(chain[:20]), set(chain[20:40]), set(chain[40:])]
    sites = [FakeSite(name, part, set()) for name, part in zip("abc", parts, strict=True)]
    reach = walks(sites).walk(Direction.UPSTREAM, [uid(0)])
    assert (len(reach), reach.rounds) == (61, 4)
    together = [FakeSite("a", set(chain), set())]
    assert walks(together).walk(Direction.UPSTREAM, [uid(0)]).rounds == 1


def test_too_many_edges_and_a_negative_depth_are_refused() -> None:
    site = FakeSite("a", {(0, n) for n in range(1, 10)}, set())
    with pytest.raises(LimitError, match="more than 5 provenance edges lie upstream"):
        walks([site]).walk(Direction.UPSTREAM, [uid(0)], edges_max=5)
    with pytest.raises(UserError, match="depth -1 is negative"):
        walks([site]).walk(Direction.UPSTREAM, [uid(0)], depth=-1)


def schema(site: str, lsn: int, partial: frozenset[str] = frozenset()) -> SchemaCatalog:
    return SchemaCatalog(SchemaId(site, site), "e", lsn, lsn, 0.0, (), partial_tables=partial)


def test_home_reads_what_it_has_as_the_owner_does_and_owners_the_rest() -> None:
    home = SiteCatalog("ncsa", "1", (schema("ncsa", 3), schema("base", 5), schema("summit", 6)))
    catalog = FederationCatalog(
        "ncsa",
        (
            home,
            SiteCatalog("base", "1", (schema("base", 5),)),
            SiteCatalog("summit", "1", (schema("summit", 7),)),
        ),
    )
    assert walk_readers(catalog) == {
        "ncsa": (SchemaId("ncsa", "ncsa"), SchemaId("base", "base")),
        "summit": (SchemaId("summit", "summit"),),
    }


def test_a_filtered_replica_is_not_taken_for_the_whole() -> None:
    partial = frozenset({"provenance"})
    catalog = FederationCatalog(
        "ncsa",
        (
            SiteCatalog("ncsa", "1", (schema("base", 5, partial),)),
            SiteCatalog("base", "1", (schema("base", 5),)),
        ),
    )
    assert walk_readers(catalog) == {"base": (SchemaId("base", "base"),)}


def test_the_furthest_replica_stands_in_for_an_owner_that_is_down() -> None:
    catalog = FederationCatalog(
        "ncsa",
        (SiteCatalog("ncsa", "1", (schema("summit", 5),)), SiteCatalog("base", "1", (schema("summit", 6),))),
        {"summit": "cut off"},
    )
    assert walk_readers(catalog) == {"base": (SchemaId("summit", "summit"),)}


def test_an_answer_with_an_edge_to_nowhere_is_refused() -> None:
    none = np.zeros(1, np.int32)
    label = ((SchemaId("a", "a"), "isr"),)
    answer = WalkAnswer(
        (), uid(1).bytes, none, np.ones(1, np.bool_), (), none, none + 7, np.zeros(1, np.int16), label
    )
    with pytest.raises(CorruptionError, match="leads out of the answer"):
        answer_in(answer_out(answer), "a", with_types=False)


def test_ids_of_half_a_dataset_are_refused() -> None:
    message = call_out(WalkCall(Direction.UPSTREAM, b"1234", ()))
    with pytest.raises(UserError, match="4 bytes of ids"):
        call_in(message)
