"""The analyze page under real hands: layers, zoom, what lies under the pointer, comparing; and pages without script."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from segapp.tests.browser.visits import Tour, faults
from segapp.tests.imaging.drawing import photo, saved, shapes

pytestmark = pytest.mark.browser
SUM = """canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
    .reduce((sum, value, k) => k % 4 === 3 ? sum + (value > 0) : sum, 0)"""


@pytest.fixture
def result(visit, served) -> Tour:
    """A visitor who looks at the sample image through the base model."""
    served.wait_ready()
    tour = visit()
    tour.page.goto("/analyze/")
    tour.page.click("text=Try it with a sample image")
    expect(tour.page.locator("[data-viewer][data-ready]")).to_be_visible(timeout=60_000)
    return tour


def layer(page: Page, name: str) -> None:
    page.locator(f"input[name=layer][value={name}]").check(force=True)


def test_the_address_is_the_results_own_and_opens_it_again(result):
    page = result.page
    assert re.search(r"/analyze/[0-9a-f]{32}/$", page.url)
    page.reload()
    expect(page.locator("[data-viewer][data-ready]")).to_be_visible()
    expect(page.locator("#strip a[aria-current]")).to_have_count(1)


def test_layers_and_opacity_change_what_is_drawn(result):
    page = result.page
    canvas, image = page.locator("[data-layer]"), page.locator("[data-image]")
    layer(page, "image")
    expect(canvas).to_be_hidden()
    layer(page, "mask")
    expect(image).to_have_css("visibility", "hidden")
    expect(canvas).to_have_css("opacity", "1")
    layer(page, "overlay")
    page.locator("[data-opacity]").fill("20")
    expect(canvas).to_have_css("opacity", "0.2")
    layer(page, "confidence")
    expect(page.locator("[data-ramp-legend]")).to_be_visible()
    assert faults(page) == []


def test_a_class_that_is_switched_off_is_not_drawn_and_its_share_is_what_went(result):
    page = result.page
    everything = page.locator("[data-layer]").evaluate(SUM)
    width, height = page.locator("[data-layer]").evaluate("canvas => [canvas.width, canvas.height]")
    row = page.locator("table.found tbody tr").first
    share = float((row.locator("td").nth(2).text_content() or "").replace("%", "").strip())
    row.locator("[data-toggle]").uncheck()
    gone = everything - page.locator("[data-layer]").evaluate(SUM)
    assert gone == pytest.approx(share / 100 * width * height, rel=0.01)


def test_the_pointer_reads_the_class_and_the_confidence(result):
    page = result.page
    box = page.locator("[data-viewer]").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    readout = page.locator("[data-readout]")
    expect(readout).to_have_text(re.compile(r"^.+, \d+ % confidence$"))
    name = (readout.text_content() or "").rpartition(",")[0]
    assert name in page.locator("table.found").inner_text()


def test_zoom_and_pan_work_by_wheel_keys_and_buttons(result):
    page, viewer = result.page, result.page.locator("[data-viewer]")
    expect(viewer).to_have_attribute("data-scale", "1.00")
    viewer.focus()
    page.keyboard.press("+")
    expect(viewer).to_have_attribute("data-scale", "1.40")
    page.keyboard.press("0")
    expect(viewer).to_have_attribute("data-scale", "1.00")
    page.get_by_role("button", name="Zoom in").click()
    expect(viewer).to_have_attribute("data-scale", "1.40")
    viewer.hover()
    page.mouse.wheel(0, -400)
    assert float(viewer.get_attribute("data-scale") or 0) > 2
    before = page.locator(".stage").evaluate("stage => stage.style.transform")
    page.mouse.down()
    page.mouse.move(400, 400, steps=4)
    page.mouse.up()
    assert page.locator(".stage").evaluate("stage => stage.style.transform") != before


def test_the_opacity_layer_and_classes_are_reached_by_keyboard(result):
    page = result.page
    page.locator("input[name=layer]:checked").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("input[name=layer][value=mask]")).to_be_checked()
    page.locator("[data-toggle]").first.focus()
    page.keyboard.press("Space")
    expect(page.locator("[data-toggle]").first).not_to_be_checked()


def test_figures_and_images_can_be_taken_away(result):
    page = result.page
    for words, start in (("Mask", b"\x89PNG"), ("Overlay", b"\xff\xd8"), ("CSV", b"id,name")):
        with page.expect_download() as taken:
            page.get_by_role("link", name=words, exact=True).click()
        assert Path(taken.value.path()).read_bytes().startswith(start)


def test_several_images_are_answered_and_wait_in_the_strip(visit, served, tmp_path):
    served.wait_ready()
    paths = []
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(saved(photo(96)).getvalue())
        paths.append(tmp_path / name)
    page = visit().page
    page.goto("/analyze/")
    page.set_input_files("#image", paths)
    page.click("[data-image-drop] [data-send]")
    expect(page.locator("#strip img")).to_have_count(3, timeout=60_000)
    expect(page.locator("#strip .strip-state")).to_have_count(0)


def test_a_refused_image_leaves_the_page_as_it_was(result, tmp_path):
    result.expected = ["422"]
    page = result.page
    (tmp_path / "page.png").write_bytes(b"<html>")
    page.set_input_files("#image", tmp_path / "page.png")
    page.click("[data-image-drop] [data-send]")
    expect(page.locator("#analyze-problems")).to_contain_text("page.png")
    expect(page.locator("[data-viewer][data-ready]")).to_be_visible()


def test_without_script_the_main_forms_still_do_their_work(visit, served, tmp_path):
    served.wait_ready()
    page = visit(java_script_enabled=False).page
    (tmp_path / "disc.jpg").write_bytes(saved(photo(96), "JPEG").getvalue())
    (tmp_path / "disc.png").write_bytes(saved(shapes([0, 255])).getvalue())
    page.goto("/finetune/")
    page.set_input_files("input[name=images]", tmp_path / "disc.jpg")
    page.set_input_files("input[name=masks]", tmp_path / "disc.png")
    page.click("form[data-drop] [data-send]")
    expect(page.locator(".thumb")).to_have_count(1)
    page.click("#train-form button")
    expect(page.locator("#run-live")).to_be_visible()
    page.click("#run-cancel")
    expect(page.locator("#step-train")).to_contain_text(re.compile("Cancelling|was cancelled"))
    page.goto("/analyze/")
    page.set_input_files("#image", tmp_path / "disc.jpg")
    page.click("[data-image-drop] [data-send]")
    expect(page.locator(".result .answered")).to_be_visible(timeout=60_000)
    expect(page.locator("img.flat")).to_be_visible()
    page.goto("/reset/")
    expect(page.locator("h1")).to_have_text("The base model is in use")
