"""The bench's curve over the number of images: nested draws, the same test images, strokes beside whole masks."""

import numpy as np
import pytest

from segapp.bench import image_counts
from segapp.bench.datasets import draw
from segapp.bench.image_counts import bench_counts, taken
from segapp.bench.rows import Rows
from segapp.pipeline.constants import IGNORE
from segapp.tests.pipeline.conftest import disc_set


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(image_counts, "MIN_TESTS", 1)
    return disc_set(tmp_path / "discs")


@pytest.fixture
def trained(monkeypatch):
    """What was trained on, where training itself is left out."""
    heard = []

    def train(base, part, seed, key):
        heard.append(part)
        return {"set": key[0], "seed": seed, "recipe": key[2], "miou": 0.5, "seconds": 1.0}

    monkeypatch.setattr(image_counts, "_row", train)
    return heard


def test_a_larger_training_has_seen_all_that_a_smaller_one_has_and_all_are_tested_alike(folder, trained):
    result = bench_counts(None, [folder], seeds=[0], counts=[1, 2, 5, 400], tests=2)
    names = ["1 image", "2 images", "5 images", "10 strokes"]
    assert [row["recipe"] for row in result["rows"]] == names == list(result["summary"])
    assert {row["largest"] for row in result["rows"]} == {5}
    stems = [[example.stem for example in part.train] for part in trained]
    assert [len(found) for found in stems] == [1, 2, 5, 5]
    assert stems[0] == stems[1][:1] and stems[1] == stems[2][:2] and stems[3] == stems[2]
    assert len({tuple(example.stem for example in part.test) for part in trained}) == 1
    known = [float(np.mean([(e.mask != IGNORE).mean() for e in part.train])) for part in trained[2:]]
    assert 0 < known[1] < 0.5 * known[0]


def test_rows_of_a_file_stand_for_their_draws_while_the_test_images_are_the_same(folder, trained, tmp_path):
    kept = Rows(tmp_path / "rows.jsonl", "stamp")
    first = bench_counts(None, [folder], seeds=[0], counts=[1, 5], tests=2, report=kept.add)
    before = len(trained)
    again = bench_counts(None, [folder], seeds=[0], counts=[1, 5], tests=2, earlier=kept.read())
    assert again["rows"] == first["rows"] and len(trained) == before
    bench_counts(None, [folder], seeds=[0], counts=[1, 2], tests=2, earlier=kept.read())
    assert len(trained) == before + 2, "a smaller draw tests on other images"


def test_a_draw_of_more_images_begins_with_the_usual_one(folder):
    few, more = draw(folder, 0, 1), draw(folder, 0, 1, 6)
    assert [e.stem for e in more.train[:5]] == [e.stem for e in few.train]
    assert [found.id for found in taken(more, 1, None, 0).classes] == [0, 3]
