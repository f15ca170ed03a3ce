"""Users' tables: from files of every kind, with types kept or refused, extended, dropped, and the same in a replica."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from replicated_rows import database_of, open_registry, rows

from federation.errors import ConflictError, ForbiddenError, NotFoundError, UserError
from federation.model.dataset import DatasetType
from federation.model.logical import LogicalType
from federation.model.position import SchemaId
from federation.model.timespan import parse_tai
from federation.registry import dataset_types, grants
from federation.registry.felis import FelisColumn, FelisTable
from federation.registry.registry import Registry
from federation.registry.table_data import read_file
from federation.registry.user_tables import (
    append_rows,
    create_table,
    describe_table,
    drop_table,
    find_table,
    list_tables,
)
from federation.replication.follower import Follower
from federation.replication.publisher import Publisher
from federation.wire.client import SiteClient
from federation.wire.server import build_server

ALICE = SchemaId("base", "alice")
UUIDS = [uuid.UUID(int=1), uuid.UUID(int=2), None]
EVERY_TYPE = pa.table(
    {
        "visit": pa.array([3, 1, 2], pa.int16()),
        "seeing": pa.array([0.5, None, float("nan")], pa.float32()),
        "good": [True, False, None],
        "note": pa.array(["é\n", "", None], pa.large_string()),
        "band": pa.array(["r", "r", "g"]).dictionary_encode(),
        "raw": pa.array([b"\0\xff", b"", None]),
        "id": pa.array([None if u is None else u.bytes for u in UUIDS], pa.uuid()),
        "taken": pa.array([0, 1_767_225_600_000_000_001, None], pa.timestamp("ns")),
        "day": pa.array([dt.date(2026, 1, 1), None, None]),
        "nothing": pa.nulls(3),
    }
)
STORED = {
    (3, 0.5, True, "é\n", "r", b"\0\xff", UUIDS[0], 0, parse_tai("2026-01-01"), None),
    (1, None, False, "", "r", b"", UUIDS[1], 1_767_225_600_000_000_001, None, None),
    (2, None, None, None, "g", None, None, None, None, None),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A site for all the tables that are refused: nothing is ever written to it."""
    with open_registry(database_of("sqlite", tmp_path_factory.mktemp("base")), "base") as registry:
        registry.create_schema("alice")
        with registry.transaction("base") as tx:
            dataset_types.declare(tx, DatasetType("flat", ("detector",), "Exposure"))
        yield registry
        assert list_tables(registry, "alice") == ()


@pytest.fixture
def site(registry: Registry) -> Registry:
    registry.create_schema("alice")
    return registry


def make(site: Registry, data: pa.Table, name: str = "quality", **options: Any) -> Any:
    return create_table(site, "alice", name, data, **options)


class TestCreating:
    def test_keeps_every_value_of_every_type(self, site: Registry) -> None:
        report = make(site, EVERY_TYPE, key=["visit"])
        assert report.row_count == 3
        assert [column.type for column in report.table.columns] == [
            LogicalType.INT64,
            LogicalType.FLOAT64,
            LogicalType.BOOL,
            LogicalType.STRING,
            LogicalType.STRING,
            LogicalType.BYTES,
            LogicalType.UUID,
            LogicalType.TIMESTAMP,
            LogicalType.TIMESTAMP,
            LogicalType.STRING,
        ]
        assert rows(site, ALICE)["quality"] == STORED
        assert any("1 NaN became NULL" in note for note in report.notes)
        assert any("'taken': times are taken as TAI" in note for note in report.notes)

    @pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "arrow", "feather"])
    def test_reads_files_of_every_kind(self, site: Registry, tmp_path: Path, suffix: str) -> None:
        data = pa.table(
            {"visit": [1, 2], "seeing": [0.5, None], "taken": pa.array([1, 2], pa.timestamp("s"))}
        )
        path = tmp_path / f"quality.{suffix}"
        if suffix == "parquet":
            pa.parquet.write_table(data, path)
        elif suffix in ("csv", "tsv"):
            options = pa.csv.WriteOptions(delimiter="\t" if suffix == "tsv" else ",")
            pa.csv.write_csv(data, path, options)
        else:
            pa.feather.write_feather(data, path)
        make(site, read_file(path), key=["visit"], place=str(path))
        assert rows(site, ALICE)["quality"] == {(1, 0.5, 10**9), (2, None, 2 * 10**9)}

    def test_numbers_the_rows_of_a_table_without_a_key(self, site: Registry) -> None:
        report = make(site, pa.table({"x": ["a", "a"]}))
        assert report.table.key == ("row_id",)
        assert rows(site, ALICE)["quality"] == {(1, "a"), (2, "a")}

    def test_is_one_transaction(self, site: Registry) -> None:
        before = site.position(ALICE).lsn
        make(site, pa.table({"x": range(120_000)}), key=["x"])
        if site.database.kind == "sqlite":  # elsewhere numbers come later
            assert site.position(ALICE).lsn == before + 1
        assert find_table(site, "alice", "quality").row_count == 120_000

    def test_takes_a_table_without_rows(self, site: Registry) -> None:
        assert make(site, pa.table({"x": pa.array([], pa.int64())}), key=["x"]).row_count == 0
        assert rows(site, ALICE)["quality"] == set()

    def test_needs_the_privilege_to_write(self, site: Registry) -> None:
        data = pa.table({"x": [1]})
        with pytest.raises(
            ForbiddenError, match="user bob has no write privilege on schema alice of site base"
        ):
            make(site, data, user="bob")
        grants.grant(site, None, "read", "alice", "bob")
        with pytest.raises(ForbiddenError):
            make(site, data, user="bob")
        grants.grant(site, None, "write", "alice", "bob")
        make(site, data, user="bob")
        with pytest.raises(ForbiddenError):
            drop_table(site, "alice", "quality", user="carol")


class TestTimes:
    def test_without_a_zone_are_tai_or_converted_from_utc(self, site: Registry) -> None:
        texts = ["1972-01-01", "1998-12-31 23:59:59.5", "1999-01-01", "2026-01-01", None]
        data = pa.table({"x": range(5), "t": pa.array([t and dt.datetime.fromisoformat(t) for t in texts])})
        make(site, data, "tai", key=["x"], time_scale="tai")
        make(site, data, "utc", key=["x"], time_scale="utc")
        found = rows(site, ALICE)
        tai = dict(found["tai"])  # type: ignore[arg-type]
        utc = dict(found["utc"])  # type: ignore[arg-type]
        assert [tai[n] and tai[n] == parse_tai(texts[n] or "") for n in range(4)] == [True] * 4
        assert [(utc[n] - tai[n]) / 1e9 for n in range(4)] == [10, 31, 32, 37]
        assert (tai[4], utc[4]) == (None, None)

    def test_with_a_zone_are_converted_only_when_asked(self, site: Registry) -> None:
        zoned = pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3)))])
        data = pa.table({"x": [1], "t": zoned})
        with pytest.raises(UserError, match="column 't' has times in zone -03:00") as error:
            make(site, data)
        assert "--time-scale utc" in error.value.hint
        make(site, data, key=["x"], time_scale="utc")
        assert rows(site, ALICE)["quality"] == {(1, parse_tai("2026-01-01 03:00:37"))}

    def test_before_there_were_leap_seconds_are_not_converted(self, site: Registry) -> None:
        data = pa.table({"t": pa.array([None, dt.datetime(1971, 12, 31)])})
        with pytest.raises(UserError, match="column 't', row 2: the value is a UTC time before 1972-01-01"):
            make(site, data, time_scale="utc")

    def test_out_of_range_are_refused(self, site: Registry) -> None:
        with pytest.raises(UserError, match="column 't' does not fit timestamp"):
            make(site, pa.table({"t": pa.array([dt.datetime(3000, 1, 1)])}))


class TestBadTables:
    @pytest.mark.parametrize(
        ("column", "says", "hint"),
        [
            (pa.array([decimal.Decimal("1.5")]), "column 'c' has type decimal128", "cast it to double"),
            (pa.array([[1]]), "column 'c' has type list<", "each element a row"),
            (pa.array([{"a": 1}]), "column 'c' has type struct<a", "a column of its own"),
            (pa.array([dt.timedelta(1)]), "column 'c' has type duration", "number of seconds"),
            (pa.array([dt.time(1)]), "column 'c' has type time64", "number of seconds"),
            (pa.array([2**63], pa.uint64()), "column 'c' does not fit int64", "correct"),
            (pa.array(["a\0b"]), "column 'c', row 1: the value holds the character U\\+0000", "remove it"),
        ],
    )
    def test_with_a_type_or_value_that_no_column_has_are_refused(
        self, shared: Registry, column: pa.Array, says: str, hint: str
    ) -> None:
        with pytest.raises(UserError, match=f"^night.parquet: {says}") as error:
            make(shared, pa.table({"c": column}), place="night.parquet")
        assert hint in error.value.hint
        assert list_tables(shared, "alice") == ()

    @pytest.mark.parametrize(
        ("data", "key", "says"),
        [
            ({"x": [1, None]}, ["x"], "key column 'x', row 2: the value is missing"),
            ({"x": [1, 2, 1]}, ["x"], "rows 1 and 3 have one key, x = 1"),
            ({"x": [1, 1, 1], "y": ["a", "b", "b"]}, ["x", "y"], "rows 2 and 3 have one key, x = 1, y = 'b'"),
            ({"x": [1]}, ["y"], "key y is not among its columns"),
            ({"x": [1.0]}, ["x"], "key column 'x' is a float"),
            ({"row_id": [1]}, [], "has a column 'row_id' of its own"),
            ({"x": [1], "X": [1]}, [], "columns 'x' and 'X' differ in case only"),
            ({"obs date": [1]}, [], "column name 'obs date' is not an identifier"),
            ({"xmin": [1]}, [], "no column can be called 'xmin'"),
        ],
    )
    def test_with_keys_or_names_that_are_wrong_are_refused(
        self, shared: Registry, data: dict[str, list[Any]], key: list[str], says: str
    ) -> None:
        with pytest.raises(UserError, match=says):
            make(shared, pa.table(data), key=key)
        assert list_tables(shared, "alice") == ()

    def test_with_two_columns_of_one_name_are_refused(self, shared: Registry) -> None:
        with pytest.raises(UserError, match="has two columns 'x'"):
            make(shared, pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"]))

    @pytest.mark.parametrize(
        ("name", "kind"),
        [("visit", "dimension"), ("Visit", "dimension"), ("dataset", "system"), ("flat", "dataset_type")],
    )
    def test_under_the_name_of_a_logical_table_are_refused(
        self, shared: Registry, name: str, kind: str
    ) -> None:
        with pytest.raises(ConflictError, match=f"'{name}' is the name of a {kind} table in base/"):
            make(shared, pa.table({"x": [1]}), name)

    @pytest.mark.parametrize("name", ["", "a b", "1a", "a" * 60, "a.b", 'a"b'])
    def test_under_a_name_that_is_none_are_refused(self, shared: Registry, name: str) -> None:
        with pytest.raises(UserError, match="is not an identifier"):
            make(shared, pa.table({"x": [1]}), name)

    def test_twice_under_one_name_are_refused(self, site: Registry) -> None:
        make(site, pa.table({"x": [1]}))
        with pytest.raises(ConflictError, match="schema alice has a table 'quality' already"):
            make(site, pa.table({"x": [1]}), "Quality")

    def test_in_two_schemas_may_have_one_name_and_the_second_is_told(self, site: Registry) -> None:
        site.create_schema("bob")
        make(site, pa.table({"x": [1]}))
        report = create_table(site, "bob", "quality", pa.table({"y": ["a"]}), key=["y"])
        assert report.notes == ("base/alice has another table quality: write bob.quality in queries",)

    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("a.csv", b"x,y\n1,2\n3\n", "not a readable csv file: CSV parse error"),
            ("a.csv", b"x\n\xff\xfe\n", "column 'x' is not all UTF-8"),
            ("a.csv", b"", "not a readable csv file: Empty CSV file"),
            ("a.parquet", b"PAR1", "not a readable parquet file"),
            ("a.arrow", b"no", "not a readable arrow file"),
            ("a.txt", b"", "the name does not say what kind of table it is"),
        ],
    )
    def test_in_files_that_are_none_are_refused(
        self, shared: Registry, tmp_path: Path, name: str, content: bytes, says: str
    ) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=says):
            make(shared, read_file(tmp_path / name), place=name)

    def test_in_no_file_are_not_found(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match=r"no file .*a\.csv"):
            read_file(tmp_path / "a.csv")


class TestAppending:
    def test_adds_rows_and_goes_on_with_their_numbers(self, site: Registry) -> None:
        make(site, pa.table({"x": ["a", "b"]}))
        assert append_rows(site, "alice", "quality", pa.table({"x": ["c"]})).row_count == 3
        assert rows(site, ALICE)["quality"] == {(1, "a"), (2, "b"), (3, "c")}

    def test_fits_columns_and_leaves_absent_ones_empty(self, site: Registry) -> None:
        make(site, pa.table({"x": [1], "y": [0.5], "z": ["a"]}), key=["x"])
        append_rows(site, "alice", "quality", pa.table({"y": [2], "x": [2]}))
        append_rows(site, "alice", "quality", pa.table({"x": [3], "y": pa.nulls(1), "z": ["c"]}))
        assert rows(site, ALICE)["quality"] == {(1, 0.5, "a"), (2, 2.0, None), (3, None, "c")}

    @pytest.mark.parametrize(
        ("data", "says"),
        [
            ({"t": [3, 1]}, "row 2: table quality has a row with t = 1 already"),
            ({"t": [3, 3]}, "rows 1 and 2 have one key"),
            ({"t": [3], "more": [1]}, "table quality has no column 'more'"),
            ({"t": [3], "y": ["a"]}, "column 'y' is string, in table quality it is float64"),
            ({"y": [0.5]}, "the table has no column 't', which is of the key of table quality"),
        ],
    )
    def test_refuses_rows_that_do_not_fit_and_adds_none(
        self, site: Registry, data: dict[str, list[Any]], says: str
    ) -> None:
        made = pa.table({"t": [1, 2], "y": [0.5, None]})
        make(site, made, key=["t"])
        with pytest.raises(UserError, match=says):
            append_rows(site, "alice", "quality", pa.table(data))
        assert rows(site, ALICE)["quality"] == {(1, 0.5), (2, None)}

    @pytest.mark.parametrize(
        "values", [pa.array([5, 9], pa.timestamp("ns")), pa.array([u.bytes for u in UUIDS[:2]], pa.uuid())]
    )
    def test_finds_keys_of_any_type_again(self, site: Registry, values: pa.Array) -> None:
        make(site, pa.table({"k": values}), key=["k"])
        with pytest.raises(ConflictError, match="row 1: table quality has a row with k ="):
            append_rows(site, "alice", "quality", pa.table({"k": values.slice(1)}))

    def test_to_no_table_names_those_there_are(self, site: Registry) -> None:
        make(site, pa.table({"x": [1]}))
        with pytest.raises(NotFoundError, match="schema alice has no user table 'visit'") as error:
            append_rows(site, "alice", "visit", pa.table({"x": [1]}))
        assert error.value.hint == "its user tables: quality"


class TestDropping:
    def test_leaves_nothing_and_frees_the_name(self, site: Registry) -> None:
        make(site, EVERY_TYPE, key=["visit"])
        assert drop_table(site, "alice", "quality").row_count == 3
        assert list_tables(site, "alice") == ()
        assert "quality" not in site.tables(ALICE)
        make(site, pa.table({"x": ["a"]}))
        assert rows(site, ALICE)["quality"] == {(1, "a")}

    def test_of_what_is_no_user_table_is_refused(self, site: Registry) -> None:
        for name in ("visit", "nothing"):
            with pytest.raises(NotFoundError, match=f"schema alice has no user table '{name}'"):
                drop_table(site, "alice", name)
            with pytest.raises(NotFoundError):
                find_table(site, "alice", name)


class _Service:
    """A site that publishes."""

    def __init__(self, registry: Registry) -> None:
        publisher = self.publisher = Publisher(registry)
        self.follow, self.bootstrap, self.digest = publisher.follow, publisher.bootstrap, publisher.digest


@pytest.fixture
def follow(
    site: Registry, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[], Registry]]:
    """Brings a replica at ncsa, on a database of the other kind, up to date."""
    kind = "postgresql" if site.database.kind == "sqlite" else "sqlite"
    url = request.getfixturevalue("fresh_postgres_database") if kind == "postgresql" else ""
    service = _Service(site)
    server = build_server(service, "127.0.0.1:0", workers=4)  # type: ignore[arg-type]
    server.start()
    with (
        open_registry(database_of(kind, tmp_path / "ncsa", url), "ncsa") as replica,
        SiteClient("base", server.address) as client,
    ):

        def once() -> Registry:
            Follower(replica, client, ALICE, "ncsa").run_once()
            return replica

        yield once
    service.publisher.stop()
    server.stop(0)


class TestReplicas:
    def test_have_the_table_and_follow_what_becomes_of_it(
        self, site: Registry, follow: Callable[[], Registry]
    ) -> None:
        def same() -> None:
            replica = follow()
            assert rows(replica, ALICE) == rows(site, ALICE)
            assert replica.tables(ALICE) == site.tables(ALICE)

        make(site, EVERY_TYPE, key=["visit"])
        same()
        append_rows(site, "alice", "quality", pa.table({"visit": [9]}))
        described = FelisTable("quality", (FelisColumn("seeing", "double", "image quality", "arcsec"),))
        describe_table(site, "alice", "quality", described)
        same()
        assert len(rows(follow(), ALICE)["quality"]) == 4
        drop_table(site, "alice", "quality")
        same()
        make(site, pa.table({"visit": ["a"]}))
        same()

    def test_get_through_a_table_that_was_dropped_and_made_anew_meanwhile(
        self, site: Registry, follow: Callable[[], Registry]
    ) -> None:
        make(site, pa.table({"x": [1, 2]}), key=["x"])
        follow()
        for data in (pa.table({"x": [2], "y": [0.5]}), pa.table({"x": ["a"]}), pa.table({"x": [7]})):
            drop_table(site, "alice", "quality")
            make(site, data, key=["x"])
        replica = follow()
        assert rows(replica, ALICE) == rows(site, ALICE)
        assert rows(replica, ALICE)["quality"] == {(7,)}
