"""The two driving videos with the packaged base: what comes out decodes whole and lasts as long as what went in."""

import av
import pytest

from registry.runtime import Runtime
from segapp.pipeline.video.demux import Limits
from segapp.pipeline.video.plan import Options
from segapp.pipeline.video.process import process, segment_file
from segapp.pipeline.video.smoothing import flicker
from segapp.tests.video.videos import index_masks, write_video

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    runtime = Runtime(home / "media", home / "weights", "cpu", None)
    with runtime.use_base(runtime.base("efficientnet_lite0")) as network:
        yield network


@pytest.mark.parametrize(("name", "frames"), [("solidWhiteRight", 221), ("car-detection", 377)])
def test_each_video_comes_out_whole(base, data, tmp_path, name, frames):
    original = data / "video" / f"{name}.mp4"
    result = segment_file(base, original, tmp_path, Options(per_second=1))
    assert (result["frames"], result["frames_skipped"], result["notes"]) == (frames, 0, [])
    with av.open(str(original)) as source:
        stream = source.streams.video[0]
        length, frame = float(stream.duration * stream.time_base), 1 / float(stream.average_rate)
        times = [image.pts * image.time_base for image in source.decode(stream)]
    for target in (f"{name}_overlay.mp4", f"{name}_mask.mp4"):
        with av.open(str(tmp_path / target)) as result_video:
            stream = result_video.streams.video[0]
            assert float(stream.duration * stream.time_base) == pytest.approx(length, abs=frame)
            assert result_video.duration / 1e6 == pytest.approx(length, abs=frame)
            assert result_video.streams.audio[0].codec_context.name == "aac"
            assert stream.codec_context.name == "h264"
            assert [image.pts * image.time_base for image in result_video.decode(stream)] == times
    assert result["classes"]


def test_damping_halves_the_flicker_of_a_still_scene_with_a_noisy_camera(base, data, tmp_path):
    import numpy as np
    from PIL import Image

    image = Image.open(next(iter(sorted((data / "camvid" / "images").glob("test_*"))))).convert("RGB")
    scene = np.asarray(image.resize((320, 240))).astype(np.float32)
    rng = np.random.default_rng(0)

    def noisy(number: int) -> np.ndarray:
        return np.clip(scene + rng.normal(0, 8, scene.shape), 0, 255).astype(np.uint8)

    original = write_video(tmp_path / "still.mp4", 320, 240, frames=24, draw=noisy, options={"crf": "10"})
    shares = []
    for damping in (0.0, Options().damping):
        folder = tmp_path / f"damped-{damping}"
        process(base, original, folder, Options(per_second=0, damping=damping), Limits())
        shares.append(flicker(list(index_masks(folder).values())[4:]))
    assert shares[0] > 0.005, "the scene must flicker without damping for this to mean anything"
    assert shares[1] < shares[0] / 2, shares
