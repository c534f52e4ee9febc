"""A video that ends early: killed, paused, stopped, cancelled, broken; and what it reports on the way."""

from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from segapp.pipeline.video import process as module
from segapp.pipeline.video.demux import Limits
from segapp.pipeline.video.job import Cancelled, Paused, Verdict
from segapp.pipeline.video.process import process
from segapp.pipeline.video.segmenter import ForwardPool
from segapp.tests.video.videos import EACH, bright_network, decoded_frames, index_masks, write_video


def outputs(folder: Path) -> tuple[list[Fraction], list[np.ndarray], dict[str, np.ndarray], str]:
    times, images = decoded_frames(folder / "overlay.mp4")
    return times, images, index_masks(folder), (folder / "frames.csv").read_text()


def test_a_job_that_died_goes_on_behind_its_last_complete_segment(tmp_path, short_segments):
    original = write_video(tmp_path / "a.mp4", frames=45, audio="aac")
    process(bright_network(), original, tmp_path / "whole", EACH, Limits())

    class PowerCut(BaseException):
        pass

    net = bright_network()

    def dies(report) -> Verdict:
        if report.frames >= 27:
            raise PowerCut
        return Verdict.GO

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOOK_SECONDS", 0)
        with pytest.raises(PowerCut):
            process(net, original, tmp_path / "job", EACH, Limits(), watch=dies)
    complete = len(list((tmp_path / "job" / "parts").glob("*.json")))
    assert 1 <= complete <= 2
    again = bright_network()
    done = process(again, original, tmp_path / "job", EACH, Limits())
    assert again.module.calls == 45 - 10 * complete, "only what was missing, and no pace measured again"
    assert (done.frames, done.predicted) == (45, 45)
    for one, other in zip(outputs(tmp_path / "whole"), outputs(tmp_path / "job"), strict=True):
        if isinstance(one, dict):
            assert list(one) == list(other)
            assert all(np.array_equal(one[name], other[name]) for name in one)
        elif isinstance(one, list) and isinstance(one[0], np.ndarray):
            assert len(one) == len(other)
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
        else:
            assert one == other


def test_leftovers_of_an_incomplete_segment_are_removed(tmp_path, short_segments):
    original = write_video(tmp_path / "a.mp4", frames=25)
    process(bright_network(), original, tmp_path / "job", EACH, Limits())
    (tmp_path / "job" / "parts" / "00001.json").unlink()
    done = process(bright_network(), original, tmp_path / "job", EACH, Limits())
    assert (done.frames, done.segments) == (25, 3)


def pause_after(frames: int):
    """A watcher that lets each call work off so many frames."""
    start: list[int] = []

    def watch(report) -> Verdict:
        start.append(report.frames)
        return Verdict.PAUSE if report.frames - start[0] >= frames else Verdict.GO

    return watch


def test_another_model_never_goes_on_with_the_segments_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    original = write_video(tmp_path / "a.mp4", frames=25)
    with pytest.raises(Paused):
        process(bright_network(), original, tmp_path / "job", EACH, Limits(), watch=pause_after(12))
    other = bright_network(key="user_" + "b" * 32)
    done = process(other, original, tmp_path / "job", EACH, Limits())
    assert other.module.calls == 25 + 2
    assert done.frames == 25


def test_pausing_completes_a_short_segment_and_gives_up_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    original = write_video(tmp_path / "a.mp4", frames=35, audio="aac")
    calls, done = [], None
    while done is None:
        net = bright_network()
        try:
            done = process(net, original, tmp_path / "job", EACH, Limits(), watch=pause_after(9))
        except Paused:
            calls.append(net.module.calls)
    with closing(ForwardPool(torch.device("cpu"))) as pool:
        passes = pool.count
    calls[0] -= 2 * passes  # for measuring the pace
    assert len(calls) == 3
    assert all(10 <= frames <= 11 + passes for frames in calls), "what is under way is finished, and no more begun"
    assert (done.frames, done.segments) == (35, 4)
    assert decoded_frames(tmp_path / "job" / "overlay.mp4")[0] == decoded_frames(original)[0]


def test_stop_and_keep_finishes_the_result_with_what_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    original = write_video(tmp_path / "a.mp4", frames=40, audio="aac")
    keep = lambda report: Verdict.KEEP if report.frames >= 15 else Verdict.GO  # noqa: E731
    done = process(bright_network(), original, tmp_path / "job", EACH, Limits(), watch=keep)
    assert 15 <= done.frames < 40
    assert "Stopped on request" in done.notes[0]
    with av.open(str(tmp_path / "job" / "overlay.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(done.frames / 10, abs=0.1), "the sound ends with the image"


def test_cancelling_raises_and_leaves_no_thread_behind(tmp_path, monkeypatch):
    import threading

    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    original = write_video(tmp_path / "a.mp4", frames=40)
    with pytest.raises(Cancelled):
        process(bright_network(), original, tmp_path / "job", EACH, Limits(), watch=lambda report: Verdict.DISCARD)
    assert not [thread for thread in threading.enumerate() if thread.name in ("decode", "encode")]


def test_an_error_in_the_writer_comes_out(tmp_path, monkeypatch):
    def full(*_) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segapp.pipeline.video.segments.mask_png", full)
    original = write_video(tmp_path / "a.mp4", frames=40)
    with pytest.raises(OSError, match="No space left"):
        process(bright_network(), original, tmp_path / "job", EACH, Limits())


def test_reports_rise_and_carry_a_preview(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0)
    original = write_video(tmp_path / "a.mp4", frames=30)
    reports = []
    process(
        bright_network(), original, tmp_path / "job", EACH, Limits(), watch=lambda r: reports.append(r) or Verdict.GO
    )
    fractions = [r.fraction for r in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0.9
    assert reports[5].image.shape == (48, 64, 3)
    assert reports[5].ids.shape == (48, 64)
    assert all(r.eta_seconds >= 0 for r in reports)
