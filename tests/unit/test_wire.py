"""What crosses the wire arrives as it was: errors, rows, catalogs, and streams that end early."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from federation.errors import (
    BY_CODE,
    CorruptionError,
    FederationError,
    LimitError,
    QueryError,
    UnavailableError,
)
from federation.model.catalog import SchemaCatalog, SiteCatalog, TableStats
from federation.model.change import LogEntry
from federation.model.dimension import DimensionUniverse
from federation.model.log_filter import LogFilter
from federation.model.logical import LogicalType, dimension_tables
from federation.model.position import Position, SchemaId
from federation.model.system_tables import system_tables
from federation.planner import OutputColumn
from federation.wire.arrow import IpcEncoder, arrow_schema, decode_stream, retype_batch, rows_to_batch
from federation.wire.catalog import decode_catalog, encode_catalog
from federation.wire.client import SiteClient
from federation.wire.messages import (
    BootstrapFrom,
    BootstrapPart,
    BucketDigest,
    DigestAnswer,
    DigestOf,
    ExecuteCall,
    FileSlice,
    FollowBatch,
    FollowerStanding,
    FollowFrom,
    RowDigest,
    SchemaStatus,
    SiteStatus,
    TableDigest,
)
from federation.wire.server import SiteServer, build_server

SUMMIT = SchemaId("summit", "summit")
ENTRY = LogEntry(8, 5, 2, 1, b"body", b"d" * 16, b"c" * 16)
STATUS = SiteStatus(
    "summit",
    "0.1.0",
    "sqlite",
    "survey 1",
    (
        SchemaStatus(
            SUMMIT,
            True,
            "e1",
            8,
            8,
            0.0,
            dataset_count=3,
            first_lsn=2,
            followers=(
                FollowerStanding("base", 5, 3, 900, 1.5, 0.5),
                FollowerStanding("ncsa", 8, 0, None, None, 2.0),
            ),
        ),
        SchemaStatus(SchemaId("base", "base"), False, "", 0, 4, None, "waiting", "no answer", 0, 2),
    ),
    17,
)
DIGESTS = DigestAnswer(
    "e1",
    8,
    (TableDigest("raw", 2, b"t"),),
    (BucketDigest(3, 1, b"b"),),
    (RowDigest("[1]", b"r"),),
    {"raw": b"d" * 32},
)
COLUMNS = (OutputColumn("n", LogicalType.INT64), OutputColumn("word", LogicalType.STRING))
CATALOG = SiteCatalog(
    "summit",
    "v7",
    (
        SchemaCatalog(
            SUMMIT,
            "e1",
            8,
            9,
            None,
            (*system_tables(), *dimension_tables(DimensionUniverse.default())),
            {"raw": TableStats(5, 33.5)},
        ),
    ),
)


class Service:
    """A site of the test's own making; ``error`` is raised by whatever is asked."""

    def __init__(self) -> None:
        self.error: FederationError | None = None
        self.call: ExecuteCall | None = None
        self.batches: list[pa.RecordBatch] = []
        self.closed = threading.Event()
        self.seen: Any = None

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    def get_catalog(self, known_version: str, user: str) -> tuple[str, str, SiteCatalog | None]:
        self._check()
        return "summit", CATALOG.version, None if known_version == CATALOG.version else CATALOG

    def execute(self, call: ExecuteCall) -> tuple[tuple[Position, ...], pa.Schema, Iterator[pa.RecordBatch]]:
        self.call = call
        schema = arrow_schema(call.columns)

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                yield from self.batches
                self._check()
            finally:
                self.closed.set()

        return (Position("summit", "summit", "e1", 8),), schema, batches()

    def status(self, user: str) -> SiteStatus:
        self._check()
        return STATUS

    def fetch(self, dataset_id: uuid.UUID, offset: int, user: str) -> FileSlice:
        self._check()
        data = b"0123456789"
        return FileSlice(dataset_id, len(data), "blake2b:00", iter([data[offset:7], data[7:]]))

    def follow(self, start: FollowFrom, is_active: Callable[[], bool]) -> Iterator[FollowBatch]:
        self.seen = start
        try:
            yield FollowBatch("e1", 7, (ENTRY,), 8, 99)
            while is_active():
                yield FollowBatch("e1", 8, (), 8, 100)
        finally:
            self.closed.set()

    def bootstrap(self, start: BootstrapFrom) -> Iterator[BootstrapPart]:
        self.seen = start
        yield BootstrapPart("e1", 8, b"c" * 16, 1, b"rows", False, size_bytes=9)
        yield BootstrapPart("e1", 8, b"c" * 16, 1, b"", True)

    def digest(self, wanted: DigestOf) -> DigestAnswer:
        self.seen = wanted
        return DIGESTS


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def server(service: Service) -> Iterator[SiteServer]:
    built = build_server(service, "127.0.0.1:0", workers=4)
    built.start()
    yield built
    built.stop(0)


@pytest.fixture
def client(server: SiteServer) -> Iterator[SiteClient]:
    with SiteClient("summit", server.address) as made:
        yield made


def batch(*rows: tuple[Any, ...]) -> pa.RecordBatch:
    return rows_to_batch(list(rows), arrow_schema([("n", LogicalType.INT64), ("word", LogicalType.STRING)]))


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_an_error_arrives_as_the_class_that_was_raised(
    code: str, service: Service, client: SiteClient
) -> None:
    service.error = BY_CODE[code]("détecteur 'x' is\nwrong", hint="try: y")
    with pytest.raises(FederationError) as caught:
        client.status()
    assert type(caught.value) is BY_CODE[code]
    assert (caught.value.message, caught.value.hint) == ("détecteur 'x' is\nwrong", "try: y")


def test_a_long_error_is_cut_and_keeps_its_class(service: Service, client: SiteClient) -> None:
    service.error = LimitError("ü" * 50_000, hint="h" * 50_000)
    with pytest.raises(LimitError) as caught:
        client.status()
    assert caught.value.message.endswith("...")


def test_a_query_error_points_into_the_statement_however_long(service: Service, client: SiteClient) -> None:
    sql = "SELECT " + "x" * 100_000
    service.error = QueryError("unknown column", sql=sql, position=7)
    with pytest.raises(QueryError) as caught, client.execute(sql, COLUMNS) as rows:
        list(rows)
    assert (caught.value.position, caught.value.sql) == (7, sql)


def test_a_site_that_is_down_is_named_with_its_address() -> None:
    with SiteClient("summit", "127.0.0.1:1") as client, pytest.raises(UnavailableError) as caught:
        client.get_catalog()
    assert caught.value.message == "site summit at 127.0.0.1:1 does not answer: Connection refused"
    assert caught.value.hint


def test_an_address_in_use_is_named(server: SiteServer, service: Service) -> None:
    with pytest.raises(UnavailableError, match=server.address):
        build_server(service, server.address)


def test_a_catalog_arrives_unless_it_is_known(client: SiteClient) -> None:
    catalog = client.get_catalog()
    assert catalog == CATALOG
    assert catalog is not None
    assert catalog.schemas[0].stats == CATALOG.schemas[0].stats
    assert client.get_catalog("v7") is None


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xc1", encode_catalog(CATALOG)[:-3]])
def test_bytes_that_are_no_catalog_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptionError):
        decode_catalog(data)


def test_a_catalog_survives_encoding() -> None:
    assert decode_catalog(encode_catalog(CATALOG)) == CATALOG


def test_rows_arrive_with_the_positions_that_were_read(service: Service, client: SiteClient) -> None:
    service.batches = [batch((1, "a"), (2, None)), batch((3, "c"))]
    keys = {"ids": pa.table({"value": pa.array([uuid.UUID(int=5).bytes], pa.uuid())})}
    with client.execute("SELECT", COLUMNS, keys, user="u", row_count_max=9, timeout_s=30) as rows:
        found = [row for part in rows for row in part.to_pylist()]
    assert found == [{"n": 1, "word": "a"}, {"n": 2, "word": None}, {"n": 3, "word": "c"}]
    assert rows.positions == (Position("summit", "summit", "e1", 8),)
    assert rows.byte_count > 0
    assert service.call is not None
    assert service.call.columns == (("n", LogicalType.INT64), ("word", LogicalType.STRING))
    assert (service.call.user, service.call.row_count_max) == ("u", 9)
    assert service.call.keys["ids"].to_pylist() == [{"value": uuid.UUID(int=5)}]


def test_an_answer_without_rows_is_no_error(client: SiteClient) -> None:
    with client.execute("SELECT", COLUMNS) as rows:
        assert list(rows) == []


def test_an_error_after_some_rows_is_not_an_end(service: Service, client: SiteClient) -> None:
    service.batches, service.error = [batch((1, "a"))], LimitError("too many rows")
    with client.execute("SELECT", COLUMNS) as rows, pytest.raises(LimitError, match="too many rows"):
        list(rows)


def test_leaving_early_stops_the_site(service: Service, client: SiteClient) -> None:
    service.batches = [batch(*[(n, "w" * 500) for n in range(1000)])] * 500
    with client.execute("SELECT", COLUMNS) as rows:
        next(iter(rows))
    assert service.closed.wait(10)


def test_a_large_batch_is_cut_into_messages(service: Service, client: SiteClient) -> None:
    service.batches = [batch(*[(n, uuid.UUID(int=n * 2**90 + n**5).hex * 40) for n in range(60_000)])]
    with client.execute("SELECT", COLUMNS) as rows:
        assert sum(part.num_rows for part in rows) == 60_000


@pytest.mark.parametrize("cut", [1, 7, 100, -20])
def test_a_damaged_stream_is_refused(cut: int) -> None:
    part = batch((1, "a"), (2, "b"))
    encoder = IpcEncoder(part.schema)
    data = b"".join([*encoder.batch(part), *encoder.finish()])
    with pytest.raises(CorruptionError, match="answer of summit"):
        list(decode_stream(iter([data[:cut]]), "answer of summit"))


def test_every_type_survives_from_both_databases() -> None:
    id_ = uuid.UUID(int=7)
    schema = arrow_schema([(kind.value, kind) for kind in LogicalType])
    sqlite = (1, 1.5, 1, "é", b"\0", id_.bytes, 1_767_225_600_000_000_001)
    postgres = (1, 1.5, True, "é", b"\0", id_, 1_767_225_600_000_000_001)
    nulls = (None,) * len(schema)
    made = rows_to_batch([sqlite, postgres, nulls], schema)
    first, second, third = zip(
        *(
            (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
            for column in made.columns
        ),
        strict=True,
    )
    assert first == second == postgres
    assert third == nulls


def test_a_value_of_another_type_is_named_by_its_column() -> None:
    with pytest.raises(QueryError, match="'n'"):
        batch((2.5, "a"))


def test_a_status_arrives_whole(client: SiteClient) -> None:
    assert client.status() == STATUS


def test_a_file_arrives_from_an_offset(client: SiteClient) -> None:
    with client.fetch(uuid.UUID(int=3), 4) as stream:
        assert (stream.size_bytes, stream.checksum) == (10, "blake2b:00")
        assert b"".join(stream) == b"456789"


def test_following_ends_when_cancelled(service: Service, client: SiteClient) -> None:
    start = FollowFrom(SUMMIT, "e1", 7, b"c" * 16, "base", "f")
    with client.follow(start) as batches:
        assert next(batches) == FollowBatch("e1", 7, (ENTRY,), 8, 99)
        assert next(batches).entries == ()
        batches.cancel()
        assert list(batches) == []
    assert service.seen == start
    assert service.closed.wait(10)


def test_a_copy_arrives_in_parts(service: Service, client: SiteClient) -> None:
    start = BootstrapFrom(SUMMIT, "base", "f", bucket_count=4, only={"raw": (1, 3)})
    parts = list(client.bootstrap(start))
    assert [(part.last, part.size_bytes) for part in parts] == [(False, 9), (True, 0)]
    assert service.seen == start


def test_digests_arrive_whole(service: Service, client: SiteClient) -> None:
    wanted = DigestOf(SUMMIT, "raw", 8, (1, 3), LogFilter(tables=("raw",)))
    assert client.digest(wanted) == DIGESTS
    assert service.seen == wanted


def test_arrow_of_a_driver_takes_the_announced_types() -> None:
    schema = arrow_schema([("n", LogicalType.INT64), ("t", LogicalType.TIMESTAMP), ("id", LogicalType.UUID)])
    one = uuid.uuid4()
    columns = [
        pa.array([1, None], pa.int32()),
        pa.array([5, None]),
        pa.array([one.bytes, None], pa.binary(16)),
    ]
    batch = pa.RecordBatch.from_arrays(columns, ["n", "t", "id"])
    made = retype_batch(batch, schema)
    assert made.schema == schema
    assert made.column("id").to_pylist() == [one, None]
    assert made.column("t").cast(pa.int64()).to_pylist() == [5, None]
    with pytest.raises(QueryError, match="3 columns where 1 were announced"):
        retype_batch(batch, arrow_schema([("n", LogicalType.INT64)]))
    with pytest.raises(QueryError, match="column 'n' holds a value that is no int64"):
        retype_batch(
            pa.RecordBatch.from_arrays([pa.array(["x"])], ["n"]), arrow_schema([("n", LogicalType.INT64)])
        )
