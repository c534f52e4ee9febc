"""Copies of examples with files of their own: for duplicates of a set, and for images that are read in another way.

An example's files never change, since pages keep them and trainings refer to them.
"""

from collections.abc import Sequence

from django.db import transaction

from registry.models import new_public_id
from segapp.imaging import decode
from segapp.imaging.image_input import ImageInput, Layout, is_without_choice
from segapp.models import Example, Painting, TrainingSet
from segapp.services import example_files, intake, storage


def copied(source: Example) -> Example:
    """A saved copy that is no draft, with its painting. Raises InvalidFile when the files are gone."""
    example = Example.objects.get(pk=source.pk)
    example.pk, example.public_id, example.draft = None, new_public_id(), False
    example_files.copy(example, source)
    try:
        example.save(force_insert=True)
        if hasattr(source, "painting"):
            painting = Painting.objects.get(pk=source.painting.pk)
            painting.pk, painting.example = None, example
            painting.save(force_insert=True)
    except BaseException:
        example_files.remove(example)
        raise
    return example


def with_choice(drafts: Sequence[Example]) -> list[Example]:
    """Those whose own file is kept and has more than one page, or channels to choose from."""
    found = [example for example in drafts if not layout_of(example).plain]
    return [example for example in found if example_files.original_of(example_files.ensure_local(example))]


def layout_of(example: Example) -> Layout:
    """The pages and channels of the file that the image came from."""
    return Layout(*(example.image_input.get("layout") or (1, 3)))


def read_again(visitor: str, choice: ImageInput) -> None:
    """Read the drafts that have a choice with another page or other channels: copies take their place, masks stay.

    Raises InvalidFile for a choice that does not fit one of them, DecodersBusy, StorageFull and DiskFull;
    then nothing has changed.
    """
    drafts = with_choice(list(intake.drafts(visitor)))
    storage.hold_to_quota(visitor, sum(example.size_bytes for example in drafts))
    made: list[Example] = []
    try:
        with transaction.atomic():
            made.extend(_read(example, choice) for example in drafts)
            Example.objects.filter(pk__in=[example.pk for example in made]).update(draft=True)
            Example.objects.filter(pk__in=[example.pk for example in drafts]).update(draft=False)
            TrainingSet.objects.follow_drafts(visitor)
            storage.enter(*made)
    except BaseException:
        for example in made:
            example_files.remove(example)
        raise
    intake.discard(drafts)


def _read(source: Example, choice: ImageInput) -> Example:
    example = copied(source)
    try:
        original = example_files.original_of(example)
        assert original is not None
        name = f"{example.stem}{original.suffix}"
        with original.open("rb") as file:
            decoded = decode.read(file, name, choice)
        example_files.replace_image(example, decoded.image)
        example.notes = [note for note in example.notes if not is_without_choice(note)] + list(decoded.notes)
        example.image_input = {**example.image_input, "choice": choice.to_dict()}
        example.save()
    except BaseException:
        example_files.remove(example)
        raise
    return example
