"""What the four steps of Fine-tune show: drafts or the last run, how its masks are read, how it went."""

import hashlib
from typing import Any

from django.conf import settings
from django.urls import reverse

from registry import services as registry
from registry import store
from segapp.imaging import Refused
from segapp.imaging.masks import Reading
from segapp.models import Example, State, TrainingRun
from segapp.services import intake, runs
from segapp.views.common import PageRequest

EDITS = "class_edits"  # in the session: what the visitor changed in the class table, by the mask value it stands for
WEAK = 0.5  # IoU under which a class is named as the one that needs more pictures


def context(request: PageRequest) -> dict[str, Any]:
    """Everything the steps show, and which of them are open."""
    drafts = list(intake.drafts(request.visitor))
    run = runs.current(request.visitor)
    live = run is not None and run.unfinished
    done = run is not None and run.state == State.DONE
    shown = drafts if drafts and not live else list(run.examples.all()) if run and (live or done) else []
    editable = bool(drafts) and not live
    reading, problems = None, []
    try:
        reading = reading_of(request, run, drafts if editable else [])
    except Refused as error:
        problems = [{"file": error.file, "message": f"{error.problem} {error.advice}"}]
    stumbled = run is not None and not live and not done and not drafts
    return {
        "drafts": drafts if editable else [],
        "waiting": len(drafts) if live else 0,
        "examples": shown,
        "reading": reading,
        "editable": editable,
        "stamp": stamp(reading),
        "problems": problems,
        "run": run,
        "live": live,
        "result": done,
        "stumbled": stumbled,
        "open": {
            "pictures": editable or not (live or done or stumbled),
            "classes": editable,
            "train": live or stumbled or editable,
            "result": done and not drafts,
        },
        "land": "train" if live or stumbled else "classes" if editable else "result" if done else "pictures",
        "versions": registry.versions(request.visitor).count(),
        "limit_files": settings.UPLOAD_LIMIT_FILES,
        "limit_megabytes": settings.UPLOAD_LIMIT_BYTES // 10**6,
        **(live_parts(run) if run and live else {}),
        **(result_parts(run) if run and done else {}),
    }


def reading_of(request: PageRequest, run: TrainingRun | None, drafts: list[Example]) -> Reading | None:
    """How the masks on show are read: the drafts' with the visitor's edits, else as the run did. Raises Refused."""
    if drafts:
        return intake.review(drafts, request.session.get(EDITS, {}))
    if run is not None and run.reading:
        return Reading.from_dict(run.reading)
    return None


def stamp(reading: Reading | None) -> str:
    """Changes when the masks would be drawn differently; part of the pictures' addresses."""
    rows = [(row["id"], row["color"], row["ignore"]) for row in reading.classes] if reading else []
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:12]


def live_parts(run: TrainingRun) -> dict[str, Any]:
    preview = store.fetch(run.folder / "preview.webp", newer=True)
    return {"preview_stamp": preview.stat().st_mtime_ns if preview.exists() else 0}


def result_parts(run: TrainingRun) -> dict[str, Any]:
    against_base = run.metrics.get("comparison", {}).get("kind") == "base"
    pictures = []
    for found in run.metrics.get("held_out_pictures", [])[:6]:
        if not store.fetch(run.folder / f"heldout_{found['index']}_custom.webp").exists():
            continue
        left = "base" if against_base and found["base"] else "image"
        addresses = {
            kind: reverse("run-file", args=[run.public_id, f"heldout_{found['index']}_{kind}.webp"])
            for kind in ("image", "truth", "custom", "base")
        }
        pictures.append({"stem": found["stem"], "left": left, "left_address": addresses[left], **addresses})
    return {"pictures": pictures, "against_base": against_base, "advice": advice(run.metrics)}


def advice(metrics: dict[str, Any]) -> str:
    """How the classes compare, and which one needs more pictures, in plain words."""
    rows = [row for row in metrics.get("per_class", []) if row["iou"] is not None]
    if not rows:
        return ""
    words = []
    compared = [row for row in rows if row.get("base_iou") is not None]
    if compared:
        better = sum(row["iou"] > row["base_iou"] for row in compared)
        words.append(f"Better than the base model on {better} of {len(compared)} classes.")
    weakest = min(rows, key=lambda row: row["iou"])
    seen = f"seen in {weakest['images']} picture{'s' if weakest['images'] != 1 else ''}"
    if weakest["iou"] < WEAK:
        words.append(f"Weakest: “{weakest['name']}” ({weakest['iou']:.2f}), {seen}. Add pictures that show it.")
    elif len(rows) > 1:
        words.append(f"Weakest: “{weakest['name']}” ({weakest['iou']:.2f}), {seen}.")
    never = [row["name"] for row in metrics["per_class"] if row["iou"] is None]
    if never:
        names = ", ".join(f"“{name}”" for name in never)
        words.append(f"Not tested: {names}. It takes two pictures that show a class to test it.")
    return " ".join(words)
