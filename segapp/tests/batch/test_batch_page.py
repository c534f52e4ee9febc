"""The page and the API of batches: who may, what is said, and what can be taken along."""

import csv
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from segapp import upload_limits
from segapp.models import Batch, Painting, State
from segapp.services import batches, proposals
from segapp.tests.batch.sending import image, many, packed, upload
from segapp.worker import batch as worker

pytestmark = pytest.mark.django_db
PAGE, SCRIPT = "/analyze/batch/", {"Accept": "application/json"}


@pytest.fixture
def queued(alice) -> Batch:
    return batches.submit(alice.visitor, [*many(2), upload("notes.png", b"<html>")])


@pytest.fixture
def done(queued, net) -> Batch:
    worker.run(queued.pk)
    return Batch.objects.get(pk=queued.pk)


def body(response) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content


# --- the page -------------------------------------------------------------------------------------------


def test_the_page_states_its_limits_beforehand_and_analyze_leads_to_it(alice, settings):
    settings.BATCH_LIMIT_FILES, settings.BATCH_LIMIT_BYTES = 321, 456 * 10**6
    page = alice.get(PAGE).content.decode()
    assert "321 images and 456 MB" in page and "50 megapixels" in page
    assert f'href="{PAGE}"' in alice.get("/analyze/").content.decode()


def test_a_plain_post_leads_to_the_batchs_page(alice):
    response = alice.post(PAGE, {"files": many(3)})
    batch = Batch.objects.get()
    assert response.headers["Location"] == f"{PAGE}{batch.public_id}/"
    assert (batch.visitor, batch.title, batch.total) == (alice.visitor, "street0.png and 2 more", 3)
    page = alice.get(response.headers["Location"]).content.decode()
    assert "Cancel" in page and "0 of 3 done" in page
    assert "Stop and keep" not in page, "there is nothing to keep yet"


def test_a_zip_among_the_files_is_opened_and_the_script_gets_the_address(alice):
    response = alice.post(PAGE, {"files": [packed({"a.png": image(), "b.png": image(1)})]}, headers=SCRIPT)
    assert response.status_code == 201
    assert response.json() == {"url": f"{PAGE}{Batch.objects.get().public_id}/"}
    assert Batch.objects.get().total == 2


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "No images were chosen"),
        ([upload("a.png", b"")], "a.png</strong>: This file is empty"),
        ([packed({"../a.png": b"x"})], "reaches out of its folder"),
        ([packed({"a.png": image()}), *many(1)], "either images or one zip"),
    ],
)
def test_refusals_name_the_file_and_say_what_to_do(alice, files, words):
    for headers in ({}, SCRIPT):
        for file in files:
            file.seek(0)
        response = alice.post(PAGE, {"files": files}, headers=headers)
        assert response.status_code == 422
        assert words in response.content.decode()
    assert not Batch.objects.exists()


def test_more_images_than_the_limit_are_refused_in_words(alice, settings):
    settings.BATCH_LIMIT_FILES = 2
    response = alice.post(PAGE, {"files": many(3)})
    assert response.status_code == 422 and "Send at most 2" in response.content.decode()


def test_the_live_part_shows_results_and_then_asks_for_the_page_anew(alice, queued, net):
    live = f"{PAGE}{queued.public_id}/live/"
    assert "notes.png" in alice.get(live).content.decode()
    worker.run(queued.pk)
    assert alice.get(live).headers["HX-Refresh"] == "true"


def test_the_page_of_a_done_batch_has_a_grid_shares_and_downloads(alice, done):
    page = alice.get(f"{PAGE}{done.public_id}/").content.decode()
    assert page.count('class="thumb"') == 2
    assert "1 file could not be used" in page and "notes.png</strong>: This is a web page" in page
    assert "bright" in page and "results.zip" in page and "classes.csv" in page


def test_results_are_sorted_by_doubt_and_one_can_be_fixed(alice, charlie, done):
    one, two = done.items.filter(state="done").order_by("number")
    assert 0 <= one.doubt <= 1, "every image has a score"
    done.items.filter(pk=two.pk).update(doubt=0.9)
    done.items.filter(pk=one.pk).update(doubt=0.1)
    address = f"{PAGE}{done.public_id}/"
    page = alice.get(f"{address}?order=doubt").content.decode()
    assert page.index(f">{two.name}<") < page.index(f">{one.name}<") and "0.90" in page
    page = alice.get(address).content.decode()
    assert page.index(f">{one.name}<") < page.index(f">{two.name}<")
    assert charlie.post(f"{address}fix/{two.number}/").status_code == 404
    opened = alice.post(f"{address}fix/{two.number}/")
    painting = Painting.objects.get()
    assert opened["Location"] == f"/finetune/paint/{painting.example.public_id}/"
    assert painting.state == "proposed" and painting.empty, "nobody has confirmed it"
    proposed = np.asarray(Image.open(io.BytesIO(proposals.read(painting.example))))
    assert (proposed == np.asarray(Image.open(two.mask))).all()
    assert alice.post(f"{address}fix/{two.number}/")["Location"] == opened["Location"], "not a second time"
    refused = done.items.filter(state="failed").first()
    assert alice.post(f"{address}fix/{refused.number}/").status_code in (302, 404)
    assert Painting.objects.count() == 1


def test_results_come_in_pages(alice, done, monkeypatch):
    from segapp.views import batch as views

    monkeypatch.setattr(views, "ON_A_PAGE", 1)
    first = alice.get(f"{PAGE}{done.public_id}/").content.decode()
    assert "street0.png" in first and "1 to 1 of 2" in first
    assert "2 to 2 of 2" in alice.get(f"{PAGE}{done.public_id}/?page=2").content.decode()


def test_stopping_keeping_and_deleting_from_the_page(alice, queued):
    alice.post(f"{PAGE}{queued.public_id}/stop/", {"keep": "false"})
    page = alice.get(f"{PAGE}{queued.public_id}/").content.decode()
    assert "was cancelled" in page and "No results were kept." in page
    alice.post(f"{PAGE}{queued.public_id}/delete/")
    assert not Batch.objects.exists()


def test_a_failed_batch_says_what_was_kept_and_hands_it_out(alice, done):
    Batch.objects.filter(pk=done.pk).update(state=State.FAILED, message=worker.DISK_FULL)
    page = alice.get(f"{PAGE}{done.public_id}/").content.decode()
    assert "The disk is full" in page and "2 of 3 images are done and kept below" in page
    assert alice.get(f"{PAGE}{done.public_id}/results.zip").status_code == 200


def test_the_zip_and_the_table_are_whole(alice, done):
    response = alice.get(f"{PAGE}{done.public_id}/results.zip")
    assert response.headers["Content-Disposition"] == 'attachment; filename="street0_results.zip"'
    with zipfile.ZipFile(io.BytesIO(body(response))) as archive:
        mask = Image.open(io.BytesIO(archive.read("masks/street0.png")))
        assert (mask.mode, mask.size) == ("P", (64, 48))
        assert set(np.unique(np.asarray(mask))) == {0, 3}
        assert Image.open(io.BytesIO(archive.read("overlays/street1.jpg"))).size == (64, 48)
        table = archive.read("classes.csv").decode()
    assert alice.get(f"{PAGE}{done.public_id}/classes.csv").content.decode() == table
    assert len(list(csv.DictReader(io.StringIO(table)))) == 4


def test_each_image_can_be_looked_at_and_taken(alice, done):
    files = f"{PAGE}{done.public_id}/files/1/"
    for kind in batches.KINDS:
        assert alice.get(files + kind).status_code == 200
    colours = Image.open(io.BytesIO(alice.get(files + "colours").content))
    assert colours.size == (64, 48)
    download = alice.get(files + "mask?download")
    assert download.headers["Content-Disposition"] == 'attachment; filename="street0.png"'
    for missing in (files + "source", f"{PAGE}{done.public_id}/files/3/mask", f"{PAGE}{done.public_id}/files/9/mask"):
        assert alice.get(missing).status_code == 404


def test_everything_of_anothers_batch_is_a_404(charlie, done):
    page, api = f"{PAGE}{done.public_id}/", f"/api/batch/{done.public_id}"
    for path in ("", "live/", "results.zip", "classes.csv", "files/1/mask", "files/1/colours"):
        assert charlie.get(page + path).status_code == 404
    for path in ("stop/", "delete/"):
        assert charlie.post(page + path, {"keep": "false"}).status_code == 404
    missing = charlie.get("/api/batch/" + "0" * 32)
    assert charlie.get(api).json() == missing.json()
    assert charlie.post(f"{api}/stop", {"keep": "false"}).status_code == 404
    assert Batch.objects.get().state == State.DONE


# --- the API ----------------------------------------------------------------------------------------------


def test_the_api_takes_files_and_tells_of_them(alice, net):
    response = alice.post("/api/batch", {"files": [*many(2), upload("b.png", b"")]})
    assert response.status_code == 202
    batch = Batch.objects.get()
    assert response.json() == {"batch_id": batch.public_id, "status_url": f"/api/batch/{batch.public_id}"}
    told = alice.get(response.json()["status_url"]).json()
    assert (told["state"], told["total"], told["failed"], told["zip_url"]) == ("queued", 3, 1, None)
    worker.run(batch.pk)
    told = alice.get(response.json()["status_url"]).json()
    assert (told["state"], told["done"], told["progress"], told["model_key"]) == ("done", 2, 1.0, "mit_b0")
    assert [file["state"] for file in told["files"]] == ["done", "done", "failed"]
    assert "empty" in told["files"][2]["message"]
    for url in (told["zip_url"], told["table_url"], told["files"][0]["mask_url"], told["files"][1]["overlay_url"]):
        assert alice.get(url).status_code == 200


def test_the_api_takes_one_archive(alice):
    assert alice.post("/api/batch", {"archive": packed({"a.png": image()})}).status_code == 202
    assert Batch.objects.get().total == 1


def test_the_apis_refusals(alice, monkeypatch):
    assert alice.post("/api/batch", {}).json()["error"]["code"] == "invalid"
    refused = alice.post("/api/batch", {"files": [upload("a.png", b"")]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "refused")
    assert refused.json()["error"]["files"][0]["file"] == "a.png"
    bad_zip = alice.post("/api/batch", {"archive": upload("a.zip", b"no zip")})
    assert (bad_zip.status_code, bad_zip.json()["error"]["files"][0]["file"]) == (422, "a.zip")
    monkeypatch.setattr(batches, "MAX_UNFINISHED", 0)
    assert alice.post("/api/batch", {"files": many(1)}).json()["error"]["code"] == "too_many_batches"


def test_the_api_stops(alice, queued):
    stop = f"/api/batch/{queued.public_id}/stop"
    assert alice.post(stop, {"keep": "perhaps"}).status_code == 422
    assert alice.post(stop, {"keep": "false"}).json()["state"] == "cancelled"


def test_a_batch_may_be_larger_than_other_posts(alice, settings):
    settings.UPLOAD_LIMIT_BYTES = settings.IMAGE_LIMIT_BYTES = 500
    assert alice.post("/api/batch", {"files": many(3)}).status_code == 202
    assert alice.post("/api/segment", {"file": upload("a.png", bytes(501 + upload_limits.ENVELOPE))}).status_code == 413
