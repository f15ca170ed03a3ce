"""Where a site gives its figures: nowhere unless told, and to others only when that was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.config import Address, SiteConfig
from federation.errors import ConfigError

SITE = 'name = "base"\nroot = "base"\nlisten = "127.0.0.1:0"\n'


def load(metrics: str) -> SiteConfig:
    return SiteConfig.parse(SITE + metrics, Path("/sites/base.toml"))


def test_there_are_none_unless_an_address_is_given() -> None:
    assert load("").metrics.listen is None
    assert load("[metrics]\n").metrics.listen is None


@pytest.mark.parametrize("address", ["127.0.0.1:9464", "localhost:0", "[::1]:9464"])
def test_this_computer_s_own_address_needs_nothing_else(address: str) -> None:
    assert load(f'[metrics]\nlisten = "{address}"\n').metrics.listen == Address.parse(address)


def test_an_address_that_others_reach_must_be_open() -> None:
    with pytest.raises(ConfigError, match="can be reached by others") as caught:
        load('[metrics]\nlisten = "0.0.0.0:9464"\n')
    assert "open = true" in caught.value.hint
    assert load('[metrics]\nlisten = "0.0.0.0:9464"\nopen = true\n').metrics.listen == Address(
        "0.0.0.0", 9464
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('listen = "9464"', "is not an address"),
        ('listen = ""', "is empty"),
        ('listen = "127.0.0.1:1"\nopen = "yes"', "neither true nor false"),
        ('open = "yes"', "neither true nor false"),
        ("port = 9464", "unknown key 'port'"),
    ],
)
def test_what_is_wrong_is_told(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(f"[metrics]\n{text}\n")
