"""The parts of access to a site, one by one: limits, the record of refusals, certificates, tokens, the site file."""

from __future__ import annotations

import datetime
import json
import stat
from pathlib import Path

import attrs
import pytest
from cryptography import x509

from federation.cli.main import main
from federation.config import Address, PeerConfig, SiteConfig, render_site
from federation.config.security import LimitsConfig, TlsConfig
from federation.errors import ConfigError, ConflictError, ForbiddenError, LimitError, NotFoundError, UserError
from federation.model.catalog import FederationCatalog, SchemaCatalog, SiteCatalog
from federation.model.position import SchemaId
from federation.services.audit import AuditLog
from federation.services.auth import Gatekeeper
from federation.services.certificates import init_ca, issue
from federation.services.limits import CallerLimits, TokenBucket
from federation.services.token_check import TokenCheck
from federation.services.tokens import LIFETIME_S_MAX, TokenStore
from federation.session_token import find_token
from federation.wire.gate import CallInfo
from federation.wire.tls import TlsFiles, dns_name, site_of


class TestLimits:
    def test_a_bucket_fills_at_its_rate_and_holds_no_more_than_its_burst(self) -> None:
        bucket = TokenBucket(rate=2.0, burst=3.0, at=0.0)
        assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
        assert bucket.take(0.5)
        assert not bucket.take(0.5)
        assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]

    def test_a_clock_that_goes_back_gives_nothing(self) -> None:
        bucket = TokenBucket(rate=1.0, burst=1.0, at=10.0)
        assert bucket.take(10.0)
        assert not bucket.take(0.0)
        assert not bucket.take(10.5)
        assert bucket.take(11.0)

    def test_each_caller_has_a_limit_of_its_own(self) -> None:
        limits = CallerLimits(LimitsConfig(calls_per_s=1.0, calls_burst=1), lambda: 0.0)
        limits.enter("a")
        with pytest.raises(LimitError, match="a makes more than 1 calls a second"):
            limits.enter("a")
        limits.enter("b")

    def test_a_call_that_has_ended_makes_room_once(self) -> None:
        limits = CallerLimits(LimitsConfig(calls_at_once=2), lambda: 0.0)
        leave = limits.enter("a")
        limits.enter("a")
        with pytest.raises(LimitError, match="a has 2 calls running"):
            limits.enter("a")
        leave()
        leave()
        limits.enter("a")
        with pytest.raises(LimitError):
            limits.enter("a")


class TestTheRecordOfRefusals:
    def record(self, log: AuditLog, what: str = "") -> None:
        log.record(
            who="user bob", address="ipv4:10.0.0.1:5", method="Query/Execute", what=what, why="no\ngrant"
        )

    def test_is_one_line_of_json_each(self, tmp_path: Path) -> None:
        log = AuditLog(tmp_path / "audit.jsonl", clock=lambda: 0)
        self.record(log, "base/alice")
        (line,) = log.path.read_text().splitlines()
        assert json.loads(line) == {
            "time_tai": "1970-01-01 00:00:00",
            "who": "user bob",
            "address": "ipv4:10.0.0.1:5",
            "method": "Query/Execute",
            "what": "base/alice",
            "why": "no\ngrant",
        }
        assert stat.S_IMODE(log.path.stat().st_mode) == 0o600

    def test_keeps_a_bounded_number_of_bytes(self, tmp_path: Path) -> None:
        log = AuditLog(tmp_path / "audit.jsonl", bytes_max=1000)
        for number in range(100):
            self.record(log, f"{number:0700}")
        assert log.path.stat().st_size + log.older.stat().st_size <= 2000
        assert f"{99:0500}"[:5] in log.path.read_text()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.jsonl", "audit.jsonl.1"]

    def test_stops_no_call_when_it_cannot_be_written(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log = AuditLog(tmp_path / "missing" / "audit.jsonl")
        self.record(log)
        self.record(log)
        assert capsys.readouterr().err.count("refusals are not recorded") == 1


class TestCertificates:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Path:
        init_ca(tmp_path / "ca")
        return tmp_path / "ca"

    def test_name_their_site(self, authority: Path) -> None:
        made = issue("summit", authority)
        certificate = x509.load_pem_x509_certificate(made.certificate.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        assert site_of(uris) == "summit"
        assert names.get_values_for_type(x509.DNSName) == [dns_name("summit")]
        assert made.ends - datetime.datetime.now(datetime.UTC) < datetime.timedelta(days=91)
        for key in (made.key, authority / "ca.key"):
            assert stat.S_IMODE(key.stat().st_mode) == 0o600

    def test_of_clients_name_no_site(self, authority: Path) -> None:
        made = issue("summit", authority, is_client=True)
        certificate = x509.load_pem_x509_certificate(made.certificate.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert site_of(names.get_values_for_type(x509.UniformResourceIdentifier)) is None
        assert not names.get_values_for_type(x509.DNSName)

    def test_with_two_sites_name_none(self) -> None:
        assert site_of(["federation://site/summit", "federation://site/base"]) is None

    def test_are_not_overwritten(self, authority: Path) -> None:
        made = issue("summit", authority)
        before = made.certificate.read_bytes()
        with pytest.raises(ConflictError, match=r"summit\.pem is there already"):
            issue("summit", authority)
        with pytest.raises(ConflictError, match=r"ca\.pem is there already"):
            init_ca(authority)
        assert made.certificate.read_bytes() == before
        issue("summit", authority, renew=True)
        assert made.certificate.read_bytes() != before

    def test_need_an_authority_and_a_name(self, authority: Path, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match=r"ca\.pem is missing") as caught:
            issue("summit", tmp_path / "none")
        assert "init-ca" in caught.value.hint
        for name in ("../summit", "Summit", "ca", ""):
            with pytest.raises(UserError):
                issue(name, authority)
        with pytest.raises(UserError):
            issue("../x", authority, is_client=True)
        assert sorted(path.name for path in authority.iterdir()) == ["ca.key", "ca.pem"]

    def test_are_read_again_when_they_have_changed_and_fit_together(self, authority: Path) -> None:
        made, other = issue("summit", authority), issue("base", authority)
        files = TlsFiles(TlsConfig(made.ca, made.certificate, made.key))
        first = files.read()
        assert not files.has_changed()
        made.key.write_bytes(other.key.read_bytes())
        assert not files.has_changed()
        assert files.read() == first
        made.certificate.write_bytes(other.certificate.read_bytes())
        assert files.has_changed()
        assert files.read().certificate == other.certificate.read_bytes()

    @pytest.mark.parametrize(
        ("broken", "message"),
        [("certificate", "no certificate in"), ("key", "no private key"), ("ca", "no certificate in")],
    )
    def test_that_are_none_are_an_error(self, authority: Path, broken: str, message: str) -> None:
        made = issue("summit", authority)
        files = TlsConfig(made.ca, made.certificate, made.key)
        getattr(files, broken).write_text("nothing")
        with pytest.raises(ConfigError, match=message):
            TlsFiles(files)
        getattr(files, broken).unlink()
        with pytest.raises(ConfigError, match=f"\\[tls\\] {broken}: cannot read"):
            TlsFiles(files)


class TestTokens:
    @pytest.fixture
    def store(self, tmp_path: Path) -> TokenStore:
        return TokenStore("base", tmp_path, clock=lambda: 1000.0)

    def check(self, store: TokenStore, now: float = 1000.0) -> TokenCheck:
        return TokenCheck(store, {}, lambda _site, one: one in store.revoked(), clock=lambda: now)

    def test_say_whose_they_are_until_they_expire(self, store: TokenStore) -> None:
        token, text = store.issue("alice", 60)
        assert self.check(store, 1059.0).user(text) == "alice"
        with pytest.raises(ForbiddenError, match="the token of user alice has expired"):
            self.check(store, 1060.0).user(text)
        assert (token.state(1000.0), token.state(2000.0)) == ("good", "expired")

    def test_are_kept_nowhere(self, store: TokenStore, tmp_path: Path) -> None:
        _, text = store.issue("alice")
        kept = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert kept
        assert not any(text.encode() in path.read_bytes() for path in kept)
        assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}

    def test_end_when_they_are_revoked(self, store: TokenStore) -> None:
        token, text = store.issue("alice")
        other, _ = store.issue("alice")
        store.revoke(token.id)
        assert store.revoked() == {token.id}
        with pytest.raises(ForbiddenError, match="was revoked"):
            self.check(store).user(text)
        with pytest.raises(NotFoundError, match="no token 'x'"):
            store.revoke("x")
        assert [(one.id, one.state(1000.0)) for one in store.tokens()] == [
            (token.id, "revoked"),
            (other.id, "good"),
        ]

    def test_of_another_key_are_refused(self, store: TokenStore, tmp_path: Path) -> None:
        store.issue("alice")
        _, forged = TokenStore("base", tmp_path / "thief").issue("alice")
        with pytest.raises(ForbiddenError, match="was not signed by site base"):
            self.check(store).user(forged)

    def test_without_a_signature_are_refused(self, store: TokenStore) -> None:
        import jwt

        store.issue("alice")
        claims = {"iss": "base", "aud": "federation", "sub": "alice", "jti": "1", "exp": 9999}
        for text in (jwt.encode(claims, None, algorithm="none"), jwt.encode(claims, "x" * 32, "HS256")):
            with pytest.raises(ForbiddenError, match="was not signed"):
                self.check(store).user(text)

    def test_have_users_and_lifetimes_within_bounds(self, store: TokenStore) -> None:
        for lifetime_s in (0, -1, LIFETIME_S_MAX + 1):
            with pytest.raises(UserError, match="a token can't be good for"):
                store.issue("alice", lifetime_s)
        with pytest.raises(UserError):
            store.issue("site:base")
        assert store.tokens() == ()

    def test_come_from_a_file_or_a_variable(self, tmp_path: Path) -> None:
        path = tmp_path / "base.toml"
        path.write_text(render_site("base", tmp_path, "127.0.0.1:0"))
        assert find_token(SiteConfig.load(path), {"FEDERATION_TOKEN": "a.b.c"}) is None  # no [tls]
        path.write_text(path.read_text() + '\n[tls]\nca = "ca"\ncertificate = "c"\nkey = "k"\n')
        config = SiteConfig.load(path)
        assert config.tls == TlsConfig(tmp_path / "ca", tmp_path / "c", tmp_path / "k")
        assert find_token(config, {}) is None
        given = find_token(config, {"FEDERATION_TOKEN": " a.b.c\n"})
        assert given is not None
        assert given() == "a.b.c"
        file = tmp_path / "token"
        given = find_token(config, {"FEDERATION_TOKEN_FILE": str(file), "FEDERATION_TOKEN": "d.e.f"})
        assert given is not None
        with pytest.raises(ConfigError, match="cannot read"):
            given()
        file.write_text("a secret that is no token")
        with pytest.raises(ConfigError, match="does not hold a token") as caught:
            given()
        assert "secret" not in str(caught.value)
        file.write_text("a.b.c\n")
        assert given() == "a.b.c"


class TestTheGate:
    """Asked with calls as they come from the wire."""

    @pytest.fixture
    def config(self, tmp_path: Path) -> SiteConfig:
        peer = PeerConfig("ncsa", Address("127.0.0.1", 1))
        text = render_site("base", tmp_path, "127.0.0.1:0", peers=[peer])
        return SiteConfig.parse(
            text + '\n[tls]\nca = "ca"\ncertificate = "c"\nkey = "k"\n', tmp_path / "base.toml"
        )

    def gate(self, config: SiteConfig) -> Gatekeeper:
        store = TokenStore("base", config.root)
        return Gatekeeper(
            config,
            TokenCheck(store, {}, lambda _site, _id: False),
            CallerLimits(LimitsConfig(calls_burst=3, calls_per_s=0.001), lambda: 0.0),
            AuditLog(config.root / "audit.jsonl"),
        )

    def call(self, method: str, names: tuple[str, ...] = (), **said: str) -> CallInfo:
        return CallInfo(f"federation.wire.v1.{method}", "ipv4:10.0.0.1:5", names, **said)  # type: ignore[arg-type]

    def test_refuses_a_method_that_it_does_not_know(self, config: SiteConfig) -> None:
        gate = self.gate(config)
        for names in (("federation://site/ncsa",), ("federation://site/base",)):
            with pytest.raises(ForbiddenError, match=r"New/Thing is not for site"):
                gate.admit(self.call("New/Thing", names))

    def test_finds_on_whose_behalf_a_site_asks(self, config: SiteConfig) -> None:
        gate = self.gate(config)
        ncsa, base = ("federation://site/ncsa",), ("federation://site/base",)
        assert gate.admit(self.call("Query/Execute", ncsa)).user == "site:ncsa"
        assert gate.admit(self.call("Query/Execute", ncsa, user="alice")).user == "alice"
        assert gate.admit(self.call("Query/Execute", base)).user == ""

    def test_refuses_a_certificate_that_names_nobody(self, config: SiteConfig) -> None:
        for names in ((), ("federation://site/ncsa", "federation://site/base"), ("ncsa.federation",)):
            with pytest.raises(ForbiddenError, match="needs a token"):
                self.gate(config).admit(self.call("Query/Execute", names))

    def test_bounds_how_often_one_may_guess(self, config: SiteConfig) -> None:
        gate = self.gate(config)
        laptop = ("federation://client/laptop",)
        for _ in range(3):
            with pytest.raises(ForbiddenError):
                gate.admit(self.call("Query/Execute", laptop, token="a.b.c"))
        with pytest.raises(LimitError, match="federation://client/laptop makes more than"):
            gate.admit(self.call("Query/Execute", laptop, token="a.b.c"))

    def test_without_tls_takes_everybody_at_their_word(self, config: SiteConfig) -> None:
        gate = self.gate(attrs.evolve(config, tls=None))
        assert gate.admit(self.call("ChangeLog/Follow")).who == "10.0.0.1"
        assert gate.admit(self.call("Query/Execute", user="alice")).user == "alice"

    def test_shows_no_token(self) -> None:
        assert "a.b.c" not in repr(self.call("Query/Execute", token="a.b.c"))


class TestTheSiteFile:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('[tls]\nca = "a"\n', r"key 'certificate' is missing in \[tls\]"),
            ("[limits]\ncalls_per_s = 0\n", "permits no call"),
            ("[limits]\nmessage_bytes_max = 5\n", "is not an integer of at least 1048576"),
            ("insecure = 1\n", "is neither true nor false"),
        ],
    )
    def test_says_what_is_wrong(self, tmp_path: Path, text: str, message: str) -> None:
        whole = render_site("base", tmp_path, "127.0.0.1:0")
        text = text + whole if text.startswith("insecure") else whole + text
        with pytest.raises(ConfigError, match=message):
            SiteConfig.parse(text, tmp_path / "base.toml")


def test_an_owner_that_refuses_decides_for_its_replicas() -> None:
    schema = SchemaId("summit", "alice")

    def held(forbidden: tuple[str, str] | None) -> SchemaCatalog:
        return SchemaCatalog(schema, "e", 1, 1, 0.0, (), forbidden=forbidden)

    def merged(summit: tuple[str, str] | None, base: tuple[str, str] | None) -> FederationCatalog:
        sites = (SiteCatalog("base", "1", (held(base),)), SiteCatalog("summit", "1", (held(summit),)))
        return FederationCatalog.permitted("base", sites, {})

    no = ("no", "ask")
    assert [site for site, _ in merged(None, None).holders(schema)] == ["base", "summit"]
    assert [site for site, _ in merged(None, no).holders(schema)] == ["summit"]
    for refused in (merged(no, None), merged(no, no)):
        assert not refused.holders(schema)
        assert refused.forbidden == {schema: no}


def test_the_commands_make_what_they_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority, sites = str(tmp_path / "ca"), str(tmp_path / "sites")

    def run(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(words) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    run("site", "cert", "init-ca", authority)
    assert "is there already" in run("site", "cert", "init-ca", authority, code=3)
    shown = run("site", "cert", "issue", "base", "--ca", authority)
    assert SiteConfig.parse(
        render_site("base", tmp_path, "127.0.0.1:0") + shown.partition("\n")[2], tmp_path / "base.toml"
    ).tls == TlsConfig(*(tmp_path / "ca" / name for name in ("ca.pem", "base.pem", "base.key")))
    run("site", "init", "base", "--sites", sites)
    at = ("--site", "base", "--sites", sites)
    made = json.loads(
        run("token", "issue", "alice", *at, "-o", str(tmp_path / "t"), "--lifetime", "1h", "--json")
    )
    assert made["expires"] - made["issued"] == 3600
    assert (tmp_path / "t").read_text().strip() not in run("token", "list", *at)
    run("token", "revoke", made["id"], *at)
    (listed,) = json.loads(run("token", "list", *at, "--json"))["tokens"]
    assert listed["state"] == "revoked"
    assert "BEGIN PUBLIC KEY" in run("token", "public-key", *at)
    assert "is not a time" in run("token", "issue", "a", *at, "-o", "-", "--lifetime", "soon", code=2)
