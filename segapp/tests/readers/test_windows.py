"""Images too large to read at once: windows in, tiles predicted, windows out, in the same place on earth."""

import io
import subprocess
import sys
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from segapp.home import PROJECT
from segapp.imaging import InvalidFile, confined, decode, formats
from segapp.imaging.image_input import ImageInput, parse
from segapp.imaging.readers.windows import Windows
from segapp.models import Analysis, Batch
from segapp.pipeline.inference.predict import predict
from segapp.tests.batch.sending import BrightInParts, image
from segapp.tests.readers.making import colour, grey, tiff
from segapp.tests.video.videos import bright_network
from segapp.worker import batch as batch_worker
from segapp.worker import inference, local, networks

# Where a raster lies: pixel scale, tie point, keys of the reference system (WGS 84 / UTM zone 32N), its name.
GEO = [
    (33550, "d", 3, (0.2, 0.2, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 565000.0, 5935000.0, 0.0), True),
    (34735, "H", 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32632), True),
    (34737, "s", 0, "WGS 84 / UTM zone 32N|", True),
]


@pytest.fixture
def low_limit(monkeypatch):
    """Images above 10,000 pixels are read in windows."""
    monkeypatch.setattr(formats, "MAX_PIXELS", 10_000)


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (32, 48)},
        {"tile": (32, 48), "compression": "zlib", "predictor": True},
        {"tile": (32, 48), "planarconfig": "separate", "compression": "lzw"},
        {"rowsperstrip": 7, "compression": "zstd"},
        {"tile": (64, 64), "bigtiff": True},
    ],
    ids=str,
)
def test_any_window_is_what_the_whole_image_has_there(options):
    values = colour(150, 170)
    stored = np.moveaxis(values, -1, 0) if options.get("planarconfig") else values
    image = Windows(tiff(stored, photometric="rgb", **options), "a.tif", ImageInput())
    assert (image.height, image.width) == (150, 170)
    for top, left, height, width in ((0, 0, 150, 170), (31, 47, 2, 2), (100, 130, 50, 40), (0, 169, 150, 1)):
        assert np.array_equal(image.read(top, left, height, width), values[top : top + height, left : left + width])


def test_windows_of_jpeg_tiles_are_what_the_whole_image_has_there():
    file = tiff(colour(150, 170), photometric="rgb", tile=(32, 48), compression="jpeg")
    whole = np.asarray(decode.image(file, "a.tif"))
    image = Windows(file, "a.tif", ImageInput())
    assert np.array_equal(image.read(100, 130, 50, 40), whole[100:, 130:])


def test_windows_of_deep_images_have_one_display_range():
    values = grey(160, 160).astype(np.uint16) * 4 + 1000
    file = tiff(values, tile=(32, 32))
    found = Windows(file, "a.tif", ImageInput()).read(0, 0, 160, 160)
    whole = np.asarray(decode.image(file, "a.tif"), dtype=int)
    assert np.abs(found - whole).max() <= 3


def test_a_page_and_channels_are_chosen_in_windows_too():
    planes = np.stack([np.roll(grey(96, 96), 9 * k, axis=1) for k in range(5)], axis=-1)
    file = tiff(planes, photometric="minisblack", planarconfig="contig", tile=(32, 32))
    found = Windows(file, "a.tif", parse("5,3,1")).read(10, 20, 40, 50)
    assert np.array_equal(found, planes[10:50, 20:70, [4, 2, 0]])


def test_a_damaged_tile_is_refused_by_name():
    content = bytearray(tiff(colour(96, 96), photometric="rgb", tile=(32, 32), compression="zlib").getvalue())
    with tifffile.TiffFile(tiff(colour(96, 96), photometric="rgb", tile=(32, 32), compression="zlib")) as tif:
        at = tif.pages[0].dataoffsets[4]
    content[at : at + 8] = b"\xff" * 8
    image = Windows(io.BytesIO(bytes(content)), "a.tif", ImageInput())
    with pytest.raises(InvalidFile, match=r"a\.tif: A part of it is damaged"):
        image.read(0, 0, 96, 96)


@pytest.mark.fault(5)
def test_what_can_be_read_in_parts_says_so_and_the_rest_is_refused(low_limit):
    with pytest.raises(confined.NeedsWindows) as needs:
        decode.read_or_windows(tiff(colour(150, 170), photometric="rgb", tile=(32, 32)), "a.tif")
    assert (needs.value.width, needs.value.height) == (170, 150)
    with pytest.raises(InvalidFile, match="megapixels"):
        decode.read_or_windows(tiff(colour(150, 170), photometric="rgb"), "one_strip.tif")
    with pytest.raises(InvalidFile, match="megapixels"):
        decode.read(tiff(colour(150, 170), photometric="rgb", tile=(32, 32)), "for_training.tif")


def test_the_command_writes_a_mask_in_the_same_place_on_earth(tmp_path, low_limit):
    values = np.kron((grey(30, 40) > 128).astype(np.uint8) * 200 + 20, np.ones((8, 8), np.uint8))
    values = np.repeat(values[..., None], 3, axis=2)
    source = tmp_path / "ortho.tif"
    source.write_bytes(tiff(values, photometric="rgb", tile=(64, 64), extratags=GEO).getvalue())
    network = bright_network(input_size=64)
    network.module = BrightInParts()
    said: list[str] = []
    result = local.segment_image(network, source, tmp_path, "ortho_mask", log=said.append)
    assert result["mask"].endswith("ortho_mask.tif") and said
    with tifffile.TiffFile(result["mask"]) as mask, tifffile.TiffFile(source) as before:
        ids, page = mask.asarray(), mask.pages[0]
        assert page.is_tiled and ids.shape == values.shape[:2]
        for number in (33550, 33922, 34735, 34737):
            assert page.tags.valueof(number) == before.pages[0].tags.valueof(number), number
        assert np.asarray(page.colormap).shape == (3, 256)
    expected = predict(network, values).ids
    assert set(np.unique(ids)) == set(np.unique(expected))
    assert (ids == np.where(values[..., 0] > 128, ids.max(), ids.min())).mean() > 0.95
    assert sum(found["pixels"] for found in result["classes"]) == ids.size


@pytest.mark.slow
def test_two_hundred_megapixels_take_no_more_memory_than_a_window_needs(tmp_path):
    """A tiled file of 16,000 x 12,500 pixels, read, predicted and written in a process whose peak memory is told."""
    script = """
import resource, sys
from pathlib import Path
import numpy as np, tifffile
folder = Path(sys.argv[1])
rng = np.random.default_rng(0)
tile = rng.integers(0, 255, (512, 512, 3), dtype=np.uint8)
def tiles():
    for _ in range(32 * 25):
        yield tile
tifffile.imwrite(folder / "large.tif", tiles(), shape=(12_500, 16_000, 3), dtype=np.uint8, tile=(512, 512),
                 photometric="rgb", bigtiff=True, compression="zlib")
from segapp.tests.batch.sending import BrightInParts, image
from segapp.tests.video.videos import bright_network
from segapp.worker import local
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
network = bright_network(input_size=512)
network.module = BrightInParts()
result = local.segment_image(network, folder / "large.tif", folder, "mask")
print(before // 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, result["classes"][0]["pixels"])
"""
    done = subprocess.run(
        [sys.executable, "-c", f"import conftest\n{script}", str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    before, after, _ = map(int, done.stdout.split()[-3:])
    assert after - before < 1500, "200 megapixels of RGB alone are 600 MB; logits and ids come on top"
    with tifffile.TiffFile(tmp_path / "mask.tif") as mask:
        assert mask.pages[0].shape == (12_500, 16_000)


def bright_ortho() -> bytes:
    values = np.kron((grey(30, 40) > 128).astype(np.uint8) * 200 + 20, np.ones((8, 8), np.uint8))
    values = np.repeat(values[..., None], 3, axis=2)
    return tiff(values, photometric="rgb", tile=(64, 64), extratags=GEO).getvalue()


@pytest.fixture
def worker(monkeypatch, settings, tmp_path):
    """The network that the worker finds, media of its own, and no broker."""
    settings.MEDIA_ROOT = tmp_path / "media"
    network = bright_network(input_size=64, key="mit_b0")
    network.module = BrightInParts()

    @contextmanager
    def pinned(_):
        yield network

    monkeypatch.setattr(networks, "pinned", pinned)
    return network


def post(client, name="ortho.tif"):
    return client.post("/api/segment", {"file": SimpleUploadedFile(name, bright_ortho())})


def test_the_api_accepts_a_large_image_and_says_how_far_it_is(alice, charlie, worker, low_limit):
    response = post(alice)
    assert response.status_code == 202, response.json()
    address = response.json()["status_url"]
    assert alice.get(address).json()["state"] == "queued"
    assert charlie.get(address).status_code == 404 and charlie.post(f"{address}/stop").status_code == 404
    row = Analysis.objects.get()
    inference.run(row.pk)
    done = alice.get(address).json()
    assert (done["state"], done["progress"], done["width"], done["height"]) == ("done", 1.0, 320, 240)
    mask = b"".join(alice.get(done["mask_url"]).streaming_content)
    with tifffile.TiffFile(io.BytesIO(mask)) as tif:
        assert tif.pages[0].shape == (240, 320) and tif.pages[0].tags.valueof(33550) == (0.2, 0.2, 0.0)
    for kind in ("overlay_url", "confidence_url"):
        assert alice.get(done[kind]).status_code == 200, kind
    for kind in ("ids", "confidence", "small"):
        assert alice.get(reverse("analysis-view", args=[row.public_id, kind])).status_code == 200, kind
    assert alice.get(f"/analyze/{row.public_id}/").status_code == 200
    assert not row.image_path.exists(), "gigabytes that nobody needs any more"


def test_a_large_image_can_be_cancelled_queued_and_running(alice, worker, low_limit, monkeypatch):
    address = post(alice).json()["status_url"]
    queued = Analysis.objects.get()
    assert alice.post(f"{address}/stop").json()["state"] == "cancelled"
    assert not queued.folder.exists()
    inference.run(queued.pk)
    assert alice.get(address).json()["state"] == "cancelled"
    address = post(alice, "second.tif").json()["status_url"]
    running = Analysis.objects.latest("pk")
    monkeypatch.setattr(inference, "WRITE_SECONDS", 0)
    before = inference.ProgressWriter.__call__

    def cancelled_meanwhile(self, progress):
        alice.post(f"{address}/stop")
        before(self, progress)

    monkeypatch.setattr(inference.ProgressWriter, "__call__", cancelled_meanwhile)
    inference.run(running.pk)
    assert alice.get(address).json()["state"] == "cancelled" and not running.folder.exists()


def test_a_batch_takes_large_images_beside_others(alice, worker, low_limit):
    small = SimpleUploadedFile("small.png", image())
    sent = alice.post("/api/batch", {"files": [SimpleUploadedFile("ortho.tif", bright_ortho()), small]})
    assert sent.status_code == 202, sent.json()
    batch = Batch.objects.get()
    batch_worker.run(batch.pk)
    done = alice.get(sent.json()["status_url"]).json()
    assert [file["state"] for file in done["files"]] == ["done", "done"], done
    with zipfile.ZipFile(io.BytesIO(b"".join(alice.get(done["zip_url"]).streaming_content))) as archive:
        assert {"masks/ortho.tif", "masks/small.png"} <= set(archive.namelist())
        with tifffile.TiffFile(io.BytesIO(archive.read("masks/ortho.tif"))) as tif:
            assert tif.pages[0].shape == (240, 320) and tif.pages[0].tags.valueof(33550) == (0.2, 0.2, 0.0)
    large = batch.items.get(name="ortho.tif")
    assert (large.windows, large.width, large.height) == (True, 320, 240)
    assert sum(found["pixels"] for found in large.classes) == 320 * 240
    for kind in ("mask", "overlay", "shown", "small"):
        address = reverse("analyze-batch-file", args=[batch.public_id, large.number, kind])
        assert alice.get(address).status_code == 200, kind
    assert alice.get(reverse("analyze-batch-colours", args=[batch.public_id, large.number])).status_code == 200
