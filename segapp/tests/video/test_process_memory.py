"""A long video takes no more memory than a short one."""

import psutil
import pytest

from segapp.pipeline.video import process as module
from segapp.pipeline.video.demux import Limits
from segapp.pipeline.video.job import Verdict
from segapp.pipeline.video.plan import Options
from segapp.pipeline.video.process import process
from segapp.tests.video.videos import bright_network, write_video

GROWTH = 24 * 2**20


@pytest.mark.slow
def test_memory_stays_flat_over_a_long_video(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    original = write_video(tmp_path / "a.mp4", 320, 240, frames=2500, rate=25, options={"preset": "ultrafast"})
    seen: list[tuple[float, int]] = []

    def watch(report) -> Verdict:
        seen.append((report.fraction, psutil.Process().memory_info().rss))
        return Verdict.GO

    done = process(bright_network(), original, tmp_path / "job", Options(per_second=5), Limits(), watch)
    assert done.frames == 2500
    early = max(bytes for fraction, bytes in seen if fraction < 0.3)
    late = max(bytes for fraction, bytes in seen if fraction > 0.7)
    assert late - early < GROWTH, f"{(late - early) / 2**20:.0f} MB more at the end"
