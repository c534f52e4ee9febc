"""The two driving clips by page, API and command, with the base and with a model trained on five street images."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest
from playwright.sync_api import Page, expect

from segapp.home import PROJECT
from segapp.tests.processes import training
from segapp.tests.serving import Browser, until

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.data, pytest.mark.timeout(3000)]
CLIPS = ("car-detection", "solidWhiteRight")
PATIENCE = 1200  # seconds; a clip takes half a minute on an idle machine


@pytest.fixture(scope="module")
def clips(data) -> list[Path]:
    return [data / "video" / f"{name}.mp4" for name in CLIPS]


@pytest.fixture(scope="module")
def lengths(clips) -> dict[str, tuple[float, float, int]]:
    """Seconds, seconds of one frame, and frames of each clip."""
    return {clip.stem: measured(clip) for clip in clips}


def measured(film: Path) -> tuple[float, float, int]:
    """The image's seconds, one frame's, and how many frames decode; any damage is an error."""
    with av.open(str(film)) as container:
        stream: Any = container.streams.video[0]
        length, frame = float(stream.duration * stream.time_base), 1 / float(stream.average_rate)
        return length, frame, sum(1 for _ in container.decode(stream))


def same_length(film: Path, wanted: tuple[float, float, int]) -> None:
    length, _, frames = measured(film)
    assert frames == wanted[2]
    assert length == pytest.approx(wanted[0], abs=wanted[1])


@pytest.fixture(scope="module")
def page(chromium, served):
    served.wait_ready()
    context = chromium.new_context(base_url=served.url, viewport={"width": 1280, "height": 900})
    complaints: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_default_timeout(60_000)
    page.goto("/")
    yield page
    context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def visitor(page, served) -> Browser:
    """The page's own visitor, speaking to the API."""
    browser = served.visitor()
    browser.cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    return browser


@pytest.fixture(scope="module")
def model(visitor, data) -> str:
    """Trained on five street images; active from then on."""
    images = sorted((data / "camvid" / "images").glob("val_*"))
    random.Random(0).shuffle(images)
    uploads = []
    for image in images[:5]:
        mask = data / "camvid" / "masks" / f"{image.stem}.png"
        uploads += [("images", image.name, image.read_bytes()), ("masks", mask.name, mask.read_bytes())]
    answer = visitor.post("/api/finetune", {}, uploads)
    assert answer.status == 202, answer.body
    run = training.follow(visitor, answer.json()["status_url"], PATIENCE)
    assert run["state"] == "done", run
    return f"user_{run['user_id']}"


def plays(page: Page, wanted: tuple[float, float, int]) -> None:
    """Overlay and mask have the clip's length and move when they are told to."""
    for view, button in (("overlay", False), ("mask", True)):
        if button:
            page.check("input[name=view][value=mask]", force=True)
        film = page.locator(f"#film-{view}")
        until(lambda: film.evaluate("film => film.readyState") >= 2, 120)  # noqa: B023 - asked at once
        assert film.evaluate("film => film.duration") == pytest.approx(wanted[0], abs=wanted[1])
        page.locator("[data-scrub]").fill("0")
        page.click("[data-play]")
        until(lambda: film.evaluate("film => film.currentTime") > 0.5, 120)  # noqa: B023
        assert film.evaluate("film => film.error") is None
        page.click("[data-play]")


def downloaded(visitor: Browser, job: dict, tmp_path: Path) -> list[Path]:
    films = []
    for kind in ("overlay", "mask"):
        films.append(tmp_path / f"{job['job_id']}.{kind}.mp4")
        films[-1].write_bytes(visitor.get(job[f"{kind}_url"]).body)
    return films


@pytest.mark.parametrize("name", CLIPS)
def test_by_page_with_the_base(page, visitor, clips, lengths, tmp_path, name):
    page.goto("/video/")
    page.set_input_files("#clip", clips[CLIPS.index(name)])
    page.check("input[name=rate][value='1']")
    page.click("[data-send]")
    expect(page.locator("#player")).to_be_visible(timeout=PATIENCE * 1000)
    plays(page, lengths[name])
    job = visitor.get("/api/video/" + page.url.rstrip("/").rpartition("/")[2]).json()
    assert not job["model_key"].startswith("user_")
    for film in downloaded(visitor, job, tmp_path):
        same_length(film, lengths[name])


@pytest.mark.parametrize("name", CLIPS)
def test_by_api_with_ones_own_model(page, visitor, model, clips, lengths, tmp_path, name):
    clip = clips[CLIPS.index(name)]
    answer = visitor.post("/api/video", {"rate": "1"}, [("file", clip.name, clip.read_bytes())])
    assert answer.status == 202, answer.body
    job = training.follow(visitor, answer.json()["status_url"], PATIENCE)
    assert job["state"] == "done", job
    assert (job["model_key"], job["frames"]) == (model, lengths[name][2])
    assert {found["id"] for found in job["classes"]} == set(range(11))
    for film in downloaded(visitor, job, tmp_path):
        same_length(film, lengths[name])
    page.goto(f"/video/{job['job_id']}/")
    plays(page, lengths[name])


@pytest.mark.parametrize("own", [False, True], ids=["base", "own"])
def test_by_command(served, model, clips, lengths, tmp_path, own):
    options = ["--model", model if own else "auto", "--out", str(tmp_path), "--json"]
    command = [sys.executable, str(PROJECT / "manage.py"), "segment", *options]
    environment = {**os.environ, "SEGAPP_HOME": str(served.home)}
    done = subprocess.run([*command, *map(str, clips)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for found, clip in zip(json.loads(done.stdout), clips, strict=True):
        assert found["file"] == str(clip.resolve())
        assert found["model_key"].startswith("user_") == own
        assert found["frames"] == lengths[clip.stem][2]
        for film in (Path(found["mask"]), Path(found["overlay"])):
            same_length(film, lengths[clip.stem])
        assert Path(found["table"]).read_text().count("\n") == found["frames"] + 1
