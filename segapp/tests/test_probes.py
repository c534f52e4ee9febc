"""What orchestrators ask: whether the process lives, and whether it can do its work."""

import pytest
from django.db import OperationalError

from segapp import probes
from segapp.models import Worker


def test_live_asks_nobody_and_sets_no_cookie(client):
    answer = client.get("/live", HTTP_HOST="10.0.0.9")
    assert answer.status_code == 200 and answer.json() == {"status": "ok"} and not answer.cookies
    assert client.post("/live").status_code == 405


@pytest.mark.django_db
def test_ready_needs_the_database_and_media(client, settings, tmp_path, monkeypatch):
    settings.MEDIA_ROOT = tmp_path
    assert client.get("/ready").status_code == 200
    settings.MEDIA_ROOT = tmp_path / "unmounted"
    answer = client.get("/ready")
    assert answer.status_code == 503 and answer.json() == {"status": "unavailable", "missing": ["media"]}

    def away():
        raise OperationalError("connection refused at db.internal:5432")

    monkeypatch.setattr(probes.connection, "cursor", away)
    answer = client.get("/ready")
    assert answer.json()["missing"] == ["database", "media"] and "internal" not in answer.content.decode()


@pytest.mark.django_db
def test_health_says_nothing_of_hosts(client):
    from django.utils import timezone

    Worker.objects.create(name="host-7:boot:12:99", queues="predict", device="CPU", seen=timezone.now())
    answer = client.get("/api/health")
    assert answer.json()["workers"][0]["name"] == "predict 1" and "host-7" not in answer.content.decode()


@pytest.mark.django_db
def test_the_admins_login_takes_so_many_tries(client, monkeypatch, settings):
    from segapp.services import limits
    from segapp.services.errors import RateLimited

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the usual one takes its time
    counted = []

    def check(request, limit):
        counted.append(limit)
        if len(counted) > limit.count:
            raise RateLimited("Try again later.", retry_after=60)

    monkeypatch.setattr(limits, "check", check)
    answers = [client.post("/admin/login/", {"username": "root", "password": "x"}) for _ in range(limits.LOGINS.count)]
    assert {answer.status_code for answer in answers} == {200}
    assert client.post("/admin/login/", {"username": "root", "password": "x"}).status_code == 429
    assert client.get("/admin/login/").status_code == 200
