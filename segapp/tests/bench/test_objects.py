"""Counting is measured by each method on the same images, and a large mask beside scikit-image."""

import json

import numpy as np
import pytest

from segapp.bench import cells, large_mask
from segapp.bench.objects import METHODS, bench_objects, sets_with_instances
from segapp.measurement.objects import Settings, find
from segapp.tests.pipeline.conftest import disc_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return cells.write(tmp_path_factory.mktemp("sets") / "cells", 7)


@pytest.mark.slow
def test_every_method_has_a_row_as_the_contract_names_it(base, folder):
    told = []
    found = bench_objects(base, [folder], seeds=(1,), tests=2, report=told.append)
    assert json.loads(json.dumps(found["rows"])) == told
    assert [(row["set"], row["seed"], row["method"]) for row in told] == [("cells", 1, method) for method in METHODS]
    for row in told:
        assert {"ap50", "f1", "count_error", "miou", "ms"} <= set(row)
        assert 0 <= row["ap50"] <= row["f1"] <= 1 and row["count_error"] >= 0 and row["ms"] > 0
    again = bench_objects(base, [folder], seeds=(1,), tests=2, report=told.append, earlier=told)
    assert again["rows"] == found["rows"] and len(told) == len(METHODS), "finished draws are not repeated"
    assert found["summary"]["components"]["ms_ratio"] == 1.0


def test_a_set_without_object_numbers_is_refused(folder, tmp_path):
    plain = disc_set(tmp_path / "discs")
    assert sets_with_instances([plain, folder]) == [folder]
    with pytest.raises(ValueError, match="instances"):
        sets_with_instances([plain])


def test_the_drawn_cells_touch():
    numbers = cells.draw(0)[1]
    assert find((numbers > 0).astype(np.uint8), Settings((1,))).count < numbers.max()


def test_the_large_mask_has_as_many_objects_as_is_said(monkeypatch):
    monkeypatch.setattr(large_mask, "HEIGHT", 320)
    monkeypatch.setattr(large_mask, "WIDTH", 370)
    monkeypatch.setattr(large_mask, "ACROSS", 10)
    monkeypatch.setattr(large_mask, "DOWN", 10)
    ids, grey = large_mask.drawn()
    assert large_mask._segapp(ids, grey) == large_mask._skimage(ids, grey) == 100
