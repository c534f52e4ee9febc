"""The client as a package: a wheel that holds what it should and works on every Python that is at hand."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from segapp.home import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
USE = """
import asyncio, sys
import numpy as np
from segapp_client import AsyncSegapp, NotFound, Segapp

image = np.zeros((40, 50, 3), np.uint8)
with Segapp(*sys.argv[1:]) as segapp:
    result = segapp.segment(image)
    assert result.mask.shape == (40, 50) and result.mask.dtype == np.uint8, result
    batch = segapp.batch([image])
    assert [mask.shape for _, mask in batch.masks()] == [(40, 50)]
    try:
        segapp.activate("none")
    except NotFound as error:
        assert error.status == 404
    else:
        raise AssertionError("no error")

async def main():
    async with AsyncSegapp(*sys.argv[1:]) as segapp:
        assert (await segapp.segment(image)).mask.shape == (40, 50)
asyncio.run(main())
print("works on", sys.version.split()[0])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    shutil.copytree(PROJECT / "clients" / "python", source, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*command, "-w", str(out), str(source)], check=True)
    (found,) = out.glob("*.whl")
    return found


def test_the_wheel_holds_the_package_with_its_types_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    assert "segapp_client/py.typed" in names and "segapp_client/aio.py" in names
    assert {name.split("/")[0] for name in names} == {"segapp_client", wheel.name.split("-py3")[0] + ".dist-info"}


@pytest.mark.parametrize("version", VERSIONS)
def test_it_works_on(version, wheel, ready, key, tmp_path):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], check=True)
    own = str(tmp_path / "venv" / "bin" / "python")
    installed = subprocess.run(
        [own, "-m", "pip", "install", "-q", "--disable-pip-version-check", str(wheel)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if installed.returncode:
        pytest.skip(f"its dependencies cannot be installed: {installed.stderr.strip().splitlines()[-1:]}")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [own, "-W", "error", "-c", USE, ready.url, key]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert f"works on {version}." in done.stdout


def interpreter(version: str) -> str | None:
    """A Python of this version: on the path, or one that pyenv has built."""
    built = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    return str(built[-1]) if built else shutil.which(f"python{version}")
