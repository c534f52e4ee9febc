"""How much of the disk a visitor fills."""

from collections.abc import Iterable

from segapp.models import Batch, VideoJob
from segapp.services import intake


def in_use(visitor: str) -> int:
    """Bytes of the visitor's models, examples, videos and batches."""
    videos = VideoJob.objects.filter(visitor=visitor).only("public_id")
    batches = Batch.objects.filter(visitor=visitor).only("public_id")
    return intake.storage_in_use(visitor) + _held(videos) + _held(batches)


def _held(rows: Iterable[VideoJob | Batch]) -> int:
    files = (path for row in rows for path in row.folder.rglob("*"))
    return sum(path.stat().st_size for path in files if path.is_file())
