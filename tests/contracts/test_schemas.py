"""Schemas of users and groups: made, granted, shared and dropped, with nothing else touched."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pyarrow as pa
import pytest
import sqlalchemy as sa
from replicated_rows import rows

from federation.changelog import log_state
from federation.changelog.log import log_tables
from federation.errors import (
    ConflictError,
    EpochError,
    ForbiddenError,
    NotFoundError,
    UnavailableError,
    UserError,
)
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.position import GENESIS, SchemaId
from federation.registry import collections, dataset_types, datasets, dimensions, grants, user_tables
from federation.registry.catalog import CatalogSource
from federation.registry.grants import Privilege
from federation.registry.registry import Registry
from federation.registry.schema_admin import create_schema, drop_schema, finish_drop, forget
from federation.replication.publisher import Publisher
from federation.schema_verbs import writable_schema
from federation.storage import Database, SqliteDatabase
from federation.wire.messages import FollowFrom


def alice_of(registry: Registry) -> SchemaId:
    return SchemaId(registry.site, "alice")


def put_dataset(registry: Registry, schema: str) -> None:
    with registry.transaction(schema) as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "Cam"}])
        dataset_types.declare(tx, DatasetType("camera", ("instrument",), "Camera"))
        collections.register(tx, Collection("run/a", CollectionType.RUN))
        new = datasets.NewDataset("camera", "run/a", {"instrument": "Cam"})
        datasets.insert_datasets(tx, [new])


def put_table(registry: Registry, schema: str, name: str = "quality") -> None:
    user_tables.create_table(registry, schema, name, pa.table({"visit": [1, 2]}), key=["visit"])


def whole(registry: Registry, schema: SchemaId) -> object:
    """Every row, every log entry and the log's position of a schema."""
    held = registry.get(schema)
    with registry.database.read((held.physical,)) as connection:
        log = connection.execute(sa.select(log_tables(held.physical).log)).all()
        return rows(registry, schema), [tuple(row) for row in log], log_state(connection, held.physical)


@pytest.fixture
def site(registry: Registry) -> Registry:
    """Site base with schemas alice (a dataset, a table), bob (a table), and a replica."""
    for name in ("alice", "bob"):
        create_schema(registry, name)
        put_table(registry, name)
    put_dataset(registry, "alice")
    put_dataset(registry, "base")
    registry.ensure_replica(SchemaId("summit", "alice"))
    return registry


class TestMaking:
    def test_a_user_makes_the_schema_of_their_own_name(self, registry: Registry) -> None:
        assert create_schema(registry, "alice", user="alice")
        assert not create_schema(registry, "alice", user="alice")
        assert alice_of(registry) in [held.schema for held in registry.held()]

    def test_a_user_makes_no_other(self, registry: Registry) -> None:
        with pytest.raises(ForbiddenError, match="user bob may not create schema alice at site base"):
            create_schema(registry, "alice", user="bob")

    def test_a_name_that_no_schema_can_have_is_refused(self, registry: Registry) -> None:
        for name in ("Alice", "a b", "", "federation", "x" * 29, "a__b"):
            with pytest.raises(UserError, match=r"schema name .* is not allowed"):
                create_schema(registry, name)


class TestDropping:
    def test_removes_the_schema_and_touches_nothing_else(self, site: Registry) -> None:
        others = [held.schema for held in site.held() if held.schema != alice_of(site)]
        before = {schema: whole(site, schema) for schema in others}

        gone = drop_schema(site, "alice", force=True)

        assert (gone.dataset_count, gone.user_tables) == (1, ("quality",))
        assert [held.schema for held in site.held()] == others
        assert {schema: whole(site, schema) for schema in others} == before
        assert not site.database.has_schema("alice")
        assert [s.schema for s in CatalogSource(site).catalog().schemas] == others

    def test_leaves_no_file_but_those_of_the_others(self, site: Registry) -> None:
        if not isinstance(site.database, SqliteDatabase):
            pytest.skip("files are SQLite's")
        drop_schema(site, "alice", force=True)
        names = {path.name.partition(".")[0] for path in site.database.directory.iterdir()}
        assert names == {"federation", "base", "bob", "summit__alice"}

    def test_refuses_what_holds_datasets_or_rows_and_says_what_would_go(self, site: Registry) -> None:
        with pytest.raises(
            ConflictError, match=r"1 datasets, table quality of 2 rows, .* a log of 2 entries"
        ) as e:
            drop_schema(site, "alice")
        assert "--force" in e.value.hint
        with pytest.raises(ConflictError, match="table quality of 2 rows"):
            drop_schema(site, "bob")
        assert rows(site, alice_of(site))["quality"]

    def test_takes_an_empty_one_without_force(self, registry: Registry) -> None:
        create_schema(registry, "alice")
        assert drop_schema(registry, "alice").is_empty

    def test_refuses_the_main_schema_and_what_is_not_its_own(self, site: Registry) -> None:
        with pytest.raises(UserError, match="main schema of site base and can't be dropped"):
            drop_schema(site, "base", force=True)
        for name in ("carol", "summit__alice"):
            with pytest.raises(NotFoundError, match=f"no schema '{name}' of its own") as error:
                drop_schema(site, name, force=True)
            assert "alice, bob" in error.value.hint

    def test_is_for_the_owner_and_the_operator(self, site: Registry) -> None:
        grants.grant(site, None, "write", "alice", "bob")
        with pytest.raises(ForbiddenError, match="user bob may not drop schema alice"):
            drop_schema(site, "alice", user="bob", force=True)
        drop_schema(site, "alice", user="alice", force=True)

    def test_takes_the_grants_on_it_back(self, site: Registry) -> None:
        grants.grant(site, None, "read", "alice", "bob")
        grants.grant(site, None, "read", "bob", "alice")
        drop_schema(site, "alice", force=True)
        assert [grant.schema for grant in grants.read_grants(site).grants] == ["bob"]

    def test_lets_readers_finish(self, site: Registry) -> None:
        held = site.get(alice_of(site))
        table = site.physical_tables("alice", tuple(site.tables(alice_of(site)).values()))["quality"]
        with site.database.read((held.physical,)) as connection:
            assert len(connection.execute(sa.select(table)).all()) == 2
            dropper = threading.Thread(target=drop_schema, args=(site, "alice"), kwargs={"force": True})
            dropper.start()
            for _ in range(20):
                assert len(connection.execute(sa.select(table)).all()) == 2
        dropper.join()
        assert site.find(alice_of(site)) is None

    def test_a_writer_who_comes_too_late_fails_and_loses_nothing_unseen(
        self, site: Registry, open_database: Callable[[], Database]
    ) -> None:
        with Registry.open_in(open_database(), "base") as other:
            other.get(alice_of(other))
            drop_schema(site, "alice", force=True)
            with pytest.raises(NotFoundError), other.transaction("alice") as tx:
                collections.register(tx, Collection("run/b", CollectionType.RUN))

    def test_one_of_the_same_name_begins_anew(self, site: Registry) -> None:
        epoch = site.position(alice_of(site)).epoch
        drop_schema(site, "alice", force=True)
        create_schema(site, "alice")
        assert site.position(alice_of(site)).lsn == 0
        assert site.position(alice_of(site)).epoch != epoch
        assert not any(rows(site, alice_of(site)).values())
        put_table(site, "alice")

    def test_that_was_cut_short_is_finished_before_the_name_is_used_again(self, site: Registry) -> None:
        forget(site, site.get(alice_of(site)), force=True)
        assert site.database.has_schema("alice") == (site.database.kind == "sqlite")
        site.create_schema("alice")
        assert not any(rows(site, alice_of(site)).values())
        assert not finish_drop(site.database, "alice")

    def test_that_was_cut_short_is_finished_by_another(self, site: Registry) -> None:
        forget(site, site.get(alice_of(site)), force=True)
        if site.database.kind == "sqlite":
            assert drop_schema(site, "alice").is_empty
        assert not site.database.has_schema("alice")


class TestReplicasOfADroppedSchema:
    @staticmethod
    def start(registry: Registry, epoch: str = "", lsn: int = 0, chain: bytes = GENESIS) -> FollowFrom:
        return FollowFrom(alice_of(registry), epoch, lsn, chain, "ncsa", registry.universe.fingerprint)

    def test_are_told_that_it_is_gone(self, site: Registry) -> None:
        drop_schema(site, "alice", force=True)
        with pytest.raises(NotFoundError, match="site base neither owns nor relays schema base/alice"):
            next(Publisher(site).follow(self.start(site), lambda: True))

    def test_are_told_so_in_the_midst_of_a_stream(self, site: Registry) -> None:
        stream = Publisher(site).follow(self.start(site), lambda: True)
        next(stream)
        drop_schema(site, "alice", force=True)
        with pytest.raises(NotFoundError):
            for _ in stream:
                pass

    def test_begin_anew_with_one_of_the_same_name(self, site: Registry) -> None:
        publisher = Publisher(site)
        stream = publisher.follow(self.start(site), lambda: True)
        last = next(stream).entries[-1]
        epoch = site.position(alice_of(site)).epoch
        drop_schema(site, "alice", force=True)
        create_schema(site, "alice")
        with pytest.raises(EpochError):
            next(publisher.follow(self.start(site, epoch, last.lsn, last.chain), lambda: True))
        # nothing of the new log comes by the old stream; the follower asks again, and is told as above
        told: list[object] = []
        with pytest.raises((UnavailableError, NotFoundError)):
            told.extend(entry for batch in stream for entry in batch.entries)
        assert not told


class TestGrants:
    @pytest.fixture
    def schemas(self, registry: Registry) -> Registry:
        for name in ("alice", "bob", "commissioning"):
            create_schema(registry, name)
        return registry

    def test_an_owner_may_everything_others_nothing(self, schemas: Registry) -> None:
        for privilege in Privilege:
            assert grants.may(schemas, "alice", privilege, "alice")
            assert not grants.may(schemas, "bob", privilege, "alice")
            assert grants.may(schemas, None, privilege, "alice")
            assert grants.may(schemas, grants.operator(), privilege, "base")

    def test_a_grant_permits_what_it_says(self, schemas: Registry) -> None:
        assert grants.grant(schemas, "alice", "write", "alice", "bob")
        assert not grants.grant(schemas, "alice", "write", "alice", "bob")
        assert grants.may(schemas, "bob", "write", "alice")
        assert grants.may(schemas, "bob", "read", "alice")
        assert not grants.may(schemas, "bob", "share", "alice")
        grants.revoke(schemas, "alice", "write", "alice", "bob")
        assert not grants.may(schemas, "bob", "read", "alice")

    def test_who_may_share_may_grant_read_only(self, schemas: Registry) -> None:
        grants.grant(schemas, "alice", "share", "alice", "bob")
        grants.grant(schemas, "bob", "read", "alice", "carol")
        assert grants.may(schemas, "carol", "read", "alice")
        with pytest.raises(
            ForbiddenError, match="user bob may share schema alice, which is to grant read, not write"
        ):
            grants.grant(schemas, "bob", "write", "alice", "carol")

    def test_others_may_grant_nothing(self, schemas: Registry) -> None:
        with pytest.raises(
            ForbiddenError, match="user carol has no share privilege on schema alice of site base"
        ):
            grants.grant(schemas, "carol", "read", "alice", "carol")

    def test_are_taken_back_by_the_owner_the_operator_or_who_made_them(self, schemas: Registry) -> None:
        for sharer in ("bob", "carol"):
            grants.grant(schemas, "alice", "share", "alice", sharer)
        grants.grant(schemas, "bob", "read", "alice", "dave")
        with pytest.raises(ForbiddenError, match="from dave: bob granted it"):
            grants.revoke(schemas, "carol", "read", "alice", "dave")
        grants.revoke(schemas, "bob", "read", "alice", "dave")
        with pytest.raises(NotFoundError, match="dave was not granted read on schema alice") as error:
            grants.revoke(schemas, None, "read", "alice", "dave")
        assert "share to bob, share to carol" in error.value.hint

    def test_a_user_without_one_is_told_who_can_give_it(self, schemas: Registry) -> None:
        grants.grant(schemas, "alice", "share", "alice", "carol")
        with pytest.raises(ForbiddenError) as error:
            grants.check(schemas, "bob", Privilege.WRITE, "alice")
        assert error.value.message == "user bob has no write privilege on schema alice of site base"
        assert error.value.hint == (
            "ask user alice or the site's operator to run: federation schema grant write alice bob --site base"
        )
        assert error.value.exit_code == 3
        with pytest.raises(ForbiddenError) as error:
            grants.check(schemas, "bob", Privilege.READ, "alice")
        assert "ask user alice, carol or" in error.value.hint

    def test_are_in_the_log_of_the_main_schema(self, schemas: Registry) -> None:
        before = rows(schemas, SchemaId("base", "base"))["schema_grant"]
        grants.grant(schemas, None, "read", "alice", "bob")
        after = rows(schemas, SchemaId("base", "base"))["schema_grant"]
        assert after - before == {("alice", "bob", "read", grants.operator())}

    def test_of_an_impossible_user_are_refused(self, schemas: Registry) -> None:
        for grantee in ("", "a b", "-x", "é", "x" * 65, "a\nb"):
            with pytest.raises(UserError, match=r"user name .* is not allowed"):
                grants.grant(schemas, None, "read", "alice", grantee)

    def test_of_what_is_not_there_are_refused(self, schemas: Registry) -> None:
        with pytest.raises(NotFoundError, match="no schema 'carol' of its own"):
            grants.grant(schemas, None, "read", "carol", "bob")
        with pytest.raises(UserError, match="privilege 'own' is not known"):
            grants.grant(schemas, None, "own", "alice", "bob")


class TestGroups:
    @pytest.fixture
    def group(self, registry: Registry) -> Registry:
        create_schema(registry, "commissioning")
        grants.add_member(registry, None, "commissioning", "alice")
        return registry

    def test_read_and_write_the_schema_of_their_name(self, group: Registry) -> None:
        assert grants.may(group, "alice", "write", "commissioning")
        assert not grants.may(group, "alice", "share", "commissioning")
        assert not grants.may(group, "bob", "read", "commissioning")
        assert not grants.may(group, "commissioning", "write", "commissioning")
        grants.remove_member(group, None, "commissioning", "alice")
        assert not grants.may(group, "alice", "write", "commissioning")

    def test_hold_grants_for_their_members(self, group: Registry) -> None:
        create_schema(group, "bob")
        grants.grant(group, "bob", "read", "bob", "commissioning")
        assert grants.may(group, "alice", "read", "bob")
        assert not grants.may(group, "alice", "write", "bob")

    def test_are_changed_by_the_operator_only(self, group: Registry) -> None:
        with pytest.raises(ForbiddenError, match="user alice may not change groups at site base"):
            grants.add_member(group, "alice", "commissioning", "bob")
        with pytest.raises(ForbiddenError):
            grants.remove_member(group, "alice", "commissioning", "alice")

    def test_that_would_confuse_names_are_refused(self, group: Registry) -> None:
        for name, member, says in (
            ("alice", "bob", "alice is a user and can't be a group too"),
            ("other", "commissioning", "commissioning is a group and can't be a member"),
            ("base", "bob", "would own the site's own schema"),
            ("Group", "bob", "group name 'Group' is not allowed"),
            ("group", "b b", "user name 'b b' is not allowed"),
        ):
            with pytest.raises(UserError, match=says):
                grants.add_member(group, None, name, member)

    def test_lose_only_who_is_in_them(self, group: Registry) -> None:
        with pytest.raises(NotFoundError, match="bob is not a member of group commissioning") as error:
            grants.remove_member(group, None, "commissioning", "bob")
        assert "alice" in error.value.hint


class TestTheHeadOfAChain:
    def test_is_where_a_session_writes(self, registry: Registry) -> None:
        create_schema(registry, "alice")
        for spelling in ("alice", "alice@base", "base/alice"):
            assert writable_schema(registry, [spelling, "base"], "alice") == "alice"
        assert writable_schema(registry, []) == "base"

    def test_must_be_the_users_to_write(self, registry: Registry) -> None:
        create_schema(registry, "alice")
        with pytest.raises(ForbiddenError, match="user bob has no write privilege on schema alice"):
            writable_schema(registry, ["alice"], "bob")
        with pytest.raises(ForbiddenError, match="on schema base"):
            writable_schema(registry, [], "bob")
        with pytest.raises(UserError, match="site summit owns; site base can't write it"):
            writable_schema(registry, ["summit/alice"])
        with pytest.raises(NotFoundError, match="no schema 'carol'"):
            writable_schema(registry, ["carol"])
