"""Which training images, and which trainings, nothing needs any more, and removing one of them at any time.

An image is needed by the trainings that are, by a named set, and by the drafts until they have been left alone for
`SEGAPP_RESULT_DAYS`. A training is needed while it is under way, as long as a model came out of it (models in the trash
included), and otherwise for `SEGAPP_RESULT_DAYS` after its end, in which its images can be taken up again.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from registry import store
from registry.models import UserModel
from segapp.models import UNFINISHED, Example, TrainingRun

# Days: an image that is no draft and of no training may have come in with a request that queues one in a moment.
JUST_IN = 1


def trainings() -> QuerySet[TrainingRun]:
    """Trainings whose row and files can go."""
    return TrainingRun.objects.exclude(_needed_runs())


def examples() -> QuerySet[Example]:
    """Images whose row and files can go."""
    left = _ago(settings.SEGAPP_RESULT_DAYS)
    idle = Q(painting=None) | Q(painting__updated__lt=left)
    taken_up = Q(drafted__gte=left)
    draft = Q(draft=True, created__lt=left) & idle & ~taken_up
    other = Q(draft=False, created__lt=_ago(JUST_IN))
    used = Example.runs.through.objects.filter(trainingrun__in=TrainingRun.objects.filter(_needed_runs()))
    return Example.objects.filter(draft | other, sets=None).exclude(pk__in=used.values("example_id"))


@transaction.atomic
def _delete(row: Example | TrainingRun, unneeded: QuerySet[Any]) -> bool:
    """Delete the row unless it is gone, or needed again since it was listed.

    It is locked before it is checked: a request for it waits, and then finds it gone.
    """
    rows = type(row)._default_manager.filter(pk=row.pk)
    if not rows.select_for_update().exists() or not unneeded.filter(pk=row.pk).exists():
        return False
    rows.delete()
    return True


def remove_training(run: TrainingRun) -> None:
    if _delete(run, trainings()):
        store.remove_folder(run.folder)


def remove_example(example: Example) -> None:
    if _delete(example, examples()):
        store.remove_folder(example.folder)


def _needed_runs() -> Q:
    made_one = Q(model__isnull=False) | Q(public_id__in=UserModel.objects.exclude(run_id="").values("run_id"))
    can_be_taken_up = Q(ended=None) | Q(ended__gte=_ago(settings.SEGAPP_RESULT_DAYS))
    return Q(state__in=UNFINISHED) | made_one | can_be_taken_up


def _ago(days: int) -> datetime:
    return timezone.now() - timedelta(days=days)
