import shutil

import pytest
from playwright.sync_api import BrowserContext, expect, sync_playwright

from segapp.tests.browser.visits import QUIET, Contexts, Tour
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


@pytest.fixture(scope="module")
def contexts(chromium, served) -> Contexts:
    return Contexts(chromium, served)


@pytest.fixture
def visit(chromium, served, contexts):
    """Makes visitors with a browser each; whatever it complains about and was not expected fails the test.

    With `fresh` the browser has nothing in its cache.
    """
    made: list[tuple[Tour, dict, BrowserContext | None]] = []

    def make(fresh: bool = False, **options) -> Tour:
        lasting = {name: value for name, value in options.items() if name not in ("color_scheme", "viewport")}
        context = None if fresh else contexts.take(lasting)
        made.append((Tour(chromium, served, context, **options), lasting, context))
        return made[-1][0]

    yield make
    for tour, lasting, context in made:
        if tour.context is context:
            contexts.give_back(lasting, context)
        else:
            tour.context.close()
        assert tour.complaints == []
