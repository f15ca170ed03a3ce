"""PNG pictures, through Pillow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from federation.errors import UserError
from federation.formatters.formatter import Formatter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

__all__ = ["PngFormatter"]

#: (type of the values, shape after rows and columns) that PNG holds without loss
_HELD = {("uint8", ()), ("uint8", (3,)), ("uint8", (4,)), ("uint16", ())}


class PngFormatter(Formatter):
    """Arrays of rows, columns and perhaps 3 or 4 channels; its quantities are ``nx`` and ``ny``."""

    name: ClassVar[str] = "png"
    suffixes: ClassVar[tuple[str, ...]] = (".png",)
    types: ClassVar[tuple[str, ...]] = ("numpy.ndarray", "PIL.Image.Image")

    def read(self, path: Path, type_: str) -> Any:
        import numpy as np

        image = _open(path)
        try:
            image.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise _damaged(path, error) from error
        if type_ == "PIL.Image.Image":
            return image
        if image.mode == "P":  # a palette: its colours are meant, not their numbers
            image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        return np.array(image)

    def write(self, content: Any, type_: str, path: Path) -> None:
        if type_ == "PIL.Image.Image":
            content.save(path, format="PNG")
            return
        if (str(content.dtype), content.shape[2:]) not in _HELD or content.ndim < 2 or 0 in content.shape:
            raise UserError(
                f"PNG can't hold an array of {content.dtype} with shape {content.shape}",
                hint="uint8 or uint16 with (rows, columns), or uint8 with 3 or 4 channels",
            )
        _pillow().fromarray(content).save(path, format="PNG")

    def metadata(self, path: Path, names: Collection[str]) -> Mapping[str, Any]:
        if not {"nx", "ny"} & set(names):
            return {}
        with _open(path) as image:
            values = {"nx": image.width, "ny": image.height}
        return {name: value for name, value in values.items() if name in names}


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise UserError(
            "PNG files need the package pillow, which is not installed",
            hint="run: pip install 'federation[images]'",
        ) from error
    return Image


def _open(path: Path) -> Any:
    try:
        return _pillow().open(path, formats=["PNG"])
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is not a whole PNG file: {' '.join(str(error).split())}",
        hint="copy it again from where it was made",
    )
