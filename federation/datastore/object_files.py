"""A datastore's files in an S3 bucket, through obstore: faster than s3fs, and able to create without overwriting.

Objects need no temporary names: a PUT and the completion of a multipart upload are atomic. A small object is first
put with ``If-None-Match: *``, so that what is there already is seen without asking, and carries its sha256 as
metadata. A stream that fails, by checksum too, aborts its multipart upload.
"""

from __future__ import annotations

import io
import os
import posixpath
import queue
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any, cast

from federation.config.stores import StoreOptions
from federation.datastore.backend import FileInfo
from federation.datastore.io_errors import as_federation_error, store_errors
from federation.errors import NotFoundError, UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from federation.datastore.checksum import Digester

__all__ = ["UPLOAD_BYTES", "WHOLE_BYTES", "ObjectFiles"]

#: objects up to this size are one request and held in memory
WHOLE_BYTES = 8 << 20
#: of larger ones; the least that S3 allows, since parts are memory
PART_BYTES = 5 << 20
#: parts of one object on their way at one time
PARTS_AT_ONCE = 2
_READ_BYTES = 2 << 20
#: chunks that wait for being uploaded
_QUEUED = 2
#: of a large object in memory: parts on their way, the one that is filled, chunks before it
UPLOAD_BYTES = (PARTS_AT_ONCE + 1) * PART_BYTES + (_QUEUED + 1) * _READ_BYTES
#: how often somebody who waits for an upload looks whether it has failed
_LOOK_S = 0.2
_CHECKSUM = "sha256"
#: a survey gives up beyond so many objects that nobody asked for
_SURVEY_FACTOR = 4
_SURVEY_MIN = 10_000


@lru_cache(maxsize=64)
def _client(bucket: str, options: StoreOptions) -> Any:
    """The store of one bucket; threads share it with its connections."""
    from obstore.store import S3Store  # a site without object store doesn't pay for the import

    config: dict[str, Any] = {}
    keys = options.credentials()
    if keys is not None:
        config |= {"access_key_id": keys.access_key_id, "secret_access_key": keys.secret_access_key}
        if keys.session_token:
            config["session_token"] = keys.session_token
    if options.anonymous:
        config["skip_signature"] = True
    endpoint = options.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        config |= {"endpoint": endpoint.rstrip("/"), "virtual_hosted_style_request": False}
    region = options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    config["region"] = region or "us-east-1"
    return S3Store(
        bucket,
        config=cast("Any", config),
        client_options={
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
            "connect_timeout": timedelta(seconds=10),
            "read_timeout": timedelta(seconds=60),
            # of one request; parts and ranges are small, but links may be slow
            "timeout": timedelta(hours=1),
        },
        # single requests are repeated here, files by the transfer
        retry_config={
            "max_retries": 3,
            "retry_timeout": timedelta(seconds=30),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=3),
                "base": 2,
            },
        },
    )


class ObjectFiles:
    """Objects of an S3 bucket below a prefix: ``s3://bucket`` or ``s3://bucket/prefix``."""

    def __init__(self, url: str, options: StoreOptions | None = None) -> None:
        bucket, _, prefix = url.split("://", 1)[1].strip("/").partition("/")
        if not bucket or any(character in bucket for character in "@:?#\\") or "?" in prefix or "#" in prefix:
            raise UserError("URL of an object store names no bucket", hint="write s3://bucket/prefix")
        if any(part in (".", "..", "") for part in prefix.split("/")) and prefix:
            raise UserError(
                f"URL s3://{bucket}/{prefix} has an empty, '.' or '..' part", hint="correct the URL"
            )
        self.local_root: Path | None = None
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        try:
            self._store = _client(bucket, options or StoreOptions())
        except store_errors() as error:
            raise as_federation_error(error, "reach", self.url) from error

    def put(
        self,
        path: str,
        chunks: Iterable[bytes],
        digester: Digester,
        size_bytes: int | None,
        owner: str,  # noqa: ARG002 - there is nothing to sweep
    ) -> str | None:
        rest = iter(chunks)
        first: list[bytes] = []
        count = 0
        for chunk in rest:
            digester.update(chunk)
            first.append(chunk)
            count += len(chunk)
            if count > WHOLE_BYTES:
                break
        if count > WHOLE_BYTES:
            return self._put_parts(
                path, _digested(first, rest, digester, f"{self.url}/{path}", size_bytes), digester
            )
        digester.check(f"{self.url}/{path}", size_bytes)
        return self._put_whole(path, first[0] if len(first) == 1 else b"".join(first), digester.checksum)

    def _put_whole(self, path: str, content: bytes, checksum: str) -> str | None:
        from obstore.exceptions import AlreadyExistsError

        attributes = {_CHECKSUM: checksum.partition(":")[2]}
        key = self._prefix + path
        try:
            put = self._store.put(key, content, attributes=attributes, mode="create", use_multipart=False)
        except AlreadyExistsError:
            found = self.info(path)
            if found is not None and found.checksum == checksum:
                return found.version
            put = self._store.put(key, content, attributes=attributes, use_multipart=False)
        return cast("str | None", put["e_tag"])

    def _put_parts(self, path: str, chunks: Iterator[bytes], digester: Digester) -> str | None:
        # the hash of a stream is known at its end, metadata are sent at its beginning
        known = digester.expected is not None and digester.expected[0] == "sha256"
        attributes = {_CHECKSUM: digester.expected[1]} if known and digester.expected else None
        feed: queue.Queue[bytes | BaseException | None] = queue.Queue(_QUEUED)
        # obstore can't read a stream of its own within a put: the put gets a thread, and both go on at once
        with ThreadPoolExecutor(1, thread_name_prefix="upload") as pool:
            upload = pool.submit(
                self._store.put,
                self._prefix + path,
                _fed(feed),
                attributes=attributes,
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
            try:
                for chunk in chunks:
                    _offer(feed, chunk, upload)
            except BaseException as error:
                _offer(feed, error, upload)  # aborts the upload
                raise
            _offer(feed, None, upload)
            return cast("str | None", upload.result()["e_tag"])

    @contextmanager
    def read(self, path: str) -> Iterator[Iterator[bytes]]:
        result = self._store.get(self._prefix + path)
        if result.meta["size"] <= WHOLE_BYTES:
            yield iter((result.bytes().to_bytes(),))
        else:
            yield (bytes(chunk) for chunk in result.stream(min_chunk_size=_READ_BYTES))

    def open(self, path: str) -> IO[bytes]:
        key = self._prefix + path
        size_bytes = self._store.head(key)["size"]
        return cast("IO[bytes]", io.BufferedReader(_Reader(self._store, key, size_bytes), _READ_BYTES))

    def info(self, path: str) -> FileInfo | None:
        try:
            found = self._store.get(self._prefix + path, options={"head": True})
        except FileNotFoundError:
            return None
        digits = found.attributes.get(_CHECKSUM)
        return _info(found.meta, f"sha256:{digits}" if digits else None)

    def survey(self, paths: Collection[str]) -> Mapping[str, FileInfo] | None:
        wanted = set(paths)
        if len(wanted) < 2:
            return None
        directories = [posixpath.dirname(path) for path in wanted]
        shared = posixpath.commonpath(directories) if all(directories) else ""
        found: dict[str, FileInfo] = {}
        others = 0
        for path, info in self.walk(f"{shared}/" if shared else ""):
            if path in wanted:
                found[path] = info
                continue
            others += 1
            if others > max(_SURVEY_MIN, _SURVEY_FACTOR * len(wanted)):
                return None
        return found

    def remove(self, path: str) -> None:
        if self.info(path) is None:  # S3 itself says yes to deleting nothing
            raise FileNotFoundError(path)
        self._store.delete(self._prefix + path)

    def walk(self, prefix: str = "") -> Iterator[tuple[str, FileInfo]]:
        try:
            for batch in self._store.list(self._prefix + prefix, chunk_size=1000):
                for meta in batch:
                    if not meta["path"].endswith("/"):
                        yield meta["path"].removeprefix(self._prefix), _info(meta, None)
        except FileNotFoundError:
            return

    def free_bytes(self) -> int | None:
        return None

    def check_readable(self) -> None:
        try:
            next(iter(self._store.list(self._prefix or None, chunk_size=1)), None)
        except FileNotFoundError:
            raise NotFoundError(
                f"datastore {self.url} does not exist", hint="create the bucket or correct the URL"
            ) from None


def _digested(
    first: list[bytes], rest: Iterator[bytes], digester: Digester, shown: str, size_bytes: int | None
) -> Iterator[bytes]:
    """All chunks; raises after the last unless they are as expected, which aborts the upload."""
    while first:  # gone through the digester already, and not to be kept
        yield first.pop(0)
    for chunk in rest:
        digester.update(chunk)
        yield chunk
    digester.check(shown, size_bytes)


def _fed(feed: queue.Queue[bytes | BaseException | None]) -> Iterator[bytes]:
    while (one := feed.get()) is not None:
        if isinstance(one, BaseException):
            raise one
        yield one


def _offer(
    feed: queue.Queue[bytes | BaseException | None], one: bytes | BaseException | None, upload: Future[Any]
) -> None:
    """Hand over a chunk, an error or the end; raises what ended the upload, should it have ended."""
    while True:
        try:
            return feed.put(one, timeout=_LOOK_S)
        except queue.Full:
            if upload.done():
                if not isinstance(one, BaseException):
                    upload.result()
                return None


def _info(meta: Mapping[str, Any], checksum: str | None) -> FileInfo:
    return FileInfo(meta["size"], meta["e_tag"], checksum, meta["last_modified"].timestamp())


class _Reader(io.RawIOBase):
    """Ranges of one object."""

    def __init__(self, store: Any, key: str, size_bytes: int) -> None:
        self._store, self._key, self._size_bytes = store, key, size_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size_bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        count = min(len(buffer), self._size_bytes - self._at)
        if count <= 0:
            return 0
        try:
            found = self._store.get_range(self._key, start=self._at, length=count)
        except store_errors() as error:
            # what reads through a file object expects its kind of errors
            raise as_federation_error(error, "read", self._key) from error
        buffer[: len(found)] = memoryview(found)
        self._at += len(found)
        return len(found)
