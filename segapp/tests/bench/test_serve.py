"""`manage.py bench serve`: its options, and the whole of it on a small scale with real processes."""

import json
import os
import subprocess
import sys

import pytest

from segapp.bench.run_serve import Options, table
from segapp.home import PROJECT


@pytest.mark.parametrize("options", [{"models": 0}, {"rate": -1}, {"models": 5, "rotate": 6}, {"visitors": 3}])
def test_options_that_do_not_fit_are_refused_in_words(options):
    with pytest.raises(ValueError, match=r"from 1 on|cannot rotate"):
        Options(**options).check()


def bench(home, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "manage.py"), "bench", "serve", *arguments]
    environment = {**os.environ, "SEGAPP_HOME": str(home), "SEGAPP_CACHE_MB": "16"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=800, check=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_visitor_gets_the_own_models_mask_from_a_cache_that_is_too_small(tmp_path):
    arguments = ["--models", "9", "--visitors", "8", "--rotate", "7", "--requests", "14", "--rate", "3", "--json"]
    done = bench(tmp_path / "home", *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["masks"]["checked"] == 42 and found["masks"]["wrong"] == 0
    for phase in ("one", "rotated", "at_rate"):
        assert found[phase]["answered"] == 14 and found[phase]["errors"] == 0
    assert found["cache"]["after"]["evictions"] > 0, "the base and two models fit"
    assert found["cache"]["after"]["bytes"] <= 14 * 2**20
    assert found["plain"]["requests"] and found["ratios"]["plain_over_ours_file"] > 5
    assert not list((tmp_path / "home" / "media").glob("models/*")), "nothing of the installation is touched"
    assert "42 checked, 0 wrong" in table(found)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_bench_that_cannot_run_says_why_in_one_line(tmp_path):
    done = bench(tmp_path / "home", "--models", "3", "--rotate", "9")
    assert done.returncode == 1 and "cannot rotate over 9" in done.stderr
