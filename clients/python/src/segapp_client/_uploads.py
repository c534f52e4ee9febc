"""What callers give as images and masks (paths, arrays, Pillow images), as files of a multipart request."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Union, cast

import numpy as np
from PIL import Image

Source = Union[str, "os.PathLike[str]", "np.ndarray[Any, Any]", Image.Image]
"""A path, an array (H, W), (H, W, 3) or (H, W, 4), or a Pillow image."""
Sources = Union[str, "os.PathLike[str]", Iterable[Source]]
"""A folder, a zip or annotation file, or several images."""

MAX_VALUE = 65535
CLUTTER = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Upload:
    """A file to send: its field and name, and how to open it, which happens at every attempt."""

    field: str
    name: str
    open: Callable[[], IO[bytes]]


class LazyFile(io.RawIOBase):
    """A file that is open only while it is read, so that hundreds of them need not be open at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size
        self._place = 0
        self._file: IO[bytes] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._end()
        return self._place

    def read(self, size: int = -1) -> bytes:
        if self._file is None:
            self._file = open(self._path, "rb")  # noqa: SIM115 (closed at its end)
            self._file.seek(self._place)
        piece = self._file.read(size)
        self._place += len(piece)
        if not piece or self._place >= self._size:
            self._end()
        return piece

    def close(self) -> None:
        self._end()
        super().close()

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def one(field: str, source: Source, name: str = "image.png", *, mask: bool = False) -> Upload:
    """One file; `name` is for what has no name of its own. Raises FileNotFoundError, ValueError and TypeError."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}.")
        return Upload(field, path.name, lambda: cast(IO[bytes], LazyFile(path)))
    content = _png(source, mask)
    return Upload(field, name, lambda: io.BytesIO(content))


def many(field: str, sources: Sources) -> list[Upload]:
    """A folder's files, one file, or several sources; arrays are named 001.png, 002.png and so on."""
    found = listed(sources)
    if not found:
        raise ValueError(f"There are no {field} to send.")
    return [one(field, source, f"{number:03d}.png") for number, source in enumerate(found, 1)]


def pairs(images: Sources, masks: Sources) -> list[Upload]:
    """Images and masks of a training.

    Files are paired by their names, which the server does. Where arrays are among them names say nothing: then the
    first mask belongs to the first image, and so on. Raises ValueError when there are not as many of both.
    """
    left, right = listed(images), listed(masks)
    if all(isinstance(source, Path) for source in [*left, *right]):
        return [one("images", source) for source in left] + [one("masks", source) for source in right]
    if len(left) != len(right):
        raise ValueError(f"There are {len(left)} images and {len(right)} masks. Give one mask for each image.")
    found = []
    for number, (image, mask) in enumerate(zip(left, right, strict=True), 1):
        stem = f"{number:03d}" + next((f"_{source.stem}" for source in (image, mask) if isinstance(source, Path)), "")
        for field, source in (("images", image), ("masks", mask)):
            upload = one(field, source, mask=field == "masks")
            suffix = source.suffix if isinstance(source, Path) else ".png"
            found.append(Upload(field, stem + suffix, upload.open))
    return found


def listed(sources: Sources) -> list[Any]:
    """The sources one by one, paths as Path; of a folder all its files, hidden ones not, sorted by name."""
    if isinstance(sources, (str, os.PathLike)):
        path = Path(sources)
        if path.is_dir():
            return sorted(file for file in path.iterdir() if file.is_file() and not _clutter(file))
        if not path.is_file():
            raise FileNotFoundError(f"There is no file or folder {path}.")
        return [path]
    if isinstance(sources, (np.ndarray, Image.Image)):
        raise TypeError("Give several images as a list, also when it is one only.")
    return [Path(source) if isinstance(source, (str, os.PathLike)) else source for source in sources]


def is_zip(found: Sequence[Any]) -> bool:
    return len(found) == 1 and isinstance(found[0], Path) and found[0].suffix.lower() == ".zip"


def _clutter(file: Path) -> bool:
    return file.name.startswith(".") or file.name.lower() in CLUTTER


def _png(source: Any, mask: bool) -> bytes:
    """An array or Pillow image as PNG. Booleans are 0 and 1 in a mask, black and white in an image."""
    values = np.asarray(source)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.size == 0 or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise ValueError(f"An array of shape {values.shape} is not an image. Give (H, W), (H, W, 3) or (H, W, 4).")
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * (1 if mask else 255)
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"An array of {values.dtype} has no known range. Convert it to uint8 or uint16 first.")
    if values.dtype not in (np.uint8, np.uint16):
        values = _narrow(values)
    if values.dtype == np.uint16 and values.ndim == 3:
        raise ValueError("Colour images of 16 bits cannot be sent as arrays. Convert to uint8, or save a TIFF file.")
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(values)).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _narrow(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > MAX_VALUE:
        raise ValueError(f"Values from {low} to {high} do not fit an image. Keep them within 0 and {MAX_VALUE}.")
    return values.astype(np.uint8 if high <= 255 else np.uint16)
