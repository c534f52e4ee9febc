"""What every page shows of the visitor's model and of the workers: the pill, its card, the browser's memory.

Evaluated when a template first reads it, so that API calls and error pages pay nothing and need no database.
"""

import hashlib
from functools import cached_property
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from registry import services as registry
from registry.models import UserModel
from segapp.imaging import formats
from segapp.models import TrainingRun, Worker
from segapp.services import preparing, restore, runs, schemas


class Status:
    """One visitor's status, each part read once."""

    def __init__(self, visitor: str, known: bool, chain: str) -> None:
        self.visitor, self.visitor_known, self._chain = visitor, known, chain

    @cached_property
    def answer(self) -> registry.ActiveModel:
        return registry.resolve(self.visitor)

    @cached_property
    def _alive(self) -> list[Worker]:
        return list(Worker.objects.alive())

    @property
    def device(self) -> str:
        """The predict worker's device as it reports itself, "" until one did."""
        predict = [worker for worker in self._alive if "predict" in worker.queues and worker.device]
        return next((worker.device for worker in predict or self._alive if worker.device), "")

    @property
    def workers(self) -> int:
        return len(self._alive)

    @property
    def warming(self) -> bool:
        """No worker can answer an image yet."""
        return not any(worker.ready for worker in self._alive if "predict" in worker.queues)

    @property
    def training_ready(self) -> bool:
        """A worker can start a training at once."""
        return any(worker.ready for worker in self._alive if "train" in worker.queues)

    @property
    def custom(self) -> bool:
        return self.answer.is_custom

    @property
    def notice(self) -> str:
        return self.answer.notice

    @property
    def earlier(self) -> UserModel | None:
        return self.answer.earlier

    @property
    def model_id(self) -> str:
        return self.answer.model.public_id if self.answer.model else ""

    @cached_property
    def last_used(self) -> UserModel | None:
        return None if self.custom else registry.last_used_model(self.visitor)

    @cached_property
    def run(self) -> TrainingRun | None:
        return runs.in_progress(self.visitor)

    @cached_property
    def restore_token(self) -> str:
        """Only for visitors who own a model: others have nothing to be given back."""
        return restore.token(self.visitor, self._chain) if registry.versions(self.visitor).exists() else ""

    @cached_property
    def preparing(self) -> schemas.Preparing | None:
        """The base that the server is making ready, while another one answers."""
        return preparing.current()

    @property
    def stamp(self) -> str:
        """Changes when the pill or its card would look different; a refresh without a change swaps nothing."""
        model, earlier, last = self.answer.model, self.earlier, self.last_used
        seen = [
            self.answer.key,
            model.name if model else "",
            self.notice,
            self.device,
            self.workers,
            self.warming,
            self.visitor_known,
            earlier.public_id if earlier else "",
            last.public_id if last else "",
            bool(self.restore_token),
            self.preparing,
        ]
        return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


def of(request: HttpRequest) -> Status:
    chain = getattr(request, "restore_chain", "")
    return Status(getattr(request, "visitor", ""), getattr(request, "visitor_known", False), chain)


def status(request: HttpRequest) -> dict[str, Any]:
    """The context processor."""
    return {"status": SimpleLazyObject(lambda: of(request))}


def file_formats(request: HttpRequest) -> dict[str, Any]:
    """The context processor that gives pages the table of file kinds; static/js/formats.js reads it from them."""
    return {"file_formats": _table}


def _table() -> dict[str, Any]:
    return {
        "image_names": formats.listed(formats.IMAGE_KINDS),
        "image_suffixes": sorted(formats.IMAGE_SUFFIXES),
        "mask_suffixes": sorted(formats.MASK_SUFFIXES),
        "annotation_suffixes": sorted(formats.ANNOTATION_SUFFIXES),
        "archive_suffixes": sorted(formats.ARCHIVE_SUFFIXES),
        "mask_endings": formats.MASK_ENDINGS,
        "mask_folders": sorted(formats.MASK_FOLDERS),
        "image_folders": sorted(formats.IMAGE_FOLDERS),
        "limits": {"post_files": settings.UPLOAD_LIMIT_FILES, "post_bytes": settings.UPLOAD_LIMIT_BYTES},
    }
