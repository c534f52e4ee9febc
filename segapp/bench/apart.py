"""A bench on a temporary home of its own, so that nothing of the installation is touched. Free of torch.

Settings are fixed once they are read, so another home means another process. The installation's built bases and
encoder weights are only read.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings

from segapp.home import PROJECT
from segapp.parts import WAITING
from segapp.supervisor import die_with_parent

FOREIGN = ("DATABASE_URL", "REDIS_URL", "SEGAPP_URL", "SEGAPP_HOSTS", "SEGAPP_BEAT_FILE")  # of the installation


class BenchFailed(ValueError):
    """The bench ended without figures; what it printed last says why."""


@contextmanager
def own_home() -> Iterator[tuple[Path, dict[str, str]]]:
    """An empty home with the installation's bases, and the environment of a process on it."""
    with tempfile.TemporaryDirectory(prefix="segapp-bench-") as folder:
        yield Path(folder), home_environment(Path(folder))


def home_environment(home: Path) -> dict[str, str]:
    """Lend the installation's bases to an empty home; the environment of a process on it."""
    _lend_bases(home)
    inherited = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {**inherited, "SEGAPP_HOME": str(home), "SEGAPP_WEIGHTS": str(settings.SEGAPP_WEIGHTS)}


def alone(what: str, options: dict[str, Any], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run one bench on an empty home in a process of its own. Raises BenchFailed."""
    with own_home() as (_, inherited):
        own = {"SEGAPP_RATE_LIMITS": "off", **WAITING}  # threads wait as those of the server's own parts
        parent = os.getpid()
        done = subprocess.run(
            [sys.executable, "-m", "segapp.bench", what, json.dumps(options)],
            cwd=PROJECT,
            env={**inherited, **own, **(environment or {}), "DJANGO_SETTINGS_MODULE": "segapp.settings"},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            preexec_fn=lambda: die_with_parent(parent),
        )
    if done.returncode:
        raise BenchFailed(f"The bench ended with status {done.returncode}; its last lines above say why.")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _lend_bases(home: Path) -> None:
    """The bases that were built here, as links, so that the bench runs on what the server runs on."""
    folder = home / "media" / "bases"
    folder.mkdir(parents=True)
    for path in sorted((Path(settings.MEDIA_ROOT) / "bases").glob("base_*")):
        (folder / path.name).symlink_to(path)
