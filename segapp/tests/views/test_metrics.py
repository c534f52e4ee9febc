"""/metrics: the workers' figures in Prometheus' format, for this machine or for whoever has the token."""

import pytest
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from segapp.models import Analysis, State, Worker

pytestmark = pytest.mark.django_db

COUNTED = {"hits": 7, "misses": 3, "loads": 2, "evictions": 1}


@pytest.fixture
def worker():
    info = {**COUNTED, "bytes": 5_000_000, "limit_bytes": 10_000_000,
            "load_ms": 250.0, "load_ms_last": 90.0, "load_ms_most": 120.0, "memory_mb": 400}  # fmt: skip
    return Worker.objects.create(
        name='box"1:7', queues="predict", device="CPU", ready=True, seen=timezone.now(), info=info
    )


def read(client, **headers) -> dict[tuple[str, ...], float]:
    response = client.get("/metrics", **headers)
    assert response.status_code == 200 and response["Content-Type"].startswith("text/plain; version=0.0.4")
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(response.content.decode()):
        for sample in family.samples:
            found[sample.name, *sorted(sample.labels.values())] = sample.value
    return found


def test_the_caches_counters_and_what_waits_are_there(client, worker):
    Analysis.objects.create(visitor="v", width=1, height=1, title="a", state=State.QUEUED)
    Analysis.objects.create(visitor="v", width=1, height=1, title="b", state=State.DONE)
    found = read(client)
    counted = {name: found[f"segapp_cache_{name}_total", 'box"1:7', "predict"] for name in COUNTED}
    assert counted == COUNTED
    assert found["segapp_cache_load_seconds_total", 'box"1:7', "predict"] == 0.25
    assert found["segapp_cache_load_last_seconds", 'box"1:7', "predict"] == 0.09
    assert found["segapp_cache_load_longest_seconds", 'box"1:7', "predict"] == 0.12
    assert found["segapp_cache_bytes", 'box"1:7', "predict"] == 5_000_000
    assert found["segapp_cache_limit_bytes", 'box"1:7', "predict"] == 10_000_000
    assert found["segapp_resident_bytes", 'box"1:7', "predict"] == 400 * 2**20
    assert found["segapp_worker_ready", "CPU", 'box"1:7', "predict"] == 1
    assert found["segapp_unfinished", "analysis", "queued"] == 1
    assert found["segapp_unfinished", "analysis", "running"] == 0
    assert ("segapp_cache_failures_total", 'box"1:7', "predict") not in found, "its row does not say"


def test_without_a_token_only_this_machine_itself_may_read(client, worker, settings):
    assert client.get("/metrics", REMOTE_ADDR="::1").status_code == 200
    assert client.get("/metrics", REMOTE_ADDR="10.0.0.9").status_code == 404
    assert client.get("/metrics", REMOTE_ADDR="").status_code == 404
    assert client.get("/metrics", HTTP_X_FORWARDED_FOR="127.0.0.1").status_code == 404
    settings.SECURE = True
    assert client.get("/metrics").status_code == 404


def test_with_a_token_it_decides_for_everybody(client, worker, settings):
    settings.SEGAPP_METRICS_TOKEN = "open sesame"
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", HTTP_AUTHORIZATION="Bearer wrong").status_code == 404
    assert client.get("/metrics", HTTP_AUTHORIZATION="Bearer open sesamé").status_code == 404
    assert read(client, HTTP_AUTHORIZATION="Bearer open sesame", REMOTE_ADDR="10.0.0.9")
    assert client.post("/metrics", HTTP_AUTHORIZATION="Bearer open sesame").status_code == 405


def test_health_shows_the_same_counters(client, worker):
    workers = client.get("/api/health").json()["workers"]
    assert workers[0]["info"].items() >= worker.info.items()
