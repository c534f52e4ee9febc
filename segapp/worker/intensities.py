"""The values of an image with more than eight bits, kept beside its result: what intensities are measured on.

The web side stores such a file as it came. Here only the values of the chosen page and channels are kept of it, so that
nothing else of what was in the file stays.
"""

import gzip
from pathlib import Path
from typing import BinaryIO

import numpy as np

from registry import store
from registry.files import write_atomically
from segapp.imaging import InvalidFile, decode
from segapp.imaging.image_input import ImageInput
from segapp.models import Analysis


def of(analysis: Analysis) -> np.ndarray | None:
    """H,W or H,W,C as decode.values gives them; None where they are not kept. Raises OSError for a full disk."""
    path = store.fetch(analysis.values_path)
    if path.is_file():
        with gzip.open(path) as file:
            return np.asarray(np.load(file))
    return keep(analysis)


def keep(analysis: Analysis) -> np.ndarray | None:
    """Put the values in the place of the file that came, and return them."""
    upload = store.fetch(analysis.upload_path)
    if not upload.is_file():
        return None
    try:
        with upload.open("rb") as file:
            found = decode.values(file, analysis.title, ImageInput.from_dict(analysis.image_input))
    except InvalidFile:  # it was decoded once, so this is rare: the result is worth more than its intensities
        found = None
    if found is not None:
        _write(analysis.values_path, found)
    store.remove(analysis.upload_path)
    return found


def forget(analysis: Analysis) -> None:
    """Remove the file that came."""
    store.remove(analysis.upload_path)


def _write(path: Path, values: np.ndarray) -> None:
    def write(out: BinaryIO) -> None:
        with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0) as packed:
            np.save(packed, values, allow_pickle=False)

    write_atomically(path, write, durable=False)
