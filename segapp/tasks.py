"""The Celery tasks: each takes a primary key and makes one call into worker/. Only workers import this."""

import logging
from collections.abc import Callable
from typing import Any

from celery import signals

from segapp import heartbeat
from segapp.celery import app
from segapp.models import Analysis, Batch, Export, VideoJob
from segapp.services import analyses, cleanup, measurements, runs
from segapp.worker import (
    analysis_objects,
    batch,
    batch_objects,
    exports,
    hooks,
    inference,
    live,
    networks,
    pace,
    preparing,
    region,
    training,
    turns,
    video,
)

logger = logging.getLogger(__name__)

BESIDE_VIDEOS: dict[type[Any], Callable[[int], None]] = {
    VideoJob: video.run,
    Batch: batch.run,
    Export: exports.run,
    Analysis: inference.run_windows,
}

heartbeat.describe(device=networks.runtime().device_name, info=lambda: {**networks.stats(), **pace.figures()})
heartbeat.every(3, runs.reap)
heartbeat.every(3, analyses.reap)
heartbeat.every(2, hooks.turn, apart=True)
heartbeat.every(3, measurements.reap)
heartbeat.every(5, preparing.turn, apart=True)
heartbeat.every(5, networks.load_new_base, apart=True)
heartbeat.every(3600, cleanup.run_in_background)


@signals.worker_ready.connect(weak=False)
def get_ready(**_: Any) -> None:
    """Bring the base network into memory before the first image needs it."""
    networks.warm_up()
    heartbeat.describe(ready=True)
    pace.measure()


@app.task(name="segapp.train")
def train(pk: int) -> None:
    training.run(pk)


@app.task(name="segapp.video")
def segment_video(pk: int) -> None:
    turns.take(VideoJob, pk, BESIDE_VIDEOS)


@app.task(name="segapp.batch")
def segment_batch(pk: int) -> None:
    turns.take(Batch, pk, BESIDE_VIDEOS)


@app.task(name="segapp.batch_tables")
def write_batch_tables(pk: int) -> None:
    batch_objects.run(pk)


@app.task(name="segapp.analyze")
def analyze(pk: int) -> None:
    inference.run(pk)


@app.task(name="segapp.analyze_windows")
def analyze_windows(pk: int) -> None:
    turns.take(Analysis, pk, BESIDE_VIDEOS)


@app.task(name="segapp.measure")
def measure(pk: int) -> None:
    analysis_objects.run(pk)


@app.task(name="segapp.export")
def export(pk: int) -> None:
    turns.take(Export, pk, BESIDE_VIDEOS)


@app.task(name="segapp.live")
def answer_live(pk: int) -> None:
    live.run(pk)


@app.task(name="segapp.live_model")
def make_live_model(pk: int) -> None:
    live.make_model(pk)


@app.task(name="segapp.region")
def find_region(pk: int) -> None:
    region.run(pk)
