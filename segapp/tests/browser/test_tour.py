"""The whole tour in a real browser: upload, train, watch the pill turn green, analyze, leave, come back, reset."""

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from segapp.tests.browser.visits import Tour
from segapp.tests.planting import plant_into
from segapp.tests.test_lifecycle import few_shot, file_of

pytestmark = pytest.mark.browser
SIDE = 352  # pixels; smaller ones would also be tried at smaller input sizes


@pytest.fixture(scope="module")
def tour(chromium, served, data):
    served.wait_ready()
    tour = Tour(chromium, served)
    yield tour
    tour.context.close()
    assert tour.complaints == []


@pytest.fixture(scope="module")
def cats(data, tmp_path_factory) -> Path:
    """Six cats with masks, made small: how good the model becomes is tested in test_lifecycle."""
    small = tmp_path_factory.mktemp("cats")
    for kind, filter in (("images", Image.Resampling.BILINEAR), ("masks", Image.Resampling.NEAREST)):
        (small / kind).mkdir()
        for stem in few_shot(data / "cats_feral", 6):
            path = file_of(data / "cats_feral", kind, stem)
            Image.open(path).resize((SIDE, SIDE), filter).save(small / kind / path.name)
    return small


# The tests below are one tour and run in this order.


def test_upload_shows_each_pair_with_its_mask_before_training(tour, cats):
    page, stems = tour.page, few_shot(cats, 5)
    page.goto("/")
    expect(page.locator("main")).to_contain_text("Active Model:")
    tour.expect_base()
    page.goto("/finetune/")
    page.set_input_files("input[name=images]", [file_of(cats, "images", stem) for stem in stems])
    page.set_input_files("input[name=masks]", [file_of(cats, "masks", stem) for stem in stems])
    page.click("form[data-drop] [data-send]")
    expect(page.locator(".thumbs .thumb")).to_have_count(5)
    for image in page.locator(".thumbs img").all():
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") > 0


def test_training_ends_on_a_green_pill_without_a_reload(tour):
    page = tour.page
    page.evaluate("window.neverReloaded = true")
    page.click("#train-form button")
    expect(page.locator("#run-progress")).to_be_visible()
    expect(page.locator("#status-pill")).to_contain_text("Custom Model", timeout=240_000)
    assert page.evaluate("window.neverReloaded") is True
    tour.expect_custom()
    expect(page.locator("#studio")).to_contain_text("held-out")


def test_the_browser_remembers_the_model(tour):
    assert tour.memory("finetuned_model_id") and tour.memory("finetuned_model_token")
    tour.page.reload()
    tour.expect_custom()
    tour.page.goto("/")
    expect(tour.page.locator("main")).to_contain_text("Custom Model")


def test_analyze_answers_with_the_custom_model(tour, cats):
    tour.analyze(file_of(cats, "images", few_shot(cats, 6)[5]))
    expect(tour.page.locator(".result .answered")).to_contain_text("Custom Model")
    expect(tour.page.locator(".result table.found tbody tr")).to_have_count(2)
    with tour.page.expect_download() as mask:
        tour.page.click("a[href*='/mask?download']")
    assert Path(mask.value.path()).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("keep_cookies", [True, False], ids=["cookie kept", "cookie lost"])
def test_a_reopened_browser_has_its_model_back(tour, keep_cookies):
    tour.reopen(keep_cookies)
    if not keep_cookies:
        tour.page.goto("/")  # the page restores by the token in localStorage
    tour.page.goto("/models/")
    tour.expect_custom()


def test_reset_and_undo(tour):
    page = tour.page
    page.goto("/reset/")
    page.click("main form button.main")
    tour.expect_base()
    page.goto("/")
    assert tour.memory("finetuned_model_id") is None and tour.memory("finetuned_model_token")
    page.goto("/reset/")
    page.click("main form button")
    tour.expect_custom()


@pytest.mark.fault(30)
def test_a_lost_file_is_a_quiet_notice_and_no_error(tour, served, cats):
    page = tour.page
    page.goto("/")
    model = tour.memory("finetuned_model_id")
    if model is None:  # this test alone: the tour has not trained one
        cookie = next(row for row in tour.context.cookies() if row["name"] == "segapp_visitor")
        (model,) = plant_into(served.home, cookie["value"].split(":")[0], Lost=1)
        page.goto("/")
        tour.expect_custom()
    (served.home / "media" / "models" / f"user_{model}.pth").unlink()
    page.goto("/models/")
    tour.expect_base()
    expect(page.locator("#status .note.warn")).to_have_count(1)
    assert tour.memory("finetuned_model_id") is None
    tour.analyze(file_of(cats, "images", few_shot(cats, 6)[5]))
    expect(page.locator(".result .answered")).not_to_contain_text("Custom Model")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("address", ["/", "/finetune/", "/analyze/", "/video/", "/models/", "/reset/", "/nowhere/"])
def test_no_page_scrolls_sideways_on_a_phone(visit, address, theme):
    tour = visit(viewport={"width": 360, "height": 740}, color_scheme=theme)
    tour.expected = ["404"]
    tour.page.goto(address)
    assert tour.page.evaluate("document.documentElement.scrollWidth") <= 360
