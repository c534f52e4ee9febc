"""A training watched by server-sent events: what comes, for whom, and how many at once."""

import json
import threading

import pytest
from django.test import Client

from registry.tests.test_services import make
from segapp.models import State, TrainingRun
from segapp.services import api_keys, events

# Closing a stream closes its database connection, which a test inside a transaction would not survive.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr(events, "LOOK_SECONDS", 0.01)


def run_of(visitor: str, **values) -> TrainingRun:
    return TrainingRun.objects.create(visitor=visitor, name="Cells", **values)


def address(run: TrainingRun) -> str:
    return f"/api/finetune/{run.public_id}/events"


def read(response) -> list[tuple[str, str, dict]]:
    """(event, id, data) of everything that comes, to the end."""
    found = []
    for block in b"".join(response.streaming_content).decode().strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    return found


def test_progress_previews_and_the_end_come_in_order(alice):
    run = run_of(alice.visitor, state=State.RUNNING, progress=0.25)
    pieces = iter(alice.get(address(run)).streaming_content)
    assert next(pieces).startswith(b"retry: ")
    first = next(pieces).decode()
    assert "event: progress" in first and '"progress": 0.25' in first
    run.folder.mkdir(parents=True)
    (run.folder / "preview.webp").write_bytes(b"drawn")
    TrainingRun.objects.update(progress=0.5)
    assert b"event: progress" in next(pieces)
    preview = next(pieces).decode()
    assert "event: preview" in preview and f"/files/runs/{run.public_id}/preview.webp" in preview
    model = make(alice.visitor, active=True)
    TrainingRun.objects.update(state=State.DONE, progress=1, model=model)
    last = next(pieces).decode()
    assert "event: end" in last and model.public_id in last
    with pytest.raises(StopIteration):
        next(pieces)


def test_the_end_tells_what_the_call_without_events_does(alice):
    run = run_of(alice.visitor, state=State.FAILED, message="The disk is full.")
    response = alice.get(address(run))
    assert response["Content-Type"].startswith("text/event-stream") and response["Cache-Control"] == "no-store"
    assert read(response) == [("end", "end", alice.get(f"/api/finetune/{run.public_id}").json())]
    assert events._open.total() == 0


def test_a_client_that_comes_again_hears_only_what_is_new(alice):
    run = run_of(alice.visitor, state=State.RUNNING, progress=0.25)
    stream = alice.get(address(run))
    pieces = iter(stream.streaming_content)
    next(pieces)
    id_ = next(pieces).decode().splitlines()[0].removeprefix("id: ")
    stream.close()
    again = iter(alice.get(address(run), headers={"Last-Event-ID": id_}).streaming_content)
    next(again)
    TrainingRun.objects.update(progress=0.75)
    assert b'"progress": 0.75' in next(again)
    TrainingRun.objects.update(state=State.CANCELLED)
    done = alice.get(address(run), headers={"Last-Event-ID": "end"})
    assert (done.status_code, done.content) == (204, b"")


def test_another_visitors_run_is_the_same_404_as_none(alice, charlie):
    run = run_of(alice.visitor)
    assert charlie.get(address(run)).json() == charlie.get("/api/finetune/none/events").json()


def test_so_many_at_once_and_no_more(alice, charlie, monkeypatch):
    run, other = run_of(alice.visitor), run_of(charlie.visitor)
    held = [alice.get(address(run)) for _ in range(events.MAX_PER_VISITOR)]
    refused = alice.get(address(run))
    assert refused.status_code == 503 and refused.json()["error"]["code"] == "too_many_streams"
    assert int(refused["Retry-After"]) > 0
    monkeypatch.setattr(events, "MAX_OPEN", events.MAX_PER_VISITOR)
    assert charlie.get(address(other)).status_code == 503
    held[0].close()
    held[0].close()
    assert charlie.get(address(other)).status_code == 200
    assert alice.get(address(run)).status_code == 503
    for stream in held:
        stream.close()
    events._open.clear()


def test_a_quiet_stream_is_kept_alive_and_ends_with_the_process(alice, monkeypatch):
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0)
    monkeypatch.setattr(events, "closing", threading.Event())
    pieces = iter(alice.get(address(run_of(alice.visitor))).streaming_content)
    next(pieces), next(pieces)
    assert next(pieces).startswith(b":")
    events.closing.set()
    assert list(pieces) == []


def test_a_revoked_key_hears_nothing_more(db):
    row, key = api_keys.make("a" * 32, "robot")
    run = run_of("a" * 32)
    pieces = iter(Client().get(address(run), headers={"authorization": f"Bearer {key}"}).streaming_content)
    next(pieces), next(pieces)
    api_keys.revoke("a" * 32, row.public_id)
    assert list(pieces) == []


def test_a_run_whose_visitor_has_erased_everything_ends_its_stream(alice):
    run = run_of(alice.visitor)
    pieces = iter(alice.get(address(run)).streaming_content)
    next(pieces), next(pieces)
    run.delete()
    assert list(pieces) == []
