import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from segapp.tests.browser.visits import QUIET, Tour
from segapp.tests.fixtures import unavailable

expect.set_options(timeout=30_000)  # milliseconds; a busy machine is no fault, and what must be prompt says so itself


@pytest.fixture(scope="module")
def chromium():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        unavailable("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, served):
    """Makes visitors with a browser each; whatever it complains about and was not expected fails the test."""
    made: list[Tour] = []

    def make(**options) -> Tour:
        made.append(Tour(chromium, served, **options))
        return made[-1]

    yield make
    for tour in made:
        tour.context.close()
        assert tour.complaints == []
