"""Every test run gets a home of its own. It is set here because the settings read it when they are first imported."""

import atexit
import gc
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import django
import pytest

if "segapp.settings" in sys.modules:
    raise pytest.UsageError("Unset DJANGO_SETTINGS_MODULE: the tests must choose their home before settings load.")

for name in [name for name in os.environ if name.startswith("SEGAPP_") and not name.startswith("SEGAPP_TEST_")]:
    del os.environ[name]
for name in ("DATABASE_URL", "REDIS_URL"):
    os.environ.pop(name, None)
if os.environ.get("SEGAPP_TEST_DATABASE_URL"):
    os.environ["DATABASE_URL"] = os.environ["SEGAPP_TEST_DATABASE_URL"]

HOME = tempfile.mkdtemp(prefix="segapp-test-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ["SEGAPP_HOME"] = HOME
os.environ["SEGAPP_RATE_LIMITS"] = "off"
os.environ["DJANGO_SETTINGS_MODULE"] = "segapp.settings"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks: more threads only get in each other's way

if hasattr(resource, "RLIMIT_RTTIME"):
    # A thread with real-time priority that never waits would take a core from the whole machine. Whatever gets one here
    # is killed by the kernel after so many microseconds; see also the check in segapp/tests/fixtures.py.
    resource.setrlimit(resource.RLIMIT_RTTIME, (20_000_000, 20_000_000))

(Path(HOME) / "var" / "static").mkdir(parents=True)  # whitenoise warns where it is missing
django.setup()  # before the fixtures below import models

pytest_plugins = ["segapp.tests.marking", "segapp.tests.fixtures", "segapp.tests.progress", "segapp.tests.faults"]


def pytest_xdist_setupnodes() -> None:
    """Each parallel worker makes a home of its own, so it must find the environment as this process did."""
    for name in ("DJANGO_SETTINGS_MODULE", "SEGAPP_HOME"):
        os.environ.pop(name, None)


def pytest_collection_finish() -> None:
    """What has been imported by now stays: garbage collections need not look at it again."""
    gc.collect()
    gc.freeze()
