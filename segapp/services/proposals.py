"""Answers that a model or the live head proposes for images without paint, and whether people accept them.

A proposal is never training truth by itself: only what is painted, or accepted as a whole, is. Free of torch.
"""

import base64
import io
from collections.abc import Iterable
from typing import IO, Any

import numpy as np
from django.utils import timezone
from PIL import Image

from registry import store
from segapp.imaging import painted, stored
from segapp.imaging.formats import UNPAINTED
from segapp.models import Example, Painting
from segapp.services import example_files, intake, painting
from segapp.services.errors import NotFound
from segapp.services.painting import Save

UNLIKE = 0.5  # how much being unlike the painted images counts beside doubt at borders


def keep(example: Example, answer: dict[str, Any]) -> None:
    """Keep a live answer as the proposal of an image that is not painted on."""
    if not example.painting.empty or example.painting.origin:
        return
    write(example, base64.b64decode(answer["mask"]), answer["by"])
    Painting.objects.filter(pk=example.painting.pk).update(doubt=answer["doubt"])


def write(example: Example, png: bytes, by: str) -> None:
    """Write a proposal: a grey PNG of class ids, and "live" or "model" for what gave it."""
    example_files.write_proposal(example, png)
    Painting.objects.filter(pk=example.painting.pk).update(proposal=by)


def read(example: Example) -> bytes:
    """The proposal's PNG. Raises NotFound when there is none."""
    path = store.fetch(example.folder / example_files.PROPOSAL)
    if not path.is_file():
        raise NotFound("There is no proposal for this image. Paint a few strokes, and it gets one.")
    return path.read_bytes()


def accept(example: Example, base: int, editor: str, sequence: int, sent: IO[bytes] | None) -> Painting:
    """All of an answer is right: it fills what is not painted, as a save of this page. `sent`: the answer as it is
    seen, a grey PNG, maybe scaled down; None for the stored proposal.

    Raises InvalidFile, NotFound, PaintedElsewhere and PaintingClosed; then nothing has changed.
    """
    size = (example.width, example.height)
    file = sent if sent is not None else io.BytesIO(read(example))
    answer = painted.decode(file, size, example.stem, scaled=True)
    whole = np.asarray(Image.fromarray(answer).resize(size, Image.Resampling.NEAREST))
    own = example_files.painted_values(example)
    values = np.where(own == UNPAINTED, whole, own)
    row = example.painting
    agreed = agreement(example, values)
    png = io.BytesIO(example_files.grey_png(values))
    saved = painting.save(
        example, Save(base, editor, sequence, list(row.classes), row.unpainted, False, mask=png)
    )  # fmt: skip
    Painting.objects.filter(pk=saved.pk).update(accepted=timezone.now(), dice=agreed)
    saved.refresh_from_db()
    return saved


def agreement(example: Example, values: np.ndarray) -> float | None:
    """Mean Dice, over the classes of `values` (uint8 H,W), of the proposal before it was corrected."""
    if not example.painting.proposal:
        return None
    try:
        with stored.opened(io.BytesIO(read(example))) as opened:
            proposed = np.array(opened, dtype=np.uint8)
    except (NotFound, OSError):
        return None
    truth = np.asarray(Image.fromarray(values).resize((proposed.shape[1], proposed.shape[0]), Image.Resampling.NEAREST))
    known = truth != UNPAINTED
    found = []
    for value in np.unique(truth[known]):
        one, other = known & (truth == value), known & (proposed == value)
        found.append(2 * int((one & other).sum()) / (int(one.sum()) + int(other.sum())))
    return round(float(np.mean(found)), 4) if found else None


def in_order(examples: Iterable[Example]) -> list[Example]:
    """Images to paint on, the one that teaches most first; what is accepted or corrected comes last."""
    return sorted(examples, key=lambda example: (example.painting.ready, -_score(example.painting)))


def next_of(visitor: str, example: Example) -> tuple[Example, str] | None:
    """The image to do next and why; None when all others are done."""
    drafts = intake.drafts(visitor).filter(runs=None).exclude(painting=None).exclude(pk=example.pk)
    left = [draft for draft in in_order(drafts) if not draft.painting.ready]
    return (left[0], why(left[0].painting)) if left else None


def why(row: Painting) -> str:
    """Why an image is suggested, in a few words."""
    if row.doubt is None:
        return "Not reviewed yet."
    if UNLIKE * (row.unlike or 0.0) > row.doubt:
        return "It looks unlike the images painted so far."
    return "The answer is least sure at its borders here."


def history(visitor: str, among: Iterable[Example] | None = None) -> list[dict[str, Any]]:
    """For each accepted image, in order of time: its name and how well the proposal agreed with it (Dice).

    `among`: of these images only.
    """
    rows = (
        Painting.objects.filter(example__visitor=visitor, dice__isnull=False)
        .select_related("example")
        .order_by("accepted", "pk")
    )
    if among is not None:
        rows = rows.filter(example__in=[example.pk for example in among])
    return [{"stem": row.example.stem, "dice": row.dice, "at": row.accepted} for row in rows]


def progress(found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The history as a plot: `rows`, their `values` from 0 to 1, and a `sentence`; None when nothing was accepted."""
    if not found:
        return None
    values = [float(row["dice"]) for row in found]
    sentence = f"The latest answer agreed to {_percent(values[-1])} with what you accepted."
    third = len(values) // 3
    if third:
        first, last = (sum(part) / third for part in (values[:third], values[-third:]))
        images = "image" if third == 1 else f"{third} images"
        sentence = f"Mean agreement: {_percent(first)} on the first {images}, {_percent(last)} on the last {images}."
    return {"rows": found, "values": values, "sentence": sentence}


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _score(row: Painting) -> float:
    return (row.doubt if row.doubt is not None else 1.0) + UNLIKE * (row.unlike or 0.0)
