"""Site files: what they may say, what they become, and what is said about a wrong one."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from federation.config import (
    Address,
    FilePolicy,
    PeerConfig,
    QueryConfig,
    SiteConfig,
    find_site,
    load_federation,
    render_site,
)
from federation.errors import ConfigError, NotFoundError, UserError

SITES = Path(__file__).parents[2] / "sites"
MINIMAL = 'name = "summit"\nroot = "data"\nlisten = "127.0.0.1:50051"\n'
PEERS = '[[peer]]\nname = "base"\naddress = "127.0.0.1:50052"\nfollow = ["base", "alice"]\n'


def parse(text: str) -> SiteConfig:
    return SiteConfig.parse(text, Path("/etc/federation/summit.toml"))


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / f"{name}.toml"
    path.write_text(text)
    return path


class TestAMinimalFile:
    def test_gets_a_sqlite_registry_and_a_datastore_under_its_root(self) -> None:
        site = parse(MINIMAL)
        assert site.registry.kind == "sqlite"
        assert site.registry.url is None
        assert site.root == Path("/etc/federation/data")
        assert site.registry_dir == Path("/etc/federation/data/registry")
        assert site.postgres_dir == Path("/etc/federation/data/postgresql")
        assert site.datastore_url == "file:///etc/federation/data/datastore"

    def test_has_no_peers_and_default_limits(self) -> None:
        site = parse(MINIMAL)
        assert site.peers == ()
        assert site.replicate_files == ()
        assert site.query == QueryConfig(0.0, 10_000_000, "2GB", 300.0)

    def test_keeps_copies_of_purged_files_unless_it_says_otherwise(self) -> None:
        assert not parse(MINIMAL).removes_purged
        assert parse(MINIMAL + '[datastore]\npurged_copies = "remove"\n').removes_purged
        with pytest.raises(ConfigError, match='purged_copies = "drop" is unknown'):
            parse(MINIMAL + '[datastore]\npurged_copies = "drop"\n')

    def test_is_hashable_and_frozen(self) -> None:
        site = parse(MINIMAL)
        assert hash(site) == hash(parse(MINIMAL))
        with pytest.raises(AttributeError):
            site.name = "base"  # type: ignore[misc]


class TestAFullFile:
    TEXT = (
        MINIMAL
        + '[registry]\nurl = "postgresql"\nuniverse = "survey.toml"\n'
        + '[datastore]\nurl = "memory://files"\n'
        + PEERS
        + '[[peer]]\nname = "ncsa"\naddress = "[::1]:50053"\nfollow = ["*"]\n'
        + '[[replicate_files]]\ndataset_types = ["raw", "calib*"]\nfrom = "base"\n'
        + '[query]\nmax_staleness_s = 5\nrow_count_max = 7\nmemory_limit = "512 MiB"\ntimeout_s = 1.5\n'
    )

    def test_becomes_typed_values(self) -> None:
        site = parse(self.TEXT)
        assert site.registry.kind == "embedded-postgresql"
        assert site.registry.universe_path == Path("/etc/federation/survey.toml")
        assert site.datastore_url == "memory://files"
        assert site.peers == (
            PeerConfig("base", Address("127.0.0.1", 50052), ("base", "alice")),
            PeerConfig("ncsa", Address("::1", 50053), ("*",)),
        )
        assert site.replicate_files == (FilePolicy(("raw", "calib*"), "base"),)
        assert site.query == QueryConfig(5.0, 7, "512 MiB", 1.5)

    def test_follows_named_schemas_or_all(self) -> None:
        base, ncsa = parse(self.TEXT).peers
        assert base.follows("alice")
        assert not base.follows("bob")
        assert ncsa.follows("bob")

    def test_covers_files_by_glob_and_owner(self) -> None:
        (policy,) = parse(self.TEXT).replicate_files
        assert policy.covers("raw", "base")
        assert policy.covers("calibrated", "base")
        assert not policy.covers("raw", "ncsa")
        assert not policy.covers("raw_log", "base")
        assert FilePolicy(("*",)).covers("anything", "anywhere")

    def test_reads_where_which_and_how_fast_files_are_copied(self) -> None:
        text = MINIMAL + (
            '[[replicate_files]]\ndataset_types = ["raw"]\ncollections = ["LSST*"]\ndatastore = "../archive"\n'
            'priority = 3\nrate_limit = "1.5 MB/s"\n'
        )
        (policy,) = parse(text).replicate_files
        assert policy == FilePolicy(("raw",), None, ("LSST*",), "file:///etc/archive", 3, 1.5e6)
        assert policy.covers_collection("LSSTCam/raw/all")
        assert not policy.covers_collection("HSC/raw/all")

    def test_a_plain_path_is_a_datastore_beside_the_file(self) -> None:
        site = parse(MINIMAL + '[datastore]\nurl = "../files"\n')
        assert site.datastore_url == "file:///etc/files"

    def test_an_empty_datastore_url_is_the_default(self) -> None:
        assert parse(MINIMAL + '[datastore]\nurl = ""\n').datastore_url.endswith("/data/datastore")

    def test_staleness_may_be_unbounded(self) -> None:
        assert parse(MINIMAL + "[query]\nmax_staleness_s = inf\n").query.max_staleness_s == float("inf")


# (text, what the message must say, what the hint must say)
WRONG = {
    "syntax": ("name = summit\n", "line 1", "correct"),
    "unknown key": (MINIMAL + "lisen = 1\n", "unknown key 'lisen'", "did you mean 'listen'?"),
    "unknown key in a table": (MINIMAL + "[query]\nrow_max = 1\n", "'row_max' in [query]", "row_count_max"),
    "unknown key in a peer": (
        MINIMAL + PEERS + '[[peer]]\nadress = "x:1"\n',
        "'adress' in [[peer]] 2",
        "did you mean 'address'?",
    ),
    "hopeless key": (MINIMAL + "zzz = 1\n", "unknown key 'zzz'", "known: name, root, listen"),
    "missing key": ('root = "x"\nlisten = "h:1"\n', "key 'name' is missing", 'name = "..."'),
    "missing address": (
        MINIMAL + '[[peer]]\nname = "base"\n',
        "'address' is missing in [[peer]] 1",
        "address =",
    ),
    "wrong name": (MINIMAL.replace("summit", "Summit 1"), 'name = "Summit 1"', "lower-case"),
    "reserved name": (MINIMAL.replace("summit", "main"), 'name = "main"', "not one of"),
    "number for a text": ('name = 7\nroot = "x"\nlisten = "h:1"\n', "name = 7 is not a text", "quotes"),
    "empty text": (MINIMAL.replace('"data"', '""'), 'root = "" is empty', "give a value"),
    "no port": (MINIMAL.replace(":50051", ""), 'listen = "127.0.0.1" is not an address', "host:port"),
    "port too large": (MINIMAL.replace("50051", "65536"), "65536", "host:port"),
    "peer at port 0": (MINIMAL + PEERS.replace("50052", "0"), '[[peer]] 1 address = "127.0.0.1:0"', "port"),
    "one bracket": (MINIMAL + PEERS.replace("[[peer]]", "[peer]"), "peer = ", "[[peer]]"),
    "table as a value": (
        MINIMAL + 'registry = "sqlite"\n',
        'registry = "sqlite" is not a table',
        "[registry]",
    ),
    "registry of another kind": (
        MINIMAL + '[registry]\nurl = "mysql://h/d"\n',
        "mysql://h/d",
        "postgresql://",
    ),
    "two references": (
        MINIMAL + '[registry]\nurl_env = "A"\nurl_file = "b"\n',
        "url_env and url_file",
        "exactly one",
    ),
    "unknown protocol": (
        MINIMAL + '[datastore]\nurl = "mem0ry://b"\n',
        "unknown protocol 'mem0ry'",
        "'memory'",
    ),
    "relative file url": (MINIMAL + '[datastore]\nurl = "file://b"\n', 'url = "file://b"', "without file://"),
    "itself as a peer": (MINIMAL + PEERS.replace('"base"\na', '"summit"\na'), "is this site itself", "other"),
    "peer twice": (MINIMAL + PEERS + PEERS, '[[peer]] 2 name = "base"', "one [[peer]]"),
    "schema twice": (MINIMAL + PEERS.replace("alice", "base"), "names something twice", "leave"),
    "wrong schema": (MINIMAL + PEERS.replace("alice", "Alice"), "names no schema with 'Alice'", "lower-case"),
    "follow as a text": (
        MINIMAL + PEERS.replace('["base", "alice"]', '"*"'),
        'follow = "*" is not a list',
        "[",
    ),
    "files at no rate": (
        MINIMAL + '[[replicate_files]]\ndataset_types = ["*"]\nrate_limit = "fast"\n',
        'rate_limit = "fast" is not a rate',
        "20 MB/s",
    ),
    "rate limit of zero": (
        MINIMAL + '[[replicate_files]]\ndataset_types = ["*"]\nrate_limit = "0 MB/s"\n',
        "is not a rate",
        "20 MB/s",
    ),
    "files of nothing": (
        MINIMAL + "[[replicate_files]]\n",
        "[[replicate_files]] 1 names no",
        "dataset_types",
    ),
    "files from a stranger": (
        MINIMAL + PEERS + '[[replicate_files]]\ndataset_types = ["*"]\nfrom = "bsae"\n',
        'from = "bsae" is not a peer',
        "did you mean 'base'?",
    ),
    "negative staleness": (MINIMAL + "[query]\nmax_staleness_s = -1\n", "max_staleness_s = -1", "0.0"),
    "staleness not a number": (MINIMAL + "[query]\nmax_staleness_s = nan\n", "max_staleness_s = nan", "0.0"),
    "fractional rows": (MINIMAL + "[query]\nrow_count_max = 1.5\n", "row_count_max = 1.5", "10000000"),
    "true as a number": (MINIMAL + "[query]\nrow_count_max = true\n", "row_count_max = true", "10000000"),
    "no time": (MINIMAL + "[query]\ntimeout_s = 0\n", "timeout_s = 0 leaves no time", "300"),
    "memory without unit": (MINIMAL + '[query]\nmemory_limit = "2048"\n', '"2048" is not a size', "2GB"),
    "no memory": (MINIMAL + '[query]\nmemory_limit = "0GB"\n', '"0GB" is not a size', "2GB"),
}


class TestAWrongFile:
    @pytest.mark.parametrize(("text", "says", "hints"), WRONG.values(), ids=WRONG.keys())
    def test_is_refused_with_file_key_value_and_remedy(self, text: str, says: str, hints: str) -> None:
        with pytest.raises(ConfigError) as caught:
            parse(text)
        assert caught.value.message.startswith("/etc/federation/summit.toml: ")
        assert says in caught.value.message
        assert hints in caught.value.hint
        assert "\n" not in str(caught.value)

    def test_is_refused_when_it_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file") as caught:
            SiteConfig.load(tmp_path / "summit.toml")
        assert "site init" in caught.value.hint

    def test_is_refused_when_it_is_not_utf_8(self, tmp_path: Path) -> None:
        path = tmp_path / "summit.toml"
        path.write_bytes(MINIMAL.encode() + b"# \xe9\n")
        with pytest.raises(ConfigError, match="byte 59 is not UTF-8"):
            SiteConfig.load(path)


class TestCredentials:
    URL = "postgresql://butler:hunter2@db.example:5432/registry"

    def test_are_refused_inside_a_site_file_without_being_repeated(self) -> None:
        with pytest.raises(ConfigError) as caught:
            parse(MINIMAL + f'[registry]\nurl = "{self.URL}"\n')
        assert "hunter2" not in str(caught.value)
        assert "butler:***@db.example" in caught.value.message
        assert "url_env" in caught.value.hint

    @pytest.mark.parametrize("key", ["url_env", "url_file"])
    def test_are_not_repeated_when_put_under_the_wrong_key(self, key: str) -> None:
        with pytest.raises(ConfigError) as caught:
            parse(MINIMAL + f'[registry]\n{key} = "{self.URL}"\n')
        assert "hunter2" not in str(caught.value)

    def test_are_refused_as_a_parameter_of_the_url(self) -> None:
        with pytest.raises(ConfigError) as caught:
            parse(MINIMAL + '[registry]\nurl = "postgresql://db/registry?user=x&password=hunter2"\n')
        assert "hunter2" not in str(caught.value)

    def test_are_refused_in_a_datastore_url(self) -> None:
        with pytest.raises(ConfigError, match="holds a password") as caught:
            parse(MINIMAL + '[datastore]\nurl = "ftp://u:hunter2@h/d"\n')
        assert "hunter2" not in str(caught.value)

    def test_are_read_from_the_environment_when_used(self) -> None:
        url = parse(MINIMAL + '[registry]\nurl_env = "BASE_REGISTRY"\n').registry.url
        assert url is not None
        assert url.reveal({"BASE_REGISTRY": self.URL + "\n"}) == self.URL
        with pytest.raises(ConfigError, match="BASE_REGISTRY is not set") as caught:
            url.reveal({})
        assert "export BASE_REGISTRY=" in caught.value.hint

    def test_are_read_from_a_file_beside_the_site_file_when_used(self, tmp_path: Path) -> None:
        site = SiteConfig.load(write(tmp_path, "summit", MINIMAL + '[registry]\nurl_file = "registry.url"\n'))
        assert site.registry.kind == "postgresql"
        assert site.registry.url is not None
        with pytest.raises(ConfigError, match="No such file"):
            site.registry.url.reveal()
        (tmp_path / "registry.url").write_text(self.URL + "\n")
        assert site.registry.url.reveal() == self.URL

    def test_of_the_wrong_form_are_not_repeated(self) -> None:
        url = parse(MINIMAL + '[registry]\nurl_env = "BASE_REGISTRY"\n').registry.url
        assert url is not None
        with pytest.raises(ConfigError, match="does not hold a postgresql:// URL") as caught:
            url.reveal({"BASE_REGISTRY": "mysql://butler:hunter2@h/d"})
        assert "hunter2" not in str(caught.value)

    def test_never_show_in_a_configuration(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BASE_REGISTRY", self.URL)
        site = parse(MINIMAL + '[registry]\nurl_env = "BASE_REGISTRY"\n')
        assert site.registry.url is not None
        assert site.registry.url.reveal() == self.URL
        assert "hunter2" not in repr(site) + str(site) + f"{site.registry.url}"
        assert b"hunter2" not in pickle.dumps(site)

    def test_are_not_needed_for_a_url_without_a_password(self) -> None:
        url = "postgresql://postgres:@/registry?host=/run/pg"
        site = parse(MINIMAL + f'[registry]\nurl = "{url}"\n')
        assert site.registry.url is not None
        assert site.registry.url.reveal() == url


class TestADirectoryOfSites:
    def test_as_shipped_can_be_used(self) -> None:
        base, ncsa, summit = load_federation(SITES)
        assert [site.name for site in (base, ncsa, summit)] == ["base", "ncsa", "summit"]
        assert summit.registry.kind == "sqlite"
        assert {base.registry.kind, ncsa.registry.kind} == {"embedded-postgresql"}
        assert summit.root == (SITES / "../var/summit").resolve()

    def test_as_shipped_agrees_on_who_listens_where(self) -> None:
        sites = {site.name: site for site in load_federation(SITES)}
        for site in sites.values():
            assert {peer.name: peer.address for peer in site.peers} == {
                other.name: other.listen for other in sites.values() if other is not site
            }

    def test_finds_a_site_by_name_or_by_path(self, tmp_path: Path) -> None:
        path = write(tmp_path, "summit", MINIMAL)
        assert find_site("summit", tmp_path) == find_site(str(path), Path("/nowhere"))

    def test_names_the_sites_there_are(self) -> None:
        with pytest.raises(NotFoundError, match="no site 'sumit'") as caught:
            find_site("sumit", SITES)
        assert caught.value.hint == "did you mean 'summit'?"
        with pytest.raises(NotFoundError) as caught:
            find_site("paris", SITES)
        assert caught.value.hint == "known: base, ncsa, summit"

    def test_finds_one_site_where_another_file_is_wrong(self, tmp_path: Path) -> None:
        write(tmp_path, "summit", MINIMAL)
        write(tmp_path, "broken", "=")
        assert find_site("summit", tmp_path).name == "summit"

    def test_says_that_it_is_empty_or_missing(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match=r"holds no \.toml file"):
            load_federation(tmp_path)
        with pytest.raises(NotFoundError, match="no such directory"):
            find_site("summit", tmp_path / "sites")

    def test_refuses_a_file_named_after_another_site(self, tmp_path: Path) -> None:
        write(tmp_path, "base", MINIMAL)
        with pytest.raises(ConfigError, match="differs from the file's name"):
            find_site("base", tmp_path)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (('"127.0.0.1:50051"', '"localhost:1"'), 'name = "summit" is also the name'),
            (("summit", "base"), "is also the root"),
            (('summit"\nroot = "data', 'base"\nroot = "more'), "is also the address"),
            (
                ('summit"\nroot = "data"\nlisten = "127.0.0.1', 'base"\nroot = "b"\nlisten = "localhost'),
                "address",
            ),
        ],
    )
    def test_refuses_two_sites_that_disturb_each_other(
        self, tmp_path: Path, change: tuple[str, str], says: str
    ) -> None:
        write(tmp_path, "one", MINIMAL)
        write(tmp_path, "two", MINIMAL.replace(*change))
        with pytest.raises(ConfigError, match=says) as caught:
            load_federation(tmp_path)
        assert "one.toml" in caught.value.message

    @pytest.mark.parametrize("listen", ["0.0.0.0:50051", "127.0.0.1:0", "base.example:50051"])
    def test_allows_addresses_that_may_be_on_other_machines(self, tmp_path: Path, listen: str) -> None:
        for name in ("base", "summit"):
            write(
                tmp_path,
                name,
                f'name = "{name}"\nroot = "{name}"\nlisten = "{listen.replace("base", name)}"\n',
            )
        assert len(load_federation(tmp_path)) == 2


class TestARenderedFile:
    def test_parses_to_what_was_asked_for(self, tmp_path: Path) -> None:
        peers = (PeerConfig("base", Address("::1", 50052), ("*",)), PeerConfig("ncsa", Address("h", 3)))
        policies = (FilePolicy(("raw", "cal*"), "base"), FilePolicy(("*",)))
        text = render_site(
            "summit", tmp_path / 'odd "dir" \\ ü', "127.0.0.1:50051", "postgresql", peers, policies
        )
        site = SiteConfig.load(write(tmp_path, "summit", text))
        assert (site.name, site.listen) == ("summit", Address("127.0.0.1", 50051))
        assert site.root == tmp_path / 'odd "dir" \\ ü'
        assert site.registry.kind == "embedded-postgresql"
        assert site.peers == peers
        assert site.replicate_files == policies

    def test_takes_credentials_by_reference_only(self) -> None:
        text = render_site("base", "var", "h:1", registry_url_env="BASE_REGISTRY", datastore_url="memory://d")
        site = parse(text)
        assert str(site.registry.url) == "$BASE_REGISTRY"
        assert site.datastore_url == "memory://d"
        with pytest.raises(ConfigError, match="holds a password"):
            render_site("base", "var", "h:1", "postgresql://u:hunter2@h/d")

    def test_is_never_written_wrong(self) -> None:
        with pytest.raises(ConfigError, match="cannot name a site"):
            render_site("Base", "var", "h:1")


@pytest.mark.parametrize("text", ["", ":1", "h", "h:", "h:x", "h:1:2", "::1:5", "[::1]", "h h:1", "h:99999"])
def test_an_address_that_cannot_be_one_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not an address"):
        Address.parse(text)
