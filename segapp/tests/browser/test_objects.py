"""Objects on Analyze under real hands: outlines and table linked by click, corrections with undo, filters, plots."""

import pytest
from playwright.sync_api import Page, expect

from segapp.tests.browser.visits import faults

pytestmark = pytest.mark.browser


@pytest.fixture
def page(visit, served) -> Page:
    """The sample image with the larger objects of all classes counted."""
    served.wait_ready()
    tour = visit()
    tour.expected = ["htmx:"]  # a change takes the place of the one before, whose request is given up
    page = tour.page
    page.goto("/analyze/")
    page.click("text=Try it with a sample image")
    expect(page.locator("[data-viewer][data-ready]")).to_be_visible(timeout=60_000)
    page.click("text=Count objects")
    expect(page.locator("#objects-form")).to_be_visible()
    for box in page.locator("#objects-form input[name=things]").all():
        if not box.is_checked():
            box.check()
    page.fill("#objects-form input[name=min_area]", "1000")
    page.press("#objects-form input[name=min_area]", "Tab")
    expect(page.locator("#objects-found")).to_contain_text("Table of")
    for _ in range(100):
        if 3 < page.locator(".outlines path").count() < 200:
            return page
        page.wait_for_timeout(100)
    raise AssertionError(f"{page.locator('.outlines path').count()} objects")


def count(page: Page) -> int:
    page.wait_for_timeout(600)  # a changed form is sent after a moment
    return page.locator(".outlines path").count()


def test_outlines_and_rows_are_linked_and_corrections_can_be_undone(page):
    before = count(page)
    rows = page.locator(".objects-table tr[data-number]")
    assert rows.count() == before
    rows.nth(1).click()
    expect(page.locator(".outlines path.selected")).to_have_count(1)
    rows.nth(2).click(modifiers=["Shift"])
    expect(page.locator(".outlines path.selected")).to_have_count(2)
    page.click("[data-edit=merge]")
    expect(page.locator(".outlines path")).to_have_count(before - 1)
    page.locator(".objects-table tr[data-number]").first.click()
    page.click("[data-edit=delete]")
    expect(page.locator(".outlines path")).to_have_count(before - 2)
    for left in (before - 1, before):
        page.click("[data-edit=undo]")
        expect(page.locator(".outlines path")).to_have_count(left)


def test_a_click_on_the_image_selects_the_row(page):
    page.locator(".objects-table tr[data-number]").first.click()
    page.evaluate("scrollTo(0, 0)")
    spot = page.evaluate(
        """async () => {
            const { pixelIn } = await import(document.querySelector('script[src*="js/objects"]').src);
            const address = document.querySelector('[data-objects]').dataset.objects;
            const answer = await fetch(address, { headers: { Accept: 'application/json' } });
            const { view } = await answer.json();
            const [x, y] = pixelIn(view.outlines[1]);
            const matrix = document.querySelector('.outlines').getScreenCTM();
            const point = new DOMPoint(x + 0.5, y + 0.5).matrixTransform(matrix);
            return [point.x, point.y];
        }"""
    )
    page.mouse.click(*spot)
    expect(page.locator(".objects-table tr.selected")).to_have_attribute("data-number", "2")


def test_rows_are_sorted_and_filtered(page):
    areas = ".objects-table tr[data-number] td:nth-child(3)"
    page.click(".objects-table .sort:has-text('Area')")
    page.click(".objects-table .sort:has-text('Area')")
    found = [float(text) for text in page.locator(areas).all_inner_texts()]
    assert found == sorted(found, reverse=True) and len(found) > 2
    page.fill(".objects-filter input[type=number]", str(found[1]))
    expect(page.locator(".objects-table tr[data-number]")).to_have_count(2)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_plots_are_drawn_and_taken_along_and_the_page_is_sound(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.click("summary:has-text('Plots')")
    expect(page.locator(".plot svg rect").first).to_be_visible()
    assert "Histogram of" in page.locator(".plot svg").get_attribute("aria-label")
    with page.expect_download() as picture:
        page.click("[data-png]")
    assert picture.value.suggested_filename.endswith(".png")
    page.locator("[data-y]").select_option(index=1)
    expect(page.locator(".plot svg circle").first).to_be_visible()
    with page.expect_download() as table:
        page.click("[data-csv]")
    assert table.value.suggested_filename.endswith(".csv")
    assert faults(page) == []
