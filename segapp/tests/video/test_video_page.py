"""The page and the API of videos: who may, what is said, and files in parts."""

from datetime import UTC, datetime

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from segapp.models import State, Stop, TrainingRun, VideoJob
from segapp.services import videos
from segapp.tests.video.videos import bright_network, write_video
from segapp.worker import networks, video

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    return settings.MEDIA_ROOT


@pytest.fixture
def clip(tmp_path) -> bytes:
    return write_video(tmp_path / "source.mp4", frames=12, audio="aac").read_bytes()


def upload(content: bytes, name: str = "ride.mp4") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


@pytest.fixture
def queued(alice, clip) -> VideoJob:
    return videos.submit(alice.visitor, upload(clip), "ride.mp4")


@pytest.fixture
def done(queued, monkeypatch) -> VideoJob:
    from contextlib import contextmanager

    @contextmanager
    def pinned(work):
        yield bright_network(key="mit_b0")

    monkeypatch.setattr(networks, "pinned", pinned)
    video.run(queued.pk)
    return VideoJob.objects.get(pk=queued.pk)


# --- the page -------------------------------------------------------------------------------------------


def test_the_page_states_its_limits_beforehand(alice, settings):
    settings.VIDEO_LIMIT_BYTES, settings.VIDEO_LIMIT_SECONDS = 123 * 10**6, 240
    page = alice.get("/video/").content.decode()
    assert "123 MB" in page
    assert "4 minutes" in page


def test_a_plain_post_leads_to_the_videos_page(alice, clip):
    response = alice.post("/video/", {"file": upload(clip), "rate": "5"})
    job = VideoJob.objects.get()
    assert response.headers["Location"] == f"/video/{job.public_id}/"
    assert (job.visitor, job.title, job.options["rate"]) == (alice.visitor, "ride.mp4", "5")
    assert b"Cancel" in alice.get(response.headers["Location"]).content


def test_the_script_gets_the_address(alice, clip):
    response = alice.post("/video/", {"file": upload(clip)}, headers={"Accept": "application/json"})
    assert response.status_code == 201
    assert response.json() == {"url": f"/video/{VideoJob.objects.get().public_id}/"}


@pytest.mark.parametrize("headers", [{}, {"Accept": "application/json"}])
@pytest.mark.parametrize("content", [b"#EXTM3U\n", b"", b"text"])
def test_what_is_no_video_is_refused_by_name(alice, headers, content):
    response = alice.post("/video/", {"file": upload(content, "a<b>.mp4")}, headers=headers)
    assert response.status_code == 422
    assert "a&lt;b&gt;.mp4" in response.content.decode()
    assert not VideoJob.objects.exists()


def test_no_file_and_a_wrong_rate_are_refused(alice, clip):
    assert "No video was chosen" in alice.post("/video/").content.decode()
    response = alice.post("/video/", {"file": upload(clip), "rate": "1000"})
    assert response.status_code == 422
    assert "no such rate" in response.content.decode()


@pytest.mark.parametrize("state", State.values)
def test_every_state_has_a_page(alice, queued, state):
    VideoJob.objects.update(state=state, message="Because of this.", source={"width": 64, "height": 48, "seconds": 1.2})
    response = alice.get(f"/video/{queued.public_id}/")
    assert response.status_code == 200
    assert ("Because of this." in response.content.decode()) == (state in ("done", "failed", "cancelled"))


def test_a_video_says_that_a_training_goes_first_only_while_there_is_one(alice, queued):
    address = f"/video/{queued.public_id}/live/"
    VideoJob.objects.update(segments_done=1)
    assert "A training goes first" not in alice.get(address).content.decode()
    TrainingRun.objects.create(visitor="somebody")
    assert f"A training runs first; {queued.title} continues after it" in alice.get(address).content.decode()
    VideoJob.objects.update(segments_done=0)
    assert f"{queued.title} starts after it" in alice.get(address).content.decode()


def test_a_result_says_until_when_it_is_kept(alice, done, settings):
    settings.SEGAPP_RESULT_DAYS = 3
    VideoJob.objects.update(created=datetime(2030, 2, 27, 12, tzinfo=UTC))
    page = alice.get(f"/video/{done.public_id}/").content.decode()
    assert "Kept until 2 Mar." in page
    assert "kept for 3 days" in page


def test_the_running_part_asks_on_and_then_for_the_whole_page(alice, queued):
    address = f"/video/{queued.public_id}/live/"
    assert "HX-Refresh" not in alice.get(address).headers
    VideoJob.objects.update(state=State.FAILED)
    assert alice.get(address).headers["HX-Refresh"] == "true"


def test_the_page_of_a_done_video_has_films_chart_and_downloads(alice, done):
    page = alice.get(f"/video/{done.public_id}/").content.decode()
    for name in ("overlay.mp4", "mask.mp4", "frames.csv", "masks.zip", 'id="video-status"'):
        assert name in page
    assert "style=" not in page
    assert "<script>" not in page


def test_stop_and_delete_on_the_page(alice, queued):
    VideoJob.objects.claim(queued.pk, "worker", "token")
    alice.post(f"/video/{queued.public_id}/stop/", {"keep": "true"})
    assert VideoJob.objects.get().stop == Stop.KEEP
    alice.post(f"/video/{queued.public_id}/stop/", {"keep": "false"})
    assert VideoJob.objects.get().stop == Stop.DISCARD
    VideoJob.objects.update(state=State.CANCELLED)
    alice.post(f"/video/{queued.public_id}/delete/")
    assert not VideoJob.objects.exists()


def test_everything_of_anothers_video_is_a_404(charlie, done):
    names = ["overlay.mp4", "mask.mp4", "original", "frames.csv"]
    for end in ("", "live/", "masks.zip", *(f"files/{name}" for name in names)):
        assert charlie.get(f"/video/{done.public_id}/{end}").status_code == 404, end
    for action in ("stop", "delete"):
        assert charlie.post(f"/video/{done.public_id}/{action}/", {"keep": "false"}).status_code == 404
    assert charlie.get(f"/api/video/{done.public_id}").status_code == 404
    assert VideoJob.objects.get().state == State.DONE
    assert b"ride.mp4" not in charlie.get("/video/").content


# --- files in parts -------------------------------------------------------------------------------------


def body(response) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else response.content


RANGES = [
    ("", 200, slice(None)),
    ("bytes=0-", 206, slice(None)),
    ("bytes=10-19", 206, slice(10, 20)),
    ("bytes=100-", 206, slice(100, None)),
    ("bytes=-50", 206, slice(-50, None)),
    ("bytes=5-999999999", 206, slice(5, None)),
    ("bytes=0-1,5-9", 200, slice(None)),
    ("bytes=-", 200, slice(None)),
    ("lines=1-2", 200, slice(None)),
    ("bytes=999999999-", 416, None),
    ("bytes=-0", 416, None),
    ("bytes=20-10", 416, None),
]


def test_films_are_sent_in_parts(alice, done):
    whole = videos.file_of(done, "overlay.mp4").read_bytes()
    for asked, status, part in RANGES:
        response = alice.get(f"/video/{done.public_id}/files/overlay.mp4", headers={"Range": asked} if asked else {})
        assert response.status_code == status, asked
        assert response.headers["Accept-Ranges"] == "bytes", asked
        if part is None:
            assert response.headers["Content-Range"] == f"bytes */{len(whole)}", asked
            continue
        assert response.headers["Content-Type"] == "video/mp4", asked
        sent = body(response)
        assert sent == whole[part], asked
        assert int(response.headers["Content-Length"]) == len(sent), asked
        if status == 206:
            first = len(whole) - len(whole[part]) if part.stop is None else part.start
            assert response.headers["Content-Range"] == f"bytes {first}-{first + len(sent) - 1}/{len(whole)}", asked
        assert "private" in response.headers["Cache-Control"], asked


def test_a_head_asks_for_the_headers_only(alice, done):
    response = alice.head(f"/video/{done.public_id}/files/overlay.mp4")
    assert int(response.headers["Content-Length"]) == videos.file_of(done, "overlay.mp4").stat().st_size


def test_downloads_are_named_after_the_clip(alice, done):
    titles = {
        "files/overlay.mp4?download": "ride_overlay.mp4",
        "files/frames.csv?download": "ride_frames.csv",
        "masks.zip": "ride_masks.zip",
    }
    for name, title in titles.items():
        header = alice.get(f"/video/{done.public_id}/{name}").headers["Content-Disposition"]
        assert header == f'attachment; filename="{title}"'


def test_only_the_named_files_are_handed_out(alice, done):
    for name in ("plan.json", "..", "%2e%2e%2fplan.json", "parts", "original.mp4", ""):
        assert alice.get(f"/video/{done.public_id}/files/{name}").status_code == 404, name


# --- API ------------------------------------------------------------------------------------------------


def test_the_api_takes_a_video_and_tells_of_it(alice, clip, done):
    sent = alice.post("/api/video", {"file": upload(clip)})
    assert sent.status_code == 202
    status_url = sent.json()["status_url"]
    assert status_url == f"/api/video/{sent.json()['job_id']}"
    state = alice.get(status_url).json()
    assert (state["state"], state["progress"], state["overlay_url"], state["frames"]) == ("queued", 0, None, 0)
    finished = alice.get(f"/api/video/{done.public_id}").json()
    assert finished["state"] == "done"
    assert finished["model_key"] == "mit_b0"
    assert finished["frames"] == 12
    assert {found["id"] for found in finished["classes"]} == {0, 3}
    for key in ("overlay_url", "mask_url"):
        response = alice.get(finished[key])
        assert response.headers["Content-Type"] == "video/mp4"
        assert body(response)[4:8] == b"ftyp"


def test_the_api_refuses_what_is_no_video_in_its_own_shape(alice):
    response = alice.post("/api/video", {"file": upload(b"#EXTM3U\n", "list.mp4")})
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["files"][0]["file"] == "list.mp4"
    assert error["code"] and error["message"]
    assert alice.post("/api/video").status_code == 422
    assert alice.post("/api/video").json()["error"]["code"] == "invalid"


def test_the_api_stops(alice, queued):
    address = reverse("api-video-stop", args=[queued.public_id])
    assert alice.post(address).status_code == 422
    assert alice.post(address, {"keep": "false"}).json()["state"] == "cancelled"
    assert not queued.folder.exists()
    assert alice.post(address, {"keep": "true"}).json()["state"] == "cancelled", "a second stop changes nothing"


def test_too_many_unfinished_videos_are_said_so(alice, clip, monkeypatch):
    monkeypatch.setattr(videos, "MAX_UNFINISHED", 1)
    assert alice.post("/api/video", {"file": upload(clip)}).status_code == 202
    response = alice.post("/api/video", {"file": upload(clip)})
    assert (response.status_code, response.json()["error"]["code"]) == (429, "too_many_videos")
    assert alice.post("/video/", {"file": upload(clip)}).status_code == 429
