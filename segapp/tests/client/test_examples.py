"""The README's examples and the notebook, run as they stand against the running service."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from segapp.home import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CLIENT = PROJECT / "clients" / "python"
ADDRESS, KEY = "http://127.0.0.1:8000", "segapp_…"  # as the examples have them


@pytest.fixture
def demo(tmp_path) -> Path:
    command = [sys.executable, str(PROJECT / "manage.py"), "demo", "--out", str(tmp_path / "demo")]
    subprocess.run(command, env={**os.environ, "SEGAPP_HOME": str(tmp_path / "home")}, check=True, capture_output=True)
    return tmp_path


def run(code: str, folder: Path, url: str, key: str) -> str:
    assert ADDRESS in code and KEY in code
    script = folder / "example.py"
    script.write_text(code.replace(ADDRESS, url).replace(KEY, key), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(CLIENT / "src")}
    command = [sys.executable, "-W", "error", script.name]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readmes_examples_run(ready, key, demo):
    blocks = re.findall(r"```python\n(.*?)```", (CLIENT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    trained, gathered = [run(block, demo, ready.url, key) for block in blocks]
    assert "done: 100%" in trained and "uint8" in trained and "leaf" in trained
    assert gathered.count("user_") == 2


def test_the_notebook_runs_from_end_to_end(ready, key, demo):
    notebook = json.loads((PROJECT / "docs" / "client.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells), "kept without outputs"
    said = run("\n\n".join("".join(cell["source"]) for cell in cells), demo, ready.url, key)
    assert "mean IoU" in said
    assert (demo / "leaves.onnx").stat().st_size > 100_000
    assert sorted(path.name for path in (demo / "masks_out").iterdir()) == ["leaf_7.png", "leaf_8.png"]
