from federation.wire.v1 import log_pb2 as _log_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ("user",)
    USER_FIELD_NUMBER: _ClassVar[int]
    user: str
    def __init__(self, user: _Optional[str] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("site", "software_version", "registry_kind", "universe", "schemas", "server_tai_ns")
    SITE_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_KIND_FIELD_NUMBER: _ClassVar[int]
    UNIVERSE_FIELD_NUMBER: _ClassVar[int]
    SCHEMAS_FIELD_NUMBER: _ClassVar[int]
    SERVER_TAI_NS_FIELD_NUMBER: _ClassVar[int]
    site: str
    software_version: str
    registry_kind: str
    universe: str
    schemas: _containers.RepeatedCompositeFieldContainer[SchemaStatus]
    server_tai_ns: int
    def __init__(self, site: _Optional[str] = ..., software_version: _Optional[str] = ..., registry_kind: _Optional[str] = ..., universe: _Optional[str] = ..., schemas: _Optional[_Iterable[_Union[SchemaStatus, _Mapping]]] = ..., server_tai_ns: _Optional[int] = ...) -> None: ...

class SchemaStatus(_message.Message):
    __slots__ = ("site", "schema", "owned", "epoch", "lsn", "head_lsn", "staleness_s", "state", "detail", "dataset_count", "files_waiting", "lag_entries", "lag_bytes", "path", "filter", "since_s", "first_lsn", "followers")
    SITE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    OWNED_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LSN_FIELD_NUMBER: _ClassVar[int]
    HEAD_LSN_FIELD_NUMBER: _ClassVar[int]
    STALENESS_S_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    DATASET_COUNT_FIELD_NUMBER: _ClassVar[int]
    FILES_WAITING_FIELD_NUMBER: _ClassVar[int]
    LAG_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    LAG_BYTES_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    SINCE_S_FIELD_NUMBER: _ClassVar[int]
    FIRST_LSN_FIELD_NUMBER: _ClassVar[int]
    FOLLOWERS_FIELD_NUMBER: _ClassVar[int]
    site: str
    schema: str
    owned: bool
    epoch: str
    lsn: int
    head_lsn: int
    staleness_s: float
    state: str
    detail: str
    dataset_count: int
    files_waiting: int
    lag_entries: int
    lag_bytes: int
    path: _containers.RepeatedScalarFieldContainer[str]
    filter: _log_pb2.Filter
    since_s: float
    first_lsn: int
    followers: _containers.RepeatedCompositeFieldContainer[FollowerStanding]
    def __init__(self, site: _Optional[str] = ..., schema: _Optional[str] = ..., owned: _Optional[bool] = ..., epoch: _Optional[str] = ..., lsn: _Optional[int] = ..., head_lsn: _Optional[int] = ..., staleness_s: _Optional[float] = ..., state: _Optional[str] = ..., detail: _Optional[str] = ..., dataset_count: _Optional[int] = ..., files_waiting: _Optional[int] = ..., lag_entries: _Optional[int] = ..., lag_bytes: _Optional[int] = ..., path: _Optional[_Iterable[str]] = ..., filter: _Optional[_Union[_log_pb2.Filter, _Mapping]] = ..., since_s: _Optional[float] = ..., first_lsn: _Optional[int] = ..., followers: _Optional[_Iterable[_Union[FollowerStanding, _Mapping]]] = ...) -> None: ...

class FollowerStanding(_message.Message):
    __slots__ = ("name", "lsn", "lag_entries", "lag_bytes", "oldest_s", "heard_s")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LSN_FIELD_NUMBER: _ClassVar[int]
    LAG_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    LAG_BYTES_FIELD_NUMBER: _ClassVar[int]
    OLDEST_S_FIELD_NUMBER: _ClassVar[int]
    HEARD_S_FIELD_NUMBER: _ClassVar[int]
    name: str
    lsn: int
    lag_entries: int
    lag_bytes: int
    oldest_s: float
    heard_s: float
    def __init__(self, name: _Optional[str] = ..., lsn: _Optional[int] = ..., lag_entries: _Optional[int] = ..., lag_bytes: _Optional[int] = ..., oldest_s: _Optional[float] = ..., heard_s: _Optional[float] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("dataset_id", "offset", "user")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    dataset_id: bytes
    offset: int
    user: str
    def __init__(self, dataset_id: _Optional[bytes] = ..., offset: _Optional[int] = ..., user: _Optional[str] = ...) -> None: ...

class FetchResponse(_message.Message):
    __slots__ = ("data", "size_bytes", "checksum")
    DATA_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    size_bytes: int
    checksum: str
    def __init__(self, data: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., checksum: _Optional[str] = ...) -> None: ...

class BringRequest(_message.Message):
    __slots__ = ("dataset_ids",)
    DATASET_IDS_FIELD_NUMBER: _ClassVar[int]
    dataset_ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, dataset_ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class BroughtFile(_message.Message):
    __slots__ = ("dataset_id", "size_bytes", "was_here", "error_code", "error_message", "error_hint")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    WAS_HERE_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_HINT_FIELD_NUMBER: _ClassVar[int]
    dataset_id: bytes
    size_bytes: int
    was_here: bool
    error_code: str
    error_message: str
    error_hint: str
    def __init__(self, dataset_id: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., was_here: _Optional[bool] = ..., error_code: _Optional[str] = ..., error_message: _Optional[str] = ..., error_hint: _Optional[str] = ...) -> None: ...

class StoreRequest(_message.Message):
    __slots__ = ("dataset_id", "size_bytes", "checksum", "formatter", "data")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    FORMATTER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    dataset_id: bytes
    size_bytes: int
    checksum: str
    formatter: str
    data: bytes
    def __init__(self, dataset_id: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., checksum: _Optional[str] = ..., formatter: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...
