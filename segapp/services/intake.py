"""Pictures and masks come in: decoded, checked, re-encoded, paired, and stored under names that the server makes.

All or nothing: a post that is refused, or a disk that fills up half-way, leaves no row and no file.
"""

import io
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.db.models import QuerySet, Sum
from PIL import Image

from registry.services import storage_used
from segapp.imaging import Refused, bundle, decode, render, sample, snapping
from segapp.imaging import masks as rules
from segapp.imaging.decode import MaskSource
from segapp.imaging.masks import Reading
from segapp.models import Example
from segapp.services.pairing import Refusal, pair

__all__ = ["Refusal", "pair"]

MOST_PAIRS = 50
THUMBNAIL = 320  # pixels
SUMMARY = "summary.json"


def store(visitor: str, images: Iterable[Any], masks: Iterable[Any], archives: Iterable[Any] = ()) -> list[Example]:
    """Take pairs in as drafts. Raises Refusal with one entry for each faulty file."""
    images, masks = list(images), list(masks)
    for archive in archives:
        for kind, name, content in _unpacked(archive):
            (masks if kind == "mask" else images).append(SimpleUploadedFile(name, content))
    pairs = pair(images, masks)
    if not pairs:
        raise Refusal([{"file": "", "message": "No pictures with masks were sent. Choose at least one of each."}])
    _hold_to_limits(visitor, [stem for stem, _, _ in pairs], [*images, *masks])
    made: list[Example] = []
    problems: list[dict[str, str]] = []
    try:
        for stem, image, mask in pairs:
            try:
                made.append(_store_pair(visitor, stem, image, mask))
            except Refused as refused:
                problems.append({"file": refused.file, "message": f"{refused.problem} {refused.advice}"})
        if problems:
            raise Refusal(problems)
        with transaction.atomic():
            Example.objects.bulk_create(made)
    except BaseException:
        for example in made:
            shutil.rmtree(example.folder, ignore_errors=True)
        raise
    return list(Example.objects.filter(public_id__in=[example.public_id for example in made]))


def store_samples(visitor: str) -> list[Example]:
    """The sample pairs as drafts, unless they are there already."""
    there = set(drafts(visitor).values_list("stem", flat=True))
    images, masks = [], []
    for k, name in enumerate(sample.NAMES[: sample.TRAIN]):
        if name not in there:
            picture, ids = sample.draw(k)
            images.append(SimpleUploadedFile(f"{name}.png", _png(picture)))
            masks.append(SimpleUploadedFile(f"{name}.png", _png(ids)))
    return store(visitor, images, masks) if images else []


def sample_picture() -> SimpleUploadedFile:
    """A sample picture that no sample training saw, as if it had been uploaded."""
    name = sample.NAMES[-1]
    return SimpleUploadedFile(f"{name}.png", _png(sample.draw(len(sample.NAMES) - 1)[0]))


def drafts(visitor: str) -> QuerySet[Example]:
    """What was uploaded and not trained on yet."""
    return Example.objects.filter(visitor=visitor, draft=True)


def draft_again(visitor: str, examples: Iterable[Example]) -> None:
    """Make earlier examples drafts again, to train on them once more."""
    Example.objects.filter(visitor=visitor, pk__in=[example.pk for example in examples]).update(draft=True)


def remove(visitor: str, public_id: str) -> None:
    """Take one draft away; one that a training has used is only no draft any more."""
    _remove(drafts(visitor).filter(public_id=public_id))


def clear_drafts(visitor: str) -> None:
    _remove(drafts(visitor))


def review(examples: Iterable[Example], edits: dict[str, dict[str, Any]] | None = None) -> Reading:
    """What the masks of these examples mean together, with the visitor's edits by mask value. Raises Refused."""
    examples = list(examples)
    reading = rules.read_summaries([_summary(example) for example in examples], [example.stem for example in examples])
    return rules.edit_by_source(reading, edits) if edits else reading


def picture_of(example: Example) -> np.ndarray:
    """uint8 (H, W, 3)."""
    with Image.open(example.image_path) as stored:
        return np.asarray(stored.convert("RGB"))


def ids_of(example: Example, reading: Reading) -> np.ndarray:
    """uint8 (H, W) of class ids by the reading; 255 is ignored."""
    with open(example.mask_path, "rb") as file:
        source = decode.mask(file, example.stem)
    if example.mask_kind == "colour" and source.kind == "index":
        raise Refused(example.stem, "Its stored mask was changed.", "Remove it and upload it again.")
    return rules.apply(source, reading)


def check_sizes(image: str, image_shape: tuple[int, ...], mask: str, mask_shape: tuple[int, ...]) -> None:
    """Raises Refused, naming both sizes, when a mask (H, W) is not of its picture's size."""
    if image_shape[:2] != mask_shape[:2]:
        sizes = [f"{shape[1]} × {shape[0]}" for shape in (mask_shape, image_shape)]
        words = f"This mask is {sizes[0]} pixels, its picture {image} is {sizes[1]}."
        raise Refused(mask, words, "Save the mask at the picture's size.")


def storage_in_use(visitor: str) -> int:
    """Bytes of the visitor's models and examples."""
    examples = Example.objects.filter(visitor=visitor).aggregate(bytes=Sum("size_bytes"))["bytes"] or 0
    return storage_used(visitor) + examples


def _unpacked(archive: Any) -> list[tuple[str, str, bytes]]:
    try:
        return bundle.read_zip(archive, archive.name)
    except Refused as refused:
        raise Refusal([{"file": refused.file, "message": f"{refused.problem} {refused.advice}"}]) from None


def _hold_to_limits(visitor: str, stems: list[str], files: list[Any]) -> None:
    there = {stem.casefold() for stem in drafts(visitor).values_list("stem", flat=True)}
    twice = [stem for stem in stems if stem.casefold() in there]
    if twice:
        words = "A picture of this name is in your set already. Remove that one first, or rename this one."
        raise Refusal([{"file": stem, "message": words} for stem in twice])
    if len(stems) + len(there) > MOST_PAIRS:
        words = f"{len(stems) + len(there)} pairs are too many for one training. Use at most {MOST_PAIRS}."
        raise Refusal([{"file": "", "message": words}])
    if storage_in_use(visitor) + sum(file.size or 0 for file in files) > settings.SEGAPP_STORAGE_BYTES:
        words = f"Your storage of {settings.SEGAPP_STORAGE_BYTES // 2**20} MB is full. Delete models or pictures first."
        raise Refusal([{"file": "", "message": words}])


def _store_pair(visitor: str, stem: str, image: Any, mask: Any) -> Example:
    """One pair, decoded and written anew; its row is not saved here. Raises Refused; then nothing is left."""
    picture, turn = decode.picture_and_turn(_opened(image), str(image.name))
    source = decode.turned_like(decode.mask(_opened(mask), str(mask.name)), turn, picture.size)
    check_sizes(str(image.name), (picture.height, picture.width), str(mask.name), source.values.shape)
    example = Example(visitor=visitor, stem=stem, width=picture.width, height=picture.height, mask_kind=source.kind)
    example.folder.mkdir(parents=True)
    try:
        picture.save(example.image_path, "PNG", compress_level=1)
        _stored_mask(source).save(example.mask_path, "PNG", compress_level=3)
        render.thumbnail(picture, THUMBNAIL).save(example.thumbnail_path, "WEBP", quality=80)
        (example.folder / SUMMARY).write_text(json.dumps(snapping.summarise(source).to_dict()))
        example.size_bytes = sum(path.stat().st_size for path in example.folder.iterdir())
    except BaseException:
        shutil.rmtree(example.folder, ignore_errors=True)
        raise
    return example


def _stored_mask(source: MaskSource) -> Image.Image:
    """The mask's own values in a lossless picture: 8 or 16 bits grey, or RGBA."""
    return Image.fromarray(source.values)


def _summary(example: Example) -> snapping.Summary:
    return snapping.Summary.from_dict(json.loads((example.folder / SUMMARY).read_text()))


def _remove(examples: QuerySet[Example]) -> None:
    unused = examples.filter(runs=None)
    folders: list[Path] = [example.folder for example in unused]
    examples.exclude(runs=None).update(draft=False)
    unused.delete()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _opened(file: Any) -> IO[bytes]:
    """The upload as a plain binary file; a path's file is read whole."""
    if isinstance(file, Path):
        return io.BytesIO(file.read_bytes())
    return getattr(file, "file", file)


def _png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG", compress_level=1)
    return out.getvalue()
