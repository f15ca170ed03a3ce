"""What a user sees of a registry: her own schema, the site's, and what was granted to her or her groups."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from federation.errors import ForbiddenError, QueryError, UserError
from federation.execution.coordinator import Coordinator
from federation.execution.local_site import LocalSite
from federation.model.logical import LogicalType
from federation.model.position import SchemaId
from federation.planner import OutputColumn
from federation.registry import grants, schema_admin, user_tables
from federation.registry.access import Access, may_follow
from federation.registry.registry import Registry

SAID = [OutputColumn("said_by", LogicalType.STRING)]
EVERYONE = ("base", "alice", "bob", "commissioning")


@pytest.fixture
def base(registry: Registry) -> Registry:
    """Tables ``quality`` in the site's schema, in those of alice and bob, and in that of a group with carol in it."""
    grants.add_member(registry, None, "commissioning", "carol")
    for detector, schema in enumerate(EVERYONE):
        schema_admin.create_schema(registry, schema)
        rows = pa.table({"detector": [detector], "said_by": [schema]})
        user_tables.create_table(registry, schema, "quality", rows, key=["detector"])
    return registry


def seen(registry: Registry, user: str, sql: str = "SELECT said_by FROM quality") -> set[str]:
    with Coordinator("base", {"base": LocalSite(registry)}, user=user) as coordinator:
        return {row["said_by"] for row in coordinator.query(sql)}


class TestABareName:
    def test_reaches_everything_for_the_operator(self, base: Registry) -> None:
        assert seen(base, "") == set(EVERYONE)

    def test_reaches_what_the_user_owns_and_the_sites_schema(self, base: Registry) -> None:
        assert seen(base, "alice") == {"base", "alice"}
        assert seen(base, "nobody") == {"base"}

    def test_reaches_the_schema_of_a_group_for_its_members(self, base: Registry) -> None:
        assert seen(base, "carol") == {"base", "commissioning"}

    @pytest.mark.parametrize("privilege", grants.Privilege)
    def test_reaches_what_was_granted_until_it_is_taken_back(
        self, base: Registry, privilege: grants.Privilege
    ) -> None:
        with Coordinator("base", {"base": LocalSite(base)}, user="bob") as coordinator:

            def sees() -> set[str]:
                return {row["said_by"] for row in coordinator.query("SELECT said_by FROM quality")}

            assert sees() == {"base", "bob"}
            grants.grant(base, "alice", privilege, "alice", "bob")
            assert sees() == {"base", "alice", "bob"}
            grants.revoke(base, "alice", privilege, "alice", "bob")
            assert sees() == {"base", "bob"}

    def test_reaches_what_was_granted_to_a_group(self, base: Registry) -> None:
        grants.grant(base, "alice", "read", "alice", "commissioning")
        assert seen(base, "carol") == {"base", "alice", "commissioning"}
        grants.remove_member(base, None, "commissioning", "carol")
        assert seen(base, "carol") == {"base"}

    def test_tells_nothing_of_what_is_not_for_the_user(self, base: Registry) -> None:
        user_tables.create_table(base, "bob", "secret", pa.table({"x": [1]}))
        with pytest.raises(QueryError, match="unknown table 'secret'"):
            seen(base, "alice", "SELECT x AS said_by FROM secret")


class TestANamedSchema:
    def test_is_refused_with_who_can_grant(self, base: Registry) -> None:
        with pytest.raises(ForbiddenError, match="user bob has no read privilege on schema alice") as caught:
            seen(base, "bob", "SELECT said_by FROM alice.quality")
        assert "ask user alice or the site's operator" in caught.value.hint
        assert "federation schema grant read alice bob --site base" in caught.value.hint

    @pytest.mark.parametrize("name", ['"alice@base"', '"base/alice"', "base.alice"])
    def test_is_refused_in_every_spelling(self, base: Registry, name: str) -> None:
        with pytest.raises(ForbiddenError):
            seen(base, "bob", f"SELECT said_by FROM {name}.quality")

    def test_is_refused_in_a_chain(self, base: Registry) -> None:
        with (
            Coordinator("base", {"base": LocalSite(base)}, user="bob") as coordinator,
            pytest.raises(ForbiddenError, match="schema alice"),
        ):
            coordinator.query("SELECT said_by FROM quality", chain=["alice"])

    def test_is_not_known_where_there_is_none(self, base: Registry) -> None:
        with pytest.raises(QueryError, match="unknown schema"):
            seen(base, "bob", "SELECT said_by FROM dave.quality")


class TestAFragment:
    """Sent straight to the site, without a planner that looks at grants."""

    @pytest.mark.parametrize(
        "sql",
        [
            'SELECT q.said_by AS said_by FROM "base/alice"."quality" AS q',
            'SELECT b.said_by AS said_by FROM "base/base"."quality" AS b JOIN "base/alice"."quality" AS q '
            "ON b.detector = q.detector",
            'SELECT b.said_by AS said_by FROM "base/base"."quality" AS b '
            'WHERE EXISTS (SELECT 1 AS one FROM "base/alice"."quality" AS q)',
        ],
    )
    def test_is_refused_by_the_site_itself(self, base: Registry, sql: str) -> None:
        with pytest.raises(ForbiddenError, match="user bob"), LocalSite(base).execute(sql, SAID, user="bob"):
            pass

    def test_of_a_user_who_may_is_answered(self, base: Registry) -> None:
        sql = 'SELECT q.said_by AS said_by FROM "base/alice"."quality" AS q'
        site = LocalSite(base)
        for user in ("alice", ""):
            with site.execute(sql, SAID, user=user) as rows:
                assert [value for batch in rows for value in batch.column(0).to_pylist()] == ["alice"]

    def test_of_a_name_that_no_user_has_is_refused(self, base: Registry) -> None:
        sql = 'SELECT q.said_by AS said_by FROM "base/alice"."quality" AS q'
        with (
            pytest.raises(UserError, match=re.escape("'a; b'")),
            LocalSite(base).execute(sql, SAID, user="a; b"),
        ):
            pass


class TestASite:
    def test_reads_what_it_may_follow(self, base: Registry) -> None:
        access = Access(base, {"ncsa": ("alice",)})
        assert access.refusal("site:ncsa", SchemaId("base", "base")) is None
        assert access.refusal("site:ncsa", SchemaId("base", "alice")) is None
        assert access.refusal("site:base", SchemaId("base", "bob")) is None
        refused = access.refusal("site:ncsa", SchemaId("base", "bob"))
        assert refused is not None
        assert "may_follow" in refused.hint
        assert access.refusal("site:summit", SchemaId("base", "alice")) is not None

    @pytest.mark.parametrize(
        ("schema", "allowed", "expected"),
        [
            (SchemaId("base", "alice"), ["*"], True),
            (SchemaId("base", "alice"), ["base/*"], True),
            (SchemaId("base", "alice"), ["al*"], True),
            (SchemaId("base", "alice"), [], False),
            (SchemaId("summit", "alice"), ["alice"], False),
            (SchemaId("summit", "alice"), ["summit/*"], True),
        ],
    )
    def test_may_follow_by_name_or_glob(self, schema: SchemaId, allowed: list[str], expected: bool) -> None:
        assert may_follow(schema, "base", allowed) is expected


class TestAReplica:
    @pytest.fixture
    def ncsa(self, base: Registry) -> Registry:
        base.ensure_replica(SchemaId("summit", "dave"))
        return base

    def test_is_private_where_its_owners_grants_are_not_known(self, ncsa: Registry) -> None:
        refused = Access(ncsa).refusal("alice", SchemaId("summit", "dave"))
        assert refused is not None
        assert "has no grants of summit" in refused.message
        assert Access(ncsa).refusal("", SchemaId("summit", "dave")) is None
        assert Access(ncsa).refusal("alice", SchemaId("summit", "summit")) is None
