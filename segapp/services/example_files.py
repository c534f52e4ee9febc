"""An example's files: the picture, the mask as codes with the table of what they stand for, and small copies.

Everything is encoded anew, so nothing of what else was in the uploaded files is kept.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from registry import store
from registry.files import write_atomically
from segapp.imaging import Refused, masks, palette, render
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
        small = render.thumbnail(pair.picture, THUMBNAIL)
        write_atomically(_picture_path(example, pair), _picture(pair))
        write_atomically(example.mask_path, _codes(pair.mask, pair.picture.size))
        write_atomically(example.folder / SMALL_MASK, _codes(pair.mask, small.size))
        write_atomically(example.thumbnail_path, lambda out: small.save(out, "WEBP", quality=80))
        summary = json.dumps(pair.mask.summary.to_dict()).encode()
        write_atomically(example.folder / SUMMARY, lambda out: out.write(summary))
        example.size_bytes = sum(path.stat().st_size for path in example.folder.iterdir())
    except BaseException:
        store.remove_folder(example.folder)
        raise


def bring(example: Example) -> Example:
    """See that the files are on this machine. The summary is written last, so where it is the others are, too."""
    if not (example.folder / SUMMARY).exists():
        store.fetch_folder(example.folder)
    return example


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
    try:
        with Image.open(example.folder / SMALL_MASK if small else example.mask_path) as stored:
            codes = np.asarray(stored, dtype=np.uint8)
    except OSError:
        raise _gone(example) from None
    return masks.apply(Mask(codes, summary_of(example)), reading)


def _picture_path(example: Example, pair: Pair) -> Path:
    keeps = pair.lossy and pair.picture.width * pair.picture.height > LARGE_PHOTO
    return example.folder / ("image.jpg" if keeps else "image.png")


def _picture(pair: Pair) -> Callable[[BinaryIO], None]:
    if pair.lossy and pair.picture.width * pair.picture.height > LARGE_PHOTO:
        return lambda out: pair.picture.save(out, "JPEG", quality=95, subsampling=0)
    return lambda out: pair.picture.save(out, "PNG", compress_level=1)


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
