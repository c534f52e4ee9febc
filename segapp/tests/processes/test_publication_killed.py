"""kill -9 of the training worker between the rename of a model's file and the commit of its row."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segapp.tests import second_pair

pytestmark = pytest.mark.slow

PROGRAM = """
import json, os, signal, sys
import django
django.setup()
from django.core.management import call_command
from registry import services
from registry.models import UserModel
from segapp.models import State, TrainingRun
from segapp.tests.planting import plant
from segapp.worker import publishing

ALICE = "a" * 32
if sys.argv[1] == "publish":
    call_command("migrate", verbosity=0)
    plant(ALICE, "Old", 1)
    run = TrainingRun.objects.create(visitor=ALICE, state=State.RUNNING, lease="token", lease_owner="gone:1:1:1")
    publishing._enter = lambda model, run: os.kill(os.getpid(), signal.SIGKILL)
    plant(ALICE, "New", 2, run=run)
answer = services.resolve(ALICE)
runs = list(TrainingRun.objects.values_list("state", flat=True))
models = [model.key for model in UserModel.objects.all()]
print(json.dumps({"active": answer.key, "lost": answer.notice, "runs": runs, "models": models}))
"""


def run(home: Path, what: str) -> subprocess.CompletedProcess[str]:
    own = {"SEGAPP_HOME": str(home), "DJANGO_SETTINGS_MODULE": "segapp.settings", **second_pair.for_home(home)}
    command = [sys.executable, "-c", PROGRAM, what]
    return subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, timeout=240, check=False)


def clean(home: Path) -> str:
    environment = {**os.environ, "SEGAPP_HOME": str(home), **second_pair.for_home(home)}
    command = [sys.executable, "manage.py", "cleanup_models"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.fault(33)
def test_the_old_model_stays_and_cleanup_collects_the_file_without_a_row(tmp_path):
    home = tmp_path / "home"
    killed = run(home, "publish")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    files = sorted((home / "media" / "models").glob("user_*.pth"))
    assert len(files) == 2, "both were renamed to their place"

    found = json.loads(run(home, "look").stdout.splitlines()[-1])
    (old,) = found["models"]
    assert found["active"] == old and not found["lost"] and found["runs"] == ["running"], "its lease runs out"
    assert "user_" not in clean(home), "as young as that it may be a publication that is just happening"

    (orphan,) = [path for path in files if path.stem != old]
    for path in (home / "media" / "models").glob(f"{orphan.stem}*"):
        os.utime(path, (1, 1))
    assert orphan.name in clean(home) and not orphan.exists()
    assert json.loads(run(home, "look").stdout.splitlines()[-1])["active"] == old
