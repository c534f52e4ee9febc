"""Schemathesis against a real server: no call crafted from the API's own description ends in a 5xx, and every answer is
one that is described.

Run by hand with more examples: SEGAPP_TEST_EXAMPLES=200 .venv/bin/python -m pytest segapp/tests/processes/\
test_schemathesis.py -q -s
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from segapp.tests.imaging.drawing import photo, saved, shapes
from segapp.tests.planting import plant_into
from segapp.tests.serving import Served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
EXAMPLES = int(os.environ.get("SEGAPP_TEST_EXAMPLES", "8"))  # of each phase and operation
# A description cannot say that a file must be an image, and what is none is refused. A body without any known field is
# an empty form.
NOT_ASKED = "positive_data_acceptance,negative_data_rejection"
OWN_END = "delete_keys_key_id"  # the tool finds its own key in the list and revokes it; the rest would be 401s


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Served(tmp_path_factory.mktemp("crafted") / "home")
    try:
        server.start().wait_ready(300)
        yield server
    finally:
        server.stop()


def key_of(visitor) -> str:
    return visitor.post("/api/keys", {"name": "Schemathesis"}).json()["key"]


def things_of(server: Served, visitor) -> dict[str, str]:
    """Ids by parameter of a model, a training, a result, a batch and a link that are the visitor's."""
    visitor.get("/")
    (model,) = plant_into(server.home, visitor.cookies["segapp_visitor"].partition(":")[0], disc=1)
    image, mask = saved(photo(96)).getvalue(), saved(shapes([0, 1])).getvalue()
    files = [("images", "a.png", image), ("masks", "a.png", mask)]
    return {
        "model_id": model,
        "run_id": visitor.post("/api/finetune", {}, files).json()["run_id"],
        "analysis_id": visitor.post("/api/segment", {}, [("file", "a.png", image)]).json()["analysis_id"],
        "batch_id": visitor.post("/api/batch", {}, [("files", "a.png", image)]).json()["batch_id"],
        "token": visitor.post(f"/api/models/{model}/shares").json()["token"],
        "format": "onnx",
    }


def crafted(folder: Path, server: Served, key: str, ids: dict[str, str], *more: str) -> int:
    """Run the tool; how many calls it made. Fails when it found anything."""
    settings = folder / "schemathesis.toml"
    settings.write_text("[parameters]\n" + "".join(f'"path.{name}" = "{value}"\n' for name, value in ids.items()))
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(settings), "run"]
    options = ["--phases", "examples,coverage,fuzzing", "--seed", "17", "--no-shrink", "--continue-on-failure"]
    plain = ["--exclude-checks", NOT_ASKED, "--no-color", "--generation-database", "none", "--warnings", "off"]
    done = subprocess.run(
        [
            *(*command, f"{server.url}/api/openapi.json", "-H", f"Authorization: Bearer {key}"),
            *(*options, *plain, "-n", str(EXAMPLES), "--request-timeout", "100", *more),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    count = re.search(r"(\d+) generated", done.stdout)
    assert count is not None, done.stdout[-2000:]
    print(f"{count[1]} calls, nothing found")
    return int(count[1])


def test_ids_that_lead_nowhere(server, tmp_path):
    assert crafted(tmp_path, server, key_of(server.visitor()), {}, "--exclude-operation-id", OWN_END) > 500


def test_ids_of_what_is_there(server, tmp_path):
    visitor = server.visitor()
    ids = things_of(server, visitor)
    assert crafted(tmp_path, server, key_of(visitor), ids, "--exclude-operation-id", OWN_END) > 500


def test_the_end_of_keys(server, tmp_path):
    crafted(tmp_path, server, key_of(server.visitor()), {}, "--include-operation-id", OWN_END)
