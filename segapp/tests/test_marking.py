"""Marks follow from what a test uses, and CI does without no data test."""

import os
import subprocess
import sys

import pytest

from segapp.home import PROJECT
from segapp.tests.marking import LONG_FILES

SKIPPED = """
import pytest

@pytest.fixture
def data():
    pytest.skip("no images")

@pytest.fixture
def served():
    pass

def test_of_data(data):
    pass

def test_of_the_service(served):
    pass

def test_plain():
    pytest.skip("another reason")
"""


def run(folder, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """pytest with the plugin and without the rest of this project's configuration."""
    path = folder / "test_marks.py"
    path.write_text(SKIPPED)
    plain = ["-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider", "-p", "no:django"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", *plain, "-p", "segapp.tests.marking", *options, str(path)],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_long_files_are_there_and_run_first(request):
    assert all(path.is_file() for path in LONG_FILES)
    files = list(dict.fromkeys(item.path for item in request.session.items))
    long = [path for path in files if path in LONG_FILES]
    assert files[: len(long)] == long == [path for path in LONG_FILES if path in long]


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_a_skipped_data_test_fails_in_ci_only(tmp_path, ci, status):
    done = run(tmp_path, CI=ci)
    assert done.returncode == status, done.stdout
    assert ("CI must have the shared images" in done.stdout) == (ci == "true")
    assert "another reason" in done.stdout, "what needs no data may be skipped anywhere"


@pytest.mark.parametrize(("mark", "test"), [("data", "test_of_data"), ("processes", "test_of_the_service")])
def test_tests_are_chosen_by_what_they_use(tmp_path, mark, test):
    done = run(tmp_path, "-m", mark, "--collect-only")
    assert f"::{test}\n" in done.stdout
    assert "1/3 tests collected" in done.stdout
