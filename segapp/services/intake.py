"""Images and masks come in: decoded, checked, re-encoded, paired, and stored under names that the server makes.

All or nothing: a post that is refused, or a disk that fills up half-way, leaves no row and no file.
"""

import io
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from PIL import Image

from registry.store import remove_folder
from segapp.imaging import InvalidFile, class_mapping, decode, denoise, memory, painted, sample
from segapp.imaging.bundle import opened
from segapp.imaging.class_mapping import Choices, ClassMapping
from segapp.imaging.formats import MAX_PAIRS
from segapp.imaging.image_input import ImageInput, Layout, of_set
from segapp.models import Example, TrainingSet
from segapp.services import example_files, storage, training_files
from segapp.services.errors import InvalidUpload, NotFound
from segapp.services.pairing import Group, fold, shown, stem_of, unique
from segapp.services.training_files import TrainingFiles

CHOICES = ""  # among edits by mask value: what is chosen for all masks, as the fields of class_mapping.Choices


def store(
    visitor: str,
    images: Iterable[Any],
    masks: Iterable[Any],
    archives: Iterable[Any] = (),
    *,
    draft: bool = True,
    objects: bool | None = None,
    image_input: ImageInput | None = None,
) -> list[Example]:
    """Take images with masks or annotations in, as drafts or for a training at once. `objects`,
    `image_input`: as for `gather`.

    Raises InvalidUpload with one entry for each faulty file.
    """
    images, masks, archives = list(images), list(masks), list(archives)
    hold_to_post_limits([*images, *masks, *archives])
    there = list(ready(drafts(visitor))) if draft else []
    sent = training_files.gather(
        images,
        masks,
        archives,
        objects=objects,
        image_input=image_input,
        known=_class_names(there),
        joined=_surveys(there),
    )
    if not sent.groups:
        raise InvalidUpload("No images with masks were sent. Choose at least one of each.")
    hold_to_set_limits(visitor, [group.stem for group in sent.groups], [*images, *masks, *archives], draft)
    return _all_or_none(visitor, (partial(_store_group, visitor, group, sent, draft) for group in sent.groups))


def store_photos(visitor: str, images: Iterable[Any]) -> list[Example]:
    """Take in images whose masks are still to be painted, as drafts. Raises InvalidUpload, as `store` does."""
    images = list(images)
    hold_to_post_limits(images)
    if not images:
        raise InvalidUpload("No images were chosen. Choose one or more to paint on.")
    found = unique(images)
    hold_to_set_limits(visitor, [stem_of(image.name) for image in found], found)
    return _all_or_none(visitor, (partial(_store_photo, visitor, image) for image in found))


def _all_or_none(visitor: str, makers: Iterable[Callable[[], Example]]) -> list[Example]:
    """The saved rows of all examples. Raises InvalidUpload with what every maker refused; then nothing is left."""
    problems: list[dict[str, str]] = []
    made: list[Example] = []
    try:
        for make in makers:
            try:
                made.append(make())
            except InvalidFile as refused:
                problems.append(refused.entry)
        if problems:
            raise InvalidUpload(problems)
        storage.hold_to_quota(visitor, sum(example.size_bytes for example in made))  # larger than what was sent
        with transaction.atomic():
            Example.objects.bulk_create(made)
            storage.enter(*made)
            TrainingSet.objects.follow_drafts(visitor)
    except BaseException:
        for example in made:
            remove_folder(example.folder)
        raise
    return list(Example.objects.filter(public_id__in=[example.public_id for example in made]))


def store_samples(visitor: str) -> list[Example]:
    """The sample pairs as drafts, unless they are there already."""
    there = set(drafts(visitor).values_list("stem", flat=True))
    images, masks = [], []
    for k, name in enumerate(sample.NAMES[: sample.TRAIN]):
        if name not in there:
            image, ids = _sample(k)
            images.append(SimpleUploadedFile(f"{name}.png", image))
            masks.append(SimpleUploadedFile(f"{name}.png", ids))
    return store(visitor, images, masks) if images else []


def sample_image() -> SimpleUploadedFile:
    """A sample image that no sample training saw, as if it had been uploaded."""
    name = sample.NAMES[-1]
    return SimpleUploadedFile(f"{name}.png", _sample(len(sample.NAMES) - 1)[0])


def drafts(visitor: str) -> QuerySet[Example]:
    """What was uploaded or painted, and not trained on yet."""
    return Example.objects.filter(visitor=visitor, draft=True).select_related("painting")


def owned(visitor: str, public_id: str) -> Example:
    """The visitor's image; raises NotFound, the same for what is another's and what does not exist."""
    found = Example.objects.filter(visitor=visitor, public_id=public_id).first()
    if found is None:
        raise NotFound("There is no such image among yours. Open Fine-tune to see them.")
    return found


def ready(examples: Iterable[Example]) -> list[Example]:
    """Those that have a mask: what is still to be painted is left out."""
    return [example for example in examples if not example.to_paint]


def draft_again(visitor: str, examples: Iterable[Example]) -> None:
    """Make earlier examples drafts again, to train on them again."""
    Example.objects.filter(visitor=visitor, pk__in=[example.pk for example in examples]).update(
        draft=True, drafted=timezone.now()
    )
    TrainingSet.objects.follow_drafts(visitor)


def remove(visitor: str, public_id: str) -> None:
    """Take one draft away; one that a training has used is only taken off the drafts."""
    _remove(drafts(visitor).filter(public_id=public_id))


def clear_drafts(visitor: str) -> None:
    _remove(drafts(visitor))


def discard(examples: Iterable[Example]) -> None:
    """Take back what was just stored and no training has used."""
    _remove(Example.objects.filter(pk__in=[example.pk for example in examples]))


def review(
    examples: Iterable[Example],
    edits: dict[str, dict[str, Any]] | None = None,
    known: Iterable[dict[str, Any]] = (),
    choices: Choices | None = None,
) -> ClassMapping:
    """What the masks of these examples mean together, with the visitor's edits by mask value. Raises InvalidFile.

    `known`: classes of a model to train on from, {id, name, color, source?}, which these masks join.

    Reads a small table for each example and no mask, so a page may ask for it every time. What is still to be painted
    is left out.
    """
    edits = dict(edits or {})
    if CHOICES in edits:
        for_all = edits.pop(CHOICES)
        choices = choices or Choices(for_all.get("objects"), bool(for_all.get("swap")))
    examples = ready(examples)
    summaries = [example_files.summary_of(example) for example in examples]
    chosen = painted.known_by_id([chosen_classes(examples), list(known)])
    return class_mapping.read_summaries(summaries, [example.stem for example in examples], edits, chosen, choices)


def notes_of(examples: Iterable[Example]) -> list[str]:
    """What was decided or changed when these came in, each once."""
    return list(dict.fromkeys(note for example in examples for note in example.notes))


def chosen_classes(examples: Iterable[Example]) -> list[dict[str, Any]]:
    """The classes named while painting these, {id, name, color, source?}; the latest word on each is right."""
    found = [painting for example in examples if (painting := getattr(example, "painting", None))]
    latest = sorted(found, key=lambda painting: painting.updated, reverse=True)
    return painted.known_by_id(painting.classes for painting in latest)


def hold_to_post_limits(files: list[Any]) -> None:
    """Raises InvalidUpload for too many files, or too many bytes, in one post."""
    most, megabytes = settings.UPLOAD_LIMIT_FILES, settings.UPLOAD_LIMIT_BYTES // 10**6
    if len(files) > most:
        raise InvalidUpload(
            f"{len(files)} files are too many at once. Send at most {most} ({most // 2} pairs), then the rest."
        )
    if sum(file.size or 0 for file in files) > settings.UPLOAD_LIMIT_BYTES:
        raise InvalidUpload(f"These files are over {megabytes} MB together. Send them in smaller parts.")


def hold_to_set_limits(visitor: str, stems: list[str], files: list[Any], draft: bool = True) -> None:
    """Raises InvalidUpload for names that are in the set already and for too many images, and as storage does."""
    there = {fold(stem) for stem in drafts(visitor).values_list("stem", flat=True)} if draft else set()
    twice = [stem for stem in stems if fold(stem) in there]
    if twice:
        message = "An image of this name is in your set already. Remove that one first, or rename this one."
        raise InvalidUpload([{"file": stem, "message": message} for stem in twice])
    if len(stems) + len(there) > MAX_PAIRS:
        raise InvalidUpload(f"{len(stems) + len(there)} pairs are too many for one training. Use at most {MAX_PAIRS}.")
    storage.hold_to_quota(visitor, sum(file.size or 0 for file in files))


def _surveys(there: Iterable[Example]) -> list[denoise.Survey]:
    """What the uploaded masks of a set hold already."""
    found = []
    for example in there:
        summary = example_files.summary_of(example)
        if not summary.soft and not painted.is_painted(summary):
            found.append(denoise.Survey(frozenset(summary.keys), frozenset(), summary.kind))
    return found


def _class_names(there: Iterable[Example]) -> dict[str, int]:
    """Class ids by name, as the annotation files of a set define them."""
    found: dict[str, int] = {}
    for example in there:
        summary = example_files.summary_of(example)
        if summary.fixed:
            found |= {name: number for number, name in summary.names.items() if number and name}
    return found


def _store_group(visitor: str, group: Group, sent: TrainingFiles, draft: bool) -> Example:
    """One image with its masks, decoded and encoded again; its row is not saved here.

    Raises InvalidFile; then nothing is left.
    """
    image = opened(group.image)
    with memory.decoding.hold(decode.cost(image, shown(group.image.name), each=memory.MASKED)):
        read = training_files.read_group(group, sent.rules)
        width, height = read.image.size
        kind, notes = read.mask.summary.kind, [*sent.notes, *read.notes]
        example = Example(visitor=visitor, stem=group.stem, width=width, height=height, mask_kind=kind, notes=notes)
        example.draft = draft
        example.image_input = _input_of(sent.rules.image_input, read.layout)
        name = shown(group.image.name)
        original = decode.original(image, name, read.deep, read.layout)
        example_files.write(example, read, original)
    return example


def _store_photo(visitor: str, upload: Any) -> Example:
    """One image, decoded and encoded again; its row is not saved here. Raises InvalidFile; then nothing is left."""
    file = opened(upload)
    with memory.decoding.hold(decode.cost(file, shown(upload.name))):
        decoded = decode.read(file, shown(upload.name))
        image = decoded.image
        width, height = image.size
        example = Example(
            visitor=visitor, stem=stem_of(upload.name), width=width, height=height, mask_kind=painted.KIND, draft=True
        )
        example.notes, example.image_input = list(decoded.notes), _input_of(ImageInput(), decoded.layout)
        original = decode.original(file, shown(upload.name), decoded.deep, decoded.layout)
        example_files.write_photo(example, image, decode.is_lossy(file), original)
    return example


def input_of(examples: Iterable[Example]) -> ImageInput:
    """The page and channels that a model trained on these learns from: one choice, or none for plain images."""
    found = [example.image_input for example in examples]
    choices = [ImageInput.from_dict(one["choice"]) for one in found if one.get("choice")]
    layouts = [Layout(*one["layout"]) for one in found if one.get("layout")]
    return of_set(choices[0] if choices else ImageInput(), layouts)


def _input_of(choice: ImageInput, layout: Layout) -> dict[str, Any]:
    """What an example's row keeps of its file's pages and channels."""
    return {"choice": choice.to_dict(), "layout": [layout.pages, layout.channels]}


def _remove(examples: QuerySet[Example]) -> None:
    """Take these off the drafts, and delete those that no training and no set uses."""
    rows = list(examples)
    mine = Example.objects.filter(pk__in=[example.pk for example in rows])
    mine.update(draft=False)
    for visitor in {example.visitor for example in rows}:
        TrainingSet.objects.follow_drafts(visitor)
    unused = mine.filter(runs=None, sets=None)
    folders: list[Path] = [example.folder for example in unused]
    unused.delete()
    for folder in folders:
        remove_folder(folder)


@cache
def _sample(k: int) -> tuple[bytes, bytes]:
    """The k-th sample image and mask as files; drawn once, they are the same for everyone."""
    image, ids = sample.draw(k)
    return _png(image), _png(ids)


def _png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG", compress_level=1)
    return out.getvalue()
