"""A video in a real browser: sent, watched, played with its timeline, looked at side by side, stopped."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from segapp.tests.browser.visits import faults
from segapp.tests.fixtures import unavailable
from segapp.tests.serving import until
from segapp.tests.video.videos import write_video

pytestmark = pytest.mark.browser
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def chromium():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        unavailable("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(chromium, served):
    served.wait_ready()
    complaints: list[str] = []
    context = chromium.new_context(base_url=served.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    expected = "422 (Unprocessable"  # the refused playlist

    def listen(message) -> None:
        if message.type == "error" and expected not in message.text:
            complaints.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_default_timeout(20_000)
    yield page
    context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def ride(tmp_path_factory) -> Path:
    """Three seconds that get brighter from left to right, with sound."""

    def brighter(number: int) -> np.ndarray:
        image = np.full((120, 160, 3), 30, np.uint8)
        image[:, : 5 * number] = (120, 180, 240)
        return image

    return write_video(tmp_path_factory.mktemp("videos") / "ride.mp4", 160, 120, frames=30, draw=brighter, audio="aac")


def send(page: Page, path: Path, rate: str = "5") -> None:
    page.goto("/video/")
    page.set_input_files("#clip", path)
    page.check(f"input[name=rate][value='{rate}']")
    page.click("[data-send]")


def film(page: Page, name: str, what: str):
    return page.locator(f"#film-{name}").evaluate(f"film => film.{what}")


def test_the_page_says_beforehand_how_long_it_will_take(page, ride):
    page.goto("/video/")
    page.set_input_files("#clip", ride)
    expect(page.locator("[data-estimate]")).to_contain_text("ride.mp4: 3 s, 160 × 120")
    expect(page.locator("[data-takes='every']")).to_contain_text("About")


def test_a_playlist_is_refused_on_the_spot(page, tmp_path):
    fake = tmp_path / "list.mp4"
    fake.write_text("#EXTM3U\nhttp://127.0.0.1:9/secret\n")
    page.goto("/video/")
    page.set_input_files("#clip", fake)
    with page.expect_response("**/video/") as response:
        page.click("[data-send]")
    assert response.value.status == 422
    expect(page.locator("#video-problems")).to_contain_text("list.mp4: This is not an MP4")
    expect(page.locator("[data-send]")).to_be_enabled()


def test_a_video_is_sent_and_comes_back_playing(page, ride):
    send(page, ride)
    expect(page.locator("#player")).to_be_visible(timeout=180_000)
    until(lambda: film(page, "overlay", "readyState") >= 2)
    assert film(page, "overlay", "duration") == pytest.approx(3.0, abs=0.11)
    assert (film(page, "overlay", "videoWidth"), film(page, "overlay", "videoHeight")) == (160, 120)
    page.click("[data-play]")
    until(lambda: film(page, "overlay", "currentTime") > 0.5)
    assert film(page, "overlay", "error") is None
    until(lambda: film(page, "overlay", "ended"))
    assert float(page.locator("#player").get_attribute("data-at")) == pytest.approx(3.0, abs=0.2)


def test_the_timeline_moves_with_the_film_and_the_film_with_the_timeline(page):
    chart = page.locator("[data-chart]")
    assert chart.locator("polygon").count() >= 1
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] / 2, "y": 20})
    until(lambda: film(page, "overlay", "currentTime") == pytest.approx(1.5, abs=0.1))
    assert float(chart.locator(".cursor").get_attribute("x1")) == pytest.approx(500, abs=20)
    page.locator("[data-scrub]").fill("2.5")
    until(lambda: film(page, "overlay", "currentTime") == pytest.approx(2.5, abs=0.05))
    assert float(chart.locator(".cursor").get_attribute("x1")) == pytest.approx(833, abs=20)
    expect(page.locator("[data-now-words]")).to_have_text("At the cursor.")
    shares = [float(text.split()[0]) for text in page.locator("[data-now]").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=1)
    before = chart.locator("polygon").count()
    page.locator("[data-show]").first.uncheck()
    assert chart.locator("polygon").count() == before - 1


def test_the_most_doubtful_moments_are_marked_and_a_button_goes_to_each(page):
    buttons = page.locator("[data-doubtful] button")
    assert 1 <= buttons.count() <= 5
    assert page.locator("[data-chart] .doubt-mark").count() == buttons.count()
    last = buttons.last
    minutes, seconds = last.inner_text().split(":")
    last.click()
    until(lambda: film(page, "overlay", "currentTime") == pytest.approx(60 * int(minutes) + float(seconds), abs=0.15))


def test_the_sound_is_there_and_can_be_switched_off(page):
    assert film(page, "overlay", "webkitAudioDecodedByteCount") > 0
    page.click("[data-mute]")
    until(lambda: film(page, "overlay", "muted"))
    expect(page.locator("[data-mute]")).to_have_attribute("aria-pressed", "false")
    page.click("[data-mute]")
    until(lambda: not film(page, "overlay", "muted"))


def test_the_page_is_sound(page):
    assert faults(page) == []


def test_original_and_overlay_stand_side_by_side_at_the_same_moment(page):
    page.check("input[name=view][value=beside]", force=True)
    until(lambda: film(page, "original", "readyState") >= 2)
    page.locator("[data-scrub]").fill("1.25")
    until(lambda: film(page, "original", "currentTime") == pytest.approx(1.25, abs=0.05))
    left, right = (page.locator(f"#film-{name}").bounding_box() for name in ("original", "overlay"))
    assert left["x"] + left["width"] <= right["x"]
    assert abs(left["y"] - right["y"]) < 2
    page.check("input[name=view][value=mask]", force=True)
    until(lambda: film(page, "mask", "readyState") >= 2)
    expect(page.locator("#film-overlay")).to_be_hidden()


def test_downloads_arrive(page):
    for name in ("Overlay", "Index masks (zip)", "CSV per frame"):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        assert Path(download.value.path()).stat().st_size > 100
        assert download.value.suggested_filename.startswith("ride_")


def test_a_frame_becomes_an_image_to_mend(page):
    before = page.url
    page.locator("[data-scrub]").fill("1.25")
    page.get_by_role("button", name="Fix this frame").click()
    stage = page.locator("[data-stage][data-ready]")
    expect(stage).to_be_visible(timeout=60_000)
    expect(page.get_by_role("heading", level=1)).to_contain_text("ride")
    assert stage.get_attribute("data-proposal"), "what the model found is proposed"
    assert page.evaluate("JSON.parse(document.getElementById('paint-page').textContent).width") == 160
    page.goto(before)
    expect(page.locator("#player")).to_be_visible()


def test_nothing_is_wider_than_a_phone(page):
    page.set_viewport_size({"width": 360, "height": 740})
    page.reload()
    expect(page.locator("#player")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1280, "height": 900})


def test_cancelling_says_so(page, tmp_path):
    long = write_video(tmp_path / "long.mp4", 320, 240, frames=600, rate=10, options={"preset": "ultrafast"})
    send(page, long, "every")
    expect(page.locator("#video-live")).to_be_visible()
    page.click("#video-cancel")
    expect(page.locator("main")).to_contain_text("long.mp4 was cancelled", timeout=30_000)
