"""Sites without disks or networks: logs, replicas and links in memory, decided by the rules that real sites follow.

What decides is the software's own: how entries are encoded and chained, which position a log continues, what a follower
does with a batch, which path it takes, and what a log may be trimmed to. What is simulated is storage (what is durable
survives a crash), links (they are cut, and their messages repeated, reordered, cut short and damaged) and time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import attrs
import msgspec

from federation.changelog import LogState, chain_hash, decode_changes, digest_of, encode_changes
from federation.changelog.epochs import Epoch, continued_until
from federation.changelog.floor import Floor
from federation.changelog.followers import RegisteredFollower
from federation.changelog.retention import held_for
from federation.errors import CorruptionError, EpochError, FederationError, UnavailableError
from federation.model.change import Change, LogEntry, Operation
from federation.model.position import GENESIS, SchemaId
from federation.replication.positions import judge_position
from federation.replication.relays import SourceChoice, Upstream, check_path
from federation.replication.state import Apply, Bootstrap, FollowerState, Stop
from federation.wire.messages import FollowBatch, FollowFrom

OWNER = "summit"
SCHEMA = SchemaId(OWNER, OWNER)
TABLE, COLUMNS = "t", ("key", "value")
KEYS = 12
BATCH_ENTRIES = 3
FOLLOWER_TIMEOUT_S = 200.0

Rows = dict[int, int]


@attrs.define
class Log:
    """A log as its site's database has it, with the rows it led to: an owner's, or a replica's."""

    is_owned: bool
    state: LogState
    rows: Rows = attrs.field(factory=dict)
    entries: tuple[LogEntry, ...] = ()
    floor: Floor = attrs.field(factory=Floor)
    history: tuple[Epoch, ...] = ()
    #: epochs that a replica has left
    former: frozenset[str] = frozenset()
    followers: tuple[RegisteredFollower, ...] = ()

    def copy(self) -> Log:
        return attrs.evolve(self, rows=dict(self.rows))

    def chain_at(self, lsn: int) -> bytes | None:
        if lsn == self.state.lsn:
            return self.state.chain
        if lsn == self.floor.lsn:
            return self.floor.chain
        return next((entry.chain for entry in self.entries if entry.lsn == lsn), None)

    def first_after(self, lsn: int) -> LogEntry | None:
        return next((entry for entry in self.entries if entry.lsn > lsn), None)

    def apply(self, entry: LogEntry) -> None:
        for change in decode_changes(entry.body):
            for row in change.rows:
                if change.operation is Operation.PUT:
                    self.rows[row[0]] = row[1]
                else:
                    self.rows.pop(row[0], None)


@attrs.define
class Stream:
    """One connection of a follower to a server: where the server is in its log, and what is on its way."""

    epoch: str
    lsn: int
    chain: bytes
    batches: list[FollowBatch] = attrs.field(factory=list)


@attrs.define
class Site:
    """One site. ``log`` is what its database has; ``durable`` what of it a crash leaves."""

    name: str
    log: Log
    sources: tuple[str, ...] = ()
    is_relay: bool = False
    durable: Log = attrs.field(init=False)
    backup: Log = attrs.field(init=False)
    #: what was published of an owned log, remembered beside the database
    shown: tuple[str, int, bytes] | None = None
    must_restore: bool = False
    decider: FollowerState = attrs.field(init=False)
    choice: SourceChoice = attrs.field(init=False)
    stream: Stream | None = None
    #: the relay that said in this round that only a copy helps
    copy_from: str | None = None

    def __attrs_post_init__(self) -> None:
        self.durable = self.log.copy()
        self.backup = self.log.copy()
        self.restart()

    def restart(self) -> None:
        """What a process knows when it begins."""
        self.stream = self.copy_from = None
        self.decider = FollowerState(SCHEMA, self.log.state, site=self.name, former_epochs=self.log.former)
        self.choice = SourceChoice(self.sources or ("none",))


class World:
    """All sites and links. Every step takes its chances from one generator, so that a seed is a schedule."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now_s = 0.0
        first = LogState(self._epoch(), 0, GENESIS)
        owner = Log(True, first, history=(Epoch(first.epoch, 0, GENESIS, 0),))
        empty = LogState("", 0, GENESIS)
        self.sites = {
            OWNER: Site(OWNER, owner),
            "base": Site("base", Log(False, empty), (OWNER, "relay"), is_relay=True),
            "relay": Site("relay", Log(False, empty), (OWNER, "base"), is_relay=True),
            "ncsa": Site("ncsa", Log(False, empty), (OWNER, "relay", "base")),
            # it never reaches the owner
            "far": Site("far", Log(False, empty), (OWNER, "base")),
        }
        self.never = frozenset((OWNER, "far"))
        self.cut: set[frozenset[str]] = {self.never}
        self.is_quiet = False
        #: rows by the chain hash of the history that led to them: what any replica there must have
        self.truth: dict[bytes, Rows] = {GENESIS: {}}
        self.trace: list[str] = []

    @property
    def owner(self) -> Site:
        return self.sites[OWNER]

    def _epoch(self) -> str:
        return f"{self.chance.getrandbits(64):016x}"

    @property
    def _now_ns(self) -> int:
        return int(self.now_s * 1e9)

    # -- what may happen --------------------------------------------------------------------------------------

    def step(self) -> None:
        """One thing happens."""
        name, act = self.chance.choices(*zip(*self._actions().items(), strict=True))[0]
        self.now_s += self.chance.expovariate(1.0)
        self.trace.append(name)
        act()
        self.check()

    def _actions(self) -> dict[tuple[str, Callable[[], None]], int]:
        followers = [site for site in self.sites.values() if site.sources]
        one = self.chance.choice(followers)
        return {
            ("commit", self.commit): 14,
            ("serve", lambda: self.serve(one)): 25,
            ("take", lambda: self.take(one)): 25,
            ("harm", lambda: self.harm(one)): 5,
            ("make durable", lambda: self.make_durable(one)): 6,
            ("cut", self.cut_link): 3,
            ("heal", self.heal_link): 4,
            ("crash", lambda: self.crash(self.chance.choice(list(self.sites.values())))): 4,
            ("trim", lambda: self.trim(self.chance.choice(list(self.sites.values())))): 4,
            ("back up", lambda: setattr(self.owner, "backup", self.owner.log.copy())): 2,
            ("restore", self.restore): 1,
            ("operate", self.operate): 2,
        }

    def commit(self) -> None:
        """The owner writes a transaction; it is durable at once."""
        log, chance = self.owner.log, self.chance
        changes, rows = [], dict(log.rows)
        for _ in range(chance.randint(1, 3)):
            key = chance.randrange(KEYS)
            if key in rows and chance.random() < 0.4:
                rows.pop(key)
                changes.append(Change.from_rows(TABLE, Operation.DELETE, COLUMNS[:1], [(key,)]))
            else:
                rows[key] = chance.getrandbits(30)
                changes.append(Change.from_rows(TABLE, Operation.PUT, COLUMNS, [(key, rows[key])]))
        body = encode_changes(changes)
        digest = digest_of(body)
        chain = chain_hash(log.state.chain, digest)
        lsn = log.state.lsn + 1
        log.entries += (LogEntry(lsn, self._now_ns, len(changes), 2, body, digest, chain),)
        log.rows, log.state = rows, LogState(log.state.epoch, lsn, chain)
        self.truth[chain] = dict(rows)
        self.owner.durable = log.copy()

    def serve(self, site: Site) -> None:
        """A follower connects, or its server sends it what is next."""
        source = self.sites[site.choice.names[site.choice.current]]
        if frozenset((site.name, source.name)) in self.cut:
            self._fail(site, UnavailableError("cut"), by_source=True)
            return
        try:
            if site.stream is None:
                site.stream = self._connect(site, source)
            self._send(site, source, site.stream)
        except FederationError as error:
            self._fail(site, error, by_source=True)

    def _connect(self, site: Site, source: Site) -> Stream:
        position = site.log.state
        site.decider.moved_to(position)
        self._check_published(site, source)
        start = FollowFrom(SCHEMA, position.epoch, position.lsn, position.chain, site.name, "")
        epoch = judge_position(source.log, start)
        return Stream(epoch, position.lsn, position.chain)

    def _check_published(self, site: Site, source: Site) -> None:
        if source.log.is_owned:
            self._check_shown(source)
            return
        if not source.is_relay or not source.log.state.epoch:
            raise UnavailableError("it has nothing to pass on")
        check_path(SCHEMA, self._upstream(source).path, site.name)

    def _check_shown(self, owner: Site) -> None:
        """As the mark beside a database is compared before its log is published."""
        if owner.must_restore:
            raise UnavailableError("the log is not published")
        if owner.shown is None:
            return
        epoch, lsn, chain = owner.shown
        until = continued_until(owner.log.history, epoch)
        is_there = until is not None and lsn <= min(until, owner.log.state.lsn)
        if not is_there or (owner.log.chain_at(lsn) not in (None, chain)):
            owner.must_restore = True
            raise CorruptionError("the log lacks what was published", hint="restore")

    def _upstream(self, source: Site) -> Upstream:
        path = (*(source.decider.path or (OWNER,)), source.name)
        return Upstream(path, source.decider.head_lsn, 0.0)

    def _send(self, site: Site, source: Site, stream: Stream) -> None:
        log = source.log
        if log.state.epoch != stream.epoch or log.state.lsn < stream.lsn:
            raise EpochError("replaced") if log.is_owned else UnavailableError("replaced")
        entries = tuple(entry for entry in log.entries if entry.lsn > stream.lsn)[:BATCH_ENTRIES]
        if log.state.lsn > stream.lsn and (not entries or entries[0].lsn != stream.lsn + 1):
            raise UnavailableError("trimmed under the stream")  # it connects again and is told so
        path, head = (OWNER,), log.state.lsn
        if not log.is_owned:
            self._check_published(site, source)
            upstream = self._upstream(source)
            path, head = upstream.path, max(head, upstream.head_lsn)
        stream.batches.append(
            FollowBatch(stream.epoch, stream.lsn, entries, head, self._now_ns, stream.chain, path)
        )
        if entries:
            stream.lsn, stream.chain = entries[-1].lsn, entries[-1].chain
            if log.is_owned:
                source.shown = (stream.epoch, stream.lsn, stream.chain)

    def take(self, site: Site) -> None:
        """A follower takes the next batch that has arrived."""
        if site.stream is None or not site.stream.batches:
            return
        batch = site.stream.batches.pop(0)
        try:
            step = site.decider.on_batch(batch)
        except FederationError as error:
            self._fail(site, error, by_source=False)
            return
        site.choice.heard()
        site.copy_from = None
        if isinstance(step, Apply):
            self._apply(site, step)

    def _apply(self, site: Site, step: Apply) -> None:
        log = site.log
        assert log.state == step.previous, "a step from a position where the replica does not stand"
        for entry in step.entries:
            log.apply(entry)
        if site.is_relay:
            log.entries += step.entries
        left = step.previous.epoch
        if step.target.epoch != left:
            begun = Epoch(step.target.epoch, step.previous.lsn, step.previous.chain, self._now_ns)
            log.history += (begun,)
            if left:
                log.former |= {left}
        log.state = step.target
        if left and step.target.epoch != left:
            path, head = site.decider.path, site.decider.head_lsn
            site.decider = FollowerState(SCHEMA, log.state, site=site.name, former_epochs=log.former)
            site.decider.path, site.decider.head_lsn = path, max(head, log.state.lsn)
        else:
            site.decider.moved_to(step.target)

    def _fail(self, site: Site, error: FederationError, *, by_source: bool) -> None:
        """As a follower's shell does: another source, a copy, or the next attempt."""
        site.stream = None
        decision = site.decider.on_error(error, by_source=by_source)
        source = self.sites[site.choice.names[site.choice.current]]
        assert not isinstance(decision, Stop), f"{site.name} stopped: {decision}"
        if site.choice.is_direct and isinstance(decision, Bootstrap):
            self._copy(site, source)
            return
        if isinstance(decision, Bootstrap) and site.copy_from is None:
            site.copy_from = source.name
        if site.choice.failed(self.now_s):
            offered, site.copy_from = site.copy_from, None
            if offered is not None:  # the owner does not answer, and a relay says that nothing else helps
                self._copy(site, self.sites[offered])

    def _copy(self, site: Site, source: Site) -> None:
        """All rows of a source at once, as its database has them."""
        if frozenset((site.name, source.name)) in self.cut:
            return
        try:
            self._check_published(site, source)
            site.decider.check_epoch(source.log.state.epoch)
        except FederationError:
            return
        log, state = site.log, source.log.state
        if source.log.is_owned:
            source.shown = (state.epoch, state.lsn, state.chain)
        if log.state.epoch and log.state.epoch != state.epoch:
            log.former |= {log.state.epoch}
        log.rows, log.state, log.entries = dict(source.log.rows), state, ()
        log.floor = Floor(state.lsn, state.chain)
        log.history = (Epoch(state.epoch, state.lsn, state.chain, self._now_ns),)
        site.restart()

    def harm(self, site: Site) -> None:
        """Something happens to what is on its way."""
        batches = site.stream.batches if site.stream is not None else []
        if not batches:
            return
        place = self.chance.randrange(len(batches))
        kind = self.chance.choice(("lose", "repeat", "reorder", "shorten", "damage", "renumber"))
        batch = batches[place]
        if kind == "lose":
            batches.pop(place)
        elif kind == "repeat":
            batches.insert(self.chance.randrange(len(batches) + 1), batch)
        elif kind == "reorder":
            batches.insert(0, batches.pop(place))
        elif batch.entries:
            batches[place] = attrs.evolve(batch, entries=tuple(self._harmed(list(batch.entries), kind)))

    def _harmed(self, entries: list[LogEntry], kind: str) -> list[LogEntry]:
        place = self.chance.randrange(len(entries))
        entry = entries[place]
        if kind == "shorten":
            return entries[:place]
        if kind == "renumber":
            entries[place] = msgspec.structs.replace(entry, lsn=entry.lsn + self.chance.choice((-1, 1)))
            return entries
        body = bytearray(entry.body)
        body[self.chance.randrange(len(body))] ^= 1 << self.chance.randrange(8)
        entries[place] = msgspec.structs.replace(entry, body=bytes(body))
        return entries

    def make_durable(self, site: Site) -> None:
        """What a follower has applied survives from now on, and it says so to the owner."""
        site.durable = site.log.copy()
        if frozenset((site.name, OWNER)) in self.cut or not site.log.state.epoch:
            return
        said = RegisteredFollower(site.name, site.log.state.epoch, site.log.state.lsn, self._now_ns)
        kept = tuple(one for one in self.owner.log.followers if one.name != site.name)
        self.owner.log.followers = (*kept, said)
        self.owner.durable = self.owner.log.copy()

    def cut_link(self) -> None:
        """Two sites lose each other, and what was on its way between them."""
        pair = self.chance.sample(sorted(self.sites), 2)
        self.cut.add(frozenset(pair))
        for site in (self.sites[name] for name in pair):
            if site.sources and site.choice.names[site.choice.current] in pair:
                site.stream = None

    def heal_link(self) -> None:
        if len(self.cut) > 1:
            self.cut.remove(self.chance.choice(sorted(self.cut - {self.never}, key=sorted)))

    def crash(self, site: Site) -> None:
        """A process ends, and with it what was not durable; those who were connected to it notice."""
        site.log = site.durable.copy()
        site.restart()
        for other in self.sites.values():
            if other.sources and other.choice.names[other.choice.current] == site.name:
                other.stream = None

    def trim(self, site: Site) -> None:
        """A site forgets the beginning of a log: for an owner as far as live followers allow, or by its cap."""
        log = site.log
        if len(log.entries) < 2:
            return
        needed: Mapping[str, int] = held_for(log.followers, log.history, FOLLOWER_TIMEOUT_S, self._now_ns)
        is_capped = self.chance.random() < 0.1
        until = (
            log.state.lsn - 1 if is_capped or not log.is_owned else min([log.state.lsn - 1, *needed.values()])
        )
        gone = [entry for entry in log.entries if entry.lsn <= until]
        if gone:
            log.floor = Floor(gone[-1].lsn, gone[-1].chain)
            log.entries = log.entries[len(gone) :]
            if log.is_owned:
                site.durable = log.copy()

    def restore(self) -> None:
        """The owner's database becomes what it was at the backup; it may be written to before anybody notices."""
        owner = self.owner
        owner.log = owner.backup.copy()
        owner.durable = owner.backup.copy()
        if self.chance.random() < 0.2:
            owner.shown = None  # the mark is lost too: followers must notice by themselves
        self.crash(owner)
        for _ in range(self.chance.randrange(4)):
            self.commit()

    def operate(self) -> None:
        """The operator looks whether a log is not published."""
        if self.owner.must_restore:
            self.begin_epoch()

    def begin_epoch(self) -> None:
        """What the operator does then: ``site restore``."""
        log = self.owner.log
        state = LogState(self._epoch(), log.state.lsn, log.state.chain)
        log.history += (Epoch(state.epoch, state.lsn, state.chain, self._now_ns),)
        log.state, self.owner.must_restore = state, False
        self.owner.shown = (state.epoch, state.lsn, state.chain)
        self.owner.durable = log.copy()

    # -- what must hold ---------------------------------------------------------------------------------------

    def check(self) -> None:
        """After every step: each replica has exactly the rows of the history that its position names."""
        for site in self.sites.values():
            for log in (site.log, site.durable):
                assert log.rows == self.truth[log.state.chain], (
                    f"{site.name} has other rows than its position says"
                )
            assert site.log.state.epoch not in site.log.former, (
                f"{site.name} went back to an epoch it had left"
            )
            numbers = [entry.lsn for entry in site.log.entries]
            assert numbers == list(range(site.log.floor.lsn + 1, site.log.floor.lsn + 1 + len(numbers)))
            if numbers:
                assert site.log.entries[-1].chain == site.log.state.chain
            assert site.decider.head_lsn >= site.log.state.lsn or site.stream is None

    def settle(self, rounds_max: int = 400) -> None:
        """Links heal, the operator does what he is told, and every replica comes to its owner's rows."""
        self.cut = {self.never}
        self.trace.append("settle")
        followers = [site for site in self.sites.values() if site.sources]
        for number in range(rounds_max):
            self.now_s += 10.0
            self.operate()
            if number == rounds_max // 4:
                # replicas may be ahead of an owner that lost its mark too: what it writes next tells them
                for _ in range(KEYS):
                    self.commit()
            for site in followers:
                if frozenset((site.name, OWNER)) not in self.cut and site.choice.prefers_owner(self.now_s):
                    site.choice.return_to_owner()
                    site.stream = None
                self.serve(site)
                while site.stream is not None and site.stream.batches:
                    self.take(site)
                self.check()
            behind = [site.name for site in followers if site.log.state != self.owner.log.state]
            if not behind:
                return
            if number == rounds_max // 2:
                # followers refuse an epoch that they have left for one that the owner no longer knows, and say so
                assert any(self.owner.log.state.epoch in site.log.former for site in followers), behind
                self.begin_epoch()
        raise AssertionError(f"not equal after {rounds_max} rounds: {behind}")
