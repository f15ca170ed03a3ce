"""The parts of one copy at the side that takes it in: staged in a file as they arrive, and given in order."""

from __future__ import annotations

import base64
import fcntl
import os
import threading
from typing import TYPE_CHECKING, Any

import attrs
import sqlalchemy as sa

from federation.changelog import SCHEMA_VERSION, LogState, digest_of
from federation.errors import CorruptionError, FederationError, UnavailableError, UserError
from federation.killpoints import killpoint
from federation.replication.copy_space import check_space, copy_directory
from federation.replication.part_file import PartFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Self

    from federation.registry.registry import Registry
    from federation.registry.schemas import HeldSchema
    from federation.wire.client import SiteClient
    from federation.wire.messages import BootstrapFrom, BootstrapPart
    from federation.wire.streams import ResponseStream

__all__ = ["StagedCopy"]

#: how often a wait looks whether it is wanted any more
_LOOK_S = 0.5


class StagedCopy:
    """The parts of one copy: those of an earlier attempt that are there, and those that arrive from ``client``.

    ``purpose`` keeps copies of one schema for different ends apart.
    """

    def __init__(
        self,
        registry: Registry,
        held: HeldSchema,
        client: SiteClient,
        asked: BootstrapFrom,
        previous: LogState,
        *,
        purpose: str = "replica",
        check_epoch: Callable[[str], None] = lambda _epoch: None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._registry, self._held, self._client, self.asked = registry, held, client, asked
        self._for = _described(asked, previous)
        self._path = copy_directory(registry, "received") / f"{held.physical}.{purpose}.parts"
        self._file: PartFile | None = None
        self._arrived = threading.Condition()
        self._is_whole = False
        self._error: FederationError | None = None
        self._check_epoch, self._stopping = check_epoch, stopping or threading.Event()
        self._stream: ResponseStream[BootstrapPart] | None = None
        self._thread: threading.Thread | None = None
        self._lock_file = _locked(self._path.with_suffix(".lock"), held)

    def __enter__(self) -> Self:
        try:
            self._file = self._taken_up()
            self._thread = threading.Thread(
                target=self._receive, name=f"receive-{self._held.schema}", daemon=True
            )
            self._thread.start()
        except BaseException:
            os.close(self._lock_file)
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._thread is not None
        with self._arrived:
            stream = self._stream
        if stream is not None and self._thread.is_alive():
            stream.cancel()
        self._thread.join()
        if self._file is not None:
            self._file.close()
        os.close(self._lock_file)

    def discard(self) -> None:
        """Forget the parts: they are applied."""
        killpoint("copy.before_discard")
        self._path.unlink(missing_ok=True)

    # -- what has arrived -------------------------------------------------------------------------------------

    def bodies(self) -> Iterator[bytes]:
        """The bodies of all parts in order, as they arrive; raises what broke the copy off."""
        number = 0
        while self._await(number + 1):
            number += 1
            assert self._file is not None
            yield self._file.read(number)

    def receive(self) -> None:
        """Wait until all parts are there."""
        self._await(None)
        killpoint("copy.all_staged")

    def state(self) -> LogState:
        """Of which moment the copy is; known once a part is there, or all of none."""
        said = self._header()
        return LogState(said["epoch"], said["lsn"], bytes.fromhex(said["chain"]))

    @property
    def stale(self) -> Mapping[str, tuple[int, ...]]:
        """The buckets that the rows sent replace."""
        return {name: tuple(buckets) for name, buckets in self._header()["stale"].items()}

    def _header(self) -> dict[str, Any]:
        assert self._file is not None
        return self._file.header

    def _await(self, number: int | None) -> bool:
        """Wait for a part, or for the end; False when there are no more."""

        def is_over() -> bool:
            return self._is_whole or self._error is not None or self._has(number)

        with self._arrived:
            while not self._arrived.wait_for(is_over, _LOOK_S):
                if self._stopping.is_set():
                    raise UnavailableError(f"the copy of {self._held.schema} was given up", hint="try again")
            if self._has(number):
                return True
            if self._error is not None:
                raise self._error
            return False

    def _has(self, number: int | None) -> bool:
        return number is not None and self._file is not None and self._file.part_count >= number

    # -- how it arrives ---------------------------------------------------------------------------------------

    def _taken_up(self) -> PartFile | None:
        """What an earlier attempt at the same copy has left."""
        if not self._path.exists():
            return None
        try:
            file = PartFile(self._path)
        except CorruptionError:
            return None
        if file.header["for"] == self._for:
            # digests were made from the rows as they were: the copy is of them
            have = {name: base64.b64decode(text) for name, text in file.header["have"].items()}
            self.asked = attrs.evolve(self.asked, have=have)
            return file
        file.close()
        return None

    def _receive(self) -> None:
        error: FederationError | None = None
        try:
            self._receive_parts()
        except FederationError as raised:
            error = raised
        except (OSError, sa.exc.SQLAlchemyError) as raised:
            text = str(raised).splitlines()[0]
            error = UnavailableError(
                f"a copy of {self._held.schema} can't be staged: {text}", hint="try again"
            )
        with self._arrived:
            self._error, self._is_whole = error, error is None
            self._arrived.notify_all()

    def _receive_parts(self) -> None:
        asked = self.asked
        if self._file is not None:
            asked = attrs.evolve(
                asked, copy_id=self._file.header["copy_id"], after_part=self._file.part_count
            )
        with self._client.bootstrap(asked) as stream:
            with self._arrived:
                self._stream = stream
            for part in stream:
                self._check(part)
                if self._file is None or self._file.header["copy_id"] != part.copy_id:
                    self._begin(part)
                if part.last:
                    self._end()
                    return
                assert self._file is not None
                self._file.append(part.body)
                killpoint("copy.staged")
                with self._arrived:
                    self._arrived.notify_all()
        raise UnavailableError(f"the copy of {self._held.schema} broke off", hint="it goes on from there")

    def _check(self, part: BootstrapPart) -> None:
        schema = self._held.schema
        self._check_epoch(part.epoch)
        if part.schema_version > SCHEMA_VERSION:
            raise UserError(
                f"{schema}: its copy has schema version {part.schema_version}, this software reads up to "
                f"{SCHEMA_VERSION}",
                hint="update this site's software",
            )
        if part.body_digest and digest_of(part.body) != part.body_digest:
            raise CorruptionError(
                f"{schema}: part {part.part} of the copy has another digest than announced",
                hint="it is asked for again",
            )
        same = self._file is not None and self._file.header["copy_id"] == part.copy_id
        expected = self._file.part_count + 1 if same and self._file is not None else 1
        if part.part != expected:
            raise CorruptionError(
                f"{schema}: expected part {expected} of the copy, got {part.part}",
                hint="it is asked for again",
            )
        if same and self.state() != LogState(part.epoch, part.lsn, part.chain):
            raise CorruptionError(f"the copy of {schema} mixes two positions", hint="it is asked for again")

    def _begin(self, part: BootstrapPart) -> None:
        """The first part of a copy that is not the one that was staged, if one was."""
        if self._file is not None and self._file.part_count:
            # who reads has rows of the former one: everything from the start
            self._path.unlink(missing_ok=True)
            raise UnavailableError(
                f"the copy of {self._held.schema} that had begun is no longer kept at its source",
                hint="it is begun again",
            )
        if self._file is not None:
            self._file.close()
        check_space(
            self._registry,
            self._held,
            self._path.parent,
            0 if self.asked.bucket_count else part.size_bytes,
            taken_in=True,
        )
        header = {
            "for": self._for,
            "have": {name: base64.b64encode(found).decode() for name, found in self.asked.have.items()},
            "copy_id": part.copy_id,
            "epoch": part.epoch,
            "lsn": part.lsn,
            "chain": part.chain.hex(),
            "stale": {name: list(buckets) for name, buckets in part.stale.items()},
        }
        self._file = PartFile(self._path, header=header)

    def _end(self) -> None:
        assert self._file is not None
        self._file.sync()


def _described(asked: BootstrapFrom, previous: LogState) -> dict[str, Any]:
    """What must be the same for staged parts to be of use."""
    return {
        "schema": str(asked.schema),
        "follower": asked.follower,
        "universe": asked.universe_fingerprint,
        "filter": asked.filter.to_text(),
        "bucket_count": asked.bucket_count,
        "only": {name: list(buckets) for name, buckets in asked.only.items()},
        "previous": [previous.epoch, previous.lsn, previous.chain.hex()],
    }


def _locked(path: Path, held: HeldSchema) -> int:
    """An open file that no other process has locked."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise UnavailableError(
            f"another process copies {held.schema} into this registry", hint="wait for it, or end it"
        ) from error
    return descriptor
