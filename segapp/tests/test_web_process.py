"""What the web process loads, and which addresses it has."""

import re
import subprocess
import sys

import pytest
from django.test import Client
from django.urls import URLPattern, get_resolver

from segapp.home import PROJECT
from segapp.views import analyze

HEAVY = ("torch", "torchvision", "timm", "segmentation_models_pytorch", "onnxruntime", "segapp.tasks", "segapp.worker")
UNWANTED = (*HEAVY, "tifffile", "imagecodecs", "pillow_heif", "defusedxml", "roifile", "segapp.imaging.readers")


def addresses(patterns=None, prefix="", names=()):
    """(route, callback, converters) of every address, admin's own included."""
    for entry in patterns if patterns is not None else get_resolver().url_patterns:
        route = prefix + str(entry.pattern)
        converters = {**dict(names), **entry.pattern.converters}
        if isinstance(entry, URLPattern):
            yield route, entry.callback, converters
        else:
            yield from addresses(entry.url_patterns, route, tuple(converters.items()))


def test_the_web_process_has_no_torch_and_no_readers_beyond_pillow():
    """With every view imported, as gunicorn has them before the first request."""
    code = "import sys, segapp.wsgi; print([name for name in sys.argv[1:] if name in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code, *UNWANTED],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "[]"


def test_the_table_of_addresses_has_every_page_of_the_contract():
    routes = {route for route, _, _ in addresses()}
    pages = {"", "finetune/", "analyze/", "video/", "models/", "reset/", "status/"}
    api = {"api/health", "api/finetune", "api/load-user-model", "api/reset-to-base-model", "api/segment", "api/models"}
    assert pages | api <= routes


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_no_address_answers_a_stranger_with_an_error_of_the_server(method, monkeypatch):
    """Every address, with ids that belong to nobody: an answer or a refusal, never a 5xx or another's things."""
    monkeypatch.setattr(analyze, "WAIT_SECONDS", 0)  # no worker is there to wait for
    client = Client()
    for route, _, converters in addresses():
        if route.startswith("admin/"):
            continue
        url = "/" + re.sub(r"<(int|str|slug):\w+>", lambda found: "1" if found[1] == "int" else "0" * 22, route)
        assert "<" not in url, f"{route}: a converter this test does not know"
        response = getattr(client, method)(url)
        assert response.status_code < 500 or response.status_code == 503, (method, url, response.status_code)
        if converters and method == "get":
            assert response.status_code in (404, 405), (url, response.status_code)


@pytest.mark.fault(44)
@pytest.mark.django_db
def test_a_post_without_the_csrf_token_is_refused_everywhere():
    client = Client(enforce_csrf_checks=True)
    for route, _, converters in addresses():
        if route.startswith("admin/") or converters:
            continue
        response = client.post("/" + route)
        assert response.status_code in (403, 405), (route, response.status_code)
        if route.startswith("api/") and response.status_code == 403:
            assert response.json()["error"]["code"] == "csrf"
