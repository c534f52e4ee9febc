"""The command line on a home of its own, as scripts call it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segapp.home import PROJECT
from segapp.parts import WAITING
from segapp.tests import second_pair

SLOW = pytest.mark.slow  # every command starts a Python of its own, some with torch


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("commands")


def manage(place: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SEGAPP_HOME": str(place / "home"), **second_pair.for_home(place / "home")}
    command = [sys.executable, str(PROJECT / "manage.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)


@pytest.fixture(scope="module")
def demo(place) -> Path:
    done = manage(place, "demo", "--out", place / "demo")
    assert done.returncode == 0, done.stderr
    return place / "demo"


@pytest.fixture(scope="module")
def model(place, demo) -> dict:
    done = manage(
        place, "finetune", demo / "images", demo / "masks", "--steps", 6, "--seed", 3, "--name", "Leaves", "--json"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # one object and nothing else


def test_demo_writes_pairs_and_images_to_try(demo):
    names = sorted(path.name for path in (demo / "images").iterdir())
    assert len(names) >= 5 and names == sorted(path.name for path in (demo / "masks").iterdir())
    assert list((demo / "more").iterdir())
    assert set(np.unique(np.asarray(Image.open(demo / "masks" / names[0])))) <= {0, 1, 2}


def test_finetune_says_what_it_made(model):
    assert model.keys() >= {"user_id", "file", "base", "seconds", "metrics", "classes"}
    assert Path(model["file"]).is_absolute() and Path(model["file"]).name == f"user_{model['user_id']}.pth"
    assert [found["id"] for found in model["classes"]] == [0, 1, 2]
    assert model["metrics"]["sentence"]


def test_segment_uses_the_active_model_and_writes_masks_of_the_images_size(place, demo, model):
    image = next((demo / "more").iterdir())
    done = manage(place, "segment", image, "--out", place / "masks", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["model_key"] == f"user_{model['user_id']}"
    mask = Image.open(found["mask"])
    assert mask.mode == "P" and mask.size == Image.open(image).size
    assert sum(row["pixels"] for row in found["classes"]) == mask.width * mask.height


@SLOW
def test_segment_takes_a_base_by_its_key(place, demo, model):
    done = manage(
        place, "segment", "--model", model["base"], "--out", place / "base", "--json", next((demo / "more").iterdir())
    )
    assert json.loads(done.stdout)[0]["model_key"] == model["base"]


@SLOW
@pytest.mark.parametrize("format", ["pth", "safetensors", "onnx"])
def test_a_model_can_be_exported(place, model, format):
    out = place / f"model.{format}"
    done = manage(place, "export_model", model["user_id"], "--format", format, "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 1_000_000


@SLOW
def test_the_rows_seed_and_steps_make_the_same_weights_again(place, demo, model):
    query = "SELECT recipe FROM registry_usermodel WHERE public_id = %s"
    (row,) = second_pair.select(place / "home", query, model["user_id"])
    recipe = row["recipe"] if isinstance(row["recipe"], dict) else json.loads(row["recipe"])
    numbers = [f"--{name}={recipe[name]}" for name in ("seed", "steps", "effort", "base")]
    done = manage(place, "finetune", demo / "images", demo / "masks", *numbers, "--visitor", "another", "--json")
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    first, second = (torch.load(made["file"], weights_only=True)["tensors"] for made in (model, again))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert again["metrics"] == model["metrics"]


@SLOW
@pytest.mark.fault(33)
def test_cleanup_says_what_it_would_do_and_does_it(place, model):
    orphan = place / "home" / "media" / "models" / "user_0000.pth"
    orphan.write_bytes(b"left from a crash")
    os.utime(orphan, (1, 1))
    dry = manage(place, "cleanup_models", "--dry-run")
    assert "user_0000" in dry.stdout and orphan.exists()
    assert manage(place, "cleanup_models").returncode == 0
    assert not orphan.exists() and Path(model["file"]).exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("segment", "/nowhere.png"),
        pytest.param(("finetune", "/nowhere/images", "/nowhere/masks"), marks=SLOW),
        pytest.param(("segment", "--model", "nobody", "/nowhere.png"), marks=SLOW),
        pytest.param(("export_model", "nobody", "--out", "x.pth"), marks=SLOW),
        pytest.param(("build_base", "mit_b3", "--data", "/nowhere"), marks=SLOW),
        # It has nobody but itself to learn from.
        pytest.param(("build_base", "efficientnet_lite0"), marks=SLOW),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_cannot_be_done_is_one_line_and_status_1(place, arguments):
    done = manage(place, *arguments)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


@SLOW
def test_bench_prints_one_object(place):
    done = manage(place, "bench", "finetune", "--recipes", "naive", "--seeds", 0, "--tests", 1, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [row["recipe"] for row in result["rows"]] == ["naive"]
    assert 0 <= result["summary"]["naive"]["miou"] <= 1


@SLOW
def test_bench_without_a_set_is_one_line(place):
    lost = manage(place, "bench", "finetune", "--sets", place / "nowhere")
    assert lost.returncode == 1 and lost.stderr.count("\n") == 1 and "nowhere" in lost.stderr


@SLOW
def test_threads_of_a_bench_wait_for_each_other_as_the_workers_do(place, monkeypatch):
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_DISPLAY_ENV", "verbose")  # the library of the threads says what it found when it is loaded
    lost = manage(place, "bench", "finetune", "--sets", place / "nowhere")
    for name, value in WAITING.items():
        assert f"{name} = '{value}'" in lost.stderr
