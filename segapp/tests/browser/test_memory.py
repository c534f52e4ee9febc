"""The browser's memory against a real server: what it asks, clears and keeps."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
ID, TOKEN = "finetuned_model_id", "finetuned_model_token"
REMEMBER = """([id, token]) => {
    localStorage.setItem('finetuned_model_id', id);
    localStorage.setItem('finetuned_model_token', token);
}"""


def remembers(tour, model: str, token: str) -> None:
    """A browser with this memory and no cookie."""
    tour.page.goto("/")
    tour.page.evaluate(REMEMBER, [model, token])
    tour.reopen(keep_cookies=False)


def test_a_token_that_is_not_valid_is_forgotten_with_the_id(visit):
    tour = visit()
    tour.expected = ["404"]
    remembers(tour, "0" * 32, "forged:token")
    with tour.page.expect_response("**/api/load-user-model") as answer:
        tour.page.goto("/")
    assert answer.value.status == 404
    expect(tour.page.locator("#status-pill")).not_to_contain_text("Custom Model")
    tour.page.wait_for_function("localStorage.getItem('finetuned_model_token') === null")
    assert tour.memory(ID) is None


def test_a_known_visitor_is_never_restored_and_the_servers_word_is_final(visit):
    tour = visit()
    tour.page.goto("/")
    tour.page.evaluate(REMEMBER, ["0" * 32, "some:token"])
    asked: list[str] = []
    tour.page.on("request", lambda request: asked.append(request.url))
    tour.page.goto("/models/", wait_until="networkidle")
    assert tour.memory(ID) is None and tour.memory(TOKEN) == "some:token"
    assert not [url for url in asked if "load-user-model" in url]


def test_without_a_memory_nothing_is_asked(visit):
    tour = visit()
    asked: list[str] = []
    tour.page.on("request", lambda request: asked.append(request.url))
    tour.page.goto("/", wait_until="networkidle")
    assert not [url for url in asked if "load-user-model" in url]


def test_a_server_in_trouble_leaves_the_memory_alone(visit):
    tour = visit()
    tour.expected = ["503"]
    remembers(tour, "0" * 32, "some:token")
    tour.page.route("**/api/load-user-model", lambda route: route.fulfill(status=503, body="{}"))
    with tour.page.expect_response("**/api/load-user-model"):
        tour.page.goto("/", wait_until="networkidle")
    assert (tour.memory(ID), tour.memory(TOKEN)) == ("0" * 32, "some:token")
