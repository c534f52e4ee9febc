"""Training on from a model: all that it learnt from, what was added since, and its class ids as they are."""

from collections.abc import Iterable, Sequence
from typing import Any

from registry.models import UserModel
from segapp.imaging import InvalidFile, class_mapping
from segapp.imaging.class_mapping import ClassMapping
from segapp.imaging.formats import MAX_PAIRS, UNPAINTED
from segapp.models import Example, TrainingRun
from segapp.services import intake, painting, runs


def run_of(model: UserModel) -> TrainingRun | None:
    """The training that made the model, as long as its row is kept."""
    return TrainingRun.objects.filter(visitor=model.visitor, public_id=model.run_id).first() if model.run_id else None


def earlier(model: UserModel) -> list[Example]:
    """What the model was trained on, as far as the files are still there."""
    run = run_of(model)
    found = run.examples.select_related("painting") if run is not None else Example.objects.none()
    return [example for example in found if example.image_path.exists()]


def classes_of(model: UserModel) -> list[dict[str, Any]]:
    """The model's classes, each with the mask value that it was read from, so that new masks are read the same way."""
    run = run_of(model)
    rows = run.reading.get("classes", []) if run is not None else []
    sources = {row["id"]: row["source"] for row in rows if not row["source"].startswith("painted")}
    return [{**row, "source": sources[row["id"]]} if row["id"] in sources else dict(row) for row in model.classes]


def taken_ids(model: UserModel) -> list[int]:
    """Ids that a new class cannot have: the model's own, and those of what its masks hold but it ignores."""
    run = run_of(model)
    rows = run.reading.get("classes", []) if run is not None else []
    return sorted({row["id"] for row in [*rows, *model.classes]} - {UNPAINTED})


def corrections(visitor: str, model: UserModel) -> list[Example]:
    """The visitor's drafts that mend an answer of this model or of one it comes from, painted or not."""
    family: list[int] = []
    known: UserModel | None = model
    while known is not None and known.pk not in family:
        family.append(known.pk)
        known = known.parent
    return list(intake.drafts(visitor).filter(painting__corrects__in=family, runs=None))


def start(
    visitor: str,
    model: UserModel,
    added: Iterable[Example],
    edits: dict[str, dict[str, Any]] | None = None,
    *,
    name: str = "",
    effort: str = "quick",
    keep_drafts: bool = False,
) -> TrainingRun:
    """Queue a training of a new version from `model`: its own examples and the added ones. The model itself stays.

    `keep_drafts`: as for runs.start.

    Raises InvalidFile when nothing was added or it does not fit, and runs.AlreadyTraining.
    """
    if not painting.usable(model):
        raise InvalidFile(
            model.name, "This model cannot be trained on from: its file is gone.", "Choose another version."
        )
    before = earlier(model)
    learnt = {example.pk for example in before}
    added = [example for example in added if example.pk not in learnt]
    unpainted = [example.stem for example in added if example.to_paint]
    if unpainted:
        raise InvalidFile(unpainted[0], "This image is not painted yet.", "Paint it, or remove it.")
    if not added:
        raise InvalidFile(model.name, "Nothing was added to its training images.", "Fix a result or add images.")
    if len(before) + len(added) > MAX_PAIRS:
        problem = f"With its {len(before)} images it would be {len(before) + len(added)}."
        raise InvalidFile(model.name, problem, f"One training takes at most {MAX_PAIRS}: remove some of the new ones.")
    runs.refuse_second(visitor)
    mapping = intake.review(added, edits, classes_of(model))
    added = painting.as_painted(added, mapping)
    mapping = _joined(model, before, added)
    everything = [*before, *added]
    return runs.start(
        visitor, everything, mapping, name=name, effort=effort, continued_from=model, keep_drafts=keep_drafts
    )


def _joined(model: UserModel, before: Sequence[Example], added: Sequence[Example]) -> ClassMapping:
    """How the masks of both are read: ids as in the model."""
    new = intake.review(added, None, classes_of(model))
    run = run_of(model)
    if run is None or not before or not run.reading:
        return new
    pixels = tuple(sum(example.width * example.height for example in part) for part in (before, added))
    return class_mapping.extended(
        ClassMapping.from_dict(run.reading), new, (pixels[0], pixels[1]), len(before) + len(added)
    )
