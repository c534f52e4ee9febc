"""What several tests of clips need."""

import pytest

from segapp.pipeline.video import runner as clip_work


@pytest.fixture
def short_segments(monkeypatch):
    monkeypatch.setattr(clip_work, "SEGMENT_FRAMES", 10)
