"""One training run from claim to end: read the examples, train, publish. Knows nothing of requests or tasks."""

import logging
import secrets
import time
from contextlib import ExitStack
from dataclasses import replace

from django.conf import settings as conf
from django.db import DatabaseError

from registry import services as registry
from registry.bases import ReadyBase
from registry.files import ModelFileDamaged, ModelFileMissing, disk_is_full
from registry.models import FileState
from registry.network import ClassInfo
from registry.runtime import BaseMissing, LoadedNetwork
from segapp import dispatch, heartbeat
from segapp.imaging.class_mapping import ClassMapping
from segapp.models import State, TrainingRun
from segapp.pipeline.training.finetune import Cancelled, Example, Trained, TrainingFailed, finetune
from segapp.pipeline.training.loop import Settings
from segapp.services import example_files, intake, storage
from segapp.worker import counting, images, networks
from segapp.worker.progress import HandBack, Watcher, publishing_took
from segapp.worker.publishing import LeaseLost, publish
from segapp.worker.training_examples import numbers_of_things, resized_numbers, shrink, with_things

logger = logging.getLogger(__name__)

LABEL = "segapp.TrainingRun"
DISK_FULL = "The disk is full, so the model could not be saved. Your earlier model is still in use. Free some space."
UNKNOWN = "The training failed on the server. Your images and your earlier model are kept. Try again."


def run(pk: int) -> None:
    """Train one queued run. A doubled message finds the row taken and does nothing."""
    token = secrets.token_hex(16)
    if not TrainingRun.objects.claim(pk, heartbeat.NAME, token):
        return
    row = TrainingRun.objects.select_related("continued_from").get(pk=pk)
    heartbeat.hold(LABEL, pk, token)
    try:
        _train(row)
    except HandBack:
        TrainingRun.objects.hand_back(pk, token)
        dispatch.training(row)
    except LeaseLost:
        logger.warning("run %s went to another worker; nothing published here", row.public_id)
        if not TrainingRun.objects.filter(pk=pk).exists():  # its visitor has deleted everything
            images.clear(row.folder)
    except Cancelled:
        _end(row, State.CANCELLED, "Cancelled. No model was made.")
    except (TrainingFailed, BaseMissing) as error:
        _end(row, State.FAILED, str(error))
    except OSError as error:
        logger.exception("run %s failed", row.public_id)
        _end(row, State.FAILED, DISK_FULL if disk_is_full(error) else UNKNOWN, error)
    except Exception as error:
        logger.exception("run %s failed", row.public_id)
        _end(row, State.FAILED, UNKNOWN, error)
    finally:
        heartbeat.release(LABEL, pk)
        storage.measure_after_work(row)


def _end(row: TrainingRun, state: State, message: str, error: Exception | None = None) -> None:
    images.clear(row.folder)
    try:
        TrainingRun.objects.end(row.pk, row.lease, state, message=message[:500], error=repr(error) if error else "")
    except DatabaseError:  # the reaper takes the row back
        logger.exception("run %s: its end could not be written", row.public_id)


def _train(row: TrainingRun) -> None:
    examples = read_examples(row)
    parent = row.continued_from.classes if row.continued_from is not None else []
    masks = (example.mask for example in examples)
    classes = with_things([ClassInfo.from_dict(found) for found in row.classes], masks, parent)
    ready = _base_of(row)
    with networks.runtime().use_base(ready) as base:
        watcher = Watcher(row, examples, row.classes)
        trained = _finetune(row, base, examples, classes, watcher)
    learnt_from = intake.input_of(row.examples.all()).to_dict()
    if not learnt_from and row.continued_from is not None:
        learnt_from = row.continued_from.image_input
    trained = counting.counted(trained, examples)
    trained = replace(trained, spec=replace(trained.spec, image_input=learnt_from))
    began = time.monotonic()
    drawn = images.draw_held_out(row.folder, trained, examples)
    publish(
        row.visitor,
        trained,
        name=row.name,
        base=ready,
        image_count=len(examples),
        parent=row.continued_from,
        run=row,
        preview=images.before_after(trained, examples),
        images=[example.image for example in examples],
        metrics={**trained.metrics, "held_out_images": drawn},
    )
    publishing_took(time.monotonic() - began)


def _base_of(row: TrainingRun) -> ReadyBase:
    """The very base that the model to train on from stands on, whatever the server runs by now; else the server's."""
    own = registry.base_of(row.continued_from) if row.continued_from is not None else None
    return own or (networks.runtime().base(row.base_key) if row.base_key else networks.server_base())


def _finetune(
    row: TrainingRun, base: LoadedNetwork, examples: list[Example], classes: list[ClassInfo], watcher: Watcher
) -> Trained:
    """Train from the base, or on from the visitor's own model where its file can still be used."""
    with ExitStack() as stack:
        start = None
        if row.continued_from is not None:
            try:
                start = stack.enter_context(networks.runtime().use(networks.reference(row.continued_from)))
            except (ModelFileMissing, ModelFileDamaged) as error:
                logger.warning("%s", error)
                registry.mark_lost(row.continued_from, FileState.MISSING)
        # A worker that died over this run may have been killed for its memory.
        settings = Settings().smaller() if row.attempts > 1 else None
        return finetune(
            base,
            examples,
            classes,
            effort=row.effort,
            seed=row.seed,
            steps=conf.SEGAPP_TRAIN_STEPS or None,
            start=start,
            watch=watcher,
            settings=settings,
        )


def read_examples(row: TrainingRun) -> list[Example]:
    """The run's examples as arrays, masks as class ids, at most MAX_SIDE pixels long."""
    mapping = ClassMapping.from_dict(row.reading)
    found = []
    for example in row.examples.all():
        heartbeat.tick()
        image, mask = example_files.image_of(example), example_files.ids_of(example, mapping)
        numbers = numbers_of_things(example_files.instances_of(example, mapping), mask, mapping)
        image, mask = shrink(image, mask)
        found.append(Example(example.stem, image, mask, resized_numbers(numbers, mask)))
    return found
