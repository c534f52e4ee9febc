"""An example's files: the picture, the mask as codes with the table of what they stand for, and small copies.

Everything is encoded anew, so nothing of what else was in the uploaded files is kept.
"""

import io
import json
from collections.abc import Callable
from functools import partial
from typing import BinaryIO

import numpy as np
from PIL import Image

from registry import store
from registry.files import write_atomically
from segapp.imaging import Refused, masks, painted, palette, render
from segapp.imaging.masks import Reading
from segapp.imaging.pairs import Pair
from segapp.imaging.values import TRANSPARENT, Mask, Summary
from segapp.models import Example

THUMBNAIL = 320  # pixels
SUMMARY = "summary.json"
SMALL_MASK = "mask_small.png"
LARGE_PHOTO = 2_000_000  # pixels from which a JPEG stays one: PNG takes ten times as long and five times the room


def write(example: Example, pair: Pair) -> None:
    """Write the folder and set size_bytes. On any failure nothing of it is left."""
    try:
        small = _write_picture(example, pair.picture, pair.lossy)
        write_atomically(example.mask_path, _codes(pair.mask, pair.picture.size))
        write_atomically(example.folder / SMALL_MASK, _codes(pair.mask, small.size))
        _write_summary(example, pair.mask.summary)
        example.size_bytes = size_of(example)
    except BaseException:
        store.remove_folder(example.folder)
        raise


def bring(example: Example) -> Example:
    """See that the files are on this machine. The summary is written last, so where it is the others are, too; only
    painted masks change after that."""
    if example.mask_kind == painted.KIND or not (example.folder / SUMMARY).exists():
        store.fetch_folder(example.folder, newer=True)
    return example


def write_photo(example: Example, picture: Image.Image, lossy: bool) -> None:
    """Write a picture whose mask is still to be painted, and set size_bytes. On any failure nothing of it is left."""
    try:
        _write_picture(example, picture, lossy)
        example.size_bytes = size_of(example)
    except BaseException:
        store.remove_folder(example.folder)
        raise


def copy_picture(example: Example, source: Example) -> None:
    """Give `example` the picture of `source`, byte for byte, and set size_bytes. Raises Refused when it is gone."""
    try:
        bring(source)
        for path in (source.image_path, source.thumbnail_path):
            write_atomically(example.folder / path.name, partial(_write, path.read_bytes()))
        example.size_bytes = size_of(example)
    except FileNotFoundError:
        store.remove_folder(example.folder)
        raise _gone(source) from None
    except BaseException:
        store.remove_folder(example.folder)
        raise


def grey_png(values: np.ndarray) -> bytes:
    """A painted mask as it is stored: an 8-bit grey PNG of its values."""
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG", compress_level=1)
    return out.getvalue()


def write_painted(example: Example, png: bytes, counted: np.ndarray, unpainted: int) -> None:
    """Replace the painted mask by these bytes of a grey PNG. The mask itself is the truth: it changes in one step, and
    the table of what it holds, which follows, is only for looking at."""
    write_atomically(example.mask_path, lambda out: out.write(png))
    summarize_painted(example, counted, unpainted)


def summarize_painted(example: Example, counted: np.ndarray, unpainted: int) -> None:
    """Write the table of a painted mask: `counted` pixels of each value, unpainted ones as that class or ignored."""
    _write_summary(example, painted.summary(counted, unpainted))


def painted_values(example: Example) -> np.ndarray:
    """uint8 (H, W) as painted: class ids, 255 for unpainted; all of it before the first save. Raises Refused."""
    bring(example)
    try:
        with Image.open(example.mask_path) as stored:
            return np.array(stored, dtype=np.uint8)
    except FileNotFoundError:
        if not example.folder.is_dir():
            raise _gone(example) from None
        return np.full((example.height, example.width), painted.UNPAINTED, np.uint8)
    except OSError:
        raise _gone(example) from None


def _write(content: bytes, out: BinaryIO) -> None:
    out.write(content)


def remove(example: Example) -> None:
    store.remove_folder(example.folder)


def size_of(example: Example) -> int:
    """Bytes of its files."""
    return sum(path.stat().st_size for path in example.folder.iterdir())


def summary_of(example: Example) -> Summary:
    """What the mask holds. Raises Refused when the files are gone."""
    bring(example)
    try:
        return Summary.from_dict(json.loads((example.folder / SUMMARY).read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        raise _gone(example) from None


def picture_of(example: Example) -> np.ndarray:
    """uint8 (H, W, 3). Raises Refused when the files are gone."""
    bring(example)
    try:
        with Image.open(example.image_path) as stored:
            return np.asarray(stored.convert("RGB"))
    except OSError:
        raise _gone(example) from None


def ids_of(example: Example, reading: Reading, small: bool = False) -> np.ndarray:
    """uint8 (H, W) of class ids by the reading, 255 is ignored; `small`: at the thumbnail's size. Raises Refused."""
    bring(example)
    if example.mask_kind == painted.KIND:
        mask = painted.as_mask(painted_values(example), example.painting.unpainted)
        return masks.apply(Mask(_shrunk(mask.codes) if small else mask.codes, mask.summary), reading)
    try:
        with Image.open(example.folder / SMALL_MASK if small else example.mask_path) as stored:
            codes = np.asarray(stored, dtype=np.uint8)
    except OSError:
        raise _gone(example) from None
    return masks.apply(Mask(codes, summary_of(example)), reading)


def _write_picture(example: Example, picture: Image.Image, lossy: bool) -> Image.Image:
    """The picture and its thumbnail, which is returned."""
    small = render.thumbnail(picture, THUMBNAIL)
    if lossy and picture.width * picture.height > LARGE_PHOTO:
        write_atomically(example.folder / "image.jpg", lambda out: picture.save(out, "JPEG", quality=95, subsampling=0))
    else:
        write_atomically(example.folder / "image.png", lambda out: picture.save(out, "PNG", compress_level=1))
    write_atomically(example.thumbnail_path, lambda out: small.save(out, "WEBP", quality=80))
    return small


def _write_summary(example: Example, summary: Summary) -> None:
    content = json.dumps(summary.to_dict()).encode()
    write_atomically(example.folder / SUMMARY, lambda out: out.write(content))


def _shrunk(codes: np.ndarray) -> np.ndarray:
    """The codes at about the thumbnail's size."""
    step = max(1, max(codes.shape) // THUMBNAIL)
    return codes[::step, ::step]


def _codes(mask: Mask, size: tuple[int, int]) -> Callable[[BinaryIO], None]:
    """A palette PNG of the codes, at `size`; its colours are for looking at."""
    image = Image.fromarray(mask.codes)
    if image.size != size:
        image = image.resize(size, Image.Resampling.NEAREST)
    colours = [_color(mask.summary, code, key) for code, key in enumerate(mask.summary.keys)]
    image.putpalette([part for color in colours for part in palette.rgb(color)])
    return lambda out: image.save(out, "PNG", compress_level=1, bits=8)


def _color(summary: Summary, code: int, key: int) -> str:
    if key == TRANSPARENT:
        return "#ffffff"
    return f"#{key:06x}" if summary.kind == "colour" else summary.palette.get(key, palette.color(code))


def _gone(example: Example) -> Refused:
    return Refused(example.stem, "Its files are gone from the server.", "Remove it and upload it again.")
