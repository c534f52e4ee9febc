"""What several tests of videos need."""

import pytest

from segapp.pipeline.video import runner


@pytest.fixture
def short_segments(monkeypatch):
    monkeypatch.setattr(runner, "SEGMENT_FRAMES", 10)
