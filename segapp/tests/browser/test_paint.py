"""Painting with a real mouse, keys and fingers: what is painted is what is saved, to the pixel."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from segapp.tests.browser.easel import Easel, disc_ids, disc_photo, overlap, polygon_ids, stroke_ids
from segapp.tests.browser.visits import HEAVIEST, faults, weight

pytestmark = pytest.mark.browser
UNPAINTED = 255
CORNERS = [(20, 15), (130, 25), (90, 60), (140, 105), (30, 95)]


@pytest.fixture
def photo(tmp_path) -> Path:
    return disc_photo(tmp_path / "disc.png")


def test_brush_and_polygon_come_out_to_the_pixel_and_can_be_downloaded(visit, photo):
    page = visit().page
    easel = Easel(page).begin(photo)
    easel.tool("polygon")
    points = [easel.click(*corner) for corner in CORNERS]
    page.get_by_role("button", name="Close the polygon").click()
    expected = np.where(polygon_ids(points), 1, UNPAINTED)
    assert (easel.values() == expected).all()
    page.keyboard.press("b")
    easel.set("size", 13)
    page.locator("[data-class-list] li").first.locator("input[type=radio]").check()
    points = easel.drag((10, 100), (70, 20), (150, 80))
    expected[stroke_ids(points, 13)] = 0
    assert (easel.values() == expected).all()
    with page.expect_download() as sent:
        page.get_by_role("link", name="Download the mask").click()
    mask = Image.open(Path(sent.value.path()))
    assert mask.mode == "P" and (np.asarray(mask) == expected).all(), "what is unpainted is unknown"
    page.get_by_label("Whole mask").check()
    easel.saved()
    with page.expect_download() as sent:
        page.get_by_role("link", name="Download the mask").click()
    mask = Image.open(Path(sent.value.path()))
    assert (np.asarray(mask) == np.where(expected == UNPAINTED, 0, expected)).all()


def test_a_reload_loses_nothing_and_undo_and_redo_are_saved_too(visit, photo):
    page = visit().page
    easel = Easel(page).begin(photo)
    easel.drag((20, 20), (100, 90))
    once = easel.values()
    easel.drag((120, 20), (120, 100))
    twice = easel.values()
    assert (once != UNPAINTED).any() and (once != twice).any()
    page.keyboard.press("Control+z")
    assert (easel.values() == once).all()
    page.keyboard.press("Control+Shift+z")
    assert (easel.values() == twice).all()
    page.reload()
    easel.wait()
    assert (easel.on_server() == twice).all()
    page.keyboard.press("z")
    assert (easel.values() == once).all(), "undo survives a reload"
    page.reload()
    easel.wait()
    page.get_by_role("button", name="Redo").click()
    assert (easel.values() == twice).all(), "and so does redo"
    page.keyboard.press("z")
    page.keyboard.press("z")
    assert (easel.values() == UNPAINTED).all()
    page.keyboard.press("y")
    page.keyboard.press("y")
    assert (easel.values() == twice).all()
    easel.tool("eraser")
    easel.set("size", 60)
    easel.drag((20, 20), (100, 90))
    assert (easel.values() == UNPAINTED).sum() > (twice == UNPAINTED).sum(), "painting goes on from what was saved"


def test_deleting_everything_clears_the_undo_steps_in_the_browser_too(visit, photo):
    page = visit().page
    easel = Easel(page).begin(photo)
    easel.drag((20, 20), (100, 90))
    easel.saved()
    names = "async () => (await indexedDB.databases()).map((one) => one.name)"
    assert page.evaluate(names) == ["segapp-paint"]
    page.goto("/models/erase/")
    page.get_by_role("button", name="Delete all my data").click()
    expect(page.locator("[data-forget-everything]")).to_be_visible()
    page.wait_for_function("async () => (await indexedDB.databases()).length === 0")


def test_a_class_added_by_mistake_can_be_removed_and_one_in_use_cannot(visit, photo):
    tour = visit()
    tour.expected.append("422")
    page = tour.page
    easel = Easel(page).begin(photo)
    rows = page.locator("[data-class-list] li")
    before = rows.count()
    page.get_by_role("button", name="Add a class").click()
    expect(rows).to_have_count(before + 1)
    page.get_by_role("button", name="Remove class 2").click()
    expect(rows).to_have_count(before)
    page.reload()
    easel.wait()
    expect(rows).to_have_count(before)
    easel.drag((20, 20), (100, 90))
    page.get_by_role("button", name="Remove class 1").click()
    expect(page.locator("[data-saved]")).to_contain_text("is painted on")
    expect(rows).to_have_count(before)


def test_leaving_at_once_after_a_stroke_saves_it_first(visit, photo):
    page = visit().page
    easel = Easel(page).begin(photo)
    address = page.url
    easel.drag((20, 20), (100, 90))
    page.get_by_role("link", name="Done").click()
    expect(page.locator(".thumb")).to_have_count(1)
    expect(page.locator("#to-paint")).to_have_count(0)
    page.goto(address)
    assert (easel.wait().on_server() == 1).any()


def test_a_click_with_region_select_takes_the_whole_disc(visit, photo):
    easel = Easel(visit().page).begin(photo)
    easel.wait_regions()
    easel.tool("region")
    easel.set("region-size", 88)
    easel.click(75, 65)
    assert overlap(easel.values() == 1, disc_ids() == 1) > 0.95
    easel.page.keyboard.press("Control+z")
    easel.set("region-size", 30)
    easel.drag((55, 65), (65, 65), (75, 65), (85, 65), (95, 65))
    found = easel.values() == 1
    assert found.any() and not (found & (disc_ids() == 0)).sum() > 30, "small regions stop at the disc's edge"


def test_clicks_propose_a_region_that_is_painted_and_undone(visit, photo):
    easel = Easel(visit().page).begin(photo)
    stage, keys = easel.page.locator("[data-stage]"), easel.page.keyboard
    keys.press("r")
    easel.click(20, 15)
    expect(stage).to_have_attribute("data-clicked", "1")
    easel.page.get_by_label("Take away").check(force=True)
    easel.click(75, 65)
    expect(stage).to_have_attribute("data-clicked", "2")
    keys.press("Backspace")
    expect(stage).to_have_attribute("data-clicked", "1")
    keys.press("Escape")
    expect(stage).to_have_attribute("data-clicked", "0")
    assert (easel.on_server() == UNPAINTED).all(), "a proposal is no paint"
    easel.click(75, 65)
    expect(stage).to_have_attribute("data-clicked", "1")
    easel.page.get_by_role("button", name="Paint it").click()
    assert overlap(easel.values() == 1, disc_ids() == 1) > 0.9
    keys.press("Control+z")
    assert (easel.values() == UNPAINTED).all()


def test_fill_paints_what_is_enclosed(visit, photo):
    page = visit().page
    easel = Easel(page).begin(photo)
    easel.tool("polygon")
    points = [easel.click(*corner) for corner in CORNERS]
    page.get_by_role("button", name="Close the polygon").click()
    easel.tool("fill")
    page.keyboard.press("1")
    easel.click(30, 20)
    expected = np.where(polygon_ids(points), 0, UNPAINTED)
    assert (easel.values() == expected).all()


def test_everything_but_freehand_goes_by_keyboard(visit, photo):
    page = visit().page
    easel = Easel(page).begin(photo)
    page.locator("[data-add-class]").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("petal")
    page.keyboard.press("Enter")
    expect(page.locator("[data-stage]")).to_be_focused()
    page.keyboard.press("p")
    for keys in (["ArrowLeft"] * 9, ["ArrowDown"] * 8, ["Shift+ArrowRight"] * 2):
        for key in keys:
            page.keyboard.press(key)
        page.keyboard.press("Enter")
    page.keyboard.press("c")
    drawn = easel.values()
    assert (drawn == 2).sum() > 50
    for key in ("f", "2", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("[data-undo]")).to_be_enabled()
    assert set(np.unique(easel.values())) <= {1, 2, UNPAINTED}
    page.keyboard.press("Control+z")
    assert (easel.values() == drawn).all()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.goto("/finetune/")
    expect(page.locator("#name-2")).to_have_value("petal")


def test_zoomed_in_a_stroke_lands_where_the_pointer_is(visit, photo):
    page = visit().page
    easel = Easel(page).begin(photo)
    before = easel.page.locator("[data-stage]").get_attribute("data-scale")
    page.mouse.move(*easel.spot(40, 60))
    page.mouse.wheel(0, -500)
    page.wait_for_function("before => document.querySelector('[data-stage]').dataset.scale > 1.5 * before", arg=before)
    easel.set("size", 3)
    points = easel.drag((38, 55), (46, 66))
    assert (easel.values() == np.where(stroke_ids(points, 3), 1, UNPAINTED)).all()


def test_one_finger_paints_and_two_move(visit, photo):
    page = visit(has_touch=True, viewport={"width": 360, "height": 740}).page
    easel = Easel(page).begin(photo)
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *spots: tuple[int, int]) -> None:
        points = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(spots)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    page.locator("[data-stage]").scroll_into_view_if_needed()
    fingers("touchStart", easel.spot(30, 30))
    fingers("touchMove", easel.spot(100, 90))
    fingers("touchEnd")
    painted = easel.values()
    assert (painted == 1).any()
    scale = float(page.locator("[data-stage]").get_attribute("data-scale") or 0)
    a, b = easel.spot(60, 60), easel.spot(80, 60)
    fingers("touchStart", a)
    fingers("touchStart", a, b)
    fingers("touchMove", (a[0] - 60, a[1]), (b[0] + 60, b[1]))
    fingers("touchEnd")
    assert float(page.locator("[data-stage]").get_attribute("data-scale") or 0) > 1.5 * scale
    assert (easel.values() == painted).all(), "what the first finger began is taken back"


def test_a_second_tab_is_told_and_decides(visit, photo):
    tour = visit()
    tour.expected = ["409"]
    mine = Easel(tour.page).begin(photo)
    theirs = Easel(tour.open())
    theirs.page.goto(mine.page.url)
    theirs.wait()
    theirs.drag((120, 20), (120, 100))
    other = theirs.values()
    mine.drag((20, 20), (20, 100))
    expect(mine.page.locator("[data-conflict]")).to_be_visible()
    expect(mine.page.locator("[data-saved]")).to_contain_text("painted in another tab")
    assert (mine.on_server() == other).all()
    assert faults(mine.page) == []
    mine.page.get_by_role("button", name="Show the other version").click()
    expect(mine.page.locator("[data-conflict]")).not_to_be_visible()
    mine.drag((60, 20), (60, 100))
    assert ((mine.values() == 1) >= (other == 1)).all() and (mine.on_server() != other).any()
    theirs.drag((140, 20), (140, 100))
    theirs.page.get_by_role("button", name="Keep mine and overwrite the other").click()
    kept = theirs.values()
    assert ((kept == 1) >= (other == 1)).all() and not (kept[:, 60] == 1).any()


def test_a_stroke_survives_a_dropped_connection(visit, photo):
    tour = visit()
    tour.expected = ["Failed to load resource", "htmx:"]
    page = tour.page
    easel = Easel(page).begin(photo)
    page.context.set_offline(True)
    easel.drag((20, 20), (100, 90))
    expect(page.locator("[data-saved]")).to_contain_text("cannot be reached. Trying again", timeout=30_000)
    page.context.set_offline(False)
    assert (easel.values() == 1).any()
    page.reload()
    assert (easel.wait().on_server() == 1).any()


def test_nothing_to_paint_is_said_with_one_click(visit, photo):
    page = visit().page
    easel = Easel(page).begin(photo)
    page.get_by_role("button", name="All of it is background").click()
    assert (easel.values() == 0).all()
    page.keyboard.press("z")
    page.get_by_label("Whole mask").check()
    page.get_by_label("There is nothing to paint on this image").check()
    easel.saved()
    page.get_by_role("link", name="Done").click()
    expect(page.locator("#to-paint")).to_have_count(0)
    expect(page.locator("#name-0")).to_have_value("background")


def test_an_uploaded_mask_is_corrected_by_painting(visit, photo, tmp_path):
    page = visit().page
    (tmp_path / "masks").mkdir()
    Image.fromarray(disc_ids() * 255).save(tmp_path / "masks" / "disc.png")
    page.goto("/finetune/")
    page.set_input_files("form[data-drop] input[name=images]", photo)
    page.set_input_files("form[data-drop] input[name=masks]", tmp_path / "masks" / "disc.png")
    page.click("[data-send]")
    page.get_by_role("button", name="Paint disc").click()
    easel = Easel(page).wait()
    assert (easel.on_server() == disc_ids()).all()
    points = easel.drag((10, 110), (150, 110))
    size = int(page.locator("[data-size]").input_value())
    assert (easel.values() == np.where(stroke_ids(points, size), 1, disc_ids())).all()


@pytest.mark.parametrize("theme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_the_page_has_no_fault_that_axe_can_find_and_fits_a_phone(visit, photo, theme):
    page = visit(color_scheme=theme, viewport={"width": 360, "height": 740}).page
    easel = Easel(page).begin(photo, disc_photo(photo.parent / "two.png", 1))
    easel.drag((20, 20), (100, 90))
    easel.saved()
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_role("button", name="Keys").click()
    assert faults(page) == []
    page.goto("/finetune/")
    assert faults(page) == []


def test_the_page_is_light_without_its_images(visit, photo):
    page = visit().page
    easel = Easel(page).begin(photo)

    def load() -> None:
        page.reload()
        easel.wait_regions()
        page.wait_for_load_state("networkidle")

    sizes = weight(page, load, images=True)
    own = {url: size for url, size in sizes.items() if "/files/" not in url and not url.endswith("/mask")}
    assert len(own) > 10 and sum(own.values()) < HEAVIEST, own
