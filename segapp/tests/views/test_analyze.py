"""The analyze page: sending images, looking at results, comparing, taking figures away."""

import csv
import io
import re

import pytest
from PIL import Image

from registry.tests.test_services import make
from segapp.home import PROJECT
from segapp.models import Analysis, State
from segapp.services import analyses
from segapp.tests.imaging.drawing import photo, saved
from segapp.tests.views.rows import HTMX, analyzed, upload
from segapp.views import analyze, share

HELD_SECONDS = {"analyze/waiting.html": analyze.POLL_SECONDS, "share/shared.html": share.POLL_SECONDS}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """No worker runs here, so nothing is waited for."""
    monkeypatch.setattr("segapp.views.analyze.POLL_SECONDS", 0)
    monkeypatch.setattr("segapp.views.analyze.WAIT_SECONDS", 0)


def text(response) -> str:
    return response.content.decode()


def image(name: str = "cat.jpg"):
    return upload(name, saved(photo(96), "JPEG"))


def test_an_image_waits_at_an_address_of_its_own(alice, charlie):
    response = alice.post("/analyze/", {"file": image()}, headers=HTMX)
    row = Analysis.objects.get()
    address = f"/analyze/{row.public_id}/"
    assert response["HX-Push-Url"] == address and "Analyzing cat.jpg" in text(response)
    assert alice.get(address, headers=HTMX).status_code == 204, "nothing to show yet: the page asks again"
    assert "Analyzing cat.jpg" in text(alice.get(address))
    assert charlie.get(address).status_code == 404
    assert alice.post("/analyze/", {"file": image()})["Location"].startswith("/analyze/")


@pytest.mark.parametrize("template", HELD_SECONDS)
def test_a_page_that_waits_asks_again_just_when_it_has_its_answer(template):
    """Between the two a result would lie unseen."""
    trigger = re.search(r"load delay:100ms, every (\d+)s", (PROJECT / "templates" / template).read_text())
    assert trigger is not None
    assert abs(int(trigger[1]) - 0.1 - HELD_SECONDS[template]) < 0.05


def test_a_large_image_shows_how_far_it_is(alice):
    alice.post("/analyze/", {"file": image()}, headers=HTMX)
    row = Analysis.objects.get()
    Analysis.objects.update(state=State.RUNNING, progress=0.4)
    response = alice.get(f"/analyze/{row.public_id}/", headers=HTMX)
    assert (response["HX-Retarget"], response["HX-Reswap"]) == ("#waiting", "outerHTML")
    assert "40 % done" in text(response) and 'value="0.4"' in text(response) and 'id="bench"' not in text(response)
    assert f'hx-get="/analyze/{row.public_id}/"' in text(response), "it goes on asking"
    assert "40 % done" in text(alice.get(f"/analyze/{row.public_id}/"))


def test_an_image_is_stored_as_it_came_but_for_what_is_no_image(alice):
    tags = Image.Exif()
    tags[0x010E] = "Canal Street 12"
    plain, turned = io.BytesIO(), io.BytesIO()
    photo(96).save(plain, "JPEG", exif=tags)
    tags[0x0112] = 6
    photo(96).resize((96, 40)).save(turned, "JPEG", exif=tags)
    for name, file in (("plain.jpg", plain), ("turned.jpg", turned)):
        alice.post("/analyze/", {"file": upload(name, file)}, headers=HTMX)
    straight, lying = (Analysis.objects.get(title=name) for name in ("plain.jpg", "turned.jpg"))
    assert (straight.suffix, lying.suffix) == (".jpg", ".png")
    with Image.open(plain) as sent, Image.open(straight.image_path) as stored:
        assert sent.convert("RGB").tobytes() == stored.convert("RGB").tobytes()
    with Image.open(lying.image_path) as stored:
        assert stored.size == (lying.width, lying.height) == (40, 96)
    for row in (straight, lying):
        assert b"Canal Street" not in row.image_path.read_bytes()
        again = analyses.again(row, None)
        assert again.image_path.read_bytes() == row.image_path.read_bytes() and again.suffix == row.suffix
    shown = alice.get(f"/files/analyses/{straight.public_id}/image")
    assert shown["Content-Type"] == "image/jpeg"


def test_several_images_are_all_queued(alice):
    alice.post("/analyze/", {"file": [image("a.jpg"), image("b.jpg"), image("c.jpg")]}, headers=HTMX)
    assert sorted(Analysis.objects.values_list("title", flat=True)) == ["a.jpg", "b.jpg", "c.jpg"]
    assert 'hx-trigger="every 2s"' in text(alice.get("/analyze/strip/")), "the strip asks while some are at work"


def test_of_several_images_the_faulty_one_is_named_and_the_others_go_on(alice):
    files = [image("good.jpg"), upload("bad.png", io.BytesIO(b"<html>"))]
    page = text(alice.post("/analyze/", {"file": files}, headers=HTMX))
    assert Analysis.objects.get().title == "good.jpg"
    assert "bad.png" in page


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["plain", "htmx"])
def test_what_is_no_image_is_refused_in_words(alice, headers):
    response = alice.post("/analyze/", {"file": upload("page.png", io.BytesIO(b"<html>"))}, headers=headers)
    assert response.status_code == 422 and "page.png" in text(response) and "Save it as" in text(response)
    assert not Analysis.objects.exists()
    response = alice.post("/analyze/", {}, headers=headers)
    assert response.status_code == 422 and "Choose a PNG, JPEG, WebP, TIFF" in text(response)


@pytest.mark.parametrize("headers", [{}, HTMX], ids=["plain", "htmx"])
def test_a_full_queue_is_said_and_nothing_is_stored(alice, settings, tmp_path, headers):
    settings.SEGAPP_QUEUE = 0
    response = alice.post("/analyze/", {"file": image()}, headers=headers)
    assert response.status_code == 503 and int(response["Retry-After"]) >= 2
    assert "Many images are waiting" in text(response) and "nothing was stored" in text(response)
    assert response.get("HX-Retarget") == ("#analyze-problems" if headers else None)
    assert ("<html" in text(response)) is not bool(headers)
    assert not Analysis.objects.exists()


def test_of_several_images_those_without_room_are_named(alice, settings):
    settings.SEGAPP_QUEUE = 2
    files = [image(f"{name}.jpg") for name in "abcd"]
    page = text(alice.post("/analyze/", {"file": files}, headers=HTMX))
    assert sorted(Analysis.objects.values_list("title", flat=True)) == ["a.jpg", "b.jpg"]
    assert "c.jpg, d.jpg: Many images are waiting" in page


def test_a_comparison_with_a_full_queue_says_so(alice, settings):
    row = analyzed(alice.visitor)
    settings.SEGAPP_QUEUE = 0
    response = alice.post(f"/analyze/{row.public_id}/compare/", {"model": ""})
    assert response.status_code == 503 and response["Retry-After"] and "Many images are waiting" in text(response)


def test_a_result_says_which_model_answered_and_how_long_it_took(alice, charlie):
    row = analyzed(alice.visitor)
    page = text(alice.get(f"/analyze/{row.public_id}/"))
    assert "EfficientNet-Lite0" in page and "0.74 s" in page and "96 × 96" in page
    for part in ("Mask", "Overlay", "CSV", "Confidence", "background", "50.0 %"):
        assert part in page
    assert charlie.get(f"/analyze/{row.public_id}/").status_code == 404


def test_a_custom_models_result_names_its_version(alice):
    model = make(alice.visitor, active=True)
    row = analyzed(alice.visitor, model=model, model_key=model.key, model_name="Custom Model")
    page = text(alice.get(f"/analyze/{row.public_id}/"))
    assert "Custom Model" in page and "“Cells”" in page


def test_a_fallback_is_said_beside_the_result(alice):
    words = "Your model “Cells” could not be used: its file is missing. The base model answers instead."
    assert words in text(alice.get(f"/analyze/{analyzed(alice.visitor, message=words).public_id}/"))


def test_a_failed_result_says_what_to_do(alice):
    row = Analysis.objects.create(
        visitor=alice.visitor, title="cat.jpg", width=9, height=9, state=State.FAILED, message="No worker answered."
    )
    page = text(alice.get(f"/analyze/{row.public_id}/"))
    assert "could not be analyzed" in page and "No worker answered." in page and "Send the image again" in page


def test_the_figures_come_as_csv_without_formulas(alice, charlie):
    row = analyzed(alice.visitor)
    response = alice.get(f"/analyze/{row.public_id}/classes.csv")
    rows = list(csv.DictReader(io.StringIO(text(response))))
    assert [found["id"] for found in rows] == ["0", "1"]
    assert rows[1]["name"] == "'=disc", "a name that starts like a formula stays text"
    assert sum(int(found["pixels"]) for found in rows) == 96 * 96
    assert charlie.get(f"/analyze/{row.public_id}/classes.csv").status_code == 404


def test_a_comparison_runs_the_same_image_through_another_model(alice, charlie):
    model = make(alice.visitor, active=True)
    row = analyzed(alice.visitor, model=model, model_key=model.key)
    page = text(alice.get(f"/analyze/{row.public_id}/"))
    assert "EfficientNet-Lite0 (base model)" in page, "the rival"
    response = alice.post(f"/analyze/{row.public_id}/compare/", {"model": ""})
    other = Analysis.objects.exclude(pk=row.pk).get()
    assert other.model is None and response["Location"].endswith(f"?with={other.public_id}")
    assert "The other model is running" in text(alice.get(response["Location"]))
    assert charlie.get(response["Location"]).status_code == 404
    assert charlie.post(f"/analyze/{row.public_id}/compare/", {"model": ""}).status_code == 404


def test_nobody_compares_with_anothers_model_or_image(alice, charlie):
    row, foreign = analyzed(alice.visitor), make(charlie.visitor)
    response = alice.post(f"/analyze/{row.public_id}/compare/", {"model": foreign.public_id})
    assert response.status_code == 404
    theirs = analyzed(charlie.visitor)
    assert alice.get(f"/analyze/{row.public_id}/compare/?with={theirs.public_id}").status_code == 404
    smaller = analyzed(alice.visitor, width=50)
    assert alice.get(f"/analyze/{row.public_id}/compare/?with={smaller.public_id}").status_code == 404


def test_two_finished_results_are_shown_side_by_side(alice):
    left, right = analyzed(alice.visitor), analyzed(alice.visitor, model_name="MiT-B3")
    page = text(alice.get(f"/analyze/{right.public_id}/compare/?with={left.public_id}"))
    assert "EfficientNet-Lite0" in page and "MiT-B3" in page and "data-compare" in page


def test_a_result_is_deleted_with_its_files_by_its_owner_only(alice, charlie):
    row = analyzed(alice.visitor)
    assert charlie.post(f"/analyze/{row.public_id}/delete/").status_code == 404
    assert row.folder.exists()
    alice.post(f"/analyze/{row.public_id}/delete/")
    assert not row.folder.exists() and not Analysis.objects.exists()


def test_the_strip_shows_ones_own_results_only(alice, charlie):
    row = analyzed(alice.visitor)
    assert row.public_id in text(alice.get("/analyze/"))
    assert row.public_id not in text(charlie.get("/analyze/"))


def test_a_sample_image_is_one_click_away(alice):
    assert alice.post("/analyze/sample/", headers=HTMX).status_code == 200
    assert Analysis.objects.get().title == "leaf_8.png"


def test_an_image_that_waits_can_be_cancelled_by_its_owner_only(alice, charlie):
    row = analyzed(alice.visitor, state=State.QUEUED)
    address = f"/analyze/{row.public_id}/"
    assert f"{address}stop/" in alice.get(address).content.decode()
    assert charlie.post(f"{address}stop/").status_code == 404
    assert alice.post(f"{address}stop/").status_code == 302
    row.refresh_from_db()
    assert row.state == State.CANCELLED
    assert "was cancelled" in alice.get(address).content.decode()


def test_who_waits_is_told_the_place_and_an_honest_time(alice):
    """One image of 60 passes stands before, at 0.1 s a pass."""
    size = {"width": 96, "height": 96, "title": "p"}
    Analysis.objects.create(visitor="dora", **size, state=State.DONE, timings={"inference_ms": 100})
    Analysis.objects.create(visitor="dora", **size, passes=60)
    mine = Analysis.objects.create(visitor=alice.visitor, **size)
    page = alice.get(f"/analyze/{mine.public_id}/").content.decode()
    assert "Waiting: 1 job before yours, about 6 s." in page
    answer = alice.get(f"/api/segment/{mine.public_id}")
    assert answer.status_code == 503 and "Before it come 1 at most, about 6 s." in answer.json()["error"]["message"]
