"""The page that describes the API: under the site's Content-Security-Policy, in both themes, on a phone."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
SCREEN, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@pytest.mark.parametrize(
    ("size", "theme"),
    [
        pytest.param(SCREEN, "light", id="screen-light", marks=pytest.mark.slow),
        pytest.param(PHONE, "dark", id="phone-dark"),
        pytest.param(SCREEN, "dark", id="screen-dark", marks=pytest.mark.slow),
        pytest.param(PHONE, "light", id="phone-light", marks=pytest.mark.slow),
    ],
)
def test_calls_can_be_read_and_tried(visit, size, theme):
    """A violation of the policy is a console error, which fails the test."""
    page = visit(color_scheme=theme, viewport=size).page
    page.goto("/models/")
    page.locator("#keys").get_by_role("link", name="API").click()
    expect(page.locator(".opblock").first).to_be_visible()
    assert page.locator(".opblock").count() > 25
    segment = page.locator("#operations-Images-post_segment")
    segment.locator(".opblock-summary-control").click()
    expect(segment.get_by_text("A share link's token")).to_be_visible()
    keys = page.locator("#operations-Keys-post_keys")
    keys.locator(".opblock-summary-control").click()
    keys.get_by_role("button", name="Try it out").click()
    keys.get_by_role("button", name="Execute").click()
    answer = keys.locator(".live-responses-table")
    expect(answer).to_contain_text("201")
    expect(answer).to_contain_text("segapp_")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    dark = page.evaluate("document.documentElement.classList.contains('dark-mode')")
    assert dark == (theme == "dark")


def test_the_theme_follows_the_button_and_a_key_is_all_that_is_asked_for(visit):
    page = visit(color_scheme="light").page
    page.goto("/")
    page.locator("footer").get_by_role("link", name="API").click()
    page.locator(".authorize").first.click()
    expect(page.locator(".auth-container")).to_have_count(1)
    page.locator(".modal-ux .close-modal").click()
    for _ in range(2):  # from the system's to light to dark
        page.click("[data-theme-button]")
    expect(page.locator("html")).to_have_class("dark-mode")
