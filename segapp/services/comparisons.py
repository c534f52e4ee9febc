"""One image through two models, whichever they are: any two versions, or a version and the base. Free of torch."""

from typing import IO

from registry import services as registry
from registry.models import UserModel
from segapp.models import Analysis, State
from segapp.services import analyses
from segapp.services.errors import InvalidForm


def of_upload(
    visitor: str, file: IO[bytes], name: str, left: UserModel | None, right: UserModel | None
) -> tuple[Analysis, Analysis]:
    """Queue a new image for both models (None is the base); left's result and right's.

    Raises InvalidForm for a version whose file is lost, and what analyses.submit raises.
    """
    answers = [_answer(left), _answer(right)]
    first = analyses.submit(visitor, file, name, answer=answers[0])
    return first, analyses.again(first, right)


def of_result(source: Analysis, left: UserModel | None, right: UserModel | None) -> tuple[Analysis, Analysis]:
    """The same with an image that was analyzed before; a result that one of the models made already is taken as it
    is."""
    answers = [_answer(left), _answer(right)]
    found = [
        source if _made_by(source, answer) else analyses.again(source, model)
        for model, answer in zip((left, right), answers, strict=True)
    ]
    return found[0], found[1]


def _answer(model: UserModel | None) -> registry.ActiveModel:
    if model is None:
        return registry.ActiveModel(None, registry.current_base())
    try:
        return registry.resolve_model(model)
    except registry.ModelNotFound as lost:
        raise InvalidForm([str(lost)]) from None


def _made_by(source: Analysis, answer: registry.ActiveModel) -> bool:
    same = (source.model_key, source.model_sha256) == (answer.key, answer.sha256)
    return same and source.state == State.DONE and not source.shared
