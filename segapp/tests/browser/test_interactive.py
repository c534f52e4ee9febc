"""From the first stroke to a model that answers, as a person does it: no mask is drawn whole."""

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from segapp.tests.browser.easel import Easel, disc_ids, disc_photo, overlap
from segapp.tests.browser.test_fix import stop_soon
from segapp.tests.browser.visits import Tour

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PHOTOS = 20
LONG = 60_000  # milliseconds, for a worker that is still starting


def answered(easel: Easel, images: int) -> None:
    """Wait for the live answer that was learnt from so many images."""
    says = f"Learnt from your strokes on {images} image{'s' if images > 1 else ''}"
    expect(easel.page.locator("[data-live][data-state=answered]")).to_contain_text(says, timeout=LONG)


def stroke_both(easel: Easel) -> None:
    """A stroke of the ground, then one of the disc."""
    easel.page.keyboard.press("1")
    easel.drag((8, 10), (150, 12))
    easel.page.keyboard.press("2")
    easel.drag((65, 65), (90, 70))
    easel.saved()


def to_next(easel: Easel, key: str) -> None:
    before = easel.page.url
    easel.page.keyboard.press(key)
    expect(easel.page).not_to_have_url(before)
    easel.wait()


def test_strokes_on_two_photos_and_three_corrections_make_a_model(visit, served, tmp_path):
    served.wait_ready()
    tour: Tour = visit()
    page = tour.page
    easel = Easel(page).begin(*[disc_photo(tmp_path / f"photo{k:02}.png", k) for k in range(PHOTOS)])
    expect(page.locator("[data-siblings] li")).to_have_count(PHOTOS)
    expect(page.get_by_label("Scribbles")).to_be_checked()
    for number in (1, 2):
        stroke_both(easel)
        answered(easel, number)
        assert (easel.on_server() != 255).mean() < 0.2, "strokes, and nothing filled in"
        to_next(easel, "n")
    for number in (2, 3, 4):
        answered(easel, number)
        expect(page.locator("[data-live-text]")).to_contain_text("Accept it, or scribble where it is wrong")
        assert (easel.on_server() == 255).all(), "what nobody has confirmed is not kept as truth"
        page.keyboard.press("1")
        shown = int(page.locator("[data-stage]").get_attribute("data-live") or 0)
        easel.drag((8, 110), (150, 112))
        expect(page.locator("[data-stage]")).not_to_have_attribute("data-live", str(shown), timeout=LONG)
        to_next(easel, "a")
        expect(page.locator("[data-siblings] li[data-state=accepted]").first).to_be_visible()
    expect(page.locator("[data-siblings] li[data-state=accepted]")).to_have_count(3)
    page.get_by_role("button", name="Train my model").click()
    stop_soon(page)
    tour.expect_custom()
    expect(page.locator(".agreement")).to_have_count(1)
    tour.analyze(disc_photo(tmp_path / "new.png", 99))
    answer = page.request.get(page.locator("a[href*='/mask?download']").get_attribute("href") or "")
    assert overlap(np.asarray(Image.open(io.BytesIO(answer.body()))) == 1, disc_ids() == 1) > 0.6, (
        "stopped early as it was"
    )
