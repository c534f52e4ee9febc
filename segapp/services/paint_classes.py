"""The classes that masks are painted with: those of the set, chosen in one place and the same in all of its drafts."""

from collections.abc import Sequence
from typing import Any

from segapp.imaging import InvalidFile, painted, palette
from segapp.imaging.class_mapping import ClassMapping
from segapp.imaging.formats import UNPAINTED
from segapp.models import Example, Painting
from segapp.services import example_files, intake

START = (
    {"id": 0, "name": "background", "color": palette.color(0)},
    {"id": 1, "name": "object", "color": palette.color(1)},
)


def starting_classes(
    drafts: Sequence[Example],
    edits: dict[str, dict[str, Any]] | None = None,
    known: Sequence[dict[str, Any]] = (),
) -> list[dict[str, Any]]:
    """The classes to paint with beside these drafts: those in their masks, those chosen before, a model's; else two."""
    there = classes_of(intake.review(drafts, edits, known)) if intake.ready(drafts) else []
    return painted.known_by_id([there, intake.chosen_classes(drafts), known]) or [dict(row) for row in START]


def classes_of(mapping: ClassMapping) -> list[dict[str, Any]]:
    """The mapping's classes as a painting keeps them, each with the uploaded value it stands for, if any."""
    found = []
    for row in mapping.classes:
        if row["id"] != UNPAINTED:
            source = {} if row["source"].startswith("painted") else {"source": row["source"]}
            found.append({"id": row["id"], "name": row["name"], "color": row["color"], **source})
    return found


def usual_unpainted(drafts: Sequence[Example]) -> int:
    """What the visitor last let unpainted pixels be, among those who paint from nothing; at first unknown."""
    found = [draft.painting for draft in drafts if hasattr(draft, "painting") and not draft.painting.origin]
    return max(found, key=lambda painting: painting.updated).unpainted if found else UNPAINTED


def share_unpainted(painting: Painting) -> None:
    """What unpainted pixels are to be on this image holds for the visitor's images that are not painted on yet."""
    untouched = Painting.objects.filter(
        example__visitor=painting.example.visitor, example__draft=True, revision=0, nothing_there=False, origin=""
    )
    untouched.exclude(pk=painting.pk).update(unpainted=painting.unpainted)


def share_classes(visitor: str, classes: Sequence[dict[str, Any]]) -> None:
    """Names and colours are one for all of a visitor's drafts: what was changed in one place changes everywhere."""
    for painting in Painting.objects.filter(example__visitor=visitor, example__draft=True, example__runs=None):
        found = merged(classes, painting.classes)
        if found != painting.classes:
            Painting.objects.filter(pk=painting.pk).update(classes=found)


def remove(visitor: str, number: int, known: Sequence[dict[str, Any]] = ()) -> None:
    """Take a class that nothing shows off all of a visitor's drafts. `known`: classes of a model to train on from.

    Raises InvalidFile, naming what stands in the way.
    """
    drafts = list(intake.drafts(visitor).filter(runs=None))
    own = [draft for draft in drafts if hasattr(draft, "painting")]
    names = {row["id"]: row["name"] for row in intake.chosen_classes(own)}
    title = f"“{names.get(number, f'class {number}')}”"
    for draft in own:
        if number < UNPAINTED and example_files.painted_counts(draft)[number]:
            raise InvalidFile(title, f"{title} is painted on “{draft.stem}”.", "Paint over it there first.")
        if draft.painting.unpainted == number:
            problem = f"Unpainted pixels of “{draft.stem}” count as {title}."
            raise InvalidFile(title, problem, "Choose another meaning for them first.")
    if number in _needed(drafts, own, known):
        problem = f"{title} is a class of uploaded masks, or of the model that you train on from."
        raise InvalidFile(title, problem, "It stays as long as they do.")
    if names.keys() <= {number}:
        raise InvalidFile(title, f"{title} is the only class.", "Add another one first.")
    for draft in own:
        left = [row for row in draft.painting.classes if row["id"] != number]
        Painting.objects.filter(pk=draft.painting.pk).update(classes=left)


def _needed(drafts: Sequence[Example], own: Sequence[Example], known: Sequence[dict[str, Any]]) -> set[int]:
    """Ids of classes that stand for something else than paint: uploaded masks, a model to train on from."""
    uploaded = [draft for draft in drafts if draft not in own]
    rows = [*known, *(intake.review(uploaded).classes if uploaded else [])]
    models = [draft.painting.corrects for draft in own if draft.painting.corrects is not None]
    sources = [row for draft in own for row in draft.painting.classes if row.get("source")]
    return {row["id"] for row in [*rows, *sources, *(row for model in models for row in model.classes)]}


def merged(sent: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sent classes, keeping where each came from, and those that were there and are not mentioned."""
    sources = {row["id"]: row["source"] for row in [*sent, *before] if row.get("source")}
    rows = painted.known_by_id([sent, before])
    return [{**row, "source": sources[row["id"]]} if row["id"] in sources else row for row in rows]
