"""Failures as people and programs read them."""

import errno
import io
import sqlite3
import threading
import time

import pytest
from django.conf import settings
from django.core.exceptions import TooManyFilesSent
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.test import RequestFactory

from segapp import error_responses, upload_limits
from segapp.services import errors


def ask(path, error, **headers):
    """What the middleware makes of `error` in a view."""
    request = RequestFactory().post(path, headers=headers)
    request.visitor, request.visitor_known, request.htmx = "alice", True, "hx-request" in headers
    response = error_responses.ErrorResponses(lambda _: HttpResponse("fine")).process_exception(request, error)
    assert response is not None
    return response


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OperationalError("database is locked"), 503, "busy"),
        (OperationalError("database or disk is full"), 507, "disk_full"),
        (OSError(errno.ENOSPC, "No space left on device"), 507, "disk_full"),
        (TooManyFilesSent("too many"), 413, "too_many_files"),
    ],
)
def test_a_fault_of_the_machine_has_an_answer_in_json(error, status, code):
    response = ask("/api/finetune", error)
    assert response.status_code == status
    assert b'"code": "%s"' % code.encode() in response.content
    assert response.headers.get("Retry-After") == ("5" if status == 503 else None)


def test_a_mistake_of_the_program_is_not_dressed_up():
    request = RequestFactory().get("/")
    assert error_responses.ErrorResponses(HttpResponse).process_exception(request, KeyError("x")) is None
    assert errors.user_error(PermissionError(errno.EACCES, "no")) is None


def test_a_page_gets_a_page_and_htmx_a_fragment(db):
    error = OperationalError("database is locked")
    page, fragment = ask("/finetune/", error).content, ask("/finetune/", error, **{"hx-request": "true"}).content
    assert b"<html" in page
    assert errors.Busy.message.encode() in page
    assert b"<html" not in fragment
    assert b'role="alert"' in fragment
    assert errors.Busy.message.encode() in fragment


def test_every_failure_has_a_page_of_its_own(db):
    request = RequestFactory().get("/somewhere/")
    request.visitor, request.visitor_known = "alice", True
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.UserError)]
    assert len(kinds) > 10
    for kind in kinds:
        given = {errors.InvalidForm: [["Choose a file."]], errors.InvalidUpload: ["Choose other files."]}.get(kind, [])
        failure = kind(*given)
        response = error_responses.error_response(request, failure)
        assert response.status_code == failure.status
        assert b"<html" in response.content, failure
        assert failure.advice.split("'")[0].encode() in response.content, failure


def test_the_page_for_a_failing_database_asks_it_nothing(db, django_assert_num_queries):
    request = RequestFactory().get("/")
    request.visitor, request.visitor_known = "alice", True
    with django_assert_num_queries(0):
        error_responses.error_response(request, errors.Busy())


@pytest.mark.fault(22)
def test_an_upload_over_the_limit_is_read_to_the_end_and_refused(client, settings):
    settings.UPLOAD_LIMIT_BYTES = settings.IMAGE_LIMIT_BYTES = 1000
    image = io.BytesIO(b"x" * (5000 + upload_limits.ENVELOPE))
    image.name = "big.png"
    response = client.post("/api/segment", {"file": image})
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "too_large"


@pytest.mark.fault(22)
def test_more_files_than_django_counts_are_refused_by_name_of_the_limit(client, db, settings):
    files = [io.BytesIO(b"x") for _ in range(settings.DATA_UPLOAD_MAX_NUMBER_FILES + 1)]
    for number, file in enumerate(files):
        file.name = f"{number}.png"
    response = client.post("/api/finetune", {"images": files})
    assert response.status_code == 413
    assert f"at most {settings.UPLOAD_LIMIT_FILES} files" in response.json()["error"]["message"]


def test_unknown_addresses_are_404_in_both_voices(client, db):
    assert client.get("/api/nothing").json()["error"]["code"] == "not_found"
    assert b"There is nothing here" in client.get("/nothing/").content


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("sqlite" not in settings.DATABASES["default"]["ENGINE"], reason="about SQLite's one writer")
def test_a_database_locked_for_long_ends_in_a_clear_503_and_for_short_in_a_wait(alice):
    def write_after(lock_seconds: float, patience: float):
        locked = threading.Event()

        def lock() -> None:
            other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            locked.set()
            time.sleep(lock_seconds)
            other.execute("ROLLBACK")
            other.close()

        thread = threading.Thread(target=lock)
        thread.start()
        locked.wait()
        connection.ensure_connection()
        connection.connection.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
        try:
            return alice.post("/api/reset-to-base-model")
        finally:
            thread.join()

    assert write_after(0.5, patience=5).status_code == 200
    response = write_after(1.5, patience=0.2)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "busy"
