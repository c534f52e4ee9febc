"""Which model answers a visitor, and what a visitor may do with their models.

Rows and files only, free of torch: the web process and the workers both use it. Every change of the active pointer
happens here, in a transaction; the database holds that a visitor has at most one.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Sum, When
from django.utils import timezone

from registry import bases, store
from registry.bases import ReadyBase
from registry.files import ModelFileDamaged, ModelFileMissing, verify
from registry.models import FileState, UserModel

logger = logging.getLogger(__name__)

CUSTOM_NAME = "Custom Model"


class ModelNotFound(Exception):
    """No such model, another visitor's, in the trash, or its file is gone: the answer does not tell which."""


class NoBaseReady(Exception):
    """No base model is ready on this machine; the message says what to do."""


def default_name(visitor: str) -> str:
    """The name of the visitor's next model, where none was given."""
    return f"Model {UserModel.objects.filter(visitor=visitor).count() + 1}"


@dataclass(frozen=True)
class ActiveModel:
    """What answers a visitor now, and what they should know about it."""

    model: UserModel | None
    base: ReadyBase | None
    notice: str = ""
    earlier: UserModel | None = None

    @property
    def is_custom(self) -> bool:
        return self.model is not None

    @property
    def key(self) -> str:
        if self.model:
            return self.model.key
        return self.base.key if self.base else ""

    @property
    def name(self) -> str:
        if self.model:
            return CUSTOM_NAME
        return self.base.name if self.base else "No model yet"

    @property
    def sha256(self) -> str:
        if self.model:
            return self.model.sha256
        return self.base.sha256 if self.base else ""


def resolve(visitor: str) -> ActiveModel:
    """The one resolver: pages, API, video and batch all ask here.

    Verifies the file of the active model (hashed once per process as long as it does not change). When it is gone or
    damaged, marks the row, drops the pointer and answers with the base model and a notice; a file that is found again
    makes its model active again. Raises store.StoreUnreachable where files are out of reach: then nothing changes.
    """
    lost = Q(trashed_at=None) & (~Q(notice="") | Q(active_when_found=True))
    telling = UserModel.objects.filter(visitor=visitor).filter(Q(active=True) | lost)
    model = next((found for found in telling if found.active), None)
    if model is None:
        model = next((found for found in telling if found.active_when_found and _is_found_again(found)), None)
    if model is not None and not _file_answers(model):
        model = None
    notice = telling.all().filter(active=False).exclude(notice="").first() if model is None and telling else None
    if notice is None:
        return ActiveModel(model=model, base=current_base())
    return ActiveModel(None, current_base(), notice.notice, earlier_version(notice))


def resolve_model(model: UserModel) -> ActiveModel:
    """What answers where a model was named, by a share link or for a comparison, whoever asks and whatever is active.

    Raises ModelNotFound when it is in the trash or its file cannot answer; changes nothing.
    """
    if model.trashed_at is not None or not file_in_order(model):
        raise ModelNotFound(f"The file of “{model.name}” is gone or damaged. Choose another version.")
    return ActiveModel(model=model, base=current_base())


def current_base() -> ReadyBase | None:
    """The base model this server runs: the one SEGAPP_BASE wants, and the first ready one until that is ready."""
    return bases.serving(settings.SEGAPP_BASE, settings.MEDIA_ROOT, settings.SEGAPP_WEIGHTS)


def base_of(model: UserModel) -> ReadyBase | None:
    """The very base a custom model was trained on, by key and sha256."""
    return base_version(model.base_key, model.base_sha256)


def base_version(key: str, sha256: str) -> ReadyBase | None:
    """One version of a base, brought to this machine when another one has kept it. Raises store.StoreUnreachable."""
    wanted = (key, sha256)
    found = bases.find_version(*wanted, settings.MEDIA_ROOT, settings.SEGAPP_WEIGHTS)
    if found is None and key in bases.CATALOGUE and store.is_shared():
        kept = Path(settings.MEDIA_ROOT) / "bases" / bases.version_name(*wanted)
        for path in (kept, kept.with_suffix(".json")):
            store.fetch(path)
        found = bases.find_version(*wanted, settings.MEDIA_ROOT, settings.SEGAPP_WEIGHTS)
    return found


def ensure_local(model: UserModel) -> None:
    """See that the model's file is at hand and what was published; a copy that went bad is fetched again.

    Raises ModelFileMissing, ModelFileDamaged and store.StoreUnreachable.
    """
    try:
        verify(store.fetch(model.path), model.sha256)
    except ModelFileMissing:
        if not store.is_shared() and not model.path.parent.is_dir():  # nothing proves that media is there
            raise store.StoreUnreachable("The media folder is out of reach. Check that it is mounted.") from None
        raise
    except ModelFileDamaged:
        if not store.is_shared():
            raise
        model.path.unlink(missing_ok=True)
        verify(store.fetch(model.path), model.sha256)


def versions(visitor: str) -> QuerySet[UserModel]:
    """What the visitor has trained, newest first, without the trash."""
    return UserModel.objects.of(visitor)


def owned(visitor: str, public_id: str) -> UserModel:
    """The visitor's model; raises ModelNotFound, the same for what is another's and what does not exist."""
    model = UserModel.objects.of(visitor).filter(public_id=public_id.removeprefix("user_")).first()
    if model is None:
        raise ModelNotFound("There is no such model among yours. Open Models to see the ones you have.")
    return model


def activate(visitor: str, public_id: str) -> UserModel:
    """Make one of the visitor's models the one that answers. Raises ModelNotFound, also when its file is gone."""
    model = owned(visitor, public_id)
    if not file_in_order(model):
        raise ModelNotFound(f"The file of “{model.name}” is gone or damaged. Choose another version, or train again.")
    with transaction.atomic():
        list(UserModel.objects.select_for_update().filter(visitor=visitor))  # two tabs take turns
        dismiss_notice(visitor)
        forget_lost(visitor)
        UserModel.objects.filter(visitor=visitor, active=True).exclude(pk=model.pk).update(active=False)
        found = UserModel.objects.filter(pk=model.pk, visitor=visitor, trashed_at=None)
        if not found.update(active=True, file_state=FileState.OK, last_used=timezone.now()):
            raise ModelNotFound("That model was deleted in the meantime. Open Models to bring it back.")
    model.refresh_from_db()
    return model


def reset(visitor: str) -> None:
    """Back to the base model; the models stay and can be activated again."""
    with transaction.atomic():
        UserModel.objects.filter(visitor=visitor, active=True).update(active=False, last_used=timezone.now())
        dismiss_notice(visitor)
        forget_lost(visitor)


def forget_lost(visitor: str) -> None:
    """Another choice was made: what was lost stays inactive when it is found again."""
    UserModel.objects.filter(visitor=visitor, active_when_found=True).update(active_when_found=False)


def dismiss_notice(visitor: str) -> None:
    UserModel.objects.filter(visitor=visitor).exclude(notice="").update(notice="")


def last_used_model(visitor: str) -> UserModel | None:
    """What "Use my model again" activates: the usable model used last, else the newest."""
    usable = UserModel.objects.usable().filter(visitor=visitor, active=False)
    return usable.exclude(last_used=None).order_by("-last_used").first() or usable.order_by("-created").first()


def earlier_version(lost: UserModel) -> UserModel | None:
    """The newest usable version that is not the lost one; its file was in order when last looked at."""
    others = UserModel.objects.usable().filter(visitor=lost.visitor).exclude(pk=lost.pk).order_by("-created", "-pk")
    return next((model for model in others[:5] if file_in_order(model)), None)


def rename(visitor: str, public_id: str, name: str) -> UserModel:
    model = owned(visitor, public_id)
    model.name = name
    model.save(update_fields=["name"])
    return model


def count_things(model: UserModel, things: Collection[int]) -> UserModel:
    """Say whose objects are counted in results of a model: classes by their ids. Goes before what training found."""
    model.classes = [{**row, "things": row["id"] in things} for row in model.classes]
    model.save(update_fields=["classes"])
    return model


def trash(visitor: str, public_id: str) -> UserModel:
    """Out of every list and no longer loadable; the file stays for the trash's days."""
    model = owned(visitor, public_id)
    UserModel.objects.filter(pk=model.pk).update(active=False, trashed_at=timezone.now(), notice="")
    model.refresh_from_db()
    return model


def untrash(visitor: str, public_id: str) -> UserModel:
    """Undo of `trash`. The model is back in the list, not active."""
    gone = UserModel.objects.filter(
        visitor=visitor, public_id=public_id.removeprefix("user_"), trashed_at__isnull=False
    )
    if not gone.update(trashed_at=None):
        raise ModelNotFound("There is no such model in your trash. It may have been emptied after seven days.")
    return owned(visitor, public_id)


def storage_used(visitor: str) -> int:
    """Bytes of the visitor's model files, the trash included."""
    return UserModel.objects.filter(visitor=visitor).aggregate(bytes=Sum("size_bytes"))["bytes"] or 0


def mark_used(model: UserModel) -> None:
    UserModel.objects.filter(pk=model.pk).update(last_used=timezone.now())


def file_in_order(model: UserModel) -> bool:
    """Whether the file is what was published and its base is at hand. Changes nothing."""
    try:
        ensure_local(model)
    except (ModelFileMissing, ModelFileDamaged):
        return False
    return base_of(model) is not None


def mark_lost(model: UserModel, state: FileState) -> None:
    """The file cannot answer: mark the row, drop the pointer, leave a notice. Safe to repeat."""
    what = {FileState.MISSING: "is missing", FileState.DAMAGED: "is damaged"}.get(state, "cannot be used")
    notice = f"Your model “{model.name}” could not be used: its file {what}. The base model answers instead."
    changed = UserModel.objects.filter(pk=model.pk).exclude(file_state=state, active=False)
    was = Case(When(active=True, then=True), default=F("active_when_found"))
    if changed.update(file_state=state, active_when_found=was, active=False, notice=notice[:200]):
        logger.warning("model %s of a visitor fell back to the base: its file %s", model.key, what)


def _file_answers(model: UserModel) -> bool:
    """Whether the active model can answer; marks the row when it cannot."""
    try:
        ensure_local(model)
    except ModelFileMissing:
        mark_lost(model, FileState.MISSING)
        return False
    except ModelFileDamaged:
        mark_lost(model, FileState.DAMAGED)
        return False
    if not _has_base(model):
        mark_lost(model, FileState.MISSING)
        return False
    return True


def _has_base(model: UserModel) -> bool:
    """Whether the model's base is at hand. Raises store.StoreUnreachable while only its weights are out of reach."""
    if base_of(model) is not None:
        return True
    known = bases.CATALOGUE.get(model.base_key)
    if known is not None and bases.weights_source(known, settings.SEGAPP_WEIGHTS) is None:
        raise store.StoreUnreachable(f"The weights of {known.name} are out of reach. Check SEGAPP_WEIGHTS.")
    return False


def _is_found_again(model: UserModel) -> bool:
    """Whether a lost model's file is back; then it answers again, unless the visitor has chosen another meanwhile."""
    if not file_in_order(model):
        return False
    with transaction.atomic():
        list(UserModel.objects.select_for_update().filter(visitor=model.visitor))
        if UserModel.objects.filter(visitor=model.visitor, active=True).exists():
            return False
        found = UserModel.objects.filter(pk=model.pk, active_when_found=True, trashed_at=None)
        if not found.update(active=True, active_when_found=False, file_state=FileState.OK, notice=""):
            return False
    model.refresh_from_db()
    logger.info("model %s was found again and answers", model.key)
    return True


def delete_with_file(model: UserModel) -> None:
    """For good: the row first, so that a crash in between leaves an orphan file, never a row without one."""
    paths = (model.path, model.preview_path)
    model.delete()
    for path in paths:
        store.remove(path)
