"""Hooks from the end of a piece of work to the receiver, through page, API and the workers' turn."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta

import pytest
import segapp_client
from django.test import Client
from django.utils import timezone

from registry.tests.test_services import make as make_model
from segapp import heartbeat
from segapp.models import Batch, Delivery, DeliveryState, Hook, Scope, State, TrainingRun, VideoJob
from segapp.services import api_keys, batches, cleanup, hooks, mydata, restore, runs, transfer
from segapp.services.errors import NotFound, UserError
from segapp.worker import hooks as work
from segapp.worker.training import run as train

ALICE, CHARLIE = "a" * 32, "c" * 32
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("this_machine")]


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    settings.SEGAPP_URL = "https://seg.example.org"


@pytest.fixture
def hook(receiver) -> Hook:
    return hooks.make(ALICE, receiver.url)


def batch(visitor: str = ALICE, state: State = State.DONE, **values) -> Batch:
    ended = None if state in (State.QUEUED, State.RUNNING) else timezone.now()
    return Batch.objects.create(visitor=visitor, title="a.png", state=state, ended=ended, total=2, done=2, **values)


def again(row: Delivery) -> Delivery:
    """Its pause is over: one more turn."""
    Delivery.objects.filter(pk=row.pk, state=DeliveryState.WAITING).update(due=timezone.now())
    work.turn()
    row.refresh_from_db()
    return row


def test_a_batch_that_ended_is_told_once_signed_with_where_to_look(receiver, hook):
    row = batch(model_key="user_1")
    work.turn()
    work.turn()
    ((path, headers, body),) = receiver.seen
    assert path == "/told?lab=1" and headers["Content-Type"].startswith("application/json")
    told = json.loads(body)
    assert told["status_url"] == f"https://seg.example.org/api/batch/{row.public_id}"
    wanted = {"event": "batch", "state": "done", "id": row.public_id, "total": 2, "done": 2, "model_key": "user_1"}
    assert wanted.items() <= told.items()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.status, delivery.attempts) == (DeliveryState.DELIVERED, 204, 1)
    signed = f"{delivery.public_id}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(hook.secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}" and len(key) == 32
    event = segapp_client.read_hook(headers, body, hook.secret)
    assert (event.event, event.state, event.id, event.delivery) == ("batch", "done", row.public_id, delivery.public_id)


def test_what_was_changed_on_the_way_or_is_old_is_found_out(receiver, hook):
    batch()
    work.turn()
    (_, headers, body) = receiver.seen[0]
    other = hooks.make(ALICE, receiver.url).secret
    old = {**headers, "webhook-timestamp": "1700000000"}
    changes = [(headers, body + b" ", hook.secret), (headers, body, other), (old, body, hook.secret), ({}, body, other)]
    for changed in changes:
        with pytest.raises(segapp_client.InvalidSignature):
            segapp_client.read_hook(*changed)
    stale = work.headers(Delivery.objects.filter(hook=hook).get(), 1_700_000_000)
    with pytest.raises(segapp_client.InvalidSignature, match="too old"):
        segapp_client.read_hook(stale, body, hook.secret)


def test_every_way_to_end_is_told_and_nothing_else(receiver, hook):
    batch(state=State.RUNNING)
    failed = VideoJob.objects.create(visitor=ALICE, title="v.mp4", state=State.RUNNING, lease="t", lease_owner="x")
    VideoJob.objects.end(failed.pk, "t", State.FAILED, message="The disk is full.")
    cancelled = TrainingRun.objects.create(visitor=ALICE, name="Leaves")
    runs.stop(cancelled, keep=False)
    stopped = batch(state=State.QUEUED)
    batches.stop(stopped, keep=False)
    batch(CHARLIE)
    work.turn()
    bodies = [json.loads(body) for _, _, body in receiver.seen]
    told = {(body["event"], body["state"], body["id"]) for body in bodies}
    assert told == {
        ("video", "failed", failed.public_id),
        ("training", "cancelled", cancelled.public_id),
        ("batch", "cancelled", stopped.public_id),
    }


def test_a_training_that_no_worker_could_finish_is_told(receiver, hook, monkeypatch):
    run = TrainingRun.objects.create(visitor=ALICE, name="Leaves")
    monkeypatch.setattr("segapp.worker.training._train", lambda row: (_ for _ in ()).throw(RuntimeError("broken")))
    train(run.pk)
    work.turn()
    told = json.loads(receiver.seen[0][2])
    assert (told["event"], told["state"], told["user_id"]) == ("training", "failed", None)
    assert "token" not in receiver.seen[0][2].decode(), "no secrets in what is told"


def test_a_hook_is_told_only_of_what_it_asks_for_and_of_what_ended_after_it_was_made(receiver):
    batch()
    hooks.make(ALICE, receiver.url, ["video"])
    batch()
    work.turn()
    assert receiver.seen == []
    job = VideoJob.objects.create(visitor=ALICE, title="v.mp4", state=State.DONE, ended=timezone.now())
    work.turn()
    assert [json.loads(body)["id"] for _, _, body in receiver.seen] == [job.public_id]


def test_a_receiver_that_fails_is_tried_again_with_growing_pauses_and_the_same_id(receiver, hook):
    receiver.answers = [500, 503, 204]
    batch()
    work.turn()
    row = Delivery.objects.get()
    assert (row.state, row.status, row.attempts) == (DeliveryState.WAITING, 500, 1) and "500" in row.message
    first = row.due - timezone.now()
    assert timedelta(seconds=5) < first < timedelta(seconds=11)
    work.turn()
    assert len(receiver.seen) == 1, "not before its time"
    row = again(row)
    assert timedelta(seconds=50) < row.due - timezone.now() < timedelta(seconds=61)
    row = again(row)
    assert (row.state, row.attempts, row.message) == (DeliveryState.DELIVERED, 3, "")
    assert {headers["webhook-id"] for _, headers, _ in receiver.seen} == {row.public_id}
    assert len({body for _, _, body in receiver.seen}) == 1


def test_after_the_last_attempt_it_is_given_up(receiver, hook):
    receiver.answers = [500]
    batch()
    work.turn()
    row = Delivery.objects.get()
    for _ in work.PAUSES:
        row = again(row)
    assert (row.state, row.attempts, len(receiver.seen)) == (DeliveryState.FAILED, len(work.PAUSES) + 1, 7)
    again(row)
    assert len(receiver.seen) == 7


def test_an_address_that_is_not_allowed_any_more_is_not_tried_again(receiver, hook, settings):
    settings.SEGAPP_HOOK_NETWORKS = []
    batch()
    work.turn()
    row = Delivery.objects.get()
    assert row.state == DeliveryState.FAILED and "own network" in row.message and receiver.seen == []


def test_of_two_senders_one_sends(receiver, hook, monkeypatch):
    batch()
    hooks.collect()
    row = Delivery.objects.get()
    second = []

    def post(*sent):
        second.append(work.deliver(row.pk))  # the other worker, at the very same delivery
        return 204

    monkeypatch.setattr("segapp.worker.hook_posts.post", post)
    work.deliver(row.pk)
    row.refresh_from_db()
    assert len(second) == 1 and (row.attempts, row.state) == (1, DeliveryState.DELIVERED)


def test_a_sender_that_died_leaves_its_delivery_to_the_next(receiver, hook, monkeypatch):
    batch()
    hooks.collect()
    row = Delivery.objects.get()

    class Died(BaseException):
        pass

    def dies(*sent):
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr("segapp.worker.hook_posts.post", dies)
        with pytest.raises(Died):
            work.deliver(row.pk)
    work.turn()
    assert receiver.seen == [], "it may still be on its way"
    row = again(row)
    assert (row.state, row.attempts) == (DeliveryState.DELIVERED, 2)


def test_two_workers_that_look_at_once_make_one_delivery(hook, monkeypatch):
    batch()
    really, looked = hooks._ended, []

    def while_another_looks(*sent):
        if not looked:
            looked.append(True)
            assert hooks.collect() == 1
        return really(*sent)

    monkeypatch.setattr(hooks, "_ended", while_another_looks)
    hooks.collect()
    assert Delivery.objects.count() == 1


def test_a_turn_ends_when_the_worker_is_asked_to(receiver, hook, monkeypatch):
    batch()
    monkeypatch.setattr(heartbeat.stopping, "is_set", lambda: True)
    work.turn()
    assert receiver.seen == [] and Delivery.objects.get().state == DeliveryState.WAITING


def test_one_visitors_many_deliveries_do_not_hold_up_anothers(receiver, hook):
    hooks.make(CHARLIE, receiver.url)
    for _ in range(5):
        batch(ALICE)
    batch(CHARLIE)
    work.turn()
    owners = [Delivery.objects.get(public_id=headers["webhook-id"]).hook.visitor for _, headers, _ in receiver.seen]
    assert len(owners) == 6 and CHARLIE in owners[:2]


def test_a_test_is_sent_once_and_its_outcome_is_in_the_log(receiver, hook):
    receiver.answers = [500, 204]
    hooks.test(hook)
    work.turn()
    hooks.test(hook)
    work.turn()
    assert [(row.event, row.state) for row in hooks.log(hook)] == [("test", "delivered"), ("test", "failed")]
    assert json.loads(receiver.seen[0][2])["event"] == "test"


# --- owners, page and API -------------------------------------------------------------------------------------


def test_hooks_join_move_and_vanish_with_their_visitor(receiver, hook):
    run = TrainingRun.objects.create(visitor=ALICE, name="first")
    TrainingRun.objects.create(visitor=CHARLIE, name="second")
    restore.join(ALICE, CHARLIE)  # the running training stays under the old id, which leads to Charlie
    hook.refresh_from_db()
    assert hook.visitor == CHARLIE
    runs.stop(run, keep=False)
    work.turn()
    assert [json.loads(body)["id"] for _, _, body in receiver.seen] == [run.public_id]
    fresh = transfer.sign_out_others(CHARLIE)
    assert [row.pk for row in hooks.listed(fresh)] == [hook.pk]
    assert "Webhooks" in [holding.label for holding in mydata.holdings(fresh)]
    mydata.erase(fresh)
    assert not Hook.objects.exists() and not Delivery.objects.exists()


def test_nothing_is_sent_for_a_deleted_hook(receiver, hook):
    batch()
    hooks.collect()
    pk = Delivery.objects.get().pk
    hooks.delete(ALICE, hook.public_id)
    work.deliver(pk)
    work.turn()
    assert receiver.seen == []


def test_a_visitor_has_a_limited_number(receiver, monkeypatch):
    monkeypatch.setattr(hooks, "MAX_HOOKS", 1)
    hooks.make(ALICE, receiver.url)
    with pytest.raises(UserError) as full:
        hooks.make(ALICE, receiver.url)
    assert (full.value.status, full.value.code) == (409, "too_many_hooks")


def test_another_visitors_hook_is_the_same_404_as_none(hook):
    with pytest.raises(NotFound) as anothers:
        hooks.owned(CHARLIE, hook.public_id)
    with pytest.raises(NotFound) as none:
        hooks.owned(CHARLIE, "0" * 32)
    assert str(anothers.value) == str(none.value)


def test_old_deliveries_are_cleaned_up_but_never_sent_again(receiver, hook):
    old = batch()
    work.turn()
    Delivery.objects.update(created=timezone.now() - hooks.KEPT - timedelta(hours=1))
    Batch.objects.filter(pk=old.pk).update(ended=timezone.now() - hooks.KEPT - timedelta(hours=1))
    for removal in cleanup._passing():
        removal.act()
    assert not Delivery.objects.exists()
    work.turn()
    assert len(receiver.seen) == 1


def test_by_api_it_is_made_listed_tried_and_deleted(receiver):
    _, key = api_keys.make(ALICE, "robot")
    program, bearer = Client(enforce_csrf_checks=True), {"authorization": f"Bearer {key}"}
    made = program.post("/api/hooks", {"url": receiver.url, "events": ["batch", "video"]}, headers=bearer)
    assert made.status_code == 201 and made.json()["secret"].startswith("whsec_")
    address = f"/api/hooks/{made.json()['id']}"
    listed = program.get("/api/hooks", headers=bearer).json()["hooks"]
    assert [(row["url"], row["events"]) for row in listed] == [(receiver.url, ["batch", "video"])]
    assert "secret" not in listed[0]
    tried = program.post(f"{address}/test", headers=bearer)
    assert tried.status_code == 202 and tried.json()["state"] == "waiting"
    work.turn()
    (row,) = program.get(f"{address}/deliveries", headers=bearer).json()["deliveries"]
    assert (row["id"], row["state"], row["status"]) == (tried.json()["id"], "delivered", 204)
    _, camera = api_keys.make(ALICE, "camera", Scope.PREDICT)
    assert program.get("/api/hooks", headers={"authorization": f"Bearer {camera}"}).status_code == 403
    _, others = api_keys.make(CHARLIE, "robot")
    for method, path in ((program.delete, address), (program.post, f"{address}/test")):
        assert method(path, headers={"authorization": f"Bearer {others}"}).status_code == 404
    assert program.delete(address, headers=bearer).status_code == 204
    assert program.get("/api/hooks", headers=bearer).json() == {"hooks": []}


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"url": "http://10.0.0.1/"}, "refused_address"),
        ({"url": "http://localhost.localdomain:9/"}, None),
        ({"url": "nowhere"}, "refused_address"),
        ({}, "invalid"),
        ({"url": "https://example.org/", "events": ["coffee"]}, "invalid"),
    ],
)
def test_by_api_what_cannot_be_told_is_a_422(alice, sent, code):
    answer = alice.post("/api/hooks", sent)
    if code is None:  # this machine is allowed here
        assert answer.status_code == 201
        return
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
    assert answer.json()["error"]["message"]


def test_the_page_shows_the_secret_once_and_the_log(alice, receiver):
    made = alice.post("/models/hooks/", {"url": receiver.url, "events": ["batch"]})
    row = Hook.objects.get()
    assert made.status_code == 200 and row.secret in made.content.decode()
    page = alice.get("/models/").content.decode()
    assert receiver.url in page and row.secret not in page and "notified when a batch ends;" in page
    alice.post(f"/models/hooks/{row.public_id}/test/")
    part = alice.get(f"/models/hooks/{row.public_id}/", headers={"hx-request": "true"}).content.decode()
    assert "on its way" in part and 'hx-trigger="every 2s"' in part
    work.turn()
    part = alice.get(f"/models/hooks/{row.public_id}/", headers={"hx-request": "true"}).content.decode()
    assert "delivered" in part and "hx-trigger" not in part
    alice.post(f"/models/hooks/{row.public_id}/delete/")
    assert not Hook.objects.exists()


def test_the_page_says_what_is_wrong_beside_the_form(alice, charlie, hook):
    refused = alice.post("/models/hooks/", {"url": "http://10.0.0.1/"}, headers={"hx-request": "true"})
    assert refused.status_code == 422 and b"own network" in refused.content
    for action in ("test/", "delete/"):
        assert charlie.post(f"/models/hooks/{hook.public_id}/{action}").status_code == 404
    assert charlie.get(f"/models/hooks/{hook.public_id}/").status_code == 404


def test_a_model_that_a_training_made_is_named(receiver, hook):
    model = make_model(ALICE, active=False)
    TrainingRun.objects.create(visitor=ALICE, name="x", state=State.DONE, ended=timezone.now(), model=model)
    work.turn()
    assert json.loads(receiver.seen[0][2])["user_id"] == model.public_id
