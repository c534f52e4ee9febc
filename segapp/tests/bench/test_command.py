"""The whole command beside the usual training, with the command itself."""

import numpy as np
import pytest

from segapp.bench.command import beside_usual
from segapp.tests.pipeline.conftest import disc_set


@pytest.fixture
def folder(tmp_path):
    return disc_set(tmp_path / "discs")


def row(recipe: str) -> dict:
    return {"recipe": recipe, "set": "discs", "seed": 0, "seconds": 80.0}


def test_without_a_usual_training_there_is_nothing_to_stand_beside(folder):
    assert beside_usual([row("quick")], [folder], "efficientnet_lite0") == {}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_effort_of_the_rows_is_run_as_a_command(folder):
    found = beside_usual([row("usual"), row("quick")], [folder], "efficientnet_lite0")
    assert list(found) == ["quick"] and (found["quick"]["set"], found["quick"]["seed"]) == ("discs", 0)
    assert found["quick"]["seconds"] > 2, "torch alone takes that long to start"
    assert np.isclose(found["quick"]["time_ratio"], found["quick"]["seconds"] / 80, atol=1e-3)
