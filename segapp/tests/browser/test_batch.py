"""Many images in a real browser: sent together, watched, looked at, taken home as a zip; left and found again."""

import csv
import io
import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from segapp.imaging import sample
from segapp.tests.batch.sending import BROKEN
from segapp.tests.browser.visits import Tour, faults

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """Four small leaves of different sizes, two of one name in different letters."""
    folder, made = tmp_path_factory.mktemp("photos"), []
    for k, name in enumerate(("one.png", "two.png", "three.jpg", "Two.jpg")):
        path = folder / name
        Image.fromarray(sample.draw(k)[0]).resize((96 + 8 * k, 80)).save(path)
        made.append(path)
    return made


@pytest.fixture
def tour(visit, served) -> Tour:
    served.wait_ready()
    return visit(viewport={"width": 1280, "height": 900})


def send(tour: Tour, files: list[Path]) -> None:
    tour.page.goto("/analyze/")
    tour.page.get_by_role("link", name="Many images at once").click()
    tour.page.set_input_files("#images", files)
    tour.page.click("#batch-form [data-send]")


def test_images_are_sent_watched_and_taken_home_as_a_zip(tour, photos, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(BROKEN)
    page = tour.page
    page.goto("/analyze/batch/")
    page.set_input_files("#images", [*photos, broken])
    expect(page.locator("[data-estimate]")).to_contain_text("5 images")
    assert faults(page) == []
    page.click("#batch-form [data-send]")
    expect(page.locator("#batch-live, #batch")).to_be_visible(timeout=60_000)
    expect(page.locator("#batch-results > li")).to_have_count(4, timeout=180_000)
    expect(page.locator(".refused")).to_contain_text("broken.png: This is no PNG")
    expect(page.locator("#batch-results .shares").first).to_contain_text("%")
    assert faults(page) == []

    with page.expect_download() as download:
        page.get_by_role("link", name="Everything as zip").click()
    assert download.value.suggested_filename == "one_results.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        stems = ["one", "two", "three", "Two_2"]
        for stem, photo in zip(stems, photos, strict=True):
            mask = Image.open(io.BytesIO(archive.read(f"masks/{stem}.png")))
            assert mask.mode == "P"
            assert mask.size == Image.open(io.BytesIO(archive.read(f"overlays/{stem}.jpg"))).size
            assert mask.size == Image.open(photo).size
        rows = list(csv.DictReader(io.StringIO(archive.read("classes.csv").decode())))
        assert "broken.png" in archive.read("left_out.csv").decode()
    assert {row["file"] for row in rows} == {photo.name for photo in photos}
    for photo in photos:
        assert sum(float(row["percent"]) for row in rows if row["file"] == photo.name) == pytest.approx(100, abs=0.5)

    page.locator("#batch-results a.thumb").first.click()
    dialog = page.locator("dialog.large")
    expect(dialog.locator("img")).to_have_count(2)
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)


def test_a_batch_goes_on_while_its_sender_is_away_and_is_found_again(tour, photos):
    send(tour, photos)
    expect(tour.page).to_have_url(re.compile(r"/analyze/batch/[\w-]{20,}/"), timeout=60_000)
    tour.reopen(keep_cookies=True)
    tour.page.goto("/analyze/batch/")
    tour.page.get_by_role("link", name="one.png and 3 more").click()
    expect(tour.page.locator("#batch-results > li")).to_have_count(4, timeout=180_000)


def test_cancelling_says_so_and_keeps_nothing(tour, photos, tmp_path):
    large = tmp_path / "large.jpg"
    Image.fromarray(sample.draw(0)[0]).resize((3000, 2000)).save(large)
    copies = [tmp_path / f"{k}.jpg" for k in range(12)]
    for copy in copies:
        copy.hardlink_to(large)
    send(tour, copies)
    expect(tour.page.locator("#batch-live")).to_be_visible(timeout=60_000)
    tour.page.click("#batch-cancel")
    expect(tour.page.locator("#batch")).to_contain_text("was cancelled")
    expect(tour.page.locator("#batch-results")).to_have_count(0)


def test_nothing_but_bad_files_is_refused_on_the_spot(tour, tmp_path):
    tour.expected.append("422 (Unprocessable")
    broken = tmp_path / "broken.png"
    broken.write_bytes(BROKEN)
    send(tour, [broken])
    expect(tour.page.locator("#batch-problems")).to_contain_text("broken.png: This is no PNG")
    expect(tour.page.locator("#batch-form [data-send]")).to_be_enabled()


def test_without_script_the_form_still_works_and_a_phone_shows_everything(visit, served, photos):
    served.wait_ready()
    tour = visit(java_script_enabled=False, viewport={"width": 360, "height": 740})
    send(tour, photos[:2])
    expect(tour.page.locator("#batch-results > li")).to_have_count(2, timeout=180_000)
    box = tour.page.locator("main").bounding_box()
    assert box and box["width"] <= 360
