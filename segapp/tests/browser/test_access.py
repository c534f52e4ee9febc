"""Pages for everyone: light enough, sound for assistive software, usable by keyboard, in both themes."""

import pytest
from playwright.sync_api import expect

from segapp.tests.browser.visits import HEAVIEST, faults, weight

pytestmark = pytest.mark.browser
PAGES = ["/", "/finetune/", "/analyze/", "/video/", "/models/", "/reset/", "/nowhere/"]


@pytest.mark.parametrize("theme", ["dark", pytest.param("light", marks=pytest.mark.slow)])
@pytest.mark.parametrize("address", PAGES)
def test_no_page_has_a_fault_that_axe_can_find(visit, address, theme):
    tour = visit(color_scheme=theme)
    tour.expected = ["404"]
    tour.page.goto(address)
    assert faults(tour.page) == []
    if address != "/nowhere/":
        tour.page.click("#status-pill")
        expect(tour.page.locator("#status-card")).to_be_visible()
        assert faults(tour.page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_has_the_menu_and_no_faults(visit, theme):
    page = visit(color_scheme=theme, viewport={"width": 360, "height": 740}).page
    page.goto("/")
    expect(page.locator("#menu")).not_to_be_visible()
    page.click("button[popovertarget=menu]")
    expect(page.get_by_role("link", name="Analyze")).to_be_visible()
    assert faults(page) == []
    page.get_by_role("link", name="Analyze").click()
    expect(page.locator("h1")).to_have_text("Analyze")


@pytest.mark.parametrize("address", PAGES)
def test_a_page_without_its_images_is_light(visit, address):
    tour = visit(fresh=True)
    tour.expected = ["404"]
    sizes = weight(tour.page, lambda: tour.page.goto(address, wait_until="networkidle"))
    assert sizes and sum(sizes.values()) < HEAVIEST, sizes


def test_nothing_comes_from_another_host(visit, served):
    tour = visit()
    asked: list[str] = []
    tour.page.on("request", lambda request: asked.append(request.url))
    for address in PAGES[:-1]:
        tour.page.goto(address, wait_until="networkidle")
    assert asked and all(url.startswith(served.url) for url in asked)


def test_the_keyboard_skips_to_the_content_and_sees_where_it_is(visit):
    page = visit().page
    page.goto("/")
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    expect(skip).to_have_text("Skip to the content")
    expect(skip).to_be_in_viewport()
    assert skip.evaluate("link => getComputedStyle(link).outlineStyle") != "none"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Train my model")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Fine-tune")


def test_the_card_opens_and_closes_by_keyboard(visit):
    page = visit().page
    page.goto("/")
    page.locator("#status-pill").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#status-card")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#status-card")).not_to_be_visible()


def test_the_theme_is_the_systems_until_one_is_chosen_and_then_stays(visit):
    tour = visit(color_scheme="dark")
    page, ground = tour.page, "() => getComputedStyle(document.body).backgroundColor"
    page.goto("/")
    dark = page.evaluate(ground)
    page.click("[data-theme-button]")
    light = page.evaluate(ground)
    assert light != dark
    page.goto("/models/")
    assert page.evaluate(ground) == light
    page.click("[data-theme-button]")
    assert page.evaluate(ground) == dark
