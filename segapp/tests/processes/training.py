"""Small trainings for process tests: images, starting one through the API, following it, looking into its row."""

import io
import json
import time
from http.client import HTTPException

from PIL import Image, ImageDraw

from segapp.tests import second_pair
from segapp.tests.serving import Browser, Served, Upload, until

ENDED = ("done", "failed", "cancelled")


def pairs(count: int = 5, side: int = 128) -> list[Upload]:
    """A red disc on green somewhere else in each image; mask 1 where the disc is."""
    uploads: list[Upload] = []
    for number in range(count):
        image, mask = Image.new("RGB", (side, side), "#2f7d4f"), Image.new("L", (side, side), 0)
        x, y, r = side // 6 + number * side // 8, side // 3 + number % 3 * side // 8, side // 6
        ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill="#c03030")
        ImageDraw.Draw(mask).ellipse((x - r, y - r, x + r, y + r), fill=1)
        for field, content in (("images", image), ("masks", mask)):
            out = io.BytesIO()
            content.save(out, "PNG")
            uploads.append((field, f"disc{number}.png", out.getvalue()))
    return uploads


def start(browser: Browser, effort: str = "quick") -> str:
    """The status URL of a new training."""
    answer = browser.post("/api/finetune", {"effort": effort}, pairs())
    assert answer.status == 202, answer.body
    return answer.json()["status_url"]


def follow(browser: Browser, status_url: str, patience: float = 180) -> dict:
    """The run when it has ended. Nobody asked is an error: the web may be restarting."""

    def ended() -> dict | None:
        try:
            run = browser.get(status_url, timeout=15)
        except (OSError, HTTPException):
            return None
        return run.json() if run.status == 200 and run.json()["state"] in ENDED else None

    return until(ended, patience, pause=0.3)


def under_way(browser: Browser, status_url: str, patience: float = 90) -> dict:
    """The run once it computes: some progress, and not ended yet."""
    run = until(lambda: (run := browser.get(status_url).json()) and run["progress"] > 0.05 and run, patience)
    assert run["state"] == "running", run
    return run


def row(server: Served, status_url: str, table: str = "trainingrun") -> dict:
    """The run, or another kind of work, as the database has it."""
    return _row(server, f"segapp_{table}", status_url.rpartition("/")[2])


def recipe(server: Served, model_id: str) -> dict:
    """How a model was made, as its row says."""
    found = _row(server, "registry_usermodel", model_id)["recipe"]
    return found if isinstance(found, dict) else json.loads(found)  # SQLite has text


def _row(server: Served, table: str, public_id: str) -> dict:
    (found,) = second_pair.select(server.home, f"SELECT * FROM {table} WHERE public_id = %s", public_id)
    return found


def models(browser: Browser) -> list[dict]:
    return browser.get("/api/models").json()["models"]


def active(browser: Browser) -> str:
    return browser.get("/api/health").json()["active_model"]


def stays(condition, seconds: float) -> None:
    """Asserts that `condition` holds all the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition()
        time.sleep(0.2)
