"""Training on files of one request: stored, mapped to classes and queued, or nothing is kept."""

from typing import Any

from segapp.imaging import class_mapping
from segapp.imaging.class_mapping import Choices
from segapp.imaging.image_input import ImageInput
from segapp.models import TrainingRun
from segapp.services import intake, runs


def start(
    visitor: str,
    *,
    images: list[Any],
    masks: list[Any],
    classes: list[Any],
    name: str = "",
    effort: str = "quick",
    objects: bool | None = None,
    swap: bool = False,
    image_input: ImageInput | None = None,
) -> TrainingRun:
    """Take pairs in and queue a training on just these, with the classes as the masks' rules give them.

    `objects`, `swap`: as for class_mapping.Choices. `image_input`: the page and channels to use.

    Raises InvalidUpload with an entry per faulty file, imaging.InvalidFile for class edits that do not fit, and
    runs.AlreadyTraining; then nothing is stored.
    """
    examples = intake.store(visitor, images, masks, draft=False, objects=objects, image_input=image_input)
    try:
        mapping = intake.review(examples, choices=Choices(objects, swap))
        if classes:
            mapping = class_mapping.edit(mapping, classes)
        return runs.start(visitor, examples, mapping, name=name, effort=effort)
    except Exception:
        intake.discard(examples)
        raise
