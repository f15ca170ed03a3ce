"""The client's ends of streaming calls: rows of a fragment, bytes of a file, entries of a log."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import grpc

from federation.errors import CorruptionError
from federation.wire.arrow import decode_stream
from federation.wire.convert import position_in
from federation.wire.errors import from_rpc
from federation.wire.fragment_end import end_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from federation.model.catalog import SiteCatalog
    from federation.model.position import Position

__all__ = ["ExecuteStream", "FetchStream", "ResponseStream"]

T = TypeVar("T")


class ResponseStream(Generic[T]):
    """Values from a server until it ends the stream, or until `cancel`, which may come from any thread."""

    def __init__(
        self,
        call: Any,
        convert: Callable[[Any], T],
        site: str,
        address: str,
        sql: str = "",
        request_id: str = "",
    ) -> None:
        self._call, self._convert = call, convert
        self.site, self._address, self._sql = site, address, sql
        self._request_id = request_id
        self._cancelled = False

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` ended it."""
        return self._cancelled

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """What the server said with the status, once iteration has ended."""
        return tuple(self._call.trailing_metadata() or ())

    def cancel(self) -> None:
        """Stop; iteration ends and the server is told."""
        self._cancelled = True
        self._call.cancel()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._cancelled:
            raise StopIteration
        try:
            return self._convert(next(self._call))
        except grpc.RpcError as error:
            if self._cancelled:
                raise StopIteration from None
            raise from_rpc(error, self.site, self._address, self._sql, self._request_id) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.cancel()


class ExecuteStream:
    """Batches of one fragment; ``positions`` are what the site read, ``byte_count`` what has arrived so far.

    The call goes out at once; the first use waits for the site's first word, so that `cancel` can come before it.
    ``read_catalog`` makes a catalog of the message that a site was asked to send along.
    """

    def __init__(
        self,
        messages: ResponseStream[Any],
        schema: pa.Schema,
        read_catalog: Callable[[Any], SiteCatalog | None] = lambda _: None,
    ) -> None:
        self._messages, self._read_catalog = messages, read_catalog
        self.schema = schema
        self.byte_count = 0
        #: what the site worked for it, by its own account at the end
        self.site_seconds = 0.0
        self._announced = 0
        self._first: Any = None
        self._has_begun = False
        self._positions: tuple[Position, ...] = ()
        self._catalog: SiteCatalog | None = None

    def cancel(self) -> None:
        """Stop, from any thread; the site is told."""
        self._messages.cancel()

    @property
    def positions(self) -> tuple[Position, ...]:
        self._begin()
        return self._positions

    @property
    def catalog(self) -> SiteCatalog | None:
        """The site's catalog, if it was sent along."""
        self._begin()
        return self._catalog

    def _begin(self) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        self._first = next(self._messages, None)
        if self._first is not None:
            self._positions = tuple(map(position_in, self._first.positions))
            if self._first.HasField("catalog"):
                self._catalog = self._read_catalog(self._first.catalog)

    def _parts(self) -> Iterator[bytes]:
        self._begin()
        message, self._first = self._first, None
        while message is not None:
            self._announced += message.row_count
            self.byte_count += len(message.arrow)
            if message.arrow:
                if zlib.crc32(message.arrow) != message.crc:
                    raise CorruptionError(
                        f"answer of site {self._messages.site}: bytes are not what was sent",
                        hint="ask again; check the network",
                    )
                yield message.arrow
            message = next(self._messages, None)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        place, row_count = f"answer of site {self._messages.site}", 0
        parts = self._parts()
        for batch in decode_stream(parts, place):
            if not batch.schema.equals(self.schema):
                raise CorruptionError(
                    f"{place} has columns {batch.schema.names} where {self.schema.names} were asked for",
                    hint="bring both sites to one version",
                )
            row_count += batch.num_rows
            yield batch
        for _ in parts:  # what follows the end of the Arrow stream decides how the call ended
            pass
        if self._messages.is_cancelled:
            return
        end = end_of(self._messages.trailing_metadata())
        if end is None:
            raise CorruptionError(
                f"{place} ends before its end", hint="ask again; bring both sites to one version"
            )
        self.site_seconds, self._announced = end.site_seconds, max(self._announced, end.row_count)
        if row_count != self._announced:
            raise CorruptionError(
                f"{place} has {row_count} rows where {self._announced} were announced", hint="ask again"
            )

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(self, *exc: object) -> None:
        self._messages.cancel()


class FetchStream:
    """Bytes of a file from an offset on; ``size_bytes`` and ``checksum`` are of the whole file."""

    def __init__(self, messages: ResponseStream[Any]) -> None:
        self._messages = messages
        self._first = next(messages, None)
        if self._first is None:
            raise CorruptionError(f"site {messages.site} sent no file", hint="ask again")
        self.size_bytes: int = self._first.size_bytes
        self.checksum: str = self._first.checksum

    def __iter__(self) -> Iterator[bytes]:
        message, self._first = self._first, None
        while message is not None:
            if message.data:
                yield message.data
            message = next(self._messages, None)

    def close(self) -> None:
        """Stop; the server is told."""
        self._messages.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
