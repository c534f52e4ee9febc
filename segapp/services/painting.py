"""Masks painted in the browser: photos to paint on, saves with a revision number, results to mend.

What a training has used is never changed: painting on goes to a copy. Knows nothing of how the page paints.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from django.db import transaction
from PIL import Image

from registry import store
from registry.models import FileState, UserModel
from segapp.imaging import InvalidFile, decode, memory, painted, stored
from segapp.imaging.class_mapping import ClassMapping
from segapp.imaging.formats import MAX_PAIRS, UNPAINTED
from segapp.models import Analysis, BatchItem, Example, ItemState, Painting, State, TrainingSet
from segapp.services import example_files, intake, paint_classes, storage
from segapp.services.errors import Conflict, NotFound
from segapp.services.pairing import fold, stem_of

KEPT = 2  # revisions whose files stay: a request may still read the one before


class PaintedElsewhere(Conflict):
    """Another tab has saved this mask since; what it looks like now has `revision`."""

    code = "painted_elsewhere"

    def __init__(self, revision: int) -> None:
        super().__init__("This image was painted in another tab or window in the meantime.", revision=revision)
        self.revision = revision


class PaintingClosed(Conflict):
    """A training uses this mask, so it stays as it is."""

    code = "closed"
    message = "A training uses this mask, so it is kept as it was."
    advice = "Open the image from Fine-tune again."


@dataclass(frozen=True)
class Save:
    """One save of one page. `base`: the revision it started from; `mask`: a grey PNG, None when unchanged."""

    base: int
    editor: str
    sequence: int
    classes: list[dict[str, Any]]
    unpainted: int
    nothing_there: bool
    mask: IO[bytes] | None = None


def begin(visitor: str, images: Iterable[Any], known: Sequence[dict[str, Any]] = ()) -> list[Example]:
    """Take in photos as drafts whose masks are still to be painted. `known`: classes of a model to train on from.

    Raises InvalidUpload.
    """
    there = list(intake.drafts(visitor))
    classes, unpainted = paint_classes.starting_classes(there, known=known), paint_classes.usual_unpainted(there)
    examples = intake.store_photos(visitor, images)
    try:
        Painting.objects.bulk_create(
            Painting(example=example, classes=classes, unpainted=unpainted) for example in examples
        )
    except BaseException:
        intake.discard(examples)
        raise
    return examples


def owned(visitor: str, public_id: str) -> Example:
    """A draft of the visitor's with its painting. Raises NotFound, the same for another's and for none."""
    found = intake.drafts(visitor).filter(public_id=public_id, runs=None).exclude(painting=None).first()
    if found is None:
        raise NotFound("There is no such image to paint on among yours. Open Fine-tune to see your images.")
    return found


def to_edit(
    visitor: str, public_id: str, edits: dict[str, dict[str, Any]], known: Sequence[dict[str, Any]] = ()
) -> Example:
    """A draft as one to paint on: an uploaded mask becomes a painted one, one that a training has used a copy.

    Raises NotFound, and InvalidFile when its files are gone or the set's masks cannot be read together.
    """
    found = intake.drafts(visitor).filter(public_id=public_id).first()
    if found is None:
        raise NotFound("There is no such image among your uploads. Open Fine-tune to see them.")
    used = found.runs.exists()
    if not used and hasattr(found, "painting"):
        return found
    there = list(intake.drafts(visitor))
    classes = paint_classes.starting_classes(there, edits, known)
    if hasattr(found, "painting"):
        values, unpainted = example_files.painted_values(found), found.painting.unpainted
    else:
        values, unpainted = example_files.ids_of(found, intake.review(there, edits, known)), UNPAINTED
    if used:
        return _copy(found, values, classes, unpainted)
    return _convert(found, values, classes, unpainted)


def as_painted(examples: Iterable[Example], mapping: ClassMapping) -> list[Example]:
    """These examples with masks in class ids by the mapping: uploaded ones become painted ones. Raises InvalidFile."""
    classes, found = paint_classes.classes_of(mapping), []
    for example in examples:
        if hasattr(example, "painting"):
            found.append(example)
            continue
        values = example_files.ids_of(example, mapping)
        change = _copy if example.runs.exists() else _convert
        found.append(change(example, values, classes, UNPAINTED))
    return found


def save(example: Example, sent: Save) -> Painting:
    """Keep what was painted. Raises InvalidFile, PaintedElsewhere, PaintingClosed; then nothing has changed."""
    painting, before = example.painting, example.painting.unpainted
    classes = paint_classes.merged(sent.classes, painting.classes)
    changes: dict[str, Any] = {"classes": classes, "unpainted": sent.unpainted, "nothing_there": sent.nothing_there}
    if sent.mask is not None:
        values = painted.decode(sent.mask, (example.width, example.height), example.stem)
    else:
        values = example_files.painted_values(example)
    counted = painted.counts(values)
    _hold_to_classes(example, counted, classes)
    png = example_files.grey_png(values)
    example_files.ensure_local(example)
    with transaction.atomic():
        changes["empty"] = _is_empty(counted)
        if not Painting.objects.save_next(painting.pk, sent.base, sent.editor, sent.sequence, **changes):
            return _why_not(painting, sent)
        painting.refresh_from_db()
        example_files.write_painted(example, painting.revision, png, counted)
        Example.objects.filter(pk=example.pk).update(size_bytes=example_files.size_of(example))
        storage.measure(example)
    example_files.forget_painted(example, painting.revision - KEPT)
    paint_classes.share_classes(example.visitor, classes)
    if sent.unpainted != before and not (sent.nothing_there or painting.origin):
        paint_classes.share_unpainted(painting)
    return painting


def nothing_there(example: Example) -> int:
    """The visitor says that an image shows nothing to paint: all of it is what unpainted counts as, or the background.

    Returns that class's id. Raises InvalidFile when unpainted pixels are ignored and no class is called background.
    """
    painting = example.painting
    background = next((row["id"] for row in painting.classes if row["name"].casefold() == "background"), None)
    unpainted = painting.unpainted if painting.unpainted != UNPAINTED else background
    if unpainted is None:
        raise InvalidFile(example.stem, "None of its classes is called background.", "Paint it, or name a class so.")
    Painting.objects.filter(pk=painting.pk).update(nothing_there=True, unpainted=unpainted)
    return unpainted


def from_analysis(analysis: Analysis) -> Example:
    """A draft made of a result: its image, with what the model found as its proposal and nothing painted.

    Raises InvalidFile and InvalidUpload.
    A result that is being corrected already leads to the same draft.
    """
    if analysis.state != State.DONE:
        raise InvalidFile(analysis.title, "This result is not done yet.", "Wait until it is there.")
    before = intake.drafts(analysis.visitor).filter(painting__origin=analysis.public_id, runs=None).first()
    if before is not None:
        return before
    stem = _free_stem(analysis.visitor, stem_of(analysis.title))
    intake.hold_to_set_limits(analysis.visitor, [stem], [])
    with memory.decoding.hold(memory.SHOWN * analysis.width * analysis.height):
        return _from_analysis(analysis, stem)


def _from_analysis(analysis: Analysis, stem: str) -> Example:
    try:
        image = Image.fromarray(decode.stored(store.fetch(analysis.image_path)))
        with stored.opened(store.fetch(analysis.folder / "mask.png")) as opened:
            values = np.array(decode.pixels(opened))
    except OSError:
        raise InvalidFile(analysis.title, "The files of this result are gone.", "Analyze the image again.") from None
    model = analysis.model
    # Not what answered in another's name, behind a share link.
    mine = model is not None and analysis.model_key == model.key
    return _proposed(
        analysis.visitor, stem, image, values, analysis.classes, model if mine else None, analysis.public_id
    )


def _proposed(
    visitor: str,
    stem: str,
    image: Image.Image,
    values: np.ndarray,
    rows: list[dict[str, Any]],
    model: UserModel | None,
    origin: str,
) -> Example:
    """A draft with nothing painted, and `values` (uint8 H,W class ids), which `model` found, as its proposal."""
    example = Example(visitor=visitor, stem=stem, width=image.width, height=image.height, mask_kind=painted.KIND)
    example_files.write_photo(example, image, lossy=False)
    classes = [{"id": row["id"], "name": row["name"], "color": row["color"]} for row in rows]
    values[~np.isin(values, [row["id"] for row in classes])] = UNPAINTED
    example_files.write_proposal(example, example_files.grey_png(values))
    nothing = np.full_like(values, UNPAINTED)
    mine = model if model is not None and model.visitor == visitor else None
    return _enter(example, nothing, classes, UNPAINTED, origin=origin, corrects=mine, proposal="model")


def from_batch(item: BatchItem) -> Example:
    """The same of one image of a batch, at the size that is kept of it to be looked at.

    Raises InvalidFile and InvalidUpload.
    """
    batch = item.batch
    origin = f"batch-{item.pk}"
    before = intake.drafts(batch.visitor).filter(painting__origin=origin, runs=None).first()
    if before is not None:
        return before
    if item.state != ItemState.DONE:
        raise InvalidFile(item.name, "There is no result of this image.", "Choose one that has a mask.")
    stem = _free_stem(batch.visitor, stem_of(item.name))
    intake.hold_to_set_limits(batch.visitor, [stem], [])
    with memory.decoding.hold(memory.SHOWN * item.width * item.height):
        try:
            with stored.opened(store.fetch(item.shown)) as opened:
                image = opened.convert("RGB")
            with stored.opened(store.fetch(item.mask_shown)) as opened:
                values = Image.fromarray(np.array(decode.pixels(opened)))
        except OSError:
            raise InvalidFile(item.name, "The files of this result are gone.", "Analyze the image again.") from None
        values_shown = np.array(values.resize(image.size, Image.Resampling.NEAREST))
    model = batch.model if batch.model is not None and item.model_key == batch.model.key else None
    return _proposed(batch.visitor, stem, image, values_shown, item.classes, model, origin)


def usable(model: UserModel | None) -> bool:
    return model is not None and model.trashed_at is None and model.file_state == FileState.OK


def _why_not(painting: Painting, sent: Save) -> Painting:
    """A later save of the same page is there already: fine. Else raises what stood in the way."""
    painting.refresh_from_db()
    example = Example.objects.get(pk=painting.example_id)
    if not example.draft or example.runs.exists():
        raise PaintingClosed
    if painting.editor == sent.editor and painting.sequence >= sent.sequence:
        return painting
    raise PaintedElsewhere(painting.revision)


def _copy(source: Example, values: np.ndarray, classes: list[dict[str, Any]], unpainted: int) -> Example:
    """A draft of its own with the same image; the source stays as its trainings used it, no longer a draft."""
    example = Example(
        visitor=source.visitor, stem=source.stem, width=source.width, height=source.height, mask_kind=painted.KIND
    )
    example_files.copy_image(example, source)
    made = _enter(example, values, classes, unpainted)
    Example.objects.filter(pk=source.pk).update(draft=False)
    TrainingSet.objects.follow_drafts(source.visitor)
    return made


def _enter(example: Example, values: np.ndarray, classes: list[dict[str, Any]], unpainted: int, **more: Any) -> Example:
    """Save a new example that comes with a mask. On any failure nothing of it is left."""
    counted = painted.counts(values)
    try:
        example_files.write_painted(example, 1, example_files.grey_png(values), counted)
        example.size_bytes = example_files.size_of(example)
        with transaction.atomic():
            example.save()
            empty = _is_empty(counted)
            Painting.objects.create(
                example=example, classes=classes, unpainted=unpainted, empty=empty, revision=1, **more
            )
            storage.enter(example)
            TrainingSet.objects.follow_drafts(example.visitor)
    except BaseException:
        example_files.remove(example)
        raise
    return example


def _convert(example: Example, values: np.ndarray, classes: list[dict[str, Any]], unpainted: int) -> Example:
    """Make an uploaded draft a painted one, in place."""
    counted = painted.counts(values)
    empty = _is_empty(counted)
    with transaction.atomic():
        Painting.objects.create(
            example=example, classes=classes, unpainted=unpainted, empty=empty, nothing_there=empty, revision=1
        )
        example.mask_kind = painted.KIND
        Example.objects.filter(pk=example.pk).update(mask_kind=painted.KIND)
        example_files.write_painted(example, 1, example_files.grey_png(values), counted)
    return example


def _hold_to_classes(example: Example, counted: np.ndarray, classes: Sequence[dict[str, Any]]) -> None:
    unknown = set(np.flatnonzero(counted).tolist()) - {row["id"] for row in classes} - {UNPAINTED}
    if unknown:
        problem = f"The painted mask holds the value {min(unknown)}, which is none of its classes."
        raise InvalidFile(example.stem, problem, "Reload the page and paint on; what was saved before is kept.")


def _is_empty(counted: np.ndarray) -> bool:
    return int(counted[UNPAINTED]) == int(counted.sum())


def _free_stem(visitor: str, stem: str) -> str:
    taken = {fold(name) for name in intake.drafts(visitor).values_list("stem", flat=True)}
    names = [stem, *(f"{stem[:190]} {number}" for number in range(2, MAX_PAIRS + 2))]
    return next((name for name in names if fold(name) not in taken), stem)
