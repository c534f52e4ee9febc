"""`manage.py watch` as a process: killed at any point, asked to end, started again, run from cron."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segapp.home import PROJECT
from segapp.tests.imaging.drawing import photo
from segapp.tests.planting import plant_into
from segapp.tests.serving import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("watch") / "home"


@pytest.fixture(scope="module")
def model(home, environment) -> str:
    command = [sys.executable, str(PROJECT / "manage.py"), "demo", "--out", str(home.parent / "demo")]
    subprocess.run(command, env=environment, check=True, capture_output=True)  # any command makes the database
    return plant_into(home, "local", Discs=1)[0]


@pytest.fixture(scope="module")
def environment(home) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SEGAPP_")}
    return {**inherited, "SEGAPP_HOME": str(home), "DJANGO_SETTINGS_MODULE": "segapp.settings"}


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def started(environment, folder, model):
    """Starts the command on the folder; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def started(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROJECT / "manage.py"), "watch", str(folder), str(folder.parent / "out")]
        command += ["--model", model, "--stable", "0.5", "--things", "1", *options]
        pipe = subprocess.PIPE
        running.append(subprocess.Popen(command, env=environment, cwd=PROJECT, stdout=pipe, stderr=pipe, text=True))
        return running[-1]

    yield started
    for process in running:
        process.kill()
        process.communicate()


def journal(out: Path, step: str) -> list[str]:
    lines = (out / ".watch" / "journal.jsonl").read_bytes().splitlines()
    return sorted(line["file"] for line in map(json.loads, lines) if line["step"] == step)


def files(folder: Path) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith(".watch/"))


def whole(out: Path, name: str, side: int) -> bool:
    """Mask, table and polygons of an image are there and whole."""
    with open(out / "objects" / f"{name}.csv", newline="", encoding="utf-8-sig") as file:
        (row,) = csv.DictReader(file)
    polygons = json.loads((out / "polygons" / f"{name}.geojson").read_text())
    mask = np.asarray(Image.open(out / "masks" / f"{name}.png"))
    return mask.shape == (side, side) and row["area_px"] == str(side * side) and len(polygons["features"]) == 1


def counted(out: Path) -> Counter:
    with open(out / "classes.csv", newline="", encoding="utf-8-sig") as file:
        return Counter(row["file"] for row in csv.DictReader(file) if row["id"] == "1")


def test_killed_at_every_step_it_loses_nothing_and_does_nothing_twice(tmp_path, environment, model):
    arrives = tmp_path / "arrives"
    (arrives / "run").mkdir(parents=True)
    photo(64).save(arrives / "run" / "good.png")
    (arrives / "bad.png").write_bytes(b"no image")
    command = [sys.executable, "-m", "segapp.tests.watch.dying", str(tmp_path), model]
    done = subprocess.run(
        command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=800, check=False
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) > 20 and not results[-1]["killed"], "there were no more steps to die at"
    for result in results:
        out = Path(result["place"]) / "out"
        assert result["starts"] == 1, "the next start did all that was left"
        assert files(Path(result["place"]) / "in") == [], result
        expected = ["classes.csv", "done/run/good.png", "failed/bad.png", "failed/bad.png.txt", "masks/run/good.png"]
        assert files(out) == [*expected, "objects/run/good.csv", "polygons/run/good.geojson"], result
        assert whole(out, "run/good", 64) and (out / "failed" / "bad.png").read_bytes() == b"no image"
        assert journal(out, "done") == ["run/good.png"] and counted(out) == {"run/good.png": 1}, result


def test_killed_again_and_again_while_files_arrive(started, folder):
    out, names = folder.parent / "out", [f"image_{number:02d}" for number in range(24)]
    arriving = iter(names)
    for round_ in range(4):
        for name in [next(arriving) for _ in range(6)]:
            photo(96).save(folder / f"{name}.png")
        process = started()
        before = len(journal(out, "done")) if (out / ".watch" / "journal.jsonl").exists() else 0
        until(lambda before=before: (out / ".watch/journal.jsonl").exists() and len(journal(out, "done")) > before, 120)
        time.sleep(random.Random(round_).uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = started("--once")
    said, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert journal(out, "done") == [f"{name}.png" for name in names], "each once"
    assert all(whole(out, name, 96) for name in names)
    assert counted(out) == dict.fromkeys((f"{name}.png" for name in names), 1)
    assert files(out / "masks") == [f"{name}.png" for name in names] and "image_23.png: disc 100.0 %; 1 × disc" in said


def test_a_file_that_grows_for_long_is_taken_when_it_is_whole(started, folder):
    content, out = (folder.parent / "whole.png"), folder.parent / "out"
    photo(256).save(content)
    process = started()
    until(lambda: (out / ".watch" / "journal.jsonl").exists(), 120)
    data = content.read_bytes()
    with open(folder / "slow.png", "wb", buffering=0) as writing:  # pauses are longer than --stable
        for start in range(0, len(data), len(data) // 4 + 1):
            writing.write(data[start : start + len(data) // 4 + 1])
            time.sleep(1.5)
            assert files(out) == []
    until(lambda: (out / "masks" / "slow.png").exists(), 60)
    until(lambda: whole(out, "slow", 256), 20)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and "Ended" in errors and time.monotonic() - began < 10


def test_from_cron_it_does_what_is_there_and_ends(started, folder):
    photo(64).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"no image")
    process = started("--once", "--json")
    said, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    found = {row["file"]: row for row in map(json.loads, said.splitlines())}
    assert found["a.png"]["objects"] == {"1": 1} and found["a.png"]["problem"] is None
    assert found["b.png"]["problem"] and (folder.parent / "out" / "failed" / "b.png").exists()
    process = started("--once", "--json")
    assert process.communicate(timeout=200)[0] == "" and process.returncode == 0


def test_what_cannot_work_ends_with_one_line(started, folder):
    first = started()
    until(lambda: (folder.parent / "out" / ".watch" / "journal.jsonl").exists(), 120)
    second = started()
    _, errors = second.communicate(timeout=200)
    assert second.returncode == 1 and "another watch already" in errors and len(errors.strip().splitlines()) == 1
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    third = started("--model", "none")
    _, errors = third.communicate(timeout=200)
    assert third.returncode == 1 and "There is no model none" in errors and len(errors.strip().splitlines()) == 1
