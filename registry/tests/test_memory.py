"""Memory that a pass freed serves the next one."""

import subprocess
import sys

import pytest

NO_MALLOPT = 9
PROBE = f"""
import resource, sys
import numpy as np
from registry.memory import keep_freed
if "keep" in sys.argv and not keep_freed():
    sys.exit({NO_MALLOPT})
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    layers = [np.ones(1 << 20) for _ in range(10)]  # 8 MB each, like a network's
    del layers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults_of_a_pass(*words: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True, check=False)
    if done.returncode == NO_MALLOPT:
        pytest.skip("this C library has no mallopt")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_pass_uses_the_memory_that_the_last_one_freed():
    assert page_faults_of_a_pass("keep") < 100 < page_faults_of_a_pass()
