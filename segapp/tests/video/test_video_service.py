"""Submitting, stopping and forgetting videos, before anything is decoded."""

import io
import zipfile

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from segapp.imaging import InvalidFile
from segapp.models import State, Stop, VideoJob
from segapp.services import videos
from segapp.services.errors import NotFound, StorageFull
from segapp.tests.video.videos import write_video

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    return settings.MEDIA_ROOT


@pytest.fixture
def clip(tmp_path) -> bytes:
    return write_video(tmp_path / "source.mp4", frames=5).read_bytes()


def upload(content: bytes, name: str = "ride.mp4") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def test_a_video_is_stored_under_a_name_of_the_servers_and_pinned(clip, media):
    job = videos.submit("alice", upload(clip), "../../ride\x00.mp4")
    assert job.state == State.QUEUED
    assert [path.name for path in job.folder.iterdir()] == ["original.mp4"]
    assert (job.folder / "original.mp4").read_bytes() == clip
    assert job.folder.parent == media / "videos"
    assert job.model is None
    assert job.model_key == job.base_key == "efficientnet_lite0"
    assert len(job.model_sha256) == 64
    assert job.model_sha256 == job.base_sha256


def test_the_ending_is_by_content_and_not_by_name(tmp_path):
    content = write_video(tmp_path / "a.webm", codec="libvpx", frames=2).read_bytes()
    assert videos.original(videos.submit("alice", upload(content), "a.mp4")).name == "original.mkv"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\nfile:///etc/passwd\n", "not an MP4"),
        (b"just text", "not an MP4"),
        (b"<html>", "not an MP4"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an MP4"),
    ],
)
def test_what_is_no_video_is_refused_at_once_and_nothing_is_stored(content, words, media):
    with pytest.raises(InvalidFile, match=words) as error:
        videos.submit("alice", upload(content, "clip.mp4"), "clip.mp4")
    assert error.value.file == "clip.mp4"
    assert not VideoJob.objects.exists()
    assert not list(media.rglob("*")) if media.exists() else True


def test_too_large_too_many_and_a_full_storage_are_refused(clip, settings):
    settings.VIDEO_LIMIT_BYTES = 500
    with pytest.raises(InvalidFile, match="over 0 MB"):
        videos.submit("alice", upload(clip), "a.mp4")
    settings.VIDEO_LIMIT_BYTES = 10**8
    for _ in range(videos.MAX_UNFINISHED):
        videos.submit("alice", upload(clip), "a.mp4")
    with pytest.raises(videos.TooMany):
        videos.submit("alice", upload(clip), "a.mp4")
    settings.SEGAPP_STORAGE_BYTES = 100
    with pytest.raises(StorageFull, match="storage"):
        videos.submit("charlie", upload(clip), "a.mp4")


def test_a_disk_that_is_full_leaves_neither_row_nor_folder(clip, monkeypatch, media):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(videos.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space"):
        videos.submit("alice", upload(clip), "a.mp4")
    assert not VideoJob.objects.exists()
    assert not list((media / "videos").iterdir())


def test_another_visitors_video_is_not_found(clip):
    job = videos.submit("alice", upload(clip), "a.mp4")
    assert videos.owned("alice", job.public_id) == job
    for visitor, public_id in (("charlie", job.public_id), ("alice", "0" * 32), ("", job.public_id)):
        with pytest.raises(NotFound):
            videos.owned(visitor, public_id)


def test_the_newest_videos_come_first():
    for number in range(4):
        VideoJob.objects.create(visitor="alice", title=f"{number}.mp4")
    VideoJob.objects.create(visitor="charlie")
    assert [job.title for job in videos.recent("alice", 3)] == ["3.mp4", "2.mp4", "1.mp4"]


def test_a_queued_video_is_cancelled_at_once_and_its_file_goes(clip):
    job = videos.submit("alice", upload(clip), "a.mp4")
    videos.stop(job, keep=True)
    assert job.state == State.CANCELLED
    assert not job.folder.exists()


def test_a_running_video_is_asked_to_stop(clip):
    job = videos.submit("alice", upload(clip), "a.mp4")
    VideoJob.objects.claim(job.pk, "worker", "token")
    videos.stop(job, keep=True)
    assert (job.state, job.stop) == (State.RUNNING, Stop.KEEP)
    videos.stop(job, keep=False)
    assert job.stop == Stop.DISCARD
    assert job.folder.exists(), "the worker removes it when it has let go of it"


def test_stop_and_keep_between_segments_lets_a_worker_join_what_is_done(clip):
    job = videos.submit("alice", upload(clip), "a.mp4")
    VideoJob.objects.filter(pk=job.pk).update(segments_done=2)
    job.refresh_from_db()
    videos.stop(job, keep=True)
    assert (job.state, job.stop) == (State.QUEUED, Stop.KEEP)
    videos.stop(job, keep=False)
    assert job.state == State.CANCELLED
    assert not job.folder.exists()


def test_deleting_takes_the_files_along_and_a_running_one_is_swept_up_later(clip):
    done = videos.submit("alice", upload(clip), "a.mp4")
    VideoJob.objects.filter(pk=done.pk).update(state=State.DONE)
    done.refresh_from_db()
    videos.delete(done)
    assert not done.folder.exists()
    running = videos.submit("alice", upload(clip), "b.mp4")
    VideoJob.objects.claim(running.pk, "worker", "token")
    running.refresh_from_db()
    videos.delete(running)
    assert list(videos.recent("alice")) == []
    VideoJob.objects.end(running.pk, "token", State.CANCELLED)
    videos.sweep()
    assert not VideoJob.objects.exists()
    assert not running.folder.exists()


def test_sweeping_leaves_what_is_done_or_still_wanted(clip):
    jobs = {state: videos.submit("alice", upload(clip), "a.mp4") for state in State.values}
    for state, job in jobs.items():
        VideoJob.objects.filter(pk=job.pk).update(state=state)
    videos.sweep()
    left = {state for state, job in jobs.items() if job.folder.exists()}
    assert left == {State.QUEUED, State.RUNNING, State.DONE}


def test_the_estimate_uses_what_the_last_video_measured(clip):
    assert videos.pace("CPU") > videos.pace("CUDA") > 0
    job = videos.submit("alice", upload(clip), "a.mp4")
    VideoJob.objects.filter(pk=job.pk).update(state=State.DONE, source={"pace": 0.125})
    assert videos.pace("CPU") == 0.125


def test_expired_videos_are_removed_by_the_cleanup(clip, settings):
    from datetime import timedelta

    from django.utils import timezone

    from segapp.services import cleanup

    old, fresh = (videos.submit("alice", upload(clip), "a.mp4") for _ in range(2))
    VideoJob.objects.update(state=State.DONE)
    VideoJob.objects.filter(pk=old.pk).update(created=timezone.now() - timedelta(days=settings.SEGAPP_RESULT_DAYS + 1))
    for removal in cleanup.plan():
        removal.act()
    assert list(VideoJob.objects.all()) == [fresh]
    assert not old.folder.exists()
    assert fresh.folder.exists()


def test_the_zip_of_masks_is_put_together_while_it_is_sent(clip):
    from segapp.services.zips import stream
    from segapp.views.video import mask_members

    job = videos.submit("alice", upload(clip), "a.mp4")
    parts = job.folder / "parts"
    parts.mkdir()
    for number in range(3):
        with zipfile.ZipFile(parts / f"{number:05d}.zip", "w") as part:
            part.writestr(f"frame_{number:06d}.png", bytes([number]) * 100)
    (job.folder / "frames.csv").write_text("frame\n")
    VideoJob.objects.filter(pk=job.pk).update(state=State.DONE)
    job.refresh_from_db()
    pieces = list(stream(mask_members(videos.mask_archives(job), job)))
    assert len(pieces) >= 4
    assert all(pieces)
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as whole:
        assert whole.testzip() is None
        assert whole.namelist() == ["frames.csv", *(f"frame_{k:06d}.png" for k in range(3))]
        assert whole.read("frame_000002.png") == b"\x02" * 100
