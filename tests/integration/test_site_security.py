"""Sites that prove who they are, people with tokens, and what all others are refused: real servers and certificates."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pyarrow as pa
import pytest
from free_ports import free_port
from grpc_health.v1 import health_pb2, health_pb2_grpc

import federation
from federation.cli.main import main
from federation.config import Address, PeerConfig, SiteConfig, render_site
from federation.config.security import TlsConfig
from federation.errors import ConfigError, FederationError, ForbiddenError, LimitError, UnavailableError
from federation.model.dataset import deterministic_id
from federation.model.logical import LogicalType
from federation.model.position import SchemaId
from federation.planner import OutputColumn
from federation.registry.registry import Registry
from federation.security_verbs import init_authority, issue_certificate, issue_token, revoke_token
from federation.services.site_server import SiteServer
from federation.wire.client import SiteClient
from federation.wire.messages import BootstrapFrom, DigestOf, FollowFrom

ROWS = pa.table({"detector": [1, 2], "seeing": [0.5, 0.7]})
SEEING = [OutputColumn("seeing", LogicalType.FLOAT64)]


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        threading.Event().wait(0.02)


class Sites:
    """Base, which owns schemas of alice and carol, and ncsa, a peer that follows its main schema and carol's."""

    def __init__(self, root: Path) -> None:
        self.root, self.directory, self.authority = root, root / "sites", root / "ca"
        self.directory.mkdir()
        init_authority(self.authority)
        ports = {name: free_port() for name in ("base", "ncsa")}
        for name, other in (("base", "ncsa"), ("ncsa", "base")):
            issue_certificate(name, authority=self.authority)
            peer = PeerConfig(other, Address("127.0.0.1", ports[other]), ("*",) if name == "ncsa" else ())
            text = render_site(name, root / name, Address("127.0.0.1", ports[name]), peers=[peer])
            if name == "base":
                text = text.replace('name = "ncsa"', 'name = "ncsa"\nmay_follow = ["base", "carol"]')
            (self.directory / f"{name}.toml").write_text(text + self.tls_text(name))
            Registry.create(self.config(name)).close()
        issue_certificate("laptop", authority=self.authority, client=True)
        for user in ("alice", "carol"):
            federation.create_table(
                "quality", ROWS, site="base", sites=self.directory, schema=user, key=["detector"], user=user
            )

    def config(self, name: str) -> SiteConfig:
        return SiteConfig.load(self.directory / f"{name}.toml")

    def tls(self, name: str, authority: Path | None = None) -> TlsConfig:
        at = authority or self.authority
        return TlsConfig(self.authority / "ca.pem", at / f"{name}.pem", at / f"{name}.key")

    def tls_text(self, name: str) -> str:
        files = self.tls(name)
        return f'\n[tls]\nca = "{files.ca}"\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'

    def token(self, user: str, **options: int) -> Callable[[], str]:
        _, text = issue_token(user, site="base", sites=self.directory, **options)  # type: ignore[arg-type]
        return lambda: text

    def client(
        self, certificate: str, *, site: str = "base", token: Callable[[], str] | None = None, user: str = ""
    ) -> SiteClient:
        address = str(self.config(site).listen)
        return SiteClient(site, address, tls=self.tls(certificate), token=token, user=user)

    def audit(self) -> list[dict[str, str]]:
        lines = (self.root / "base" / "audit.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sites:
    for name in ("FEDERATION_SITE", "FEDERATION_SITES", "FEDERATION_TOKEN", "FEDERATION_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    return Sites(tmp_path)


@contextlib.contextmanager
def serving(sites: Sites, name: str = "base") -> Iterator[SiteServer]:
    server = SiteServer(sites.config(name))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def base(sites: Sites) -> Iterator[SiteServer]:
    with serving(sites) as server:
        yield server


def ask(client: SiteClient, schema: str = "alice") -> list[float]:
    """Read a table of a schema by a fragment, as a planner would send it, or anybody else."""
    sql = f'SELECT q.seeing AS seeing FROM "base/{schema}"."quality" AS q ORDER BY q.detector'
    with client.execute(sql, SEEING, timeout_s=20) as rows:
        return [value for batch in rows for value in batch.column(0).to_pylist()]


def table_names(client: SiteClient) -> dict[str, int]:
    """How many tables a site tells of each schema."""
    catalog = client.get_catalog()
    assert catalog is not None
    return {held.schema.name: len(held.tables) for held in catalog.schemas}


def is_refused(client: SiteClient, reason: str) -> bool:
    """Whether a site refuses to answer, for this reason."""
    try:
        client.status()
    except ForbiddenError as error:
        return reason in error.message
    return False


class TestCertificates:
    def test_a_peer_is_known_by_its_certificate(self, sites: Sites, base: SiteServer) -> None:
        with sites.client("ncsa") as client:
            assert client.status().site == "base"
            assert ask(client, "carol") == [0.5, 0.7]

    def test_no_certificate_gets_no_connection(self, sites: Sites, base: SiteServer) -> None:
        credentials = grpc.ssl_channel_credentials((sites.authority / "ca.pem").read_bytes())
        options = (("grpc.ssl_target_name_override", "base.federation"),)
        with grpc.secure_channel(base.address, credentials, options) as channel:
            call = channel.unary_unary("/federation.wire.v1.Site/Status")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        with SiteClient("base", base.address) as plain, pytest.raises(UnavailableError):
            plain.status()

    def test_the_certificate_of_another_authority_is_worth_nothing(
        self, sites: Sites, base: SiteServer, tmp_path: Path
    ) -> None:
        init_authority(tmp_path / "theirs")
        issue_certificate("ncsa", authority=tmp_path / "theirs")
        tls = sites.tls("ncsa", tmp_path / "theirs")
        with SiteClient("base", base.address, tls=tls) as client, pytest.raises(UnavailableError):
            client.status()
        # and a client does not believe a server whose authority it does not know
        files = sites.tls("ncsa")
        wrong = TlsConfig(tmp_path / "theirs" / "ca.pem", files.certificate, files.key)
        with SiteClient("base", base.address, tls=wrong) as client:
            with pytest.raises(UnavailableError, match="certificate") as caught:
                client.status()
            assert "[tls]" in caught.value.hint

    def test_an_expired_certificate_gets_no_connection(self, sites: Sites, base: SiteServer) -> None:
        made = issue_certificate("ncsa", authority=sites.authority, output=sites.root / "old", days=-1)
        with pytest.raises(ConfigError, match=r"ended at .* UTC"):
            SiteClient("base", base.address, tls=sites.tls("ncsa", sites.root / "old"))
        credentials = grpc.ssl_channel_credentials(
            (sites.authority / "ca.pem").read_bytes(), made.key.read_bytes(), made.certificate.read_bytes()
        )
        options = (("grpc.ssl_target_name_override", "base.federation"),)
        with grpc.secure_channel(base.address, credentials, options) as channel:
            call = channel.unary_unary("/federation.wire.v1.Site/Status")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    def test_a_server_with_another_name_is_not_believed(self, sites: Sites, base: SiteServer) -> None:
        with SiteClient("ncsa", base.address, tls=sites.tls("ncsa")) as client:
            with pytest.raises(UnavailableError) as caught:
                client.status()
            assert "[tls]" in caught.value.hint

    @pytest.mark.parametrize("other", ["ncsa", "laptop"])
    def test_a_site_is_not_served_with_the_certificate_of_another(self, sites: Sites, other: str) -> None:
        text = (sites.directory / "base.toml").read_text()
        for end in (".pem", ".key"):
            text = text.replace(f"base{end}", f"{other}{end}")
        config = SiteConfig.parse(text, sites.directory / "base.toml")
        with pytest.raises(ConfigError, match=rf"{other}\.pem is of .*/{other}, not of site base"):
            SiteServer(config)

    def test_a_site_that_is_no_peer_is_refused(self, sites: Sites, base: SiteServer) -> None:
        issue_certificate("summit", authority=sites.authority)
        with sites.client("summit") as client, pytest.raises(ForbiddenError, match="summit is not a peer"):
            client.status()
        (line,) = sites.audit()
        assert line["who"] == "site summit"
        assert line["method"] == "federation.wire.v1.Site/Status"
        assert "not a peer" in line["why"]
        assert line["address"].startswith("ipv4:127.0.0.1:")

    def test_a_new_certificate_is_used_without_a_restart(self, sites: Sites, base: SiteServer) -> None:
        def serial() -> bytes:
            with sites.client("ncsa") as fresh:
                assert fresh.status().site == "base"
            return (sites.authority / "base.pem").read_bytes()

        with sites.client("ncsa") as client:
            assert client.status().site == "base"
            before = serial()
            issue_certificate("base", authority=sites.authority, renew=True)
            issue_certificate("ncsa", authority=sites.authority, renew=True)
            assert client.status().site == "base"
            assert serial() != before
            presented = _presented(base.address, sites.tls("ncsa"))
            assert presented == (sites.authority / "base.pem").read_text().strip()

    def test_an_authority_is_replaced_step_by_step(self, sites: Sites, base: SiteServer) -> None:
        new = sites.root / "new"
        init_authority(new)
        roots = sites.authority / "ca.pem"
        both = roots.read_bytes() + (new / "ca.pem").read_bytes()
        roots.write_bytes(both)
        issue_certificate("ncsa", authority=new, output=new)
        with SiteClient("base", base.address, tls=sites.tls("ncsa", new)) as client:
            assert client.status().site == "base"
        with sites.client("ncsa") as client:
            assert client.status().site == "base"

    def test_a_half_replaced_pair_leaves_the_old_one_in_use(self, sites: Sites, base: SiteServer) -> None:
        key = sites.authority / "base.key"
        before = key.read_bytes()
        key.write_bytes((sites.authority / "ncsa.key").read_bytes())
        with sites.client("ncsa") as client:
            assert client.status().site == "base"
        key.write_bytes(before)


def _presented(address: str, tls: TlsConfig) -> str:
    """The certificate that a server shows to a new connection."""
    import ssl

    context = ssl.create_default_context(cafile=str(tls.ca))
    context.check_hostname = False
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="base.federation") as tls_socket,
    ):
        der = tls_socket.getpeercert(binary_form=True)
    assert der is not None
    return ssl.DER_cert_to_PEM_cert(der).strip()


class TestPeople:
    def test_a_token_says_who_asks(self, sites: Sites, base: SiteServer) -> None:
        with sites.client("laptop", token=sites.token("alice")) as client:
            assert ask(client, "alice") == [0.5, 0.7]

    def test_without_a_token_nothing_is_told(self, sites: Sites, base: SiteServer) -> None:
        with sites.client("laptop") as client:
            with pytest.raises(ForbiddenError, match="needs a token") as caught:
                client.status()
            assert "FEDERATION_TOKEN_FILE" in caught.value.hint
            with pytest.raises(ForbiddenError):
                ask(client)

    def test_whoever_could_connect_may_ask_whether_the_site_is_up(
        self, sites: Sites, base: SiteServer
    ) -> None:
        with sites.client("laptop") as client:
            channel = client._channel.stubs().channel
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    def test_the_user_of_a_request_does_not_count_beside_a_token(
        self, sites: Sites, base: SiteServer
    ) -> None:
        with (
            sites.client("laptop", token=sites.token("bob"), user="alice") as client,
            pytest.raises(ForbiddenError, match="user bob has no read privilege on schema alice"),
        ):
            ask(client, "alice")

    def test_a_user_without_a_grant_is_refused_by_the_site_itself(
        self, sites: Sites, base: SiteServer
    ) -> None:
        with sites.client("laptop", token=sites.token("bob")) as client:
            with pytest.raises(ForbiddenError) as caught:
                ask(client, "alice")
            assert "federation schema grant read alice bob --site base" in caught.value.hint
            told = table_names(client)
            assert told["alice"] == 0
            assert told["base"] > 0
            federation.grant("read", "alice", "bob", site="base", sites=sites.directory, user="alice")
            assert ask(client, "alice") == [0.5, 0.7]
            assert table_names(client)["alice"] > 0
            federation.revoke("read", "alice", "bob", site="base", sites=sites.directory, user="alice")
            with pytest.raises(ForbiddenError):
                ask(client, "alice")
        assert {line["what"] for line in sites.audit()} == {""}
        assert {line["who"] for line in sites.audit()} == {"user bob"}

    def test_people_do_not_follow(self, sites: Sites, base: SiteServer) -> None:
        with (
            sites.client("laptop", token=sites.token("alice")) as client,
            pytest.raises(ForbiddenError, match="for other sites"),
        ):
            next(client.bootstrap(BootstrapFrom(SchemaId("base", "alice"), "ncsa", "")))

    def test_an_expired_token_is_refused(self, sites: Sites, base: SiteServer) -> None:
        token = sites.token("alice", lifetime_s=1)
        with sites.client("laptop", token=token) as client:
            eventually(lambda: is_refused(client, "has expired"), "a token of one second has expired")

    def test_a_revoked_token_is_refused_at_once(self, sites: Sites, base: SiteServer) -> None:
        token, text = issue_token("alice", site="base", sites=sites.directory)
        with sites.client("laptop", token=lambda: text) as client:
            assert client.status().site == "base"
            revoke_token(token.id, site="base", sites=sites.directory)
            with pytest.raises(ForbiddenError, match=f"token {token.id} of user alice was revoked"):
                client.status()
        assert text not in (sites.root / "base" / "audit.jsonl").read_text()

    def test_another_site_hears_of_a_revoked_token(self, sites: Sites, base: SiteServer) -> None:
        token, text = issue_token("alice", site="base", sites=sites.directory)
        path = sites.directory / "ncsa.toml"
        key = sites.root / "base" / "auth" / "token.pub"
        path.write_text(path.read_text().replace('name = "base"', f'name = "base"\ntoken_key = "{key}"'))
        with serving(sites, "ncsa"), sites.client("laptop", site="ncsa", token=lambda: text) as client:
            assert client.status().site == "ncsa"
            revoke_token(token.id, site="base", sites=sites.directory)
            eventually(lambda: is_refused(client, "was revoked"), "the revocation has come to ncsa")

    def test_tokens_of_an_issuer_that_is_not_trusted_are_refused(
        self, sites: Sites, base: SiteServer
    ) -> None:
        _, text = issue_token("alice", site="ncsa", sites=sites.directory)
        with (
            sites.client("laptop", token=lambda: text) as client,
            pytest.raises(ForbiddenError, match="tokens of issuer 'ncsa' are not accepted"),
        ):
            client.status()

    def test_a_token_that_was_changed_is_refused(self, sites: Sites, base: SiteServer) -> None:
        good, other = sites.token("bob")(), sites.token("alice")()
        forged = ".".join((*other.split(".")[:2], good.split(".")[2]))
        for text in (forged, "a.b.c", other[:-40]):
            with (
                sites.client("laptop", token=lambda text=text: text) as client,  # type: ignore[misc]
                pytest.raises(ForbiddenError) as caught,
            ):
                client.status()
            assert text not in str(caught.value)

    def test_no_token_goes_over_a_connection_that_is_not_protected(self) -> None:
        with pytest.raises(ConfigError, match="a token is not sent"):
            SiteClient("base", "127.0.0.1:1", token=lambda: "a.b.c")


class TestPeers:
    def test_a_peer_follows_what_it_may(self, sites: Sites, base: SiteServer) -> None:
        with serving(sites, "ncsa") as ncsa:

            def held() -> set[str]:
                return {one.schema.name for one in ncsa.registry.held() if not one.owned}

            def applied() -> dict[str, int]:
                with sites.client("ncsa", site="ncsa") as client:
                    found = client.status().schemas
                return {one.schema.name: one.lsn for one in found if one.schema.site == "base"}

            eventually(lambda: applied().get("carol", 0) > 0, "carol's table has come")
            assert held() == {"base", "carol"}
        with sites.client("ncsa") as client:
            assert {one.schema.name for one in client.status().schemas} == {"base", "carol"}

    def test_a_replica_is_read_by_the_grants_of_its_owner(self, sites: Sites, base: SiteServer) -> None:
        with serving(sites, "ncsa"), sites.client("ncsa", site="ncsa", user="bob") as client:

            def answer() -> str:
                try:
                    return str(ask(client, "carol"))
                except FederationError as error:
                    return error.message

            refused = "user bob has no read privilege on schema carol of site base"
            eventually(lambda: answer() == refused, "the replica is here, and closed to bob")
            federation.grant("read", "carol", "bob", site="base", sites=sites.directory, user="carol")
            eventually(lambda: answer() == "[0.5, 0.7]", "the grant has come to ncsa")

    def test_a_peer_does_not_read_what_it_may_not_follow(self, sites: Sites, base: SiteServer) -> None:
        with sites.client("ncsa") as client:
            with pytest.raises(ForbiddenError, match="site ncsa may not read schema base/alice"):
                ask(client, "alice")
            for call in (
                lambda: next(client.bootstrap(BootstrapFrom(SchemaId("base", "alice"), "ncsa", ""))),
                lambda: client.digest(DigestOf(SchemaId("base", "alice"))),
            ):
                with pytest.raises(ForbiddenError, match="may not follow schema base/alice") as caught:
                    call()
                assert 'may_follow = ["alice"]' in caught.value.hint

    def test_a_peer_is_believed_when_it_says_for_whom_it_asks(self, sites: Sites, base: SiteServer) -> None:
        with sites.client("ncsa", user="alice") as client:
            assert ask(client, "alice") == [0.5, 0.7]
        with sites.client("ncsa", user="bob") as client, pytest.raises(ForbiddenError, match="user bob"):
            ask(client, "alice")
        for user in ("site:base", "a b"):
            with (
                sites.client("ncsa", user=user) as client,
                pytest.raises(FederationError, match="not allowed"),
            ):
                ask(client, "alice")

    def test_a_peer_does_not_follow_in_the_name_of_another(self, sites: Sites, base: SiteServer) -> None:
        start = FollowFrom(SchemaId("base", "base"), "", 0, b"", "summit", "")
        with sites.client("ncsa") as client, pytest.raises(ForbiddenError, match="in the name of summit"):
            next(client.follow(start))

    def test_a_file_is_for_who_may_read_its_dataset(self, sites: Sites, tmp_path: Path) -> None:
        dataset_id = put_file(sites, tmp_path, "alice", "--as", "alice")
        with serving(sites):
            alice, bob = sites.token("alice"), sites.token("bob")
            with sites.client("laptop", token=alice) as client, client.fetch(dataset_id) as stream:
                assert b"".join(stream) == b"private"
            with (
                sites.client("laptop", token=bob) as client,
                pytest.raises(ForbiddenError, match="user bob"),
            ):
                client.fetch(dataset_id)
            (line,) = sites.audit()
            assert line["what"] == f"dataset {dataset_id.hex}"


def put_file(sites: Sites, tmp_path: Path, schema: str, *options: str, code: int = 0) -> uuid.UUID:
    """A dataset with a file in a schema of base, which the command of ingest puts there, or refuses."""
    file = tmp_path / "flat.dat"
    file.write_bytes(b"private")
    records = {"instrument": [{"name": "C"}], "detector": [{"instrument": "C", "id": 1}]}
    described = {"data_id": {"instrument": "C", "detector": 1}, "records": records}
    file.with_name("flat.dat.json").write_text(json.dumps(described))
    words = ["ingest", "--sites", str(sites.directory), "--site", "base", "--schema", schema, *options]
    run = f"flats/{schema}"
    words += ["--run", run, "--dataset-type", "flat", "--declare", "detector:Packages", str(file)]
    assert main(words) == code
    return deterministic_id("flat", run, {"instrument": "C", "detector": 1})


class TestLimits:
    def test_a_caller_that_asks_too_often_is_told_so(self, sites: Sites) -> None:
        path = sites.directory / "base.toml"
        path.write_text(path.read_text() + "\n[limits]\ncalls_per_s = 0.001\ncalls_burst = 3\n")
        with serving(sites), sites.client("ncsa") as client:
            for _ in range(3):
                client.status()
            with pytest.raises(LimitError, match="site ncsa makes more than"):
                client.status()
            # others are not held up
            with sites.client("laptop", token=sites.token("alice")) as other:
                other.status()

    def test_a_message_that_is_too_large_is_refused(self, sites: Sites) -> None:
        path = sites.directory / "base.toml"
        path.write_text(path.read_text() + f"\n[limits]\nmessage_bytes_max = {1 << 20}\n")
        with serving(sites), sites.client("base") as client:
            sql = f"SELECT q.seeing AS seeing FROM \"base/alice\".\"quality\" AS q WHERE '{'x' * (1 << 21)}' = ''"
            with pytest.raises(LimitError, match="too large"), client.execute(sql, SEEING) as rows:
                list(rows)


class TestExposure:
    def test_a_site_is_not_exposed_by_mistake(self, tmp_path: Path) -> None:
        path = tmp_path / "base.toml"
        path.write_text(render_site("base", tmp_path / "base", "0.0.0.0:0"))
        config = SiteConfig.load(path)
        Registry.create(config).close()
        with pytest.raises(ConfigError, match=r"lets other computers in, and there is no \[tls\]"):
            SiteServer(config)
        path.write_text("insecure = true\n" + path.read_text())
        SiteServer(SiteConfig.load(path)).stop()


class TestSessions:
    def test_a_person_asks_all_sites_with_one_token(
        self,
        sites: Sites,
        base: SiteServer,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        mine = sites.root / "mine"
        mine.mkdir()
        text = sites.config("base").path.read_text().partition("[[peer]]")[0]
        (mine / "base.toml").write_text(text + sites.tls_text("laptop"))
        token_file = sites.root / "alice.token"
        issue_token("alice", site="base", sites=sites.directory, output=token_file)
        assert token_file.stat().st_mode & 0o077 == 0
        words = ["query", "--sites", str(mine), "--format", "csv", "SELECT seeing FROM alice.quality"]
        assert main(words) == 3
        assert "needs a token" in capsys.readouterr().err
        monkeypatch.setenv("FEDERATION_TOKEN_FILE", str(token_file))
        assert main(words) == 0
        assert capsys.readouterr().out.split() == ["seeing", "0.5", "0.7"]
        issue_token("bob", site="base", sites=sites.directory, output=token_file)
        assert main(words) == 3
        assert "bob" in capsys.readouterr().err

    def test_the_operator_asks_on_behalf_of_a_user(
        self, sites: Sites, base: SiteServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["query", "--sites", str(sites.directory), "--site", "base", "--partial", "--format", "csv"]
        words += ["SELECT seeing FROM alice.quality"]
        assert main([*words, "--as", "bob"]) == 3
        assert "user bob has no read privilege on schema alice" in capsys.readouterr().err
        assert main([*words, "--as", "alice"]) == 0

    def test_a_snapshot_holds_what_may_be_read_and_names_the_rest(self, sites: Sites, tmp_path: Path) -> None:
        put_file(sites, tmp_path, "alice", "--as", "alice")
        shared = put_file(sites, tmp_path, "base")
        mine = sites.root / "mine"
        mine.mkdir()
        text = sites.config("base").path.read_text()
        (mine / "base.toml").write_text(text.partition("[[peer]]")[0] + sites.tls_text("base"))
        chosen = {"site": "base", "sites": mine, "dataset_types": ["flat"]}
        with serving(sites):
            made = federation.create_snapshot(tmp_path / "bobs", user="bob", **chosen)  # type: ignore[arg-type]
            assert made.missing["schema"] == ("base/alice", "base/carol")
            whole = federation.create_snapshot(tmp_path / "alices", user="alice", **chosen)  # type: ignore[arg-type]
        assert (made.datasets, made.files, whole.datasets, whole.files) == (1, 1, 2, 2)
        with federation.open_snapshot(tmp_path / "bobs") as session:
            assert session.query("SELECT dataset_id FROM flat").to_pylist() == [{"dataset_id": shared}]


class TestWriting:
    def test_goes_to_ones_own_schema_or_needs_a_grant(
        self, sites: Sites, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        put_file(sites, tmp_path, "alice", "--as", "bob", code=3)
        assert "user bob has no write privilege on schema alice" in capsys.readouterr().err
        put_file(sites, tmp_path, "base", "--as", "bob", code=3)
        federation.grant("write", "alice", "bob", site="base", sites=sites.directory, user="alice")
        put_file(sites, tmp_path, "alice", "--as", "bob")
        at = {"site": "base", "sites": sites.directory, "run": "flats/bob"}
        known = ("flat", {"instrument": "C", "detector": 1})
        with pytest.raises(ForbiddenError, match="user carol has no write privilege on schema alice"):
            federation.put({"a": 1}, *known, schema="alice", user="carol", **at)  # type: ignore[arg-type]
