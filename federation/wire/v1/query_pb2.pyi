from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetCatalogRequest(_message.Message):
    __slots__ = ("known_version", "user", "known_layout", "known_statistics")
    KNOWN_VERSION_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    KNOWN_LAYOUT_FIELD_NUMBER: _ClassVar[int]
    KNOWN_STATISTICS_FIELD_NUMBER: _ClassVar[int]
    known_version: str
    user: str
    known_layout: str
    known_statistics: str
    def __init__(self, known_version: _Optional[str] = ..., user: _Optional[str] = ..., known_layout: _Optional[str] = ..., known_statistics: _Optional[str] = ...) -> None: ...

class GetCatalogResponse(_message.Message):
    __slots__ = ("site", "version", "catalog", "state", "statistics", "layout", "statistics_version")
    SITE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_VERSION_FIELD_NUMBER: _ClassVar[int]
    site: str
    version: str
    catalog: bytes
    state: bytes
    statistics: bytes
    layout: str
    statistics_version: str
    def __init__(self, site: _Optional[str] = ..., version: _Optional[str] = ..., catalog: _Optional[bytes] = ..., state: _Optional[bytes] = ..., statistics: _Optional[bytes] = ..., layout: _Optional[str] = ..., statistics_version: _Optional[str] = ...) -> None: ...

class KeyTable(_message.Message):
    __slots__ = ("name", "arrow")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARROW_FIELD_NUMBER: _ClassVar[int]
    name: str
    arrow: bytes
    def __init__(self, name: _Optional[str] = ..., arrow: _Optional[bytes] = ...) -> None: ...

class KeyFilter(_message.Message):
    __slots__ = ("version", "columns", "hash_count", "bits")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    HASH_COUNT_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    version: int
    columns: _containers.RepeatedScalarFieldContainer[str]
    hash_count: int
    bits: bytes
    def __init__(self, version: _Optional[int] = ..., columns: _Optional[_Iterable[str]] = ..., hash_count: _Optional[int] = ..., bits: _Optional[bytes] = ...) -> None: ...

class ExecuteRequest(_message.Message):
    __slots__ = ("sql", "schema", "keys", "user", "query_id", "row_count_max", "compression", "at", "catalog", "filters")
    SQL_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    QUERY_ID_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_MAX_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    sql: str
    schema: bytes
    keys: _containers.RepeatedCompositeFieldContainer[KeyTable]
    user: str
    query_id: str
    row_count_max: int
    compression: str
    at: _containers.RepeatedCompositeFieldContainer[SchemaPosition]
    catalog: GetCatalogRequest
    filters: _containers.RepeatedCompositeFieldContainer[KeyFilter]
    def __init__(self, sql: _Optional[str] = ..., schema: _Optional[bytes] = ..., keys: _Optional[_Iterable[_Union[KeyTable, _Mapping]]] = ..., user: _Optional[str] = ..., query_id: _Optional[str] = ..., row_count_max: _Optional[int] = ..., compression: _Optional[str] = ..., at: _Optional[_Iterable[_Union[SchemaPosition, _Mapping]]] = ..., catalog: _Optional[_Union[GetCatalogRequest, _Mapping]] = ..., filters: _Optional[_Iterable[_Union[KeyFilter, _Mapping]]] = ...) -> None: ...

class SchemaPosition(_message.Message):
    __slots__ = ("site", "schema", "epoch", "lsn")
    SITE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LSN_FIELD_NUMBER: _ClassVar[int]
    site: str
    schema: str
    epoch: str
    lsn: int
    def __init__(self, site: _Optional[str] = ..., schema: _Optional[str] = ..., epoch: _Optional[str] = ..., lsn: _Optional[int] = ...) -> None: ...

class ExecuteResponse(_message.Message):
    __slots__ = ("arrow", "row_count", "positions", "crc", "catalog")
    ARROW_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    CRC_FIELD_NUMBER: _ClassVar[int]
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    arrow: bytes
    row_count: int
    positions: _containers.RepeatedCompositeFieldContainer[SchemaPosition]
    crc: int
    catalog: GetCatalogResponse
    def __init__(self, arrow: _Optional[bytes] = ..., row_count: _Optional[int] = ..., positions: _Optional[_Iterable[_Union[SchemaPosition, _Mapping]]] = ..., crc: _Optional[int] = ..., catalog: _Optional[_Union[GetCatalogResponse, _Mapping]] = ...) -> None: ...
