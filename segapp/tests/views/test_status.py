"""The pill, the hero's line and the browser's memory: all from the resolver that inference uses."""

import re

import pytest
from django.utils import timezone

from registry.models import UserModel
from registry.tests.test_services import make
from segapp.models import Worker


def text(response) -> str:
    return response.content.decode()


def worker(**values) -> Worker:
    named = {"name": "host:1", "queues": "predict", "device": "CUDA", "ready": True, "seen": timezone.now()}
    return Worker.objects.create(**{**named, **values})


def pill(page: str) -> str:
    found = re.search(r'<button class="pill.*?</button>', page, re.DOTALL)
    assert found
    return " ".join(re.sub(r"<[^>]+>", " ", found.group()).split())


@pytest.mark.parametrize("address", ["/", "/finetune/", "/analyze/", "/video/", "/models/", "/reset/"])
def test_every_page_names_the_model_that_answers(alice, address):
    worker()
    assert pill(text(alice.get(address))) == "CUDA · EfficientNet-Lite0"
    make(alice.visitor, active=True)
    page = text(alice.get(address))
    assert pill(page) == "CUDA · Custom Model"
    assert 'title="Using your fine-tuned model"' in page


def test_the_hero_says_the_same(alice):
    assert "Active Model: <strong" in text(alice.get("/"))
    make(alice.visitor, active=True)
    for address in ("/", "/status/?part=hero"):
        assert "Custom Model</strong>" in text(alice.get(address))


def test_without_a_ready_worker_the_pill_says_that_it_starts(alice):
    assert pill(text(alice.get("/"))).startswith("Starting ·")
    worker(ready=False)
    assert pill(text(alice.get("/"))).startswith("Starting ·")
    Worker.objects.update(ready=True)
    assert pill(text(alice.get("/"))).startswith("CUDA ·")


def test_a_refresh_answers_only_when_something_looks_different(alice):
    page = text(alice.get("/status/"))
    seen = re.search(r'"seen": "(\w+)"', page)
    assert seen
    assert alice.get(f"/status/?seen={seen.group(1)}").status_code == 204
    make(alice.visitor, active=True)
    assert "Custom Model" in text(alice.get(f"/status/?seen={seen.group(1)}"))


def test_the_page_carries_the_servers_word_for_the_browsers_memory(alice, client):
    page = text(alice.get("/"))
    assert 'data-visitor-known="1" data-model-id="" data-restore-token=""' in page
    model = make(alice.visitor, active=True)
    page = text(alice.get("/"))
    assert f'data-model-id="{model.public_id}"' in page and not re.search(r'data-restore-token=""', page)
    alice.post("/reset/")
    page = text(alice.get("/"))
    assert 'data-model-id=""' in page and not re.search(r'data-restore-token=""', page), "a reset keeps the token"
    assert 'data-visitor-known="0"' in text(client.get("/"))
    assert 'data-visitor-known="1"' in text(client.get("/"))


def test_a_lost_file_is_a_notice_with_the_earlier_version_until_dismissed(alice):
    earlier, lost = make(alice.visitor), make(alice.visitor, active=True)
    lost.path.unlink()
    page = text(alice.get("/"))
    assert "could not be used: its file is missing" in page and 'data-model-id=""' in page
    assert f'action="/models/{earlier.public_id}/activate/"' in page and "Use “Cells” instead" in page
    assert 'class="pill notice"' in page
    alice.post("/status/dismiss/")
    assert "could not be used" not in text(alice.get("/"))
    assert not UserModel.objects.filter(active=True).exists()


def test_reset_asks_first_and_can_be_undone(alice):
    model = make(alice.visitor, active=True)
    assert "Reset to the base model?" in text(alice.get("/reset/"))
    assert UserModel.objects.get().active, "looking changes nothing"
    response = alice.post("/reset/")
    assert response["Location"] == "/reset/"
    page = text(alice.get("/reset/"))
    assert "Use my model again" in page and "Your models are kept" in page
    assert f'action="/models/{model.public_id}/activate/"' in page


def test_pages_forbid_styles_and_scripts_that_are_not_files(alice):
    for address in ("/", "/finetune/", "/analyze/", "/models/", "/reset/", "/nothing/"):
        response = alice.get(address)
        policy = response["Content-Security-Policy"]
        assert "unsafe" not in policy and "script-src 'self'" in policy and "style-src 'self'" in policy
        page = text(response)
        assert not re.search(
            r"\sstyle=|<style|\son\w+=|<script(?![^>]*\s(?:src=|type=.application/json))|javascript:", page
        ), address
