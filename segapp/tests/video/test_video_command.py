"""`manage.py segment` with videos, and what `bench video` measures; a network of a few numbers stands in."""

import json
from contextlib import contextmanager
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from segapp.bench import run_video
from segapp.bench.video import bench
from segapp.tests.video.videos import bright_network, decoded_frames, write_video
from segapp.worker import local


@pytest.fixture(autouse=True)
def network(monkeypatch):
    @contextmanager
    def named(key):
        yield bright_network()

    monkeypatch.setattr(local, "named_network", named)


@pytest.fixture
def ride(tmp_path):
    return write_video(tmp_path / "ride.mp4", frames=12, audio="aac")


def test_segment_takes_videos_and_says_what_is_on_them(ride, tmp_path):
    said = StringIO()
    call_command("segment", str(ride), out=tmp_path / "out", json=True, stdout=said)
    (found,) = json.loads(said.getvalue())
    assert found["file"] == str(ride)
    assert found["mask"] == str(tmp_path / "out" / "ride_mask.mp4")
    assert found["model_key"] == bright_network().key
    assert {tuple(sorted(c)) for c in found["classes"]} == {("color", "id", "name", "percent", "pixels")}
    assert found["inference_ms"] > 0
    for path in (found["mask"], found["overlay"]):
        assert decoded_frames(path)[0] == decoded_frames(ride)[0]


def test_segment_says_in_one_line_what_is_no_video(tmp_path):
    fake = tmp_path / "list.mp4"
    fake.write_text("#EXTM3U\nfile:///etc/hostname\n")
    with pytest.raises(CommandError, match="not an MP4"):
        call_command("segment", str(fake), out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_bench_measures_alternately(ride):
    (row,) = bench(bright_network(), [ride], most=6, rounds=2)
    assert (row["clip"], row["size"], row["frames"]) == ("ride.mp4", "64x48", 6)
    assert [len(measured) for measured in row["rates"]] == [3, 3]
    assert row["ratio"] > 0


def test_the_table_has_a_line_a_video_and_one_for_kept_memory():
    row = {
        "clip": "ride.mp4",
        "size": "64x48",
        "frames": 12,
        "bare_fps": 20.0,
        "fps": 19.0,
        "ratio": 0.95,
        "target": 0.8,
    }
    kept = row | {"bare_fps": 25.0, "ratio": 0.76}
    _, plain, beside = run_video.table({"rows": [row | {"kept": kept}]}).splitlines()
    assert "ride.mp4" in plain and "0.95" in plain
    assert "keeping freed memory" in beside and "25.0" in beside and "0.76" in beside
    assert len(run_video.table({"rows": [row]}).splitlines()) == 2
