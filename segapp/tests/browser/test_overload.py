"""A full server under real hands: the note, sending again by itself, and by a click."""

import re
from pathlib import Path

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import expect

from segapp.tests.browser.visits import Tour, faults
from segapp.tests.imaging.drawing import photo

pytestmark = pytest.mark.browser


@pytest.fixture
def image(tmp_path) -> Path:
    photo(96).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


def full(tour: Tour, times: int, retry_after: int) -> list[str]:
    """Have the server turn the page away so many times; returns the list of refusals so far."""
    turned: list[str] = []

    def answer(route):
        if route.request.method != "POST" or len(turned) >= times:
            return route.fallback()
        turned.append(route.request.url)
        headers = {"Retry-After": str(retry_after), "HX-Retarget": "#analyze-problems", "HX-Reswap": "innerHTML"}
        body = render_to_string("analyze/full.html", {"retry_after": retry_after})
        return route.fulfill(status=503, headers={**headers, "Content-Type": "text/html"}, body=body)

    tour.page.route(re.compile(r"/analyze/$"), answer)
    tour.expected = ["503"]
    return turned


def send(tour: Tour, image: Path) -> None:
    tour.page.goto("/analyze/")
    tour.page.set_input_files("#image", image)
    tour.page.click("[data-image-drop] [data-send]")


def test_an_image_without_room_is_sent_again_by_itself(visit, served, image):
    served.wait_ready()
    tour = visit()
    turned = full(tour, 2, 1)
    send(tour, image)
    expect(tour.page.locator(".result .answered")).to_be_visible(timeout=60_000)
    assert len(turned) == 2
    expect(tour.page.locator("[data-full]")).to_have_count(0)


def test_the_note_can_be_hurried_and_dismissed(visit, served, image):
    served.wait_ready()
    tour = visit()
    turned = full(tour, 2, 30)
    send(tour, image)
    note = tour.page.locator("[data-full]")
    expect(note).to_contain_text("nothing was stored")
    expect(note.locator("[data-countdown]")).to_have_text(re.compile(r"2\d"))
    assert faults(tour.page) == []
    note.get_by_role("button", name="Stop trying").click()
    expect(note).to_have_count(0)
    tour.page.click("[data-image-drop] [data-send]")
    note.get_by_role("button", name="Send it now").click()
    expect(tour.page.locator(".result .answered")).to_be_visible(timeout=60_000)
    assert len(turned) == 2
