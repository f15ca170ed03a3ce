from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Filter(_message.Message):
    __slots__ = ("tables", "dataset_types", "collections")
    TABLES_FIELD_NUMBER: _ClassVar[int]
    DATASET_TYPES_FIELD_NUMBER: _ClassVar[int]
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    tables: _containers.RepeatedScalarFieldContainer[str]
    dataset_types: _containers.RepeatedScalarFieldContainer[str]
    collections: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tables: _Optional[_Iterable[str]] = ..., dataset_types: _Optional[_Iterable[str]] = ..., collections: _Optional[_Iterable[str]] = ...) -> None: ...

class FollowRequest(_message.Message):
    __slots__ = ("site", "schema", "epoch", "lsn", "chain", "follower", "universe_fingerprint", "filter", "takes_copy")
    SITE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LSN_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    FOLLOWER_FIELD_NUMBER: _ClassVar[int]
    UNIVERSE_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    TAKES_COPY_FIELD_NUMBER: _ClassVar[int]
    site: str
    schema: str
    epoch: str
    lsn: int
    chain: bytes
    follower: str
    universe_fingerprint: str
    filter: Filter
    takes_copy: bool
    def __init__(self, site: _Optional[str] = ..., schema: _Optional[str] = ..., epoch: _Optional[str] = ..., lsn: _Optional[int] = ..., chain: _Optional[bytes] = ..., follower: _Optional[str] = ..., universe_fingerprint: _Optional[str] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., takes_copy: _Optional[bool] = ...) -> None: ...

class FollowResponse(_message.Message):
    __slots__ = ("epoch", "prev_lsn", "entries", "head_lsn", "server_tai_ns", "prev_chain", "path", "head_tai_ns")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PREV_LSN_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    HEAD_LSN_FIELD_NUMBER: _ClassVar[int]
    SERVER_TAI_NS_FIELD_NUMBER: _ClassVar[int]
    PREV_CHAIN_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    HEAD_TAI_NS_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    prev_lsn: int
    entries: bytes
    head_lsn: int
    server_tai_ns: int
    prev_chain: bytes
    path: _containers.RepeatedScalarFieldContainer[str]
    head_tai_ns: int
    def __init__(self, epoch: _Optional[str] = ..., prev_lsn: _Optional[int] = ..., entries: _Optional[bytes] = ..., head_lsn: _Optional[int] = ..., server_tai_ns: _Optional[int] = ..., prev_chain: _Optional[bytes] = ..., path: _Optional[_Iterable[str]] = ..., head_tai_ns: _Optional[int] = ...) -> None: ...

class AcknowledgeRequest(_message.Message):
    __slots__ = ("site", "schema", "follower", "epoch", "lsn")
    SITE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    FOLLOWER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LSN_FIELD_NUMBER: _ClassVar[int]
    site: str
    schema: str
    follower: str
    epoch: str
    lsn: int
    def __init__(self, site: _Optional[str] = ..., schema: _Optional[str] = ..., follower: _Optional[str] = ..., epoch: _Optional[str] = ..., lsn: _Optional[int] = ...) -> None: ...

class AcknowledgeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BootstrapRequest(_message.Message):
    __slots__ = ("site", "schema", "follower", "universe_fingerprint", "filter", "copy_id", "after_part", "bucket_count", "have", "only")
    SITE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    FOLLOWER_FIELD_NUMBER: _ClassVar[int]
    UNIVERSE_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    COPY_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_PART_FIELD_NUMBER: _ClassVar[int]
    BUCKET_COUNT_FIELD_NUMBER: _ClassVar[int]
    HAVE_FIELD_NUMBER: _ClassVar[int]
    ONLY_FIELD_NUMBER: _ClassVar[int]
    site: str
    schema: str
    follower: str
    universe_fingerprint: str
    filter: Filter
    copy_id: str
    after_part: int
    bucket_count: int
    have: _containers.RepeatedCompositeFieldContainer[TableBuckets]
    only: _containers.RepeatedCompositeFieldContainer[StaleBuckets]
    def __init__(self, site: _Optional[str] = ..., schema: _Optional[str] = ..., follower: _Optional[str] = ..., universe_fingerprint: _Optional[str] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., copy_id: _Optional[str] = ..., after_part: _Optional[int] = ..., bucket_count: _Optional[int] = ..., have: _Optional[_Iterable[_Union[TableBuckets, _Mapping]]] = ..., only: _Optional[_Iterable[_Union[StaleBuckets, _Mapping]]] = ...) -> None: ...

class TableBuckets(_message.Message):
    __slots__ = ("table", "digests")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    table: str
    digests: bytes
    def __init__(self, table: _Optional[str] = ..., digests: _Optional[bytes] = ...) -> None: ...

class StaleBuckets(_message.Message):
    __slots__ = ("table", "buckets")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    table: str
    buckets: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, table: _Optional[str] = ..., buckets: _Optional[_Iterable[int]] = ...) -> None: ...

class BootstrapResponse(_message.Message):
    __slots__ = ("epoch", "lsn", "chain", "schema_version", "body", "last", "copy_id", "part", "body_digest", "stale", "size_bytes")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LSN_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    COPY_ID_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    BODY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    lsn: int
    chain: bytes
    schema_version: int
    body: bytes
    last: bool
    copy_id: str
    part: int
    body_digest: bytes
    stale: _containers.RepeatedCompositeFieldContainer[StaleBuckets]
    size_bytes: int
    def __init__(self, epoch: _Optional[str] = ..., lsn: _Optional[int] = ..., chain: _Optional[bytes] = ..., schema_version: _Optional[int] = ..., body: _Optional[bytes] = ..., last: _Optional[bool] = ..., copy_id: _Optional[str] = ..., part: _Optional[int] = ..., body_digest: _Optional[bytes] = ..., stale: _Optional[_Iterable[_Union[StaleBuckets, _Mapping]]] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class DigestRequest(_message.Message):
    __slots__ = ("site", "schema", "table", "bucket_count", "buckets", "filter")
    SITE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    BUCKET_COUNT_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    site: str
    schema: str
    table: str
    bucket_count: int
    buckets: _containers.RepeatedScalarFieldContainer[int]
    filter: Filter
    def __init__(self, site: _Optional[str] = ..., schema: _Optional[str] = ..., table: _Optional[str] = ..., bucket_count: _Optional[int] = ..., buckets: _Optional[_Iterable[int]] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ...) -> None: ...

class DigestResponse(_message.Message):
    __slots__ = ("epoch", "lsn", "tables", "buckets", "rows", "by_bucket")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LSN_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BY_BUCKET_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    lsn: int
    tables: _containers.RepeatedCompositeFieldContainer[TableDigest]
    buckets: _containers.RepeatedCompositeFieldContainer[BucketDigest]
    rows: _containers.RepeatedCompositeFieldContainer[RowDigest]
    by_bucket: _containers.RepeatedCompositeFieldContainer[TableBuckets]
    def __init__(self, epoch: _Optional[str] = ..., lsn: _Optional[int] = ..., tables: _Optional[_Iterable[_Union[TableDigest, _Mapping]]] = ..., buckets: _Optional[_Iterable[_Union[BucketDigest, _Mapping]]] = ..., rows: _Optional[_Iterable[_Union[RowDigest, _Mapping]]] = ..., by_bucket: _Optional[_Iterable[_Union[TableBuckets, _Mapping]]] = ...) -> None: ...

class TableDigest(_message.Message):
    __slots__ = ("table", "row_count", "digest")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    table: str
    row_count: int
    digest: bytes
    def __init__(self, table: _Optional[str] = ..., row_count: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class BucketDigest(_message.Message):
    __slots__ = ("bucket", "row_count", "digest")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    bucket: int
    row_count: int
    digest: bytes
    def __init__(self, bucket: _Optional[int] = ..., row_count: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class RowDigest(_message.Message):
    __slots__ = ("key", "digest")
    KEY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    key: str
    digest: bytes
    def __init__(self, key: _Optional[str] = ..., digest: _Optional[bytes] = ...) -> None: ...
