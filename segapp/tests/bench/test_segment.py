"""`manage.py bench segment`: what it refuses, what it prints, and the whole of it on a small scale."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from segapp.bench import run_segment
from segapp.bench.networks import measure
from segapp.bench.segment import bare, encoded
from segapp.home import PROJECT


def test_folders_without_an_image_are_named(tmp_path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="Name a folder with images"):
        run_segment.run({"sets": [tmp_path], "requests": 1, "base": "auto"}, print)


def test_no_image_is_sent_twice_and_the_bare_way_gives_a_mask_of_its_size(base, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    sent = [encoded(number, [tmp_path / "a.png"]) for number in range(5)]
    assert len(set(sent)) == 5
    (tmp_path / "mask.png").write_bytes(bare(base, sent[0]))
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.size == (70, 50) and mask.mode == "P" and set(np.unique(np.asarray(mask))) <= {0, 1}


def test_a_model_costs_a_fraction_of_a_whole_network():
    found = measure("efficientnet_lite0", lambda words: None)
    assert found["file_mb"] < found["full_mb"] / 10 and found["half_mb"] < 0.7 * found["file_mb"]
    assert 0 < found["cold_ms"] < found["full_ms"] and 0 < found["switch_ms"] < found["look_ms"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_bench_gives_every_figure_with_its_target(tmp_path):
    command = [sys.executable, str(PROJECT / "manage.py"), "bench", "segment", "--requests", "3", "--json"]
    environment = {**os.environ, "SEGAPP_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["base"] for row in found["requests"]] == ["mit_b3", "efficientnet_lite0"]
    assert all(0 < row["around_p50_ms"] < row["request_p50_ms"] for row in found["requests"])
    assert all(row["overhead"] > 0 and row["overhead_of_kept"] > 0 for row in found["requests"])
    assert found["training"]["slower"] > 0
    reference = found["models"][0]
    assert reference["base"] == "mit_b3" and reference["file_mb"] < reference["targets"]["file_mb"]
    assert reference["cold_over_full"] < 1 and reference["switch_over_look"] < 1
    lines = run_segment.table(found).splitlines()
    assert len(lines) == 19 and sum("at most" in line for line in lines) == 9
    assert not list((tmp_path / "home" / "media").glob("analyses/*")), "nothing of the installation is touched"
