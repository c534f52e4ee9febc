"""A webhook told by the real workers of a running service."""

import json

import pytest
import segapp_client
from segapp_client import Segapp

from segapp.tests.hooks.receiver import receiving
from segapp.tests.imaging.drawing import photo
from segapp.tests.serving import until

pytestmark = pytest.mark.slow


def test_a_worker_tells_that_a_batch_and_a_stopped_training_ended(own_server):
    own_server.environment["SEGAPP_HOOK_PRIVATE"] = "127.0.0.1"
    own_server.start().wait_ready()
    browser = own_server.visitor()
    with (
        receiving() as receiver,
        Segapp(own_server.url, browser.post("/api/keys", {"name": "x"}).json()["key"]) as segapp,
    ):
        receiver.answers = [503, 204]
        made = browser.post("/api/hooks", {"url": receiver.url})
        assert made.status == 201, made.body
        batch = segapp.batch([photo(64)])
        until(
            lambda: len(receiver.seen) == 2, 40
        )  # the first was refused; the second attempt follows ten seconds later
        events = [segapp_client.read_hook(headers, body, made.json()["secret"]) for _, headers, body in receiver.seen]
        assert {(event.event, event.state, event.id) for event in events} == {("batch", "done", batch.id)}
        assert len({event.delivery for event in events}) == 1
        assert events[0].status_url == f"{own_server.url}/api/batch/{batch.id}"
        (row,) = browser.get(f"/api/hooks/{made.json()['id']}/deliveries").json()["deliveries"]
        until(lambda: browser.get(f"/api/hooks/{made.json()['id']}/deliveries").json()["deliveries"][0]["ended"])
        assert row["attempts"] == 2
        refused = browser.post("/api/hooks", {"url": "http://192.168.0.1/"})
        assert refused.status == 422 and json.loads(refused.body)["error"]["code"] == "refused_address"


def test_without_the_operators_leave_nothing_on_this_machine_is_reached(own_server):
    own_server.start()
    with receiving() as receiver:
        refused = own_server.visitor().post("/api/hooks", {"url": receiver.url})
        assert refused.status == 422
        browser = own_server.visitor()
        # A name is not resolved by the web process: the worker finds out where it leads.
        named = browser.post("/api/hooks", {"url": receiver.url.replace("127.0.0.1", "127.1")})
        assert named.status == 201, named.body
        address = f"/api/hooks/{named.json()['id']}"
        browser.post(f"{address}/test")
        (row,) = until(lambda: _ended(browser.get(f"{address}/deliveries").json()["deliveries"]), 60)
        assert row["state"] == "failed" and "own network" in row["message"]
        assert receiver.seen == []


def _ended(rows: list[dict]) -> list[dict]:
    return [row for row in rows if row["ended"]]
