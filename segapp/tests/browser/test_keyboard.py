"""The newcomer's tour by keyboard alone, from the sample images to a model and back; axe looks at every state."""

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from segapp.tests.browser.visits import HEAVIEST, Tour, faults, weight
from segapp.tests.video.videos import write_video

pytestmark = pytest.mark.browser
MOST = 120  # presses of Tab from one thing to the next


@pytest.fixture(scope="module")
def tour(chromium, served):
    served.wait_ready()
    tour = Tour(chromium, served)
    yield tour
    tour.context.close()
    assert tour.complaints == []


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until this has the focus, which must then be seen."""
    expect(wanted).to_be_visible()
    for _ in range(MOST):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            ring = wanted.evaluate("element => getComputedStyle(element).outlineStyle")
            assert ring != "none" or wanted.evaluate("element => !!element.closest('.choice, .panes, .segmented')")
            return
    raise AssertionError(f"Tab does not lead to {wanted}")


def press(page: Page, name: str, key: str = "Enter") -> None:
    tab_to(page, page.locator("main").get_by_role("button", name=name, exact=True))
    page.keyboard.press(key)


def sound(page: Page) -> None:
    """No fault that axe can find, in light and in dark, and nothing that sticks out at 360 pixels."""
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert faults(page) == []
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1280, "height": 720})


# The tests below are one tour and run in this order.


def test_the_samples_are_one_key_away_and_their_classes_can_be_named(tour):
    page = tour.page
    page.goto("/")
    press(page, "Try it with sample images")
    expect(page.locator(".thumb")).to_have_count(6)
    tab_to(page, page.locator(".thumb a").first)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_have_accessible_name("leaf_1 with its mask laid over")
    sound(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(dialog).to_have_accessible_name("leaf_2 with its mask laid over")
    page.keyboard.press("Escape")
    expect(page.locator(".thumb a").nth(1)).to_be_focused()
    tab_to(page, page.locator("#name-2"))
    page.keyboard.press("Control+a")
    page.keyboard.type("blight")
    with page.expect_response("**/finetune/classes/"):
        page.keyboard.press("Tab")
    expect(page.locator("#name-2")).to_have_value("blight")
    sound(page)


def test_it_trains_is_watched_and_stopped(tour):
    page = tour.page
    tab_to(page, page.locator("#train-form input[value=quick]"))
    press(page, "Train my model")
    expect(page.locator("#run-live")).to_be_visible()
    expect(page.locator("#step-train > summary")).to_be_focused()
    sound(page)
    expect(page.locator("#run-preview")).to_be_visible(timeout=60_000)
    expect(page.locator("#run-live")).to_contain_text("Held-out score 0.")
    expect(page.locator("#run-live path.baseline")).to_have_count(1)
    sound(page)
    tab_to(page, page.locator("#run-keep"))
    page.keyboard.press("Enter")
    tour.expect_custom()
    expect(page.locator("#step-result > summary")).to_be_focused()


def test_the_result_is_read_and_uncovered(tour):
    page = tour.page
    expect(page.locator("#step-result")).to_contain_text("“blight”")
    expect(page.locator("#step-result")).to_contain_text("What would help next")
    slider = page.locator("[data-uncover]").first
    tab_to(page, slider)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    figure = page.locator(".before-after").first
    assert figure.evaluate("figure => figure.style.getPropertyValue('--at')") == f"{slider.input_value()}%" != "50%"
    expect(figure.locator("[data-left-name]")).to_have_text("Base model")
    sound(page)


def test_an_image_is_analyzed_and_compared(tour):
    page = tour.page
    page.goto("/finetune/")
    tab_to(page, page.get_by_role("link", name="Analyze an image with it"))
    page.keyboard.press("Enter")
    press(page, "Try it with a sample image")
    expect(page.locator("[data-viewer][data-ready]")).to_be_visible(timeout=60_000)
    expect(page.locator(".result .answered")).to_contain_text("Custom Model")
    sound(page)
    press(page, "Compare")
    expect(page.locator("[data-compare][data-ready]")).to_be_visible(timeout=60_000)
    sound(page)


def test_a_video_is_sound_when_it_is_done(tour, tmp_path_factory):
    page = tour.page
    page.goto("/video/")
    clip: Path = write_video(tmp_path_factory.mktemp("videos") / "ride.mp4", 96, 64, frames=8)
    page.set_input_files("#clip", clip)
    press(page, "Segment the video")
    expect(page.locator("#film-overlay")).to_be_visible(timeout=120_000)
    sound(page)


@pytest.mark.parametrize("address", ["/finetune/", "/models/", "/analyze/", "/video/", "/"])
def test_pages_stay_light_when_there_is_something_on_them(tour, address):
    page = tour.page

    def load() -> None:
        page.goto(address, wait_until="load")
        page.wait_for_timeout(300)

    sizes = weight(page, load)
    assert sizes and sum(sizes.values()) < HEAVIEST, sizes


def test_one_key_goes_back_to_the_base_model(tour):
    page = tour.page
    page.goto("/reset/")
    sound(page)
    press(page, "Reset to base model")
    tour.expect_base()
    page.goto("/models/")
    sound(page)
