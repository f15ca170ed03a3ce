"""Names that artifacts get below a datastore's root.

``{run}/{dataset type}/{value}/.../{dataset type}_{value}_..._{id}{suffix}``, from ASCII characters that are safe in
file names, URLs and BagIt manifests on every system. The id is the end of the dataset's UUID, so that two datasets
never share a path, even where different values look the same once made safe.

>>> artifact_path("raw", "LSSTCam/raw/all", {"exposure": 7, "detector": "R22 S11"},
...               uuid.UUID("018f1a2b-0000-7000-8000-0123456789ab"), ".fits")
'LSSTCam/raw/all/raw/7/R22_S11/raw_7_R22_S11_80000123456789ab.fits'
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from federation.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["artifact_path"]

_UNSAFE = re.compile(r"[^A-Za-z0-9.+=_-]+")
_SUFFIX = re.compile(r"(?:\.[A-Za-z0-9]{1,10}){0,4}\Z")
#: file systems end names at 255 bytes; the temporary name adds about 25 and an id 17
_COMPONENT_LENGTH_MAX = 64
_STEM_LENGTH_MAX = 150


def _safe(text: str) -> str:
    """``text`` as one component of a path: never empty, hidden, an option, ``.`` or ``..``."""
    component = _UNSAFE.sub("_", text)[:_COMPONENT_LENGTH_MAX]
    return f"_{component}" if not component or component[0] in ".-" else component


def artifact_path(
    dataset_type: str, run: str, data_id: Mapping[str, object], dataset_id: uuid.UUID, suffix: str = ""
) -> str:
    """Relative path of a dataset's file; ``data_id`` gives values in the order they shall appear in.

    Raises `UserError` for a suffix that is not like ``.fits`` or ``.fits.fz``.
    """
    if not _SUFFIX.match(suffix):
        raise UserError(f"file suffix {suffix!r} is not allowed", hint="write it like .fits or .fits.fz")
    values = [_safe(str(value)) for value in data_id.values() if value is not None]
    directories = [_safe(part) for part in run.split("/")] + [_safe(dataset_type), *values]
    stem = "_".join([_safe(dataset_type), *values])[:_STEM_LENGTH_MAX]
    return "/".join([*directories, f"{stem}_{dataset_id.hex[-16:]}{suffix}"])
