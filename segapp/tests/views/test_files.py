"""Files go to their owner only; another visitor's are the same 404 as those that do not exist."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from registry.tests.test_services import make
from segapp.models import Example
from segapp.tests.imaging.drawing import saved, shapes, truth
from segapp.tests.views.rows import analyzed, pairs, trained, upload


def opened(response) -> Image.Image:
    return Image.open(io.BytesIO(b"".join(response.streaming_content) if response.streaming else response.content))


@pytest.fixture
def addresses(alice) -> list[str]:
    """One address of every kind, all Alice's."""
    alice.post("/finetune/", pairs("one"))
    example, result, run = Example.objects.get(), analyzed(alice.visitor), trained(make(alice.visitor))
    return [
        *(f"/files/examples/{example.public_id}/{kind}" for kind in ("image", "mask", "thumbnail", "overlay")),
        f"/files/examples/{example.public_id}/overlay?large",
        *(f"/files/analyses/{result.public_id}/{kind}" for kind in ("image", "mask", "overlay", "confidence")),
        *(f"/files/analyses/{result.public_id}/view/{kind}" for kind in ("ids", "confidence", "small")),
        *(f"/files/runs/{run.public_id}/heldout_0_{kind}.webp" for kind in ("image", "truth", "custom", "base")),
    ]


def test_the_owner_gets_every_file_and_nobody_else_does(alice, charlie, addresses):
    for address in addresses:
        response = alice.get(address)
        assert response.status_code == 200, address
        assert "private" in response["Cache-Control"] and response["Content-Type"].startswith("image/"), address
        assert opened(response).size[0] > 0
        refused = charlie.get(address)
        assert refused.status_code == 404, address
        assert b"image" not in refused.headers["Content-Type"].encode()


def test_ignored_pixels_are_striped_until_they_are_a_class(alice):
    sent = pairs("one")
    sent["masks"] = [upload("one.png", saved(shapes([0, 1, 255])))]
    alice.post("/finetune/", sent)
    address = f"/files/examples/{Example.objects.get().public_id}/overlay?large"
    box = (slice(8, 20), slice(8, 42))
    striped = np.asarray(opened(alice.get(address)).convert("L"))[box].astype(int)
    alice.post("/finetune/classes/", {"name-255": "box"})
    plain = np.asarray(opened(alice.get(address)).convert("L"))[box].astype(int)
    slant = [striped.diagonal(k).std() - np.fliplr(striped).diagonal(k).std() for k in range(-4, 20)]
    assert np.mean(slant) > 10 and plain.std() < striped.std() / 2


def test_the_files_of_an_image_that_are_gone_are_no_failure(alice):
    alice.post("/finetune/", pairs("one"))
    example = Example.objects.get()
    shutil.rmtree(example.folder)
    assert alice.get(f"/files/examples/{example.public_id}/overlay").status_code == 404
    assert "Its files are gone" in alice.get("/finetune/").content.decode()


def test_what_the_viewer_reads_are_the_class_ids_themselves(alice):
    response = alice.get(f"/files/analyses/{analyzed(alice.visitor).public_id}/view/ids")
    image = opened(response)
    assert image.mode == "L", "a browser hands out grey values as they are, palette indices never"
    assert np.array_equal(np.asarray(image), truth())


def test_the_mask_is_a_palette_image_of_ids_and_can_be_saved(alice):
    response = alice.get(f"/files/analyses/{analyzed(alice.visitor).public_id}/mask?download")
    assert response["Content-Disposition"] == 'attachment; filename="disc_mask.png"'
    image = opened(response)
    assert image.mode == "P" and np.array_equal(np.asarray(image), truth())


def test_the_confidence_is_drawn_at_the_images_own_size_when_somebody_asks(alice):
    result = analyzed(alice.visitor)
    address = f"/files/analyses/{result.public_id}/confidence"
    image = opened(alice.get(address))
    assert (image.mode, image.size) == ("L", (96, 96)) and image.getextrema() == (100, 200)
    assert opened(alice.get(f"/files/analyses/{result.public_id}/view/confidence")).size == (96, 96)
    (result.folder / "sure.png").unlink()
    assert alice.get(address).status_code == 200, "it is drawn once"


@pytest.mark.parametrize(
    "name", ["..%2f..%2fvar%2fsecret_key", "preview.webp%00.png", "shown.jpg", "heldout_0_secret.webp", "preview.png"]
)
def test_only_known_names_are_handed_out(alice, name):
    run, result = trained(make(alice.visitor)), analyzed(alice.visitor)
    for address in (f"/files/runs/{run.public_id}/{name}", f"/files/analyses/{result.public_id}/{name}"):
        assert alice.get(address).status_code == 404


def test_a_file_that_is_gone_is_a_404(alice):
    result = analyzed(alice.visitor)
    (result.folder / "sure.png").unlink()
    assert alice.get(f"/files/analyses/{result.public_id}/confidence").status_code == 404
    assert alice.get(f"/files/analyses/{result.public_id}/view/confidence").status_code == 404
