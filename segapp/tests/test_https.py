"""What the site adds to its answers where its public address is https, in a process with that address."""

import json
import os
import subprocess
import sys

import pytest

from segapp.home import PROJECT

ASK = """
import json, django
django.setup()
from django.conf import settings
from django.test import Client
settings.ALLOWED_HOSTS.append("testserver")
plain, secure = Client().get("/"), Client(headers={"X-Forwarded-Proto": "https"}).get("/privacy/")
cookies = {name: bool(morsel["secure"]) for name, morsel in secure.cookies.items() if morsel.value}
print(json.dumps([plain.status_code, plain.headers.get("Location"), secure.status_code, dict(secure.headers), cookies]))
"""


def answers(tmp_path, **environment: str) -> list:
    home = {"SEGAPP_HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "segapp.settings", **environment}
    for command in (["migrate"], ["collectstatic", "--no-input"]):
        prepare = [sys.executable, "manage.py", *command, "--skip-checks", "--verbosity", "0"]
        subprocess.run(prepare, cwd=PROJECT, env={**os.environ, **home}, check=True)
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=PROJECT, env={**os.environ, **home}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_over_https_pages_are_redirected_cannot_be_framed_and_cookies_are_secure(tmp_path):
    status, location, secure, headers, cookies = answers(tmp_path, SEGAPP_URL="https://seg.example.org")
    assert (status, location, secure) == (301, "https://testserver/", 200)
    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    assert headers["X-Frame-Options"] == "DENY"
    assert "__Host-segapp_visitor" in cookies and all(cookies.values())


@pytest.mark.slow
def test_over_http_nothing_promises_https(tmp_path):
    status, _, secure, headers, cookies = answers(tmp_path, SEGAPP_URL="http://127.0.0.1:8000")
    assert (status, secure) == (200, 200)
    assert "Strict-Transport-Security" not in headers and headers["X-Frame-Options"] == "DENY"
    assert "segapp_visitor" in cookies
