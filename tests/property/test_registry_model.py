"""Random operations in two schemas give the same answers on SQLite, on PostgreSQL and in a plain model."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from registry_model import TYPE, Refused, RegistryModel, Span

from federation.changelog import decode_changes, read_entries, stamp
from federation.errors import UserError
from federation.model.change import Operation
from federation.model.collection import Collection, CollectionType
from federation.model.dataset import DatasetType
from federation.model.dimension import DimensionUniverse
from federation.model.position import SchemaId
from federation.model.timespan import Timespan
from federation.registry import calibrations, chains, collections, dataset_types, datasets, dimensions, tags
from federation.registry.lookup import DatasetLookup
from federation.registry.registry import Registry
from federation.registry.transaction import Transaction
from federation.storage import PostgresDatabase, SqliteDatabase

SITE, USER = "base", "alice"
DETECTORS = 3
RUNS = {SITE: ("run/a", "run/b"), USER: ("u/run",)}
TAGGED = {SITE: "tags", USER: "u/tags"}
CALIBRATIONS = {SITE: "calib", USER: "u/calib"}
CHAINS = ("chain/1", "chain/2")
IDS = [uuid.UUID(int=number) for number in range(1, 7)]
MOMENTS = (0, 3, 7)

schemas = st.sampled_from([SITE, USER])
detectors = st.lists(st.integers(0, DETECTORS - 1), min_size=1, max_size=3)
policies = st.sampled_from(["refuse", "ignore", "replace"])
choices = st.lists(st.integers(0, 20), min_size=1, max_size=3)
bounds = st.none() | st.integers(1, 6)
spans = st.tuples(bounds, bounds).filter(lambda s: s[0] is None or s[1] is None or s[0] < s[1])


def stock(registry: Registry) -> None:
    registry.create_schema(USER)
    with registry.transaction(SITE) as tx:
        dimensions.insert_records(tx, "instrument", [{"name": "C"}])
        dimensions.insert_records(
            tx, "detector", [{"instrument": "C", "id": n, "full_name": f"d{n}"} for n in range(DETECTORS)]
        )
    for name in (SITE, USER):
        with registry.transaction(name) as tx:
            dataset_types.declare(tx, DatasetType(TYPE, ("detector",), "ExposureF", is_calibration=True))
            for run in RUNS[name]:
                collections.register(tx, Collection(run, CollectionType.RUN))
            collections.register(tx, Collection(TAGGED[name], CollectionType.TAGGED))
            collections.register(tx, Collection(CALIBRATIONS[name], CollectionType.CALIBRATION))
            if name == SITE:
                for chain in CHAINS:
                    collections.register(tx, Collection(chain, CollectionType.CHAINED))


class RegistryMachine(RuleBasedStateMachine):
    """The same operation on two registries and on the model, then the same questions."""

    postgres_url: ClassVar[str] = ""

    def __init__(self) -> None:
        super().__init__()
        self.model = RegistryModel([USER, SITE])
        for chain in CHAINS:
            self.model.schemas[SITE].chains[chain] = ()
        self.directory = Path(tempfile.mkdtemp())
        self.registries: list[Registry] = []
        self._closing = contextlib.ExitStack()

    @initialize()
    def open(self) -> None:
        database = f"test_{uuid.uuid4().hex}"
        url = self._closing.enter_context(postgres_database(self.postgres_url, database))
        for opened in (SqliteDatabase(self.directory / "r"), PostgresDatabase(url, label="test")):
            registry = Registry.create_in(opened, SITE, DimensionUniverse.default())
            self._closing.callback(registry.close)
            stock(registry)
            self.registries.append(registry)
        self.insert(SITE, 0, [0, 1, 2], "refuse", None)
        self.insert(USER, 0, [0, 1], "refuse", IDS[:2])

    def teardown(self) -> None:
        self.find_everything()
        for registry in self.registries:
            for name in (SITE, USER):
                self._check_log(registry, name)
        self._closing.close()
        shutil.rmtree(self.directory)

    def _do(self, name: str, model: Callable[[], Any], operation: Callable[[Transaction], Any]) -> None:
        """Both registries must do as the model does: the same result, or an error and nothing changed."""
        try:
            expected, refused = model(), False
        except Refused:
            expected, refused = None, True
        for registry in self.registries:
            if refused:
                with pytest.raises(UserError), registry.transaction(name) as tx:
                    operation(tx)
                continue
            with registry.transaction(name) as tx:
                assert operation(tx) == expected

    @rule(
        name=schemas, which=st.integers(0, 1), detectors=detectors, policy=policies,
        ids=st.none() | st.lists(st.sampled_from(IDS), min_size=3, max_size=3),
    )  # fmt: skip
    def insert(
        self,
        name: str,
        which: int,
        detectors: list[int],
        policy: Literal["refuse", "ignore", "replace"],
        ids: list[uuid.UUID] | None,
    ) -> None:
        run = RUNS[name][which % len(RUNS[name])]
        named = None if ids is None else ids[: len(detectors)]
        data_ids = [{"instrument": "C", "detector": detector} for detector in detectors]

        def insert(tx: Transaction) -> list[uuid.UUID]:
            done = datasets.insert_many(
                tx, TYPE, run, data_ids, ids=named, once=named is None, on_conflict=policy
            )
            return [ref.id for ref in done.refs()]

        self._do(name, lambda: self.model.insert(name, run, detectors, named, policy), insert)

    def _some(self, choice: list[int]) -> list[uuid.UUID]:
        known = sorted({i for schema in self.model.schemas.values() for i in schema.datasets}, key=str)
        return list(dict.fromkeys(known[number % len(known)] for number in choice)) if known else []

    @rule(name=schemas, choice=choices, replace=st.booleans())
    def tag(self, name: str, choice: list[int], replace: bool) -> None:
        ids, collection = self._some(choice), TAGGED[name]

        def tag(tx: Transaction) -> None:
            tags.tag(tx, collection, ids, replace=replace)

        self._do(name, lambda: self.model.tag(name, collection, ids, replace=replace), tag)

    @rule(name=schemas, choice=choices)
    def untag(self, name: str, choice: list[int]) -> None:
        ids, collection = self._some(choice), TAGGED[name]

        def untag(tx: Transaction) -> None:
            tags.untag(tx, collection, ids)

        self._do(name, lambda: self.model.untag(name, collection, ids), untag)

    @rule(name=schemas, span=spans, choice=choices)
    def certify(self, name: str, span: Span, choice: list[int]) -> None:
        ids, collection = self._some(choice), CALIBRATIONS[name]

        def certify(tx: Transaction) -> None:
            calibrations.certify(tx, collection, Timespan(*span), ids)

        self._do(name, lambda: self.model.certify(name, collection, span, ids), certify)

    @rule(name=schemas, span=spans, chosen=st.none() | detectors)
    def decertify(self, name: str, span: Span, chosen: list[int] | None) -> None:
        collection = CALIBRATIONS[name]
        data_ids = None if chosen is None else [{"instrument": "C", "detector": d} for d in chosen]

        def decertify(tx: Transaction) -> None:
            calibrations.decertify(tx, collection, TYPE, Timespan(*span), data_ids)

        self._do(name, lambda: self.model.decertify(name, collection, span, chosen), decertify)

    @rule(
        chain=st.sampled_from(CHAINS),
        children=st.lists(
            st.sampled_from([*RUNS[SITE], TAGGED[SITE], CALIBRATIONS[SITE], *CHAINS]), unique=True
        ),
    )
    def redefine(self, chain: str, children: list[str]) -> None:
        def redefine(tx: Transaction) -> None:
            chains.redefine_chain(tx, chain, children)

        self._do(SITE, lambda: self.model.set_chain(SITE, chain, tuple(children)), redefine)

    @rule(name=schemas)
    def roll_back(self, name: str) -> None:
        data_ids = [{"instrument": "C", "detector": n} for n in range(DETECTORS)]
        for registry in self.registries:
            with pytest.raises(ZeroDivisionError), registry.transaction(name) as tx:  # noqa: PT012
                datasets.insert_many(tx, TYPE, RUNS[name][0], data_ids, on_conflict="replace")
                raise ZeroDivisionError

    @invariant()
    def says_the_same(self) -> None:
        for registry in self.registries:
            for name, expected in self.model.schemas.items():
                rows = table_rows(registry, name)
                found = {row["dataset_id"]: (row["run"], row["detector"]) for row in rows[TYPE]}
                assert found == expected.datasets
                assert {row["dataset_id"] for row in rows["dataset"]} == set(expected.datasets)
                assert {
                    (r["collection"], r["dataset_id"]) for r in rows["collection_member"]
                } == expected.tags
                assert {
                    (r["collection"], r["dataset_id"], (r["timespan_begin"], r["timespan_end"]))
                    for r in rows["calibration"]
                } == expected.valid

    @rule()
    def find_everything(self) -> None:
        collections = [*RUNS[SITE], *RUNS[USER], *TAGGED.values(), *CALIBRATIONS.values(), *CHAINS]
        for registry in self.registries:
            lookup = DatasetLookup(registry, chain=(USER,))
            for collection, detector, moment in itertools.product(collections, range(DETECTORS), MOMENTS):
                data_id, at = {"instrument": "C", "detector": detector}, Timespan(moment, moment + 1)
                found = lookup.find_dataset(TYPE, data_id, collection, timespan=at)
                expected = self.model.find(SITE, collection, detector, moment)
                assert (set() if found is None else {found.id}) == expected, (collection, detector, moment)

    def _check_log(self, registry: Registry, name: str) -> None:
        """The log, applied to nothing, gives the tables."""
        while stamp(registry.database, name):
            pass
        with registry.database.read((name,)) as connection:
            log = read_entries(connection, name, 0, 1 << 30)
        assert [entry.lsn for entry in log] == list(range(1, len(log) + 1))
        tables = registry.tables(SchemaId(SITE, name))
        made: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {table: {} for table in tables}
        for entry in log:
            for change in decode_changes(entry.body):
                places = [change.columns.index(column) for column in tables[change.table].key]
                for row in change.rows:
                    key = tuple(row[place] for place in places)
                    if change.operation is Operation.DELETE:
                        made[change.table].pop(key, None)
                    else:
                        made[change.table][key] = dict(zip(change.columns, row, strict=True))
        for table, rows in table_rows(registry, name).items():
            plain = [{c: getattr(v, "bytes", v) for c, v in row.items()} for row in rows]
            assert {tuple(row[c] for c in tables[table].key): row for row in plain} == made[table], table


def table_rows(registry: Registry, name: str) -> dict[str, list[dict[str, Any]]]:
    tables = registry.tables(SchemaId(SITE, name))
    physical = registry.physical_tables(name, tuple(tables.values()))
    with registry.database.read((name,)) as connection:
        return {
            table: [dict(row._mapping) for row in connection.execute(sa.select(physical[table]))]
            for table in tables
        }


@contextlib.contextmanager
def postgres_database(url: str, name: str) -> Iterator[str]:
    import psycopg
    from psycopg import sql

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    base, _, query = url.partition("?")
    try:
        yield f"{base.rpartition('/')[0]}/{name}?{query}"
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.mark.slow
def test_random_operations_are_answered_as_the_model_answers_them(postgres_url: str) -> None:
    RegistryMachine.postgres_url = postgres_url
    run_state_machine_as_test(
        RegistryMachine,
        settings=settings(
            max_examples=8,
            stateful_step_count=60,
            phases=(Phase.generate,),  # an example takes seconds: too long to shrink
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
