"""A pytest plugin that marks tests by what they use, orders them, and takes no skipped data test in CI."""

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PROCESSES = TESTS / "processes"
# Files that take long begin first, so that no process is left with one of them when the others have ended: those with
# the running service and browsers, then others. Those that train in the service (lifecycle, tour, fix, studio,
# keyboard) stand apart: two trainings at once take four times as long as one.
LONG_FILES = [
    (TESTS / name).resolve()
    for name in (
        "test_lifecycle.py",
        "browser/test_objects.py",
        "client/test_client.py",
        "browser/test_versions.py",
        "browser/test_tour.py",
        "browser/test_paint.py",
        "browser/test_fix.py",
        "browser/test_batch.py",
        "browser/test_studio.py",
        "browser/test_video.py",
        "browser/test_keyboard.py",
        "pipeline/test_finetune.py",
        "test_crafted_input.py",
        "test_commands.py",
        "../../registry/tests/test_runtime.py",
        "../../registry/tests/test_export.py",
        "readers/test_tiff.py",
        "imaging/test_denoise.py",
        "pipeline/test_interior.py",
        "pipeline/test_smaller_size.py",
        "video/test_formats.py",
    )
]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]):
    """Marks before -m chooses among the tests; order after pytest-django has put those of the database first."""
    for item in items:
        uses = set(getattr(item, "fixturenames", ()))
        if uses & {"served", "own_server"} or PROCESSES in item.path.parents:
            item.add_marker(pytest.mark.processes)
        if "data" in uses:
            item.add_marker(pytest.mark.data)
    result = yield
    items.sort(key=lambda item: LONG_FILES.index(item.path) if item.path in LONG_FILES else len(LONG_FILES))
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """In CI the shared images must be there: a test of them that is skipped has failed."""
    report = yield
    if report.skipped and in_ci() and item.get_closest_marker("data"):
        report.outcome, report.longrepr = "failed", f"skipped, but CI must have the shared images: {report.longrepr}"
    return report


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true")
