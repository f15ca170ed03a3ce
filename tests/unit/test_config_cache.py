"""``[cache]`` of a site file: what it is read to, and what is refused in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.config import SiteConfig
from federation.errors import ConfigError

TOP = 'name = "base"\nroot = "."\nlisten = "127.0.0.1:0"\n[[peer]]\nname = "ncsa"\naddress = "127.0.0.1:1"\n'
INBOX = '[[cache.inbox]]\ndirectory = "in"\ndataset_type = "raw"\nrun = "Cam/raw"\n'


def parsed(text: str) -> SiteConfig:
    return SiteConfig.parse(TOP + text, Path("/sites/base.toml"))


def test_a_site_is_a_cache_only_where_its_file_says_so() -> None:
    assert parsed("").cache is None


def test_defaults_and_paths() -> None:
    found = parsed(f'[cache]\npermanent = ["ncsa"]\ncapacity = "1.5TB"\n{INBOX}').cache
    assert found is not None
    assert (found.high_water, found.low_water, found.capacity_bytes) == (0.9, 0.8, 1_500_000_000_000)
    assert found.inboxes[0].directory == Path("/sites/in")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[cache]\n", "names no permanent site"),
        ('[cache]\npermanent = ["nsca"]\n', "'nsca', which is not a peer"),
        ('[cache]\npermanent = ["ncsa"]\ncapacity = "much"\n', "capacity = \"much\" is not a size"),
        ('[cache]\npermanent = ["ncsa"]\nhigh_water = 1.5\n', "more than the whole"),
        ('[cache]\npermanent = ["ncsa"]\nhigh_water = 0.5\nlow_water = 0.6\n', "above high_water = 0.5"),
        ('[cache]\npermanent = ["ncsa"]\nkeeps = 3\n', "keeps"),
        ('[cache]\npermanent = ["ncsa"]\n[[cache.inbox]]\ndirectory = "in"\n', "dataset_type"),
        (
            '[cache]\npermanent = ["ncsa"]\n[[replicate_files]]\ndataset_types = ["raw"]\n',
            "would bring back what [cache] lets go",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert said in caught.value.message
    assert caught.value.hint
