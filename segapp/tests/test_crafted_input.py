"""Every address, of pages and of the API, with ids, fields, files and headers that nobody sends by mistake."""

import json
import re
from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segapp.api import openapi
from segapp.forms import folders
from segapp.tests.imaging.drawing import photo, saved, shapes
from segapp.tests.test_web_process import addresses
from segapp.tests.views.rows import analyzed
from segapp.views import analyze

pytestmark = pytest.mark.django_db
NESTED = "[" * 100_000 + "]" * 100_000
IDS = ["a\0b", "9" * 5000, "..", "\ud800"]
RARE_IDS = ["%00", "-1", "’\U0001f600", "user_" + "x" * 300, "a b\r\nc: d", "{}"]
SLOW = pytest.mark.slow
RARE = ["", "NaN", "\ud83d", "a\0b", "-9" * 99, "1e999", '{"a":' * 50_000, "true", "٣", "[]"]
VALUES = ["\0", "9" * 5000, *(pytest.param(value, marks=SLOW) for value in (NESTED, *RARE))]
HEADERS = {
    "Range": ["bytes=" + "9" * 5000 + "-", "bytes=-" + "9" * 5000, "bytes=a-b", "bytes=0-0,1-1", "bytes=٣-"],
    "If-None-Match": ["\xff" * 9000],
    "Authorization": ["Bearer \0", "Bearer " + "x" * 9000, "Bearer ٣", "Bearer", "Basic \xff"],
    "Last-Event-ID": ["\0", "9" * 9000, "end/end"],
    "Cookie": ["segapp_visitor=\0", "segapp_visitor=" + "a:" * 900, "csrftoken=\xff"],
    "X-Forwarded-For": ["\0", "1" * 5000],
    "Accept": ["\0", "*" * 9000],
    "Content-Type": [
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\0",
        "application/json",
        "a" * 9000,
    ],
    "HX-Current-URL": ["http://[", "\0"],
}


@pytest.fixture(autouse=True)
def own_media(settings, tmp_path, monkeypatch):
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr("segapp.api.views.WAIT_SECONDS", 0)
    monkeypatch.setattr(analyze, "WAIT_SECONDS", 0)  # no worker is there to wait for


def urls(ids: list[str]):
    """Every address but the admin's, with each of the ids wherever it takes one."""
    for route, _, converters in addresses():
        if route.startswith("admin/"):
            continue
        for id_ in ids if converters else ids[:1]:
            text = quote(id_.encode("utf-8", "surrogatepass"), safe="")
            filled = re.sub(r"<str:\w+>", text.replace("\\", "\\\\"), re.sub(r"<int:\w+>", "9" * 30, route))
            yield f"/{filled}"


def holds(response, *what) -> None:
    assert response.status_code < 500 or response.status_code == 503, (*what, response.status_code)


@pytest.mark.parametrize("ids", [pytest.param(IDS, id="usual"), pytest.param(RARE_IDS, marks=SLOW, id="rare")])
@pytest.mark.parametrize(
    "method", ["get", "post", "delete", *(pytest.param(method, marks=SLOW) for method in ("put", "head", "options"))]
)
def test_ids(alice, method, ids):
    for url in urls(ids):
        holds(getattr(alice, method)(url), method, url)


FIELDS = sorted(
    {
        field
        for _, _, operation, _ in openapi.operations(openapi.marked())
        if operation.form is not None
        for field in operation.form().fields
    }
    | {"take", "left", "right", "source", "code", "base", "number", "row", "mask", "revision", "things", "name-1"}
)


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_fields(alice, value):
    """All fields at once have the value, in every form that takes one; and in the query of every page."""
    own = analyzed(alice.visitor)
    fields = {field: value.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for field in FIELDS}
    for url in urls([own.public_id]):
        if url.endswith(("/erase/", "/reset/")):
            continue
        holds(alice.post(url, fields), "post", url)
        holds(alice.get(url, {field: text[:2000] for field, text in fields.items()}), "get", url)


@SLOW
@pytest.mark.parametrize("name", HEADERS)
def test_headers(alice, name):
    own = analyzed(alice.visitor)
    for url in [
        *urls([own.public_id]),
        f"/files/analyses/{own.public_id}/mask",
        f"/files/analyses/{own.public_id}/image",
    ]:
        for value in HEADERS[name]:
            holds(alice.get(url, headers={name: value}), "get", url, name, value[:40])
            if name in ("Content-Type", "Authorization"):
                sent = alice.generic("POST", url, b"--\r\n\0", content_type=value if name == "Content-Type" else "a/b")
                holds(sent, "post", url, name, value[:40])


@pytest.mark.fault(21)
@pytest.mark.parametrize("name", ["a\0b.png", "../../x.png", "x" * 5000 + ".png", "\u202e.png", ".png", "con.zip"])
def test_file_names(alice, name):
    image, mask = saved(photo(32)).getvalue(), saved(shapes([0, 1])).getvalue()
    for url, fields in {
        "/api/segment": ["file"],
        "/api/batch": ["files", "archive"],
        "/api/video": ["file"],
        "/api/finetune": ["images", "masks"],
        "/finetune/": ["images", "masks"],
        "/analyze/": ["file"],
    }.items():
        for content in (image, mask, b"", b"PK\3\4", b"\0" * 99):
            files = {field: SimpleUploadedFile(name, content) for field in fields}
            for file in files.values():
                file._name = name  # as a client sends it, not as the test's class cleans it
            holds(alice.post(url, files), url, name[:30], content[:4])


@SLOW
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=5))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_in_a_field(alice, value):
    text = json.dumps(value)
    for sent in (text, f"[{text}]", f'[{{"id": {text}}}]', f'[{{"id": 1, "name": {text}, "color": {text}}}]'):
        pair = {
            "images": SimpleUploadedFile("a.png", saved(photo(32)).getvalue()),
            "masks": SimpleUploadedFile("a.png", saved(shapes([0, 1])).getvalue()),
        }
        holds(alice.post("/api/finetune", {**pair, "classes": sent, "paths": sent}), sent[:80])
        assert isinstance(folders(sent), dict)


def test_a_form_of_very_many_fields_is_refused(alice):
    body = "&".join(f"a{k}=1" for k in range(5000))
    sent = alice.generic("POST", "/api/keys", body, content_type="application/x-www-form-urlencoded")
    assert sent.status_code == 413
