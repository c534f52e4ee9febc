"""From painted masks only to a model, and from one of its answers, mended, to a new version of it."""

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from segapp.tests import second_pair
from segapp.tests.browser.easel import Easel, disc_ids, disc_photo, overlap
from segapp.tests.browser.visits import faults

pytestmark = pytest.mark.browser
LONG = 240_000  # milliseconds


def versions(served) -> list[tuple[str, str | None, int, int]]:
    """(name, parent's name, active, images) of Oranges and what came of it, oldest first."""
    found = second_pair.select(
        served.home,
        "select own.name, parent.name as parent, own.active, own.image_count from registry_usermodel own"
        " left join registry_usermodel parent on own.parent_id = parent.id"
        " where 'Oranges' in (own.name, parent.name) order by own.id",
    )
    return [tuple(row.values()) for row in found]


def stop_soon(page: Page) -> None:
    """Let a training get as far as it must and keep what there is."""
    expect(page.locator("#run-keep")).to_be_visible(timeout=LONG)
    expect(page.locator("#run-live")).to_contain_text("Training “", timeout=LONG)
    page.click("#run-keep")
    expect(page.locator("#step-result")).to_contain_text("is your model now", timeout=LONG)


def test_painted_masks_train_a_model_and_its_mended_answer_makes_a_new_version(visit, served, tmp_path):
    served.wait_ready()
    tour = visit()
    page = tour.page
    easel = Easel(page).begin(*[disc_photo(tmp_path / f"photo{k}.png", k) for k in range(2)])
    page.locator("[data-class-list] input[type=text]").nth(1).fill("orange")
    for last in (False, True):
        easel.wait().wait_regions()
        easel.tool("region")
        easel.set("region-size", 88)
        easel.click(75, 65)
        assert overlap(easel.values() == 1, disc_ids() == 1) > 0.9
        easel.tool("brush")
        page.keyboard.press("1")
        easel.drag((8, 10), (150, 10))
        assert (easel.values() == 255).any(), "the rest stays unknown"
        before = page.url
        page.get_by_role("link", name="All my images" if last else "Next image").click()
        expect(page).not_to_have_url(before)
    expect(page.locator(".thumb")).to_have_count(2)
    expect(page.locator("#name-1")).to_have_value("orange")
    page.fill("#run-name", "Oranges")
    page.click("#train-form button")
    stop_soon(page)
    expect(page.locator("#step-classes")).to_contain_text("orange")
    assert versions(served) == [("Oranges", None, 1, 2)]

    tour.analyze(disc_photo(tmp_path / "third.png", 3))
    expect(page.locator(".result")).to_contain_text("orange")
    page.get_by_role("button", name="Fix and add to training").click()
    easel = Easel(page).wait()
    assert page.locator("[data-class-list] input[type=text]").nth(1).input_value() == "orange"
    assert (easel.on_server() == 255).all(), "what the model found is proposed, and nobody has confirmed it"
    expect(page.get_by_label("Only what I touched")).to_be_checked()
    expect(page.locator("[data-stage][data-live]")).to_be_visible()
    easel.tool("polygon")
    for corner in ((2, 2), (30, 2), (30, 30), (2, 30)):
        easel.click(*corner)
    page.keyboard.press("1")
    page.get_by_role("button", name="Close the polygon").click()
    mended = easel.values()
    assert (mended[4:28, 4:28] == 0).all() and (mended[60:] == 255).all()
    page.get_by_label("All of it is right").check()
    expect(page.locator("[data-saved]")).to_have_text("Accepted and saved.")
    assert 255 not in easel.on_server()
    assert faults(page) == []
    page.get_by_role("button", name="Continue training “Oranges”").click()
    stop_soon(page)
    assert versions(served) == [("Oranges", None, 0, 2), ("Model 2", "Oranges", 1, 3)]
    tour.expect_custom()
    page.goto("/models/")
    expect(page.locator(".version")).to_have_count(2)
    expect(page.locator(".version").first).to_contain_text("Oranges")

    tour.analyze(disc_photo(tmp_path / "fourth.png", 4))
    answer = page.request.get(page.locator("a[href*='/mask?download']").get_attribute("href") or "")
    ids = np.asarray(Image.open(io.BytesIO(answer.body())))
    assert set(np.unique(ids)) <= {0, 1}, "class ids are those that were painted"
