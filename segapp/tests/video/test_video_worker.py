"""The worker's way with a video: claim, progress, stop, hand back, resume, end."""

import secrets
from contextlib import contextmanager

import pytest
import torch
from django.core.files.uploadedfile import SimpleUploadedFile

from registry.models import UserModel
from segapp import heartbeat
from segapp.models import State, Stop, TrainingRun, VideoJob
from segapp.pipeline.video import process as pipeline
from segapp.pipeline.video.probe import probe
from segapp.pipeline.video.segmenter import MAX_PASSES
from segapp.services import videos
from segapp.tests.video.videos import bright_network, decoded_frames, write_video
from segapp.worker import networks, video

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    return settings.MEDIA_ROOT


@pytest.fixture
def net(monkeypatch):
    """The network that every job finds; `net.asked` holds the rows that asked for it."""
    network = bright_network(key="mit_b0")
    network.asked = []

    @contextmanager
    def pinned(work):
        network.asked.append(work.pk)
        yield network

    monkeypatch.setattr(networks, "pinned", pinned)
    monkeypatch.setattr(pipeline, "LOOK_SECONDS", 0)
    monkeypatch.setattr(video, "examine", probe)  # in this process: quicker; test_sandbox.py has the real one
    return network


@pytest.fixture
def dispatched(monkeypatch):
    """Primary keys that were dispatched again."""
    calls = []
    monkeypatch.setattr(video.dispatch, "video", lambda job: calls.append(job.pk))
    return calls


def submit(tmp_path, frames: int = 30, visitor: str = "alice", **options) -> VideoJob:
    content = write_video(tmp_path / "source.mp4", frames=frames, **options).read_bytes()
    return videos.submit(visitor, SimpleUploadedFile("ride.mp4", content), "ride.mp4", videos.EVERY)


def fresh(job: VideoJob) -> VideoJob:
    return VideoJob.objects.get(pk=job.pk)


def watched(monkeypatch, then):
    """Call `then(report)` before every look."""
    usual = video.Watcher.__call__

    def look(self, report):
        then(report)
        return usual(self, report)

    monkeypatch.setattr(video.Watcher, "__call__", look)


def test_a_video_is_done_with_result_videos_table_masks_and_figures(tmp_path, net, media):
    job = submit(tmp_path, audio="aac")
    video.run(job.pk)
    job = fresh(job)
    assert (job.state, job.progress, job.frames, job.message) == (State.DONE, 1.0, 30, "")
    assert (job.model_key, job.model_sha256, job.model_name) == ("mit_b0", net.sha256, "MiT-B0")
    assert len(job.timeline) == 30
    assert sum(found["percent"] for found in job.classes) == pytest.approx(100, abs=0.1)
    assert job.source["per_second"] == 0
    assert job.source["predicted"] == 30
    for name in videos.RESULT_VIDEOS:
        assert len(decoded_frames(videos.file_of(job, name))[0]) == 30
    assert len(list(videos.mask_archives(job))) == 1
    kept = sorted(path.name for path in job.folder.rglob("*") if path.is_file())
    assert kept == ["00000.zip", "frames.csv", "mask.mp4", "original.mp4", "overlay.mp4", "plan.json", "preview.webp"]
    assert not heartbeat.holds(video.LABEL, job.pk)


def test_a_doubled_message_finds_the_row_taken(tmp_path, net):
    job = submit(tmp_path)
    video.run(job.pk)
    video.run(job.pk)
    assert net.asked == [job.pk]


def test_progress_is_written_while_it_runs(tmp_path, net, monkeypatch):
    job = submit(tmp_path)
    seen = []
    watched(monkeypatch, lambda r: seen.append((fresh(job).progress, heartbeat.holds(video.LABEL, job.pk))))
    video.run(job.pk)
    progress = [fraction for fraction, _ in seen]
    assert progress == sorted(progress)
    assert len(set(progress)) > 10
    assert all(held for _, held in seen)


def test_stop_and_keep(tmp_path, net, monkeypatch):
    job = submit(tmp_path, audio="aac")
    watched(monkeypatch, lambda r: r.frames == 12 and VideoJob.objects.ask_to_stop(job.pk, Stop.KEEP))
    video.run(job.pk)
    job = fresh(job)
    assert job.state == State.DONE
    assert 12 <= job.frames < 30
    assert "Stopped on request" in job.message
    assert len(decoded_frames(videos.file_of(job, "overlay.mp4"))[0]) == job.frames


def test_cancel_leaves_nothing(tmp_path, net, monkeypatch, media):
    job = submit(tmp_path)
    watched(monkeypatch, lambda r: r.frames == 12 and VideoJob.objects.ask_to_stop(job.pk, Stop.DISCARD))
    video.run(job.pk)
    assert fresh(job).state == State.CANCELLED
    assert not list((media / "videos").iterdir())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2#EXTM3U", "index cannot be read"),
        (b"\x1a\x45\xdf\xa3" + bytes(200), "broken or incomplete"),
    ],
)
def test_what_only_decoding_shows_ends_failed_with_a_message(net, content, words, media):
    job = videos.submit("alice", SimpleUploadedFile("a.mp4", content), "a.mp4")
    video.run(job.pk)
    job = fresh(job)
    assert job.state == State.FAILED
    assert words in job.message
    assert not list((media / "videos").iterdir())


def test_limits_of_the_settings_hold(tmp_path, net, settings):
    settings.VIDEO_LIMIT_SECONDS = 1
    job = submit(tmp_path, frames=40)
    video.run(job.pk)
    assert "limit is" in fresh(job).message
    settings.VIDEO_LIMIT_SECONDS, settings.VIDEO_LIMIT_PIXELS = 600, 1000
    job = submit(tmp_path, frames=2)
    video.run(job.pk)
    assert "64 x 48; the limit is" in fresh(job).message


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, net, monkeypatch, media):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segapp.pipeline.video.segments.mask_png", full)
    job = submit(tmp_path)
    video.run(job.pk)
    job = fresh(job)
    assert job.state == State.FAILED
    assert "disk is full" in job.message
    assert "No space" in job.error
    assert not list((media / "videos").iterdir())


def test_a_defect_fails_the_job_in_plain_words(tmp_path, net, monkeypatch):
    monkeypatch.setattr("segapp.pipeline.video.process.write_frames_csv", lambda *_: 1 / 0)
    job = submit(tmp_path)
    video.run(job.pk)
    job = fresh(job)
    assert job.state == State.FAILED
    assert "ZeroDivision" in job.error
    assert "ZeroDivision" not in job.message


def test_a_queued_training_goes_first_and_the_video_goes_on_where_it_was(tmp_path, net, monkeypatch, dispatched):
    job = submit(tmp_path)

    def train(report):
        if report.frames == 12 and not TrainingRun.objects.exists():
            TrainingRun.objects.create(visitor="charlie", name="first")

    watched(monkeypatch, train)
    video.run(job.pk)
    job = fresh(job)
    assert (job.state, job.attempts, job.lease) == (State.QUEUED, 0, ""), "handing back costs no attempt"
    assert job.segments_done or job.frames
    assert dispatched == [job.pk, job.pk], "once when it was sent, once now"
    done_before = net.module.calls
    assert 12 <= done_before < 20
    TrainingRun.objects.update(state=State.DONE)
    video.run(job.pk)
    job = fresh(job)
    assert (job.state, job.frames) == (State.DONE, 30)
    pace = 2 * min(MAX_PASSES, torch.get_num_threads())  # every thread of the pool runs two passes
    assert net.module.calls <= 30 + pace + 1, "what was done before the training was not done again"


def test_a_video_handed_back_keeps_its_place(tmp_path, net, dispatched):
    first, second = submit(tmp_path, frames=3), submit(tmp_path, frames=3)
    video.run(second.pk)
    assert (fresh(first).state, fresh(second).state) == (State.DONE, State.QUEUED)


def test_a_worker_that_is_asked_to_end_hands_back(tmp_path, net, monkeypatch, dispatched):
    job = submit(tmp_path)
    monkeypatch.setattr(heartbeat, "stopping", type(heartbeat.stopping)())
    watched(monkeypatch, lambda r: r.frames >= 10 and heartbeat.stopping.set())
    video.run(job.pk)
    assert (fresh(job).state, fresh(job).attempts) == (State.QUEUED, 0)
    assert dispatched == [job.pk, job.pk], "once when it was sent, once now"
    assert job.folder.exists()


def test_a_lost_lease_ends_the_work_and_touches_neither_row_nor_files(tmp_path, net, monkeypatch):
    job = submit(tmp_path)
    watched(monkeypatch, lambda r: r.frames == 10 and VideoJob.objects.filter(pk=job.pk).update(lease="another's"))
    video.run(job.pk)
    assert (fresh(job).state, fresh(job).lease) == (State.RUNNING, "another's")
    assert videos.original(job).exists()


def test_a_killed_worker_is_followed_by_one_that_resumes_after_its_segments(tmp_path, net, monkeypatch):
    from segapp.pipeline.video import runner
    from segapp.services import runs

    monkeypatch.setattr(runner, "SEGMENT_FRAMES", 10)

    class Killed(BaseException):
        pass

    def kill(report):
        if report.frames == 27:
            raise Killed

    job = submit(tmp_path)
    with monkeypatch.context() as patch:
        watched(patch, kill)
        with pytest.raises(Killed):
            video.run(job.pk)
    VideoJob.objects.filter(pk=job.pk).update(lease_owner=f"{heartbeat.NAME}1")
    runs.requeue_expired(VideoJob.objects.all())
    assert fresh(job).state == State.QUEUED
    before = net.module.calls
    video.run(job.pk)
    assert fresh(job).state == State.DONE
    assert fresh(job).attempts == 2
    assert net.module.calls - before <= 20


# --- which model ----------------------------------------------------------------------------------------


def own_model(visitor: str) -> UserModel:
    return UserModel.objects.create(
        visitor=visitor, name="Leaves", active=False, base_key="mit_b0", base_name="MiT-B0", base_sha256="1" * 64,
        sha256=secrets.token_hex(32), size_bytes=1, seconds=1, image_count=5,
    )  # fmt: skip


def test_the_row_names_what_answered_and_says_when_it_is_not_what_was_pinned(tmp_path, net):
    model = own_model("alice")
    job = submit(tmp_path, frames=3)
    VideoJob.objects.filter(pk=job.pk).update(
        model=model, model_key=model.key, model_name=model.name, model_sha256=model.sha256
    )
    video.run(job.pk)
    job = fresh(job)
    assert (job.state, job.model_key, job.model_name) == (State.DONE, "mit_b0", "MiT-B0")
    assert job.message == "“Leaves” could not be used any more, so MiT-B0 answered."


def test_training_reset_and_deletion_change_nothing_in_a_video_that_was_sent(tmp_path, net, monkeypatch):
    model = own_model("alice")
    net.key = model.key
    job = submit(tmp_path, frames=3)
    VideoJob.objects.filter(pk=job.pk).update(model=model, model_key=model.key, model_name=model.name)
    from registry import services as registry

    registry.reset("alice")
    own_model("alice")
    registry.trash("alice", model.public_id)
    video.run(job.pk)
    assert fresh(job).model_key == model.key
    assert fresh(job).message == ""
