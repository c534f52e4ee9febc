"""The Python client against the running service."""

import asyncio
import inspect
import zipfile

import numpy as np
import pytest
import segapp_client
from PIL import Image
from segapp_client import AsyncSegapp, Segapp

from segapp.tests.client.conftest import key_of
from segapp.tests.imaging.drawing import photo, saved


@pytest.fixture
def picture() -> np.ndarray:
    return np.asarray(photo(96).convert("RGB"))[:80]


def test_one_image_as_path_array_and_pillow_image(segapp, tmp_path, picture):
    path = tmp_path / "leaf.png"
    Image.fromarray(picture).save(path)
    found = [segapp.segment(source) for source in (path, str(path), picture, Image.fromarray(picture))]
    for result in found:
        assert result.mask.shape == (80, 96) and result.mask.dtype == np.uint8
        assert np.array_equal(result.mask, found[0].mask)
        assert (result.width, result.height) == (96, 80)
    first = found[0]
    assert {row["id"] for row in first.classes} >= set(np.unique(first.mask).tolist())
    assert first.model_key == segapp.health()["active_model"]
    assert sum(row["pixels"] for row in first.classes) == first.mask.size
    overlay = segapp.download(first.overlay_url, tmp_path / "overlay.jpg")
    assert Image.open(overlay).size == (96, 80)


def test_a_model_answers_by_itself_whichever_is_active(segapp, planted, picture):
    rims, discs = segapp.models()
    assert [rims.id, discs.id] == planted[::-1] and rims.active and not discs.active
    assert set(np.unique(discs.segment(picture).mask)) == {1}
    assert set(np.unique(segapp.segment(picture).mask)) == {2}
    assert discs.activate().active and not segapp.model(rims.id).active
    assert set(np.unique(segapp.segment(picture).mask)) == {1}
    base = segapp.reset()
    assert segapp.health()["active_model"] == base
    assert rims.rename("Edges").name == "Edges"
    rims.delete()
    assert [model.id for model in segapp.models()] == [discs.id]


def test_a_batch_of_a_folder_names_what_could_not_be_used(segapp, planted, tmp_path, picture):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b"):
        Image.fromarray(picture).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden").write_text("nothing")
    heard = []
    batch = segapp.batch(folder, model=planted[0], on_progress=heard.append)
    assert [(file.name, file.ok) for file in batch.files] == [("a.png", True), ("b.png", True), ("notes.txt", False)]
    assert [file.name for file in batch.failed] == ["notes.txt"] and batch.failed[0].message
    assert {name: set(np.unique(mask)) for name, mask in batch.masks()} == {"a.png": {1}, "b.png": {1}}
    assert [path.name for path in batch.save(tmp_path / "out")] == ["a.png", "b.png"]
    assert heard[-1].state == "done" and heard[-1].fraction == 1
    packed = tmp_path / "in.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(folder / "a.png", "a.png")
    assert [file.name for file in segapp.batch(packed).files] == ["a.png"]
    assert len(segapp.batch([picture, folder / "b.png"]).files) == 2


def test_objects_are_rows_with_counts_in_real_units(segapp, planted, picture, tmp_path):
    discs = segapp.model(planted[0])
    result = discs.segment(picture, things=[1], scale="0.5um", split="none")
    assert result.objects.counts == {1: 1} and "typed" in result.scale
    (row,) = result.objects
    assert (row["object"], row["class_id"], row["class"]) == (1, 1, "disc")
    assert (row["area_px"], row["area_um2"]) == (80 * 96, 80 * 96 / 4)
    assert segapp.download(result.geojson_url, tmp_path / "a.geojson").stat().st_size > 100
    assert discs.segment(picture, objects=False).objects == []
    batch = discs.batch([picture, picture], objects=True, things="1")
    assert batch.counts == {1: 2} and [file.counts for file in batch.files] == [{1: 1}, {1: 1}]
    assert [row["area_px"] for row in batch.objects()] == [80 * 96] * 2
    with pytest.raises(segapp_client.Invalid, match="scale"):
        discs.segment(picture, scale="long")


def test_what_does_not_exist_and_what_is_anothers_look_the_same(segapp, ready, planted, picture):
    with Segapp(ready.url, key_of(ready.visitor())) as stranger:
        for model in (planted[0], "0" * 32, "../keys"):
            with pytest.raises(segapp_client.NotFound) as refused:
                stranger.activate(model)
            assert (refused.value.status, refused.value.code) == (404, "not_found")
            with pytest.raises(segapp_client.NotFound):
                stranger.segment(picture, model=model)


def test_refused_files_are_named_one_by_one(segapp, tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(segapp_client.InvalidFile) as refused:
        segapp.segment(tmp_path / "bad.png")
    assert [problem.file for problem in refused.value.files] == ["bad.png"] and refused.value.files[0].message
    mask = np.zeros(picture.shape[:2], np.uint8)
    mask[20:40, 20:40] = 1
    with pytest.raises(segapp_client.InvalidFile) as refused:
        segapp.start_finetune([picture, tmp_path / "bad.png"], [mask, mask])
    assert [problem.file for problem in refused.value.files] == ["002_bad.png"]
    with pytest.raises(FileNotFoundError, match="none"):
        segapp.segment(tmp_path / "none.png")
    with pytest.raises(segapp_client.Invalid, match="page"):
        segapp.segment(picture, page="seven")


def test_keys_are_made_listed_and_revoked_and_say_what_they_may(segapp, ready, picture):
    made = segapp.make_key("camera", scope="predict", days=3)
    assert made.key.startswith("segapp_") and made.key not in repr(made)
    listed = segapp.keys()
    assert {(row.name, row.scope, row.key) for row in listed} == {("camera", "predict", ""), ("test", "all", "")}
    with Segapp(ready.url, made.key) as camera:
        assert camera.segment(picture).mask.shape == picture.shape[:2]
        with pytest.raises(segapp_client.NotAllowed):
            camera.reset()
        segapp.revoke_key(made.id)
        with pytest.raises(segapp_client.InvalidKey):
            camera.models()


def test_the_async_client_does_the_same(ready, key, planted, picture, tmp_path):
    heard = []

    async def hear(progress):
        await asyncio.sleep(0)
        heard.append(progress)

    async def work():
        async with AsyncSegapp(ready.url, key) as segapp:
            rims, discs = await segapp.models()
            results = await asyncio.gather(*(model.segment(picture) for model in (rims, discs)))
            assert [set(np.unique(result.mask)) for result in results] == [{2}, {1}]
            batch = await discs.batch([picture], on_progress=hear)
            assert [name async for name, _ in batch.masks()] == ["001.png"]
            assert (await batch.save(tmp_path))[0].exists()
            assert (await discs.activate()).active
            with pytest.raises(segapp_client.NotFound):
                await segapp.model("none")

    asyncio.run(work())
    assert heard[-1].state == "done"


@pytest.mark.parametrize("name", ["Segapp", "Model", "Batch", "Video", "Run"])
def test_both_clients_have_the_same_methods_and_parameters(name):
    def methods(kind):
        found = {name: member for name, member in vars(kind).items() if inspect.isfunction(member) and name[0] != "_"}
        return {name: list(inspect.signature(member).parameters) for name, member in found.items()}

    assert methods(getattr(segapp_client, name)) == methods(getattr(segapp_client, f"Async{name}"))


def test_a_sixteen_bit_image_and_a_grey_one_are_taken(segapp):
    grey = np.asarray(photo(64).convert("L"))
    assert segapp.segment(grey).mask.shape == (64, 64)
    assert segapp.segment(grey.astype(np.uint16) * 200).mask.shape == (64, 64)
    assert segapp.segment(saved_as(photo(64), "TIFF")).mask.shape == (64, 64)


def saved_as(image, kind: str):
    return Image.open(saved(image, kind))
