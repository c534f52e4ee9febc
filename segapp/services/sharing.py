"""Share links: the holder of one may analyze with that one model. Knows nothing of requests and no torch.

A link's token is all that it is: it names neither the model nor its owner, and ends with its row.
"""

from typing import IO

from django.db.models import F, QuerySet
from django.utils import timezone

from registry import services as registry
from registry.models import UserModel
from segapp.imaging.image_input import ImageInput
from segapp.imaging.object_options import ObjectOptions
from segapp.models import Analysis, ModelShare
from segapp.services import analyses
from segapp.services.errors import Conflict, NotFound

MAX_PER_MODEL = 20


class ShareNotFound(NotFound):
    """No such link: revoked, its model deleted or lost, or never there. The answer does not tell which."""

    title = "This link is no longer valid"
    message = "This link is no longer valid. Its sender may have revoked it or deleted the model."
    advice = "Ask them for a new one. Results that you had from it are kept for some days under Analyze."


class TooManyLinks(Conflict):
    code = "too_many_links"
    message = f"This model has {MAX_PER_MODEL} links already."
    advice = "Revoke one that is not needed any more."


def create(model: UserModel, label: str = "") -> ModelShare:
    """A new link to the model. Raises TooManyLinks."""
    if ModelShare.objects.filter(model=model).count() >= MAX_PER_MODEL:
        raise TooManyLinks
    return ModelShare.objects.create(model=model, label=label)


def of(visitor: str) -> QuerySet[ModelShare]:
    """The links to the visitor's models, those in the trash left out."""
    return ModelShare.objects.filter(model__visitor=visitor, model__trashed_at=None).select_related("model")


def owned(visitor: str, token: str) -> ModelShare:
    """The visitor's own link; raises ShareNotFound, the same for what is another's and what does not exist."""
    share = of(visitor).filter(token=token).first()
    if share is None:
        raise ShareNotFound
    return share


def revoke(visitor: str, token: str) -> ModelShare:
    """The link ends; results that were made through it stay their visitors'. Raises ShareNotFound."""
    share = owned(visitor, token)
    ModelShare.objects.filter(pk=share.pk).delete()
    return share


def resolve(token: str) -> tuple[ModelShare, registry.ActiveModel]:
    """The link and what answers through it: its very model. Raises ShareNotFound, also when that cannot answer."""
    share = ModelShare.objects.filter(token=token).select_related("model").first()
    if share is None:
        raise ShareNotFound
    try:
        return share, registry.resolve_model(share.model)
    except registry.ModelNotFound:
        raise ShareNotFound from None


def submit(
    visitor: str,
    token: str,
    file: IO[bytes],
    name: str,
    choice: ImageInput | None = None,
    objects: ObjectOptions | None = None,
) -> Analysis:
    """Queue a guest's image for the link's model. The result is the guest's; their own active model stays.

    Raises ShareNotFound, and what analyses.submit raises.
    """
    share, answer = resolve(token)
    analysis = analyses.submit(visitor, file, name, answer=answer, shared=True, choice=choice, objects=objects)
    ModelShare.objects.filter(pk=share.pk).update(uses=F("uses") + 1, last_used=timezone.now())
    return analysis


def results(visitor: str, share: ModelShare, count: int = 12) -> QuerySet[Analysis]:
    """What this guest has had from the link's model, newest first."""
    return Analysis.objects.filter(visitor=visitor, model=share.model, shared=True)[:count]
