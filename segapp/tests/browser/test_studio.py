"""The fine-tune page under real hands: choosing, dropping, correcting, stopping, leaving and coming back."""

import base64
import io
import re
import time
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from segapp.tests.browser.visits import faults
from segapp.tests.imaging.drawing import photo, saved, shapes

pytestmark = pytest.mark.browser
PROMPT = 2_000  # milliseconds within which a stop is acknowledged


@pytest.fixture
def files(tmp_path) -> Path:
    """Three pairs of 96 x 96 pixels in images/ and masks/."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for stem in ("one", "two", "three"):
        (tmp_path / "images" / f"{stem}.jpg").write_bytes(saved(photo(96), "JPEG").getvalue())
        (tmp_path / "masks" / f"{stem}.png").write_bytes(saved(shapes([0, 255])).getvalue())
    return tmp_path


def choose(page: Page, field: str, *paths: Path) -> None:
    page.set_input_files(f"form[data-drop] input[name={field}]", list(paths))


def upload(page: Page, files: Path) -> None:
    page.goto("/finetune/")
    for field in ("images", "masks"):
        choose(page, field, *sorted((files / field).iterdir()))
    expect(page.locator("[data-send]")).to_have_text("Upload 3 pairs")
    page.click("[data-send]")
    expect(page.locator(".thumb")).to_have_count(3)


def start(page: Page) -> None:
    page.click("#train-form button")
    expect(page.locator("#run-live")).to_be_visible()


def test_what_is_missing_is_said_before_and_after_sending_and_the_choice_is_kept(visit, files):
    tour = visit()
    tour.expected = ["422"]
    page = tour.page
    page.goto("/finetune/")
    choose(page, "images", *(files / "images").iterdir())
    choose(page, "masks", files / "masks" / "one.png")
    expect(page.locator(".pairs-says")).to_have_text("1 of 3 complete.")
    expect(page.locator(".pair.odd")).to_have_count(2)
    expect(page.locator(".pair.odd").first).to_contain_text("mask missing")
    page.click("[data-send]")
    expect(page.locator("#studio-problems")).to_contain_text("two.jpg: This image has no mask.")
    expect(page.locator(".pair")).to_have_count(3)
    assert faults(page) == []
    choose(page, "masks", *(files / "masks").iterdir())
    page.click("[data-send]")
    expect(page.locator(".thumb")).to_have_count(3)
    expect(page.locator("#studio-problems .note")).to_have_count(0)


def test_images_without_masks_can_be_painted_right_away(visit, files):
    page = visit().page
    page.goto("/finetune/")
    draw = page.locator("[data-draw]")
    expect(draw).to_be_hidden()
    choose(page, "images", *(files / "images").iterdir())
    expect(draw).to_be_visible()
    choose(page, "masks", files / "masks" / "one.png")
    expect(draw).to_be_hidden()
    page.click("[data-clear-choice]")
    choose(page, "images", *(files / "images").iterdir())
    draw.click()
    page.wait_for_url("**/finetune/paint/*/")
    expect(page.locator("[data-siblings] li")).to_have_count(3)


def drop(page: Page, files: dict[str, bytes]) -> None:
    """Drops files on the page, as a hand does."""
    page.evaluate(
        """files => {
            const transfer = new DataTransfer();
            for (const [name, content] of files) {
                const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], name));
            }
            const drop = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer });
            document.querySelector("h1").dispatchEvent(drop);
        }""",
        [[name, base64.b64encode(content).decode()] for name, content in files.items()],
    )


def test_dropped_files_are_told_apart_and_can_be_exchanged(visit, files):
    page = visit().page
    page.goto("/finetune/")
    colours = shapes(["#000000", "#ff0000", "#00ff00"], "RGB")
    drop(
        page,
        {
            "one.jpg": (files / "images" / "one.jpg").read_bytes(),
            "one.png": (files / "masks" / "one.png").read_bytes(),
            "two.png": saved(photo(96)).getvalue(),
            "two_mask.png": saved(colours).getvalue(),
        },
    )
    expect(page.locator(".pairs-says")).to_have_text("2 of 2 complete.")
    names = page.locator(".pair").nth(1).locator(".names")
    expect(names).to_have_text(re.compile("two.pngtwo_mask.png"))
    page.locator(".pair").nth(0).get_by_role("button").click()
    expect(page.locator(".pair").nth(0).locator(".names")).to_have_text(re.compile("one.pngone.jpg"))
    page.locator(".pair").nth(0).get_by_role("button").click()
    page.click("[data-send]")
    expect(page.locator(".thumb")).to_have_count(2)


def test_masks_chosen_along_with_the_images_are_taken_as_masks(visit, files):
    page = visit().page
    page.goto("/finetune/")
    choose(page, "images", *(files / "images").iterdir(), *(files / "masks").iterdir())
    expect(page.locator(".pairs-says")).to_have_text("3 of 3 complete.")
    expect(page.locator(".pair").first.locator(".names")).to_have_text(re.compile("one.jpgone.png"))
    expect(page.locator("#toasts")).to_contain_text("3 of the files you chose as images")


def test_a_zip_of_pairs_is_taken(visit, files):
    page = visit().page
    page.goto("/finetune/")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in files.rglob("*.*"):
            archive.write(path, path.relative_to(files))
    drop(page, {"pairs.zip": packed.getvalue()})
    expect(page.locator(".pairs-says")).to_contain_text("pairs.zip")
    page.click("[data-send]")
    expect(page.locator(".thumb")).to_have_count(3)


def test_classes_are_named_and_coloured_and_a_reload_loses_nothing(visit, files):
    page = visit().page
    upload(page, files)
    before = page.locator(".thumb img").first.get_attribute("src")
    page.fill("#name-1", "disc")
    page.keyboard.press("Tab")
    page.locator("#color-1").evaluate("input => { input.value = '#ff00ff'; }")
    page.locator("#color-1").dispatch_event("change", {})
    expect(page.locator(".thumb img").first).not_to_have_attribute("src", before or "")
    page.reload()
    expect(page.locator("#name-1")).to_have_value("disc")
    expect(page.locator("#color-1")).to_have_value("#ff00ff")
    assert faults(page) == []


def test_a_pair_is_looked_at_large_with_a_slider_between_image_and_mask(visit, files):
    page = visit().page
    upload(page, files)
    page.click(".thumb a")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    over = dialog.locator("img").nth(1)
    dialog.get_by_label("Mask").fill("0")
    assert over.evaluate("image => getComputedStyle(image).opacity") == "0"
    dialog.get_by_label("Mask").fill("100")
    assert over.evaluate("image => getComputedStyle(image).opacity") == "1"
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


@pytest.mark.fault(40)
def test_a_cancel_is_acknowledged_at_once_and_leads_back_to_the_images(visit, files):
    page = visit().page
    upload(page, files)
    start(page)
    page.click("#run-cancel")
    expect(page.locator("#step-train")).to_contain_text(re.compile("Cancelling|was cancelled"), timeout=PROMPT)
    expect(page.locator("#step-train")).to_contain_text("was cancelled", timeout=60_000)
    page.click("text=Back to these images")
    expect(page.locator(".thumb")).to_have_count(3)


def test_a_run_is_the_same_after_leaving_and_in_another_tab_and_stops_with_the_best(visit, files, served):
    served.wait_ready()
    tour = visit()
    page = tour.page
    upload(page, files)
    start(page)
    page.goto("/models/")
    page.goto("/finetune/")
    expect(page.locator("#run-live")).to_be_visible()
    assert faults(page) == []
    other = tour.open()
    other.goto("/finetune/")
    address = (page.locator("#run-live").get_attribute("hx-get") or "").partition("?")[0]
    expect(other.locator("#run-live")).to_have_attribute("hx-get", re.compile(re.escape(address)))
    expect(page.locator("#run-keep")).to_be_visible(timeout=60_000)
    expect(page.locator("#run-live")).to_contain_text("Training “Model 1”", timeout=60_000)
    page.click("#run-keep")
    expect(page.locator("#studio")).to_contain_text(
        re.compile("keeping the best so far|is your model now"), timeout=PROMPT
    )
    for tab in (page, other):  # each hears of the end by itself
        expect(tab.locator("#status-pill")).to_contain_text("Custom Model", timeout=60_000)
        expect(tab.locator("#step-result")).to_contain_text("is your model now")
        expect(tab.locator("#run-live")).to_have_count(0)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for address in ("/finetune/", "/models/", "/reset/"):
            page.goto(address)
            assert faults(page) == []


def test_polling_stops_when_the_run_has_ended(visit, files):
    page = visit().page
    upload(page, files)
    start(page)
    page.click("#run-cancel")
    expect(page.locator("#step-train")).to_contain_text("was cancelled", timeout=60_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    time.sleep(2.5)
    assert not [url for url in asked if "/finetune/runs/" in url]


def test_a_server_that_cannot_be_reached_is_said_in_words_and_polling_goes_on(visit, files):
    tour = visit()
    tour.expected = ["Failed to load resource", "htmx:"]
    page = tour.page
    upload(page, files)
    start(page)
    page.context.set_offline(True)
    expect(page.locator("#toasts")).to_contain_text("cannot be reached")
    page.context.set_offline(False)
    with page.expect_response(re.compile("/finetune/runs/")):
        pass
    page.click("#run-cancel")
    expect(page.locator("#step-train")).to_contain_text("was cancelled", timeout=60_000)


def test_figures_that_come_after_the_answer_to_a_cancel_are_dropped(visit, files, served):
    served.wait_ready()
    page = visit().page
    held: list[Route] = []

    def hold_one(route: Route) -> None:
        route.continue_() if held else held.append(route)

    upload(page, files)
    page.check("input[value=thorough]", force=True)
    start(page)
    expect(page.locator("#run-keep")).to_be_visible(timeout=60_000)
    page.route(re.compile(r"/finetune/runs/[^/]+/\?shown="), hold_one)
    with page.expect_request(re.compile(r"\?shown=")):
        pass
    page.click("#run-cancel")
    expect(page.locator("#step-train")).to_contain_text("was cancelled", timeout=60_000)
    with page.expect_response(lambda response: response.request == held[0].request) as late:
        held[0].continue_()
    late.value.finished()
    page.wait_for_timeout(100)  # no error is logged meanwhile
    expect(page.locator("#step-train")).to_contain_text("was cancelled")


@pytest.mark.fault(41)
def test_a_cancel_in_the_queue_is_acknowledged_and_the_run_never_starts(visit, files, served):
    """Another visitor trains; who waits is told so, cancels, and stays cancelled when the line is free again."""
    served.wait_ready()
    first, second = visit().page, visit().page
    upload(first, files)
    first.check("input[value=thorough]", force=True)
    start(first)
    expect(first.locator("#run-keep")).to_be_visible(timeout=60_000)
    upload(second, files)
    start(second)
    expect(second.locator("#run-live")).to_contain_text("Waiting: 1 training before yours")
    assert faults(second) == []
    second.click("#run-cancel")
    expect(second.locator("#step-train")).to_contain_text("was cancelled", timeout=PROMPT)
    first.click("#run-cancel")
    expect(first.locator("#step-train")).to_contain_text(re.compile("Cancelling|was cancelled"), timeout=PROMPT)
    expect(first.locator("#step-train")).to_contain_text("was cancelled", timeout=60_000)
    first.click("text=Back to these images")  # the line is free: what comes next starts at once
    start(first)
    expect(first.locator("#run-keep")).to_be_visible(timeout=60_000)
    first.click("#run-cancel")
    second.reload()
    expect(second.locator("#step-train")).to_contain_text("was cancelled")
    second.goto("/models/")
    expect(second.locator(".version")).to_have_count(0)
