"""A visitor of the running service with an API key and two planted models, as the client sees them."""

import pytest
from segapp_client import Segapp

from segapp.tests.planting import Planter
from segapp.tests.serving import Served


@pytest.fixture(scope="session")
def ready(served: Served) -> Served:
    served.wait_ready()
    return served


@pytest.fixture
def browser(ready):
    browser = ready.visitor()
    browser.get("/api/health")
    return browser


def key_of(browser, name: str = "test", scope: str = "all") -> str:
    return browser.post("/api/keys", {"name": name, "scope": scope}).json()["key"]


@pytest.fixture
def key(browser) -> str:
    return key_of(browser)


@pytest.fixture
def segapp(ready, key):
    with Segapp(ready.url, key) as client:
        yield client


@pytest.fixture(scope="session")
def planter(ready):
    with Planter(ready.home) as planter:
        yield planter


@pytest.fixture
def planted(planter, browser) -> list[str]:
    """Ids of two models that find disc (1) and rim (2) everywhere; the second is active."""
    return planter.plant(browser.cookies["segapp_visitor"].split(":")[0], Discs=1, Rims=2)
