"""How a video is going to be processed, decided once and kept beside its segments for a resumed job."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av

from segapp.pipeline.video.probe import Source

AUTO = -1.0  # frames per second to predict: chosen by this machine's speed
EVERY = 0.0
RATES = (10.0, 5.0, 4.0, 3.0, 2.0, 1.0)
PATIENCE = 120.0  # seconds that a video may take in any case
SLOWNESS = 2.0  # times its own length that a longer video may take
VERSION = 1


@dataclass(frozen=True)
class Options:
    """per_second: frames to predict in a second (AUTO, EVERY, or a number); the rest carry the last mask.

    damping: weight of the past in the running mean of logits, 0 to switch it off; alpha: how strongly masks cover.
    """

    per_second: float = AUTO
    damping: float = 0.7
    alpha: float = 0.5


@dataclass(frozen=True)
class Plan:
    """What must be the same when a job is resumed, or its segments do not fit together."""

    model: str
    options: dict[str, Any]
    source: dict[str, Any]
    libraries: str
    per_second: float
    pace: float
    version: int = VERSION


def choose_rate(wanted: float, source: Source, pace: float) -> float:
    """Frames to predict in a second: all of them (EVERY) where the machine manages them in sensible time."""
    if wanted != AUTO:
        return EVERY if wanted >= float(source.rate) else wanted
    limit = max(PATIENCE, SLOWNESS * source.seconds)
    if source.frames * pace <= limit:
        return EVERY
    fitting = [rate for rate in RATES if rate < float(source.rate) and rate * source.seconds * pace <= limit]
    return fitting[0] if fitting else RATES[-1]


def predicted_frames(per_second: float, source: Source) -> int:
    """About how many frames will be predicted."""
    return source.frames if per_second == EVERY else min(source.frames, round(source.seconds * per_second) + 1)


def is_due(per_second: float, at: float, before: float | None) -> bool:
    """Whether the frame `at` seconds is predicted, the one before it being `before` (None: there is none)."""
    if per_second == EVERY or before is None:
        return True
    return int(at * per_second + 1e-6) != int(before * per_second + 1e-6)


def libraries() -> str:
    """What must not change between segments: the encoder's headers depend on it."""
    return f"av {av.__version__}"


def load(path: Path) -> Plan | None:
    """The plan kept at `path`; None when there is none or it is not of this version."""
    try:
        saved = json.loads(path.read_text())
        return Plan(**saved) if saved.get("version") == VERSION else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def save(path: Path, plan: Plan) -> None:
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(asdict(plan)))
    draft.replace(path)
