"""Which encoders the service opens, and that none of its codecs changes how its process is scheduled."""

import ast
from pathlib import Path

import pytest

from segapp.home import PROJECT
from segapp.pipeline.video.demux import Limits
from segapp.pipeline.video.job import Report, Verdict
from segapp.pipeline.video.process import process
from segapp.tests import scheduling
from segapp.tests.video.transcode import in_child
from segapp.tests.video.videos import EACH, bright_network, decoded_frames, write_video

ENCODERS = {"libx264", "aac"}


def production_files() -> list[Path]:
    found = [path for package in ("segapp", "registry") for path in (PROJECT / package).rglob("*.py")]
    return [path for path in found if "tests" not in path.relative_to(PROJECT).parts]


@pytest.mark.fault(49)
def test_only_two_encoders_are_opened_and_each_is_named_where_it_is():
    opened = set()
    for path in production_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr == "add_stream" or ast.unparse(node.func) == "CodecContext.create":
                assert node.args and isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno} names no encoder"
                opened.add(node.args[0].value)
    assert opened == ENCODERS


@pytest.mark.fault(49)
def test_an_av1_video_leaves_every_thread_as_it_was(tmp_path):
    plain = write_video(tmp_path / "plain.mp4", 64, 64, frames=20)
    original = in_child(plain, tmp_path / "a.mkv", "libsvtav1")
    usual, seen = set(scheduling.policies().values()), set()

    def watch(report: Report) -> Verdict:
        seen.update(scheduling.policies().values())
        return Verdict.GO

    done = process(bright_network(), original, tmp_path / "job", EACH, Limits(), watch)
    assert (done.source.codec, done.frames) == ("libdav1d", 20)
    assert len(decoded_frames(tmp_path / "job" / "overlay.mp4")[0]) == 20
    assert seen | set(scheduling.policies().values()) == usual
