"""An example's files: the image, the mask as codes with the table of what they stand for, and small copies.

Everything is encoded again, so nothing of what else was in the uploaded files is kept.
"""

import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from registry import store
from registry.files import write_atomically
from segapp.imaging import InvalidFile, class_mapping, memory, painted, palette, render, stored
from segapp.imaging.class_mapping import ClassMapping
from segapp.imaging.formats import UNPAINTED
from segapp.imaging.pairs import Pair
from segapp.imaging.values import TRANSPARENT, Mask, Summary
from segapp.models import Example

THUMBNAIL = 320  # pixels
SUMMARY = "summary.json"
SMALL_MASK = "mask_small.png"
PROPOSAL = "proposal.png"
INSTANCES = "instances.png"
ORIGINAL = "original"
LARGE_PHOTO = 2_000_000  # pixels from which a JPEG stays one: PNG takes ten times as long and five times the room


Original = tuple[str, bytes]  # suffix and content of a lossless file of an image's own values


def write(example: Example, pair: Pair, original: Original | None = None) -> None:
    """Write the folder and set size_bytes. On any failure nothing of it is left."""
    try:
        small = _write_image(example, pair.image, pair.lossy)
        _write_original(example, original)
        write_atomically(example.mask_path, _codes(pair.mask, pair.image.size))
        if pair.mask.instances is not None:
            write_atomically(example.folder / INSTANCES, _deep_png(pair.mask.instances))
        write_atomically(example.folder / SMALL_MASK, _codes(pair.mask, small.size))
        content = json.dumps(pair.mask.summary.to_dict()).encode()
        write_atomically(example.folder / SUMMARY, partial(_write, content))
        example.size_bytes = size_of(example)
    except BaseException:
        store.remove_folder(example.folder)
        raise


def ensure_local(example: Example) -> Example:
    """See that the files are on this machine. Those written last tell: where they are the others are, too."""
    if not all(path.exists() for path in _last_written(example)):
        store.fetch_folder(example.folder)
    return example


def write_photo(example: Example, image: Image.Image, lossy: bool, original: Original | None = None) -> None:
    """Write an image whose mask is still to be painted, and set size_bytes. On any failure nothing of it is left."""
    try:
        _write_image(example, image, lossy)
        _write_original(example, original)
        example.size_bytes = size_of(example)
    except BaseException:
        store.remove_folder(example.folder)
        raise


def copy_image(example: Example, source: Example) -> None:
    """Give `example` the image of `source`, byte for byte, and set size_bytes. Raises InvalidFile when it is gone."""
    ensure_local(source)
    _copy(example, source, [source.image_path, source.thumbnail_path, *filter(None, [original_of(source)])])


def copy(example: Example, source: Example) -> None:
    """Give `example` every file of `source`, and set size_bytes. Raises InvalidFile when they are gone."""
    ensure_local(source)
    _copy(example, source, [path for path in source.folder.glob("*") if path.is_file()] or [source.image_path])


def replace_image(example: Example, image: Image.Image) -> None:
    """Write another image of the same size in place of the example's own, and set size_bytes."""
    for path in (example.folder / "image.jpg", example.folder / "image.png"):
        path.unlink(missing_ok=True)
    _write_image(example, image, lossy=False)
    example.size_bytes = size_of(example)


def _copy(example: Example, source: Example, paths: list[Path]) -> None:
    try:
        for path in paths:
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


def write_painted(example: Example, revision: int, png: bytes, counted: np.ndarray) -> None:
    """Write one revision of a painted mask: a grey PNG's bytes, and how many pixels hold each value.

    No revision's file ever changes, so the row's revision says which one is meant, on every machine and after a crash.
    """
    write_atomically(_painted(example, revision, "png"), partial(_write, png))
    content = json.dumps({int(value): int(counted[value]) for value in np.flatnonzero(counted)}).encode()
    write_atomically(_painted(example, revision, "json"), partial(_write, content))


def write_proposal(example: Example, png: bytes) -> None:
    """Write what is proposed for an image, apart from what is painted: a grey PNG of class ids."""
    write_atomically(example.folder / PROPOSAL, partial(_write, png), durable=False)


def forget_painted(example: Example, revision: int) -> None:
    """Remove the files of a revision that is no longer read."""
    for ending in ("png", "json") if revision > 0 else ():
        store.remove(_painted(example, revision, ending))


def painted_values(example: Example) -> np.ndarray:
    """uint8 (H, W) as painted: class ids, 255 for unpainted; all of it before the first save. Raises InvalidFile."""
    if not example.painting.revision:
        return np.full((example.height, example.width), UNPAINTED, np.uint8)
    ensure_local(example)
    try:
        with stored.opened(_painted(example, example.painting.revision, "png")) as mask:
            return np.array(mask, dtype=np.uint8)
    except OSError:
        raise _gone(example) from None


def painted_counts(example: Example) -> np.ndarray:
    """int64 (256): how many pixels of the painted mask hold each value. Raises InvalidFile."""
    counted = np.zeros(256, dtype=np.int64)
    counted[UNPAINTED] = example.width * example.height
    if not example.painting.revision:
        return counted
    ensure_local(example)
    try:
        kept = json.loads(_painted(example, example.painting.revision, "json").read_bytes())
        counted[UNPAINTED] = 0
        for value, count in kept.items():
            counted[int(value)] = count
    except (OSError, ValueError, AttributeError, IndexError):
        raise _gone(example) from None
    return counted


def _write(content: bytes, out: BinaryIO) -> None:
    out.write(content)


def remove(example: Example) -> None:
    store.remove_folder(example.folder)


def size_of(example: Example) -> int:
    """Bytes of its files."""
    return sum(path.stat().st_size for path in example.folder.iterdir())


def original_of(example: Example) -> Path | None:
    """The lossless file of the image's own values, where eight bits of RGB do not hold them."""
    return next(iter(example.folder.glob(f"{ORIGINAL}.*")), None)


def summary_of(example: Example) -> Summary:
    """What the mask holds. Raises InvalidFile when the files are gone."""
    if example.mask_kind == painted.KIND:
        return painted.summary(painted_counts(example), example.painting.unpainted)
    ensure_local(example)
    try:
        return Summary.from_dict(json.loads((example.folder / SUMMARY).read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        raise _gone(example) from None


def in_memory(example: Example, each: int) -> AbstractContextManager[None]:
    """Held while so many bytes for each pixel of the example are in memory. Raises memory.DecodersBusy."""
    return memory.decoding.hold(each * example.width * example.height)


def image_of(example: Example) -> np.ndarray:
    """uint8 (H, W, 3). Raises InvalidFile when the files are gone."""
    ensure_local(example)
    try:
        with stored.opened(example.image_path, memory.READ) as image:
            return np.asarray(image.convert("RGB"))
    except OSError:
        raise _gone(example) from None


def ids_of(example: Example, mapping: ClassMapping, small: bool = False) -> np.ndarray:
    """uint8 (H, W) of class ids, 255 is ignored; `small`: at the thumbnail's size. Raises InvalidFile."""
    if example.mask_kind == painted.KIND:
        mask = painted.as_mask(painted_values(example), example.painting.unpainted)
        return class_mapping.apply(Mask(_shrunk(mask.codes) if small else mask.codes, mask.summary), mapping)
    ensure_local(example)
    try:
        with stored.opened(example.folder / SMALL_MASK if small else example.mask_path) as stored_mask:
            codes = np.asarray(stored_mask, dtype=np.uint8)
    except OSError:
        raise _gone(example) from None
    return class_mapping.apply(Mask(codes, summary_of(example)), mapping)


def instances_of(example: Example, mapping: ClassMapping) -> np.ndarray:
    """uint16 (H, W): object numbers from 1, 0 for none, as class_mapping.object_numbers has them.

    Raises InvalidFile when the files are gone.
    """
    none = np.zeros((example.height, example.width), np.uint16)
    if example.mask_kind == painted.KIND:
        return none
    ensure_local(example)
    try:
        with stored.opened(example.mask_path) as mask:
            codes = np.asarray(mask, dtype=np.uint8)
        numbers = None
        if (path := example.folder / INSTANCES).exists():
            with stored.opened(path) as numbering:
                numbers = np.asarray(numbering).astype(np.uint16)
    except OSError:
        raise _gone(example) from None
    found = class_mapping.object_numbers(Mask(codes, summary_of(example), numbers), mapping)
    return none if found is None else found


def _deep_png(values: np.ndarray) -> Callable[[BinaryIO], None]:
    """A grey PNG of 16 bits."""
    return lambda out: Image.fromarray(values).save(out, "PNG", compress_level=1)


def _write_image(example: Example, image: Image.Image, lossy: bool) -> Image.Image:
    """The image and its thumbnail, which is returned."""
    small = render.thumbnail(image, THUMBNAIL)
    if lossy and image.width * image.height > LARGE_PHOTO:
        write_atomically(example.folder / "image.jpg", lambda out: image.save(out, "JPEG", quality=95, subsampling=0))
    else:
        write_atomically(example.folder / "image.png", lambda out: image.save(out, "PNG", compress_level=1))
    write_atomically(example.thumbnail_path, lambda out: small.save(out, "WEBP", quality=80))
    return small


def _write_original(example: Example, original: Original | None) -> None:
    if original is not None:
        suffix, content = original
        write_atomically(example.folder / f"{ORIGINAL}{suffix}", partial(_write, content))


def _last_written(example: Example) -> list[Path]:
    """What is written after all else of the example; a painted mask comes later than its image."""
    if example.mask_kind != painted.KIND:
        return [example.folder / SUMMARY]
    revision = example.painting.revision
    mask = [_painted(example, revision, "json")] if revision else []
    return [example.thumbnail_path, *mask]


def _painted(example: Example, revision: int, ending: str) -> Path:
    return example.folder / f"painted_{revision}.{ending}"


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


def _gone(example: Example) -> InvalidFile:
    return InvalidFile(example.stem, "Its files are gone from the server.", "Remove it and upload it again.")
