"""Names of artifacts: safe on every system, one for each dataset."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.datastore import Datastore, artifact_path
from federation.datastore.durable import temporary_name
from federation.datastore.location import check_relative
from federation.errors import UserError
from federation.snapshot.bag_text import check_path

ID = uuid.UUID("018f1a2b-0000-7000-8000-0123456789ab")
IDS = st.uuids(version=4)
TEXT = st.text(max_size=300).filter(lambda text: "\ud800" not in text)


def test_follows_the_template() -> None:
    path = artifact_path("calexp", "u/alice/run1", {"visit": 2026110300001, "detector": 93}, ID, ".fits.fz")
    assert path == ("u/alice/run1/calexp/2026110300001/93/calexp_2026110300001_93_80000123456789ab.fits.fz")


def test_leaves_out_values_that_are_not_known() -> None:
    assert artifact_path("bias", "c", {"detector": 1, "band": None}, ID) == "c/bias/1/bias_1_80000123456789ab"


@given(run=TEXT, values=st.lists(TEXT | st.integers(), max_size=12), dataset_id=IDS)
def test_is_safe_whatever_the_values(run: str, values: list[object], dataset_id: uuid.UUID) -> None:
    path = artifact_path("raw", run, dict(enumerate(values)), dataset_id, ".fits")  # type: ignore[arg-type]
    check_relative(path, "root")
    check_path(f"data/{path}")
    parts = path.split("/")
    assert all(re.fullmatch(r"[A-Za-z0-9_+=][A-Za-z0-9_.+=-]*", part) for part in parts)
    assert all(len(part) <= 200 for part in parts)
    assert len(temporary_name(parts[-1])) <= 255


@given(first=IDS, second=IDS, a=TEXT, b=TEXT)
def test_differs_for_every_dataset(first: uuid.UUID, second: uuid.UUID, a: str, b: str) -> None:
    if first.int & (1 << 64) - 1 != second.int & (1 << 64) - 1:
        assert artifact_path("raw", "r", {"x": a}, first) != artifact_path("raw", "r", {"x": b}, second)


@pytest.mark.parametrize("suffix", ["fits", ".f/ts", "../x", ".", ".fits\n", ".a.b.c.d.e"])
def test_refuses_a_suffix_that_is_none(suffix: str) -> None:
    with pytest.raises(UserError, match="suffix"):
        artifact_path("raw", "r", {}, ID, suffix)


def test_is_accepted_by_a_store(local_store: Datastore) -> None:
    path = artifact_path("raw", "../..", {"name": "..", "target": "M 31/χ Per\n"}, ID, ".fits")
    local_store.put_stream([b"x"], path)
    assert local_store.exists(path)
