from contextlib import contextmanager

import pytest

from segapp.tests.batch.sending import BrightInParts
from segapp.tests.video.videos import bright_network
from segapp.worker import batch, networks


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    return settings.MEDIA_ROOT


@pytest.fixture
def net(monkeypatch):
    """The network that every batch finds: class 3 is what is bright. `net.asked` holds the rows that asked for it."""
    network = bright_network(key="mit_b0")
    network.module = BrightInParts()
    network.asked = []

    @contextmanager
    def pinned(work):
        network.asked.append(work.pk)
        yield network

    monkeypatch.setattr(networks, "pinned", pinned)
    return network


@pytest.fixture
def dispatched(monkeypatch):
    """Primary keys that the worker dispatched again."""
    calls = []
    monkeypatch.setattr(batch.dispatch, "batch", lambda row: calls.append(row.pk))
    return calls
