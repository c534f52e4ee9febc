"""Misconfiguration is found by number."""

from pathlib import Path

import pytest
from django.core.checks import run_checks

from registry import bases


def found() -> dict[str, str]:
    return {str(message.id): f"{message.msg} {message.hint}" for message in run_checks(tags=["segapp"])}


@pytest.fixture
def ready(monkeypatch):
    """A machine where some base is ready."""
    monkeypatch.setattr(bases, "choose", lambda *_: object())


def test_a_sound_installation_has_nothing_to_say(ready):
    assert found() == {}


def test_a_folder_that_cannot_be_written_is_named(ready, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "gone"
    assert str(settings.MEDIA_ROOT) in found()["segapp.E001"]


def test_an_unknown_base_is_refused_with_the_known_ones(settings):
    settings.SEGAPP_BASE = "resnet"
    assert "mit_b3" in found()["segapp.E002"]


def test_a_named_base_that_is_not_ready_is_said_to_be_prepared_and_how_to_do_it_now(settings, tmp_path):
    settings.SEGAPP_BASE, settings.SEGAPP_WEIGHTS, settings.MEDIA_ROOT = "mit_b0", tmp_path, tmp_path
    told = found()["segapp.W003"]
    assert "build_base mit_b0" in told and "background" in told


def test_a_weights_folder_that_is_a_file_is_refused(settings, tmp_path):
    settings.SEGAPP_WEIGHTS = Path(tmp_path / "weights")
    settings.SEGAPP_WEIGHTS.write_text("not a folder")
    assert str(settings.SEGAPP_WEIGHTS) in found()["segapp.E004"]


@pytest.mark.parametrize("url", ["localhost:6379", "amqp://guest@localhost"])
def test_a_broker_that_is_no_redis_is_refused(ready, settings, url):
    settings.REDIS_URL = url
    assert url in found()["segapp.E005"]


def test_https_on_this_machine_only_is_pointed_out(ready, settings):
    settings.SEGAPP_URL, settings.SECURE = "https://localhost", True
    assert "SEGAPP_URL" in found()["segapp.W006"]


@pytest.mark.parametrize(
    ("url", "secure", "refused"),
    [
        ("https://seg.example.org", True, True),
        ("http://192.0.2.7:8000", False, True),
        ("https://localhost", True, True),
        ("http://127.0.0.1:8000", False, False),
    ],
)
def test_debug_mode_at_a_public_address_is_refused(ready, settings, url, secure, refused):
    settings.DEBUG, settings.SEGAPP_URL, settings.SECURE = True, url, secure
    assert ("segapp.E008" in found()) == refused
    settings.DEBUG = False
    assert "segapp.E008" not in found()
