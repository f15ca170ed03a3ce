from federation.wire.v1 import query_pb2 as _query_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WalkSchema(_message.Message):
    __slots__ = ("site", "schema")
    SITE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    site: str
    schema: str
    def __init__(self, site: _Optional[str] = ..., schema: _Optional[str] = ...) -> None: ...

class WalkRequest(_message.Message):
    __slots__ = ("downstream", "ids", "steps", "depth", "stop_at", "schemas", "user")
    DOWNSTREAM_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    STOP_AT_FIELD_NUMBER: _ClassVar[int]
    SCHEMAS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    downstream: bool
    ids: bytes
    steps: bytes
    depth: int
    stop_at: _containers.RepeatedScalarFieldContainer[str]
    schemas: _containers.RepeatedCompositeFieldContainer[WalkSchema]
    user: str
    def __init__(self, downstream: _Optional[bool] = ..., ids: _Optional[bytes] = ..., steps: _Optional[bytes] = ..., depth: _Optional[int] = ..., stop_at: _Optional[_Iterable[str]] = ..., schemas: _Optional[_Iterable[_Union[WalkSchema, _Mapping]]] = ..., user: _Optional[str] = ...) -> None: ...

class EdgeLabel(_message.Message):
    __slots__ = ("schema", "task")
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    schema: WalkSchema
    task: str
    def __init__(self, schema: _Optional[_Union[WalkSchema, _Mapping]] = ..., task: _Optional[str] = ...) -> None: ...

class WalkResponse(_message.Message):
    __slots__ = ("positions", "labels", "datasets", "edges")
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    positions: _containers.RepeatedCompositeFieldContainer[_query_pb2.SchemaPosition]
    labels: _containers.RepeatedCompositeFieldContainer[EdgeLabel]
    datasets: bytes
    edges: bytes
    def __init__(self, positions: _Optional[_Iterable[_Union[_query_pb2.SchemaPosition, _Mapping]]] = ..., labels: _Optional[_Iterable[_Union[EdgeLabel, _Mapping]]] = ..., datasets: _Optional[bytes] = ..., edges: _Optional[bytes] = ...) -> None: ...
