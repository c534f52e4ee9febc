"""What the four steps of Fine-tune show: drafts or the last run, how its masks are read, how it went."""

import hashlib
from typing import Any

from django.conf import settings
from django.urls import reverse

from registry import services as registry
from registry import store
from registry.models import UserModel
from segapp.imaging import InvalidFile
from segapp.imaging.class_mapping import ClassMapping
from segapp.models import Effort, Example, State, TrainingRun, VideoJob
from segapp.services import continuing, example_copies, intake, painting, proposals, queueing, runs, training_sets
from segapp.visitors import VisitorRequest

EDITS = "class_edits"  # in the session: what the visitor changed in the class table, by the mask value it stands for
CONTINUE = "continue_from"  # in the session: public id of the model that the next training starts from
WEAK = 0.5  # IoU under which a class is named as the one that needs more images
FINE = 0.75  # IoU of the weakest class from which a thorough training is not suggested
MAX_LISTED_PAGES = 200  # in the chooser of a stack; a later one is named on upload
ENOUGH = 4  # images that show a class, below which more of them are what helps


def context(request: VisitorRequest) -> dict[str, Any]:
    """Everything the steps show, and which of them are open."""
    drafts = list(intake.drafts(request.visitor))
    run = runs.current(request.visitor)
    live = run is not None and run.unfinished
    done = run is not None and run.state == State.DONE
    trained_on = run.examples.select_related("painting") if run and (live or done) else []
    shown = drafts if drafts and not live else list(trained_on)
    editable = bool(drafts) and not live
    mapping, problems = None, []
    try:
        mapping = mapping_of(request, run, drafts if editable else [])
    except InvalidFile as error:
        problems = [error.entry]
    mark(shown, mapping, problems)
    failed_run = run is not None and not live and not done and not drafts
    fresh = done and bool(drafts) and _just_trained(run, drafts)
    model = None if live else continued(request)
    adding = model is not None and not drafts  # to what the model has learnt from
    return {
        "drafts": drafts if editable else [],
        "to_paint": [draft for draft in drafts if draft.to_paint] if editable else [],
        "paintable": paintable(drafts if editable else []),
        "continuing": model,
        "training_sets": list(training_sets.listed(request.visitor)),
        "open_set": training_sets.current(request.visitor),
        **(mended(request, drafts) if editable else {}),
        "waiting": _waiting(run, drafts) if live else 0,
        "examples": shown,
        "progress": proposals.progress(proposals.history(request.visitor)),
        "mapping": mapping,
        "editable": editable,
        "stamp": stamp(mapping),
        "problems": problems,
        "problems_title": "These masks cannot be read together yet." if problems else "",
        "run": run,
        "live": live,
        "result": done,
        "failed_run": failed_run,
        "open": {
            "images": editable or adding or not (live or done or failed_run),
            "classes": editable,
            "train": live or failed_run or editable,
            "result": done and (fresh or not drafts) and not adding,
        },
        "land": "result" if fresh else _landing(live or failed_run, editable, mapping is not None, done and not adding),
        "notes": intake.notes_of(shown),
        **(input_choice(drafts) if editable else {}),
        "choices": request.session.get(EDITS, {}).get(intake.CHOICES, {}) if editable else {},
        "base_names": base_names() if editable else [],
        "versions": registry.versions(request.visitor).count(),
        "estimates": {effort: runs.usual_seconds(effort, len(drafts)) for effort in Effort.values} if editable else {},
        "result_days": settings.SEGAPP_RESULT_DAYS,
        "limit_files": settings.UPLOAD_LIMIT_FILES,
        "limit_megabytes": settings.UPLOAD_LIMIT_BYTES // 10**6,
        **(live_parts(run) if run and live else {}),
        **(result_parts(run) if run and done else {}),
    }


def _waiting(run: TrainingRun | None, drafts: list[Example]) -> int:
    """How many of the drafts the run does not train on."""
    trained = set(run.examples.values_list("pk", flat=True)) if run is not None else set()
    return sum(draft.pk not in trained for draft in drafts)


def _just_trained(run: TrainingRun | None, drafts: list[Example]) -> bool:
    """Whether the run trained on these drafts, and nothing was painted or added since: then look at its result."""
    if run is None or run.ended is None or not run.examples.filter(draft=True).exists():
        return False
    changes = [draft.painting.updated if hasattr(draft, "painting") else draft.created for draft in drafts]
    return max(changes) < run.ended


def _landing(busy: bool, editable: bool, readable: bool, done: bool) -> str:
    """The step to look at: classes once there are masks, images while they are still to be painted."""
    if busy:
        return "train"
    if editable:
        return "classes" if readable else "images"
    return "result" if done else "images"


def mapping_of(request: VisitorRequest, run: TrainingRun | None, drafts: list[Example]) -> ClassMapping | None:
    """How the masks on show are read: the drafts' with the visitor's edits, else as the run did. Raises InvalidFile."""
    if drafts:
        edits = request.session.get(EDITS, {})
        return intake.review(drafts, edits, known_classes(request)) if intake.ready(drafts) else None
    if run is not None and run.reading:
        return ClassMapping.from_dict(run.reading)
    return None


def input_choice(drafts: list[Example]) -> dict[str, Any]:
    """The pages and channels that can be chosen for images uploaded already, and what is chosen now; {} for none."""
    found = example_copies.with_choice(drafts)
    if not found:
        return {}
    layouts = [example_copies.layout_of(example) for example in found]
    pages, channels = max(layout.pages for layout in layouts), max(layout.channels for layout in layouts)
    chosen = intake.input_of(found)
    return {
        "input_choice": {
            "pages": range(1, min(pages, MAX_LISTED_PAGES) + 1) if pages > 1 else [],
            "page": chosen.page,
            "channels": channels if channels not in (1, 3) else 0,
            "chosen": ",".join(map(str, chosen.channels)),
        }
    }


def base_names() -> list[str]:
    """What the base model calls its classes; [] when there is no base."""
    base = registry.current_base()
    return [found["name"] for found in base.card.get("classes", [])] if base else []


def mark(examples: list[Example], mapping: ClassMapping | None, problems: list[dict[str, str]]) -> None:
    """Put on each example what its image says: `fault`, the one thing to fix, or `hint`, what is odd about it."""
    faults = {problem["file"]: problem["message"] for problem in problems}
    read = [example.pk for example in intake.ready(examples)]
    hints = dict(zip(read, mapping.hints, strict=False)) if mapping and len(mapping.hints) == len(read) else {}
    for example in examples:
        example.fault = faults.get(example.stem, "")  # type: ignore[attr-defined]
        example.hint = hints.get(example.pk, "")  # type: ignore[attr-defined]


def edits_of(run: TrainingRun) -> dict[str, dict[str, Any]]:
    """The class table of a run as edits, so that training again starts from the names that were given."""
    rows = run.reading.get("classes", [])
    return {
        row["source"]: {
            **{key: row[key] for key in ("name", "color", "ignore") if key in row},
            **({"things": row["things"]} if row.get("things_stated") else {}),
        }
        for row in rows
    }


def continued(request: VisitorRequest) -> UserModel | None:
    """The visitor's model that the next training starts from, if one was chosen and can still be used."""
    try:
        found = registry.owned(request.visitor, request.session.get(CONTINUE, ""))
    except registry.ModelNotFound:
        return None
    return found if painting.usable(found) else None


def mended(request: VisitorRequest, drafts: list[Example]) -> dict[str, Any]:
    """The drafts that mend results of the visitor's active model, or of one it comes from, and that model."""
    model = registry.resolve(request.visitor).model
    if model is None or not any(hasattr(draft, "painting") and draft.painting.corrects_id for draft in drafts):
        return {}
    found = intake.ready(continuing.corrections(request.visitor, model))
    return {} if not found else {"mended": found, "mended_model": model}


def known_classes(request: VisitorRequest) -> list[dict[str, Any]]:
    """The classes of the model that the next training starts from; none when it starts from the base."""
    model = continued(request)
    return continuing.classes_of(model) if model is not None else []


def paintable(drafts: list[Example]) -> set[int]:
    """Which of these can be painted on as they are; the others are made so first."""
    there = [draft.pk for draft in drafts if hasattr(draft, "painting")]
    return set(Example.objects.filter(pk__in=there, runs=None).values_list("pk", flat=True))


def stamp(mapping: ClassMapping | None) -> str:
    """Changes when the masks would be drawn differently; part of the images' addresses."""
    rows = [(row["id"], row["color"], row["ignore"]) for row in mapping.classes] if mapping else []
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:12]


def live_parts(run: TrainingRun) -> dict[str, Any]:
    preview = store.fetch(run.folder / "preview.webp", newer=True)
    baseline_model = run.metrics.get("comparison", {})
    if baseline_model.get("miou") is not None:
        baseline_model = {**baseline_model, "y": round(100 - 100 * baseline_model["miou"], 2)}
    return {
        "preview_stamp": preview.stat().st_mtime_ns if preview.exists() else 0,
        "baseline_model": baseline_model if "y" in baseline_model else None,
        "wait_seconds": queueing.wait_seconds(run),
        "videos_before": VideoJob.objects.filter(state=State.RUNNING).count() if run.state == State.QUEUED else 0,
    }


def result_parts(run: TrainingRun) -> dict[str, Any]:
    against_base = run.metrics.get("comparison", {}).get("kind") == "base"
    images = []
    for found in run.metrics.get("held_out_images", [])[:6]:
        if not store.fetch(run.folder / f"heldout_{found['index']}_custom.webp").exists():
            continue
        knows = found.get("knows", [])
        left = "base" if found["base"] and (against_base or knows) else "image"
        addresses = {
            kind: reverse("run-file", args=[run.public_id, f"heldout_{found['index']}_{kind}.webp"])
            for kind in ("image", "truth", "custom", "base")
        }
        shown = {"stem": found["stem"], "left": left, "left_address": addresses[left], "knows": knows}
        images.append({**shown, **addresses})
    return {
        "images": images,
        "counted": [row for row in run.model.classes if row.get("things")] if run.model else [],
        "against_base": against_base,
        "show_base": bool(images) and all(shown["left"] == "base" for shown in images),
        "verdict": verdict(run.metrics),
        "advice": advice(run.metrics, run.effort),
    }


def verdict(metrics: dict[str, Any]) -> str:
    """How the classes fare, in one plain sentence; "" when nothing was scored."""
    rows = _scored(metrics)
    if not rows:
        return ""
    weakest = min(rows, key=lambda row: row["iou"])
    weak = f"weakest: “{weakest['name']}” ({weakest['iou']:.2f}), seen in {_images(weakest['images'])}."
    compared = [row for row in rows if row.get("base_iou") is not None]
    if compared:
        better = sum(row["iou"] > row["base_iou"] for row in compared)
        return f"Better than the base model on {better} of {_count(len(compared), 'class', 'classes')}; {weak}"
    if len(rows) == 1:
        return f"“{weakest['name']}” reaches {weakest['iou']:.2f}."
    best = max(rows, key=lambda row: row["iou"])
    return f"Strongest: “{best['name']}” ({best['iou']:.2f}); {weak}"


def advice(metrics: dict[str, Any], effort: str = "quick") -> str:
    """What would help next, as sentences: which class needs more examples, or what else to do."""
    rows = _scored(metrics)
    advised = []
    never = [row["name"] for row in metrics.get("per_class", []) if row["iou"] is None]
    if never:
        names = ", ".join(f"“{name}”" for name in never)
        advised.append(f"{names} could not be tested: add images until at least two show it.")
    weakest = min(rows, key=lambda row: row["iou"], default=None)
    if weakest and weakest["iou"] < WEAK:
        name, seen = weakest["name"], weakest["images"]
        if seen < ENOUGH:
            advised.append(f"Add {ENOUGH - seen} or more images that show “{name}”: so far {_images(seen)} did.")
        else:
            advised.append(
                f"“{name}” is in {_images(seen)} and still weak: check it below, make sure that its masks are exact, "
                "and add images that show it larger or in other light."
            )
    if not advised and rows:
        advised.append("Nothing urgent. Try it on images from elsewhere, and add those where it fails.")
    if weakest and effort == "quick" and weakest["iou"] < FINE:
        advised.append("A thorough training may help with fine detail.")
    return " ".join(advised)


def _scored(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in metrics.get("per_class", []) if row["iou"] is not None]


def _images(count: int) -> str:
    return _count(count, "image", "images")


def _count(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
