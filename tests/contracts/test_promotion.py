"""A user's table on its way into the site's schema: every step that is allowed, and each that is not."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from replicated_rows import rows

from federation.errors import ConflictError, ForbiddenError, NotFoundError, UserError
from federation.model.position import SchemaId
from federation.registry import grants, proposals
from federation.registry.proposals import Action, State, next_state
from federation.registry.registry import Registry
from federation.registry.schema_admin import drop_schema
from federation.registry.user_tables import append_rows, create_table, drop_table, list_tables

BASE, ALICE = SchemaId("base", "base"), SchemaId("base", "alice")
ALLOWED = {
    (None, Action.PROPOSE): State.PROPOSED,
    (State.REJECTED, Action.PROPOSE): State.PROPOSED,
    (State.RETIRED, Action.PROPOSE): State.PROPOSED,
    (State.PROPOSED, Action.APPROVE): State.APPROVED,
    (State.PROPOSED, Action.REJECT): State.REJECTED,
    (State.APPROVED, Action.APPROVE): State.APPROVED,
    (State.APPROVED, Action.REJECT): State.REJECTED,
    (State.APPROVED, Action.PROMOTE): State.PROMOTED,
    (State.PROMOTED, Action.RETIRE): State.RETIRED,
}


class TestSteps:
    @pytest.mark.parametrize(("before", "action"), ALLOWED)
    def test_that_are_allowed_lead_on(self, before: State | None, action: Action) -> None:
        assert next_state(before, action, "alice.quality") is ALLOWED[before, action]

    @pytest.mark.parametrize(
        ("before", "action"),
        [step for step in itertools.product((None, *State), Action) if step not in ALLOWED],
    )
    def test_that_are_not_are_refused_with_what_is_possible(
        self, before: State | None, action: Action
    ) -> None:
        with pytest.raises(UserError) as error:
            next_state(before, action, "alice.quality")
        state = before or "not proposed"
        assert error.value.message.startswith(f"alice.quality is {state}: it can't be {action.value[:6]}")
        possible = [step.value for state, step in ALLOWED if state is before]
        assert error.value.hint == "possible now: " + ", ".join(possible)


@pytest.fixture
def site(registry: Registry) -> Registry:
    """Site base, where alice has a table of 2 rows and rita reviews."""
    registry.create_schema("alice")
    grants.grant(registry, None, "share", "base", "rita")
    create_table(
        registry, "alice", "quality", pa.table({"visit": [1, 2], "seeing": [0.5, None]}), key=["visit"]
    )
    return registry


def approve(site: Registry) -> None:
    proposals.propose(site, "alice", "quality", comment="for all", user="alice")
    proposals.review(site, "alice", "quality", approve=True, user="rita")


class TestPromotion:
    def test_copies_the_table_and_leaves_the_users(self, site: Registry) -> None:
        proposals.propose(site, "alice", "quality", comment="for all", user="alice")
        proposals.review(site, "alice", "quality", approve=True, comment="good", user="rita")
        made, count = proposals.promote(site, "alice", "quality", user="rita")

        assert (made.state, made.actor, made.comment, count) == (State.PROMOTED, "rita", "good", 2)
        assert proposals.proposals(site) == (made,)
        assert site.tables(BASE)["quality"] == site.tables(ALICE)["quality"]
        assert rows(site, BASE)["quality"] == rows(site, ALICE)["quality"] == {(1, 0.5), (2, None)}

    def test_that_ends_takes_only_the_copy_away(self, site: Registry) -> None:
        approve(site)
        proposals.promote(site, "alice", "quality")
        made, count = proposals.retire(site, "alice", "quality", comment="superseded")
        assert (made.state, made.comment, count) == (State.RETIRED, "superseded", 2)
        assert list_tables(site, "base") == ()
        assert rows(site, ALICE)["quality"] == {(1, 0.5), (2, None)}
        approve(site)
        proposals.promote(site, "alice", "quality")
        assert len(rows(site, BASE)["quality"]) == 2

    def test_outlives_the_users_schema(self, site: Registry) -> None:
        approve(site)
        proposals.promote(site, "alice", "quality")
        drop_schema(site, "alice", force=True)
        assert rows(site, BASE)["quality"] == {(1, 0.5), (2, None)}
        proposals.retire(site, "alice", "quality")
        assert list_tables(site, "base") == ()

    def test_is_of_what_was_approved(self, site: Registry) -> None:
        approve(site)
        append_rows(site, "alice", "quality", pa.table({"visit": [3]}))
        before = site.position(BASE)
        with pytest.raises(
            ConflictError, match=r"table alice\.quality has changed since it was approved"
        ) as error:
            proposals.promote(site, "alice", "quality")
        assert "review alice.quality --approve" in error.value.hint
        assert site.position(BASE) == before
        assert list_tables(site, "base") == ()
        proposals.review(site, "alice", "quality", approve=True)
        assert proposals.promote(site, "alice", "quality")[1] == 3

    def test_under_a_name_that_is_taken_is_refused(self, site: Registry) -> None:
        site.create_schema("bob")
        create_table(site, "bob", "quality", pa.table({"x": ["a"]}))
        approve(site)
        proposals.promote(site, "alice", "quality")
        proposals.propose(site, "bob", "quality", user="bob")
        proposals.review(site, "bob", "quality", approve=True)
        with pytest.raises(ConflictError, match="schema base has a table 'quality' already"):
            proposals.promote(site, "bob", "quality")
        assert rows(site, BASE)["quality"] == {(1, 0.5), (2, None)}

    def test_is_undone_by_retiring_not_by_dropping(self, site: Registry) -> None:
        approve(site)
        proposals.promote(site, "alice", "quality")
        with pytest.raises(
            ConflictError, match="table quality of schema base was promoted from alice"
        ) as error:
            drop_table(site, "base", "quality")
        assert error.value.hint == "run: federation schema retire alice.quality"

    def test_needs_a_table_that_is_there(self, site: Registry) -> None:
        with pytest.raises(NotFoundError, match="schema alice has no user table 'seeing'"):
            proposals.propose(site, "alice", "seeing")
        with pytest.raises(NotFoundError, match=r"table alice\.quality was never proposed at site base"):
            proposals.review(site, "alice", "quality", approve=True)
        with pytest.raises(UserError, match="table quality is in the site's schema base already"):
            proposals.propose(site, "base", "quality")
        approve(site)
        drop_table(site, "alice", "quality")
        with pytest.raises(NotFoundError, match="schema alice no longer has table 'quality'"):
            proposals.promote(site, "alice", "quality")

    def test_is_decided_by_reviewers_only(self, site: Registry) -> None:
        with pytest.raises(ForbiddenError, match="user bob has no write privilege on schema alice"):
            proposals.propose(site, "alice", "quality", user="bob")
        proposals.propose(site, "alice", "quality", user="alice")
        with pytest.raises(ForbiddenError, match="user alice may not review tables for schema base") as error:
            proposals.review(site, "alice", "quality", approve=True, user="alice")
        assert "federation schema grant share base alice --site base" in error.value.hint
        proposals.review(site, "alice", "quality", approve=True, user="rita")
        for step in (proposals.promote, proposals.retire):
            with pytest.raises(ForbiddenError, match="user alice may not"):
                step(site, "alice", "quality", user="alice")

    def test_in_the_wrong_order_changes_nothing(self, site: Registry) -> None:
        proposals.propose(site, "alice", "quality")
        before = site.position(BASE), rows(site, BASE)
        for step in (proposals.promote, proposals.retire, proposals.propose):
            with pytest.raises(UserError, match=r"alice\.quality is proposed: it can't be"):
                step(site, "alice", "quality")
        assert (site.position(BASE), rows(site, BASE)) == before
