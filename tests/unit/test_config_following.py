"""Site files that say by which path a peer's schemas come, whether they are passed on, and which rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.config import Address, PeerConfig, SiteConfig, render_site
from federation.errors import ConfigError
from federation.model.log_filter import LogFilter

SITE = 'name = "ncsa"\nroot = "r"\nlisten = "127.0.0.1:1"\n'
BASE = '[[peer]]\nname = "base"\naddress = "127.0.0.1:2"\n'
SUMMIT = '[[peer]]\nname = "summit"\naddress = "127.0.0.1:3"\n'


def _parse(text: str) -> SiteConfig:
    return SiteConfig.parse(SITE + text, Path("ncsa.toml"))


def test_path_relay_and_filter_are_read() -> None:
    text = (
        'follow = ["*"]\nvia = ["base"]\nfilter = { dataset_types = ["raw"], collections = ["a/*", "b"] }\n'
    )
    peer = _parse(SUMMIT + text + BASE + 'follow = ["base"]\nrelay = true\n').peer("summit")
    assert peer is not None
    assert (peer.via, peer.relay) == (("base",), False)
    assert peer.filter == LogFilter((), ("raw",), ("a/*", "b"))


def test_a_filter_may_be_a_table_of_its_own() -> None:
    peer = _parse(SUMMIT + 'follow = ["*"]\n[peer.filter]\ntables = ["visit"]\n').peer("summit")
    assert peer is not None
    assert peer.filter == LogFilter(tables=("visit",))


def test_without_the_keys_everything_comes_straight_from_the_owner() -> None:
    peer = _parse(SUMMIT + 'follow = ["*"]\n').peer("summit")
    assert peer is not None
    assert (peer.via, peer.relay, bool(peer.filter)) == ((), False, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            SUMMIT + 'follow = ["*"]\nvia = ["bse"]\n' + BASE,
            "via .* names no peer with 'bse' .did you mean 'base'",
        ),
        (SUMMIT + 'follow = ["*"]\nvia = ["base"]\n', r"names no peer with 'base' .add a \[\[peer\]\] base"),
        (SUMMIT + 'follow = ["*"]\nvia = ["summit"]\n', "via .* names the peer itself"),
        (SUMMIT + 'via = ["base"]\n' + BASE, "via .* needs schemas that are followed"),
        (SUMMIT + "relay = true\n", "relay = true needs schemas that are followed"),
        (SUMMIT + 'follow = ["*"]\nrelay = "yes"\n', 'relay = "yes" is neither true nor false'),
        (SUMMIT + 'follow = ["*"]\nfilter = ["raw"]\n', "is not a table"),
        (SUMMIT + 'follow = ["*"]\nfilter = { types = ["raw"] }\n', "unknown key 'types'"),
        (SUMMIT + 'follow = ["*"]\nfilter = { tables = [] }\n', "would leave out all"),
        (
            SUMMIT + 'follow = ["*"]\nrelay = true\nfilter = { tables = ["visit"] }\n',
            "can't pass on what is filtered",
        ),
    ],
)
def test_what_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _parse(text)


def test_what_is_written_is_read_again() -> None:
    peers = [
        PeerConfig(
            "summit", Address("127.0.0.1", 3), ("*",), ("base",), False, LogFilter(("visit",), ("raw", "b*"))
        ),
        PeerConfig("base", Address("127.0.0.1", 2), ("base",), relay=True),
    ]
    text = render_site("ncsa", "r", "127.0.0.1:1", peers=peers)
    assert list(SiteConfig.parse(text, Path("ncsa.toml")).peers) == peers
