"""How much of the disk a visitor fills."""

from collections.abc import Iterable

from segapp.models import Batch, VideoJob
from segapp.services import intake


def in_use(visitor: str) -> int:
    """Bytes of the visitor's models, examples, videos and batches."""
    videos, batches = VideoJob.objects.filter(visitor=visitor), Batch.objects.filter(visitor=visitor)
    return intake.storage_in_use(visitor) + held(videos.only("public_id")) + held(batches.only("public_id"))


def held(rows: Iterable[VideoJob | Batch]) -> int:
    """Bytes of the files in the rows' folders."""
    files = (path for row in rows for path in row.folder.rglob("*"))
    return sum(path.stat().st_size for path in files if path.is_file())
