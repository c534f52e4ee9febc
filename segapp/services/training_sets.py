"""Named training sets: save, open, rename, duplicate, delete. At most one is open; the drafts are its images."""

from typing import Any

from django.db import transaction
from django.db.models import Count, QuerySet
from django.utils import timezone

from registry.store import remove_folder
from segapp.models import Example, TrainingSet
from segapp.services import example_copies, intake, storage
from segapp.services.errors import InvalidForm, NotFound

MAX_SETS = 100
UNNAMED = "Unnamed set"

Edits = dict[str, dict[str, Any]]


def listed(visitor: str) -> QuerySet[TrainingSet]:
    """The visitor's sets by name, each with `count`, the number of its images."""
    return TrainingSet.objects.filter(visitor=visitor).annotate(count=Count("examples"))


def current(visitor: str) -> TrainingSet | None:
    """The set that is open."""
    return TrainingSet.objects.filter(visitor=visitor, open=True).first()


def owned(visitor: str, public_id: str) -> TrainingSet:
    """The visitor's set; raises NotFound, the same for what is another's and what does not exist."""
    found = TrainingSet.objects.filter(visitor=visitor, public_id=public_id).first()
    if found is None:
        raise NotFound("There is no such training set among yours. Open Fine-tune to see them.")
    return found


def save(visitor: str, name: str, edits: Edits) -> TrainingSet:
    """Keep the drafts under a name; they stay, as the open set. Raises InvalidForm without drafts."""
    if not intake.drafts(visitor).exists():
        raise InvalidForm(["There are no images to save. Upload some first."])
    _hold_to_limit(visitor)
    with transaction.atomic():
        TrainingSet.objects.close(visitor)
        made = TrainingSet.objects.create(visitor=visitor, name=name or _free_name(visitor), open=True, edits=edits)
        TrainingSet.objects.follow_drafts(visitor)
    return made


def open_set(visitor: str, public_id: str | None, edits: Edits) -> tuple[TrainingSet | None, TrainingSet | None]:
    """Make a set's images the drafts, or none with `public_id` None; `edits` are those of the drafts until now.

    Returns the set, and the one that drafts without a name were kept in, if there were any. Raises NotFound.
    """
    wanted = owned(visitor, public_id) if public_id is not None else None
    with transaction.atomic():
        kept = None
        if current(visitor) is None and intake.drafts(visitor).exists():
            kept = save(visitor, _free_name(visitor), edits)
        keep_edits(visitor, edits)
        TrainingSet.objects.close(visitor)
        intake.drafts(visitor).update(draft=False)
        if wanted is not None:
            wanted.examples.update(draft=True, drafted=timezone.now())
            TrainingSet.objects.filter(pk=wanted.pk).update(open=True)
            wanted.refresh_from_db()
    return wanted, kept


def keep_edits(visitor: str, edits: Edits) -> None:
    """Store the class table's changes with the open set."""
    TrainingSet.objects.filter(visitor=visitor, open=True).update(edits=edits, updated=timezone.now())


def rename(training_set: TrainingSet, name: str) -> None:
    TrainingSet.objects.filter(pk=training_set.pk).update(name=name, updated=timezone.now())


def duplicate(training_set: TrainingSet) -> TrainingSet:
    """A closed copy with files of its own, so that painting in one does not change the other.

    Raises StorageFull and DiskFull, InvalidFile when a file is gone; then nothing is left.
    """
    visitor, examples = training_set.visitor, list(training_set.examples.select_related("painting"))
    _hold_to_limit(visitor)
    storage.hold_to_quota(visitor, sum(example.size_bytes for example in examples))
    made: list[Example] = []
    try:
        with transaction.atomic():
            made.extend(example_copies.copied(example) for example in examples)
            copy = TrainingSet.objects.create(
                visitor=visitor, name=f"{training_set.name[:70]} (copy)", edits=training_set.edits
            )
            copy.examples.set(made)
            storage.enter(*made)
    except BaseException:
        for example in made:
            remove_folder(example.folder)
        raise
    return copy


def delete(training_set: TrainingSet) -> None:
    """Delete the set, and those of its images that no training and no other set uses."""
    examples = list(training_set.examples.all())
    training_set.delete()
    intake.discard(examples)


def _hold_to_limit(visitor: str) -> None:
    if TrainingSet.objects.filter(visitor=visitor).count() >= MAX_SETS:
        raise InvalidForm([f"You have {MAX_SETS} training sets. Delete one first."])


def _free_name(visitor: str) -> str:
    taken = set(TrainingSet.objects.filter(visitor=visitor).values_list("name", flat=True))
    names = [UNNAMED, *(f"{UNNAMED} {number}" for number in range(2, MAX_SETS + 2))]
    return next(name for name in names if name not in taken)
