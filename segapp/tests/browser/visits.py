"""A visitor with a real browser, and what the browser complains about on the way. Not itself a test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, Request, expect

from segapp.tests.serving import Served

GREEN = "rgb(74, 222, 128)"  # #4ade80
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--process-per-site",  # of one context: a new tab finds the scripts compiled
]
HEAVIEST = 300_000  # bytes of a page without its images
IMAGES = ("image", "media")
AXE = Path(__file__).parent / "vendor" / "axe-4.14.1.min.js"


def faults(page: Page) -> list[str]:
    """What axe-core finds wrong on the page as it is now: rule, impact and the first element of each."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    found = page.evaluate("async () => (await axe.run(document)).violations")
    return [f"{rule['impact']} {rule['id']}: {rule['nodes'][0]['html'][:160]}" for rule in found]


def weight(page: Page, load: Callable[[], object], images: bool = False) -> dict[str, int]:
    """Bytes of all that the page has got when `load` returns, by address, images only where asked for.

    They are asked for at the end only: a handler that waits for an answer may still wait when `load` has returned.
    """
    finished: list[Request] = []

    def keep(request: Request) -> None:
        finished.append(request)

    page.on("requestfinished", keep)
    load()
    page.remove_listener("requestfinished", keep)
    return {request.url: _bytes(request) for request in finished if images or request.resource_type not in IMAGES}


def _bytes(request: Request) -> int:
    """Of the answer's body; as they were sent where Chromium does not keep it: a worker's script, or an answer that
    nothing has read."""
    answer = request.response()
    assert answer is not None  # the request has finished
    try:
        return len(answer.body())
    except Error:
        return request.sizes()["responseBodySize"]


class Contexts:
    """Browser contexts of one service for one test after the other.

    What a visitor leaves behind is cleared. A page stays open in each, so that its process does: starting one and
    compiling the scripts again takes more than a second of a core.
    """

    def __init__(self, chromium: Browser, served: Served) -> None:
        self._chromium, self._served = chromium, served
        self._free: list[tuple[dict[str, Any], BrowserContext]] = []

    def take(self, options: dict[str, Any]) -> BrowserContext:
        for row in self._free:
            if row[0] == options:
                self._free.remove(row)
                return row[1]
        context = self._chromium.new_context(base_url=self._served.url, **options)
        context.new_page().goto("/live")
        return context

    def give_back(self, options: dict[str, Any], context: BrowserContext) -> None:
        kept, *others = context.pages
        for page in others:
            page.close()
        context.set_offline(False)
        context.clear_permissions()
        context.clear_cookies()
        session = context.new_cdp_session(kept)
        session.send("Storage.clearDataForOrigin", {"origin": self._served.url, "storageTypes": "all"})
        session.detach()
        self._free.append((options, context))


class Tour:
    """One visitor's way through the pages, and everything the browser complained about on it."""

    def __init__(
        self, chromium: Browser, served: Served, context: BrowserContext | None = None, **options: Any
    ) -> None:
        """options: of the context; of `context`, they are set for each page: color_scheme and viewport."""
        self.chromium, self.served, self.options = chromium, served, options
        self.complaints: list[str] = []
        self.expected: list[str] = []  # parts of complaints that a test provokes
        self.context = context or chromium.new_context(base_url=served.url, **options)
        self.page: Page = self.open()

    def open(self) -> Page:
        page = self.context.new_page()
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.set_default_timeout(20_000)
        if "viewport" in self.options:
            page.set_viewport_size(self.options["viewport"])
        if "color_scheme" in self.options:
            page.emulate_media(color_scheme=self.options["color_scheme"])
        return page

    def _listen(self, message: ConsoleMessage) -> None:
        if "503" in message.text and message.location["url"].endswith(("/live", "/region")):
            return  # the worker is still starting; the page asks again
        if message.type == "error" and not any(part in message.text for part in self.expected):
            self.complaints.append(message.text)

    def reopen(self, keep_cookies: bool) -> None:
        """Close the browser and open it again, with its localStorage and, if wanted, its cookies."""
        state = self.context.storage_state()
        self.context.close()
        if not keep_cookies:
            state["cookies"] = []
        self.context = self.chromium.new_context(base_url=self.served.url, storage_state=state, **self.options)
        self.page = self.open()

    def memory(self, key: str) -> str | None:
        return self.page.evaluate("key => localStorage.getItem(key)", key)

    def expect_custom(self) -> None:
        pill = self.page.locator("#status-pill")
        expect(pill).to_contain_text("Custom Model", timeout=20_000)
        expect(pill).to_have_attribute("title", "Using your fine-tuned model")
        dot = pill.locator(".dot")
        assert dot.evaluate("dot => getComputedStyle(dot).backgroundColor") == GREEN

    def expect_base(self) -> None:
        expect(self.page.locator("#status-pill")).not_to_contain_text("Custom Model")

    def analyze(self, image: Path) -> None:
        self.page.goto("/analyze/")
        self.page.set_input_files("#image", image)
        self.page.click("[data-image-drop] [data-send]")
        expect(self.page.locator(".result .answered")).to_be_visible(timeout=60_000)
