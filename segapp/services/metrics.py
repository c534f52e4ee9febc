"""The server's figures as Prometheus reads them: what the workers' rows say, and how much waits. Free of torch.

Counters live in the workers and reach this process by their heartbeats, so any web process can answer.
"""

from collections.abc import Iterator

from django.db.models import Count
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from registry.models import UserModel
from segapp.models import UNFINISHED, Analysis, Batch, TrainingRun, VideoJob, Worker

PREFIX = "segapp_"
LABELS = ["worker", "queues"]
COUNTERS = {  # of a worker's cache: name here, and in its row
    "cache_hits": "hits",
    "cache_misses": "misses",
    "cache_loads": "loads",
    "cache_failures": "failures",
    "cache_evictions": "evictions",
}
GAUGES = {
    "cache_bytes": "bytes",
    "cache_limit_bytes": "limit_bytes",
    "cache_entries": "entries",
    "cache_entries_in_use": "in_use",
    "features_bytes": "features_bytes",
}
LOADS = {"cache_load_last_seconds": "load_ms_last", "cache_load_longest_seconds": "load_ms_most"}
WORK = {"analysis": Analysis, "training": TrainingRun, "video": VideoJob, "batch": Batch}


def text() -> bytes:
    """Everything in Prometheus' text format."""
    found = CollectorRegistry(auto_describe=False)
    found.register(_Server())
    return generate_latest(found)


class _Server(Collector):
    def collect(self) -> Iterator[Metric]:
        workers = list(Worker.objects.alive())
        yield from _workers(workers)
        for name, key in COUNTERS.items():
            yield _of_each(CounterMetricFamily(PREFIX + name, f"Networks' cache: {key}", labels=LABELS), workers, key)
        seconds = CounterMetricFamily(PREFIX + "cache_load_seconds", "Time spent on loading networks", labels=LABELS)
        yield _of_each(seconds, workers, "load_ms", 0.001)
        for name, key in LOADS.items():
            family = GaugeMetricFamily(PREFIX + name, "Time that loading a network took", labels=LABELS)
            yield _of_each(family, workers, key, 0.001)
        for name, key in GAUGES.items():
            yield _of_each(GaugeMetricFamily(PREFIX + name, f"Networks' cache: {key}", labels=LABELS), workers, key)
        yield _of_each(
            GaugeMetricFamily(PREFIX + "resident_bytes", "Memory of the worker", labels=LABELS),
            workers,
            "memory_mb",
            2**20,
        )
        yield from _work()


def _workers(workers: list[Worker]) -> Iterator[Metric]:
    ready = GaugeMetricFamily(PREFIX + "worker_ready", "1 with the base network in memory", labels=[*LABELS, "device"])
    silent = GaugeMetricFamily(PREFIX + "worker_silent_seconds", "Since the last heartbeat", labels=LABELS)
    for worker in workers:
        ready.add_metric([worker.name, worker.queues, worker.device], float(worker.ready))
        silent.add_metric([worker.name, worker.queues], max(0.0, (timezone.now() - worker.seen).total_seconds()))
    yield ready
    yield silent


def _of_each(family: Metric, workers: list[Worker], key: str, scale: float = 1.0) -> Metric:
    for worker in workers:
        value = worker.info.get(key)
        if isinstance(value, int | float):
            family.add_metric([worker.name, worker.queues], value * scale)  # type: ignore[attr-defined]
    return family


def _work() -> Iterator[Metric]:
    waiting = GaugeMetricFamily(PREFIX + "unfinished", "Work that is queued or running", labels=["kind", "state"])
    for kind, model in WORK.items():
        rows = model._default_manager.filter(state__in=UNFINISHED).order_by()
        counts = dict(rows.values_list("state").annotate(Count("pk")))
        for state in UNFINISHED:
            waiting.add_metric([kind, state.value], counts.get(state.value, 0))
    yield waiting
    models = GaugeMetricFamily(PREFIX + "models", "Models that visitors own")
    models.add_metric([], UserModel.objects.filter(trashed_at=None).count())
    yield models
