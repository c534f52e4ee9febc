"""The cast, the shared images, and the real thing running: fixtures for all tests.

Alice owns what a test is about, Charlie must not see it.
"""

import os
import random
import secrets
import sys
from pathlib import Path

import numpy as np
import pytest
from django.core import signing
from django.test import Client
from whitenoise.middleware import WhiteNoiseMiddleware

from segapp.home import PROJECT
from segapp.tests import scheduling
from segapp.tests.marking import in_ci
from segapp.tests.serving import Served
from segapp.visitors import COOKIE, COOKIE_SALT

DATA = Path(os.environ.get("SEGAPP_TEST_DATA") or PROJECT.parent / "shared" / "data")
USUAL_POLICY = os.sched_getscheduler(0) if scheduling.policies() else None


class Visitor(Client):
    """A test client that the server knows as `visitor`."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.visitor = secrets.token_hex(16)
        self.cookies[COOKIE] = signing.get_cookie_signer(salt=COOKIE + COOKIE_SALT).sign(self.visitor)


@pytest.fixture(autouse=True)
def usual_scheduling():
    """A test that leaves a thread with real-time priority fails here, before it starves the tests after it."""
    yield
    changed = scheduling.restore(USUAL_POLICY) if USUAL_POLICY is not None else []
    assert not changed, f"{len(changed)} threads of this process are scheduled in another way than before the test"


@pytest.fixture(autouse=True)
def same_random_numbers():
    """A network with random weights is the same whichever tests ran before in this process."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def api_answers_are_described(monkeypatch):
    """Every answer that any test gets from the JSON API is held against the API's own description."""
    plain = Client.request

    def request(self, **environ):
        response = plain(self, **environ)
        if environ.get("PATH_INFO", "").startswith("/api/"):
            from segapp.tests.api.conformance import problems_of

            problems = problems_of(environ["REQUEST_METHOD"], environ["PATH_INFO"], response)
            assert not problems, problems
        return response

    monkeypatch.setattr(Client, "request", request)


@pytest.fixture(scope="session", autouse=True)
def static_files_are_listed_once():
    """The middleware of every test client would list hundreds of them again."""
    list_files, listed = WhiteNoiseMiddleware.add_files_from_finders, {}  # the second: file by address

    def once(self) -> None:
        if not listed:
            files, self.files = self.files, listed
            list_files(self)
            self.files = files
        self.files.update(listed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoiseMiddleware, "add_files_from_finders", once)
        yield


@pytest.fixture
def alice(db) -> Visitor:
    return Visitor()


@pytest.fixture
def charlie(db) -> Visitor:
    return Visitor()


def unavailable(reason: str) -> None:
    """Skip, or fail where nothing may be missing."""
    if in_ci():
        pytest.fail(f"{reason} (a skip, but not in CI)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data() -> Path:
    """The shared sets: <set>/images and <set>/masks."""
    if not DATA.is_dir():
        unavailable(f"the shared images are not at {DATA}; SEGAPP_TEST_DATA names another folder")
    return DATA


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """`manage.py serve` on a free port with a home of its own, for tests that leave it as they found it."""
    server = Served(tmp_path_factory.mktemp("served"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def own_server(tmp_path):
    """A server that the test may break: not yet started, stopped at the end whatever happened."""
    server = Served(tmp_path / "home")
    yield server
    server.stop()
