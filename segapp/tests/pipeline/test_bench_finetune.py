"""The bench: one protocol for drawing, all recipes on the same data."""

import json
from functools import partialmethod

import pytest
from PIL import Image

from segapp.bench import finetune as bench
from segapp.bench import run_finetune
from segapp.bench.datasets import draw, pools, sets_in
from segapp.bench.rows import Rows
from segapp.pipeline.training import finetune, loop
from segapp.tests.pipeline.conftest import disc_set


@pytest.fixture
def folder(tmp_path):
    return disc_set(tmp_path / "discs")


def test_a_draw_is_fixed_by_its_seed_and_never_tests_on_what_it_trains(folder):
    one, again, other = draw(folder, 0, 2), draw(folder, 0, 2), draw(folder, 1, 2)
    stems = [e.stem for e in one.train]
    assert len(stems) == 5 and len(one.test) == 2
    assert not set(stems) & {e.stem for e in one.test}
    assert stems == [e.stem for e in again.train] != [e.stem for e in other.train]
    assert [c.id for c in one.classes] == one.test_ids == [0, 3]


def test_pools_keep_away_from_what_bases_learn():
    train, test = pools("camvid", ["train_1", "val_1", "test_1"])
    assert (train, test) == (["val_1"], ["test_1"])
    half, _ = pools("human", [f"{i:03d}" for i in range(100)])
    assert 30 < len(half) < 70


@pytest.mark.slow
def test_every_recipe_gives_a_row_and_a_ratio(base, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "USUAL_STEPS", 2)
    monkeypatch.setattr(bench, "USUAL_CROP", 64)
    monkeypatch.setattr(bench, "USUAL_BATCH", 2)
    monkeypatch.setattr(bench, "NAIVE_EPOCHS", 1)
    monkeypatch.setattr(finetune, "SECONDS", {"quick": 1.0, "thorough": 1.0})
    monkeypatch.setattr(loop.Settings, "__init__", partialmethod(loop.Settings.__init__, thorough_decoder_steps=2))
    heard = []
    result = bench.bench_finetune(base, [folder], weights=tmp_path, seeds=[0], tests=2, report=heard.append)
    assert [row["recipe"] for row in heard] == ["naive", "usual", "quick", "thorough"]
    assert all(0 <= row["miou"] <= 1 and row["seconds"] > 0 for row in heard)
    quick, figures = result["summary"]["quick"], {"miou", "seconds", "time_ratio", "miou_gain"}
    assert set(quick) == figures | {"per_set", "spread"}
    assert set(quick["per_set"]["discs"]) == figures | {"spread"}
    assert result["summary"]["usual"]["per_set"]["discs"]["time_ratio"] == 1.0
    json.dumps(result)


def test_a_folder_is_a_set_or_holds_sets(folder):
    assert sets_in([folder]) == sets_in([folder.parent]) == [folder]
    with pytest.raises(ValueError, match="No folder with images/ and masks/"):
        sets_in([folder / "images"])


def test_too_few_pairs_are_said_in_one_line(folder):
    for number in range(3):
        (folder / "images" / f"{number}.png").unlink()
    with pytest.raises(ValueError, match="too few pairs"):
        draw(folder, 0)


def test_masks_are_read_by_the_products_rule(folder):
    for path in (folder / "masks").iterdir():
        with Image.open(path) as mask:
            white = mask.point(lambda value: 255 if value else 0)
        white.save(path)
    drawn = draw(folder, 0, 2)
    assert [c.id for c in drawn.classes] == [0, 1]
    assert {int(v) for e in drawn.train for v in set(e.mask.ravel())} == {0, 1}


def row(name: str, recipe: str, miou: float, seed: int = 0) -> dict[str, object]:
    return {"set": name, "seed": seed, "recipe": recipe, "miou": miou, "seconds": 1.0}


def test_sets_that_the_base_has_learnt_from_are_a_group_of_their_own_and_the_others_have_halves():
    rows = [row(name, recipe, miou) for name, miou in (("cats", 0.9), ("a", 0.4), ("b", 0.6), ("c", 0.5))
            for recipe in ("usual", "quick")]  # fmt: skip
    found = bench.groups(rows, ["cats"])
    assert found["known"]["quick"]["miou"] == 0.9
    assert found["unseen"]["quick"]["miou"] == 0.5
    assert list(found["unseen_first_half"]["usual"]["per_set"]) == ["a", "c"]
    assert list(found["unseen_second_half"]["usual"]["per_set"]) == ["b"]


def test_the_spread_of_a_group_is_that_of_its_means_over_seeds():
    rows = [row("a", "quick", 0.4, 0), row("b", "quick", 0.6, 0), row("a", "quick", 0.5, 1), row("b", "quick", 0.7, 1)]
    assert bench.summary(rows)["quick"]["spread"] == pytest.approx(0.1)


def test_finished_draws_are_not_repeated(base, folder, tmp_path):
    stamp, path = "base, recipe 3", tmp_path / "rows.jsonl"
    kept = Rows(path, stamp)
    kept.add(row("discs", "quick", 0.25))
    Rows(path, "another base").add(row("discs", "quick", 0.75))
    result = bench.bench_finetune(
        base, [folder], weights=tmp_path, seeds=[0], recipes=["quick"], tests=2, earlier=kept.read(), known=["discs"]
    )
    assert result["rows"] == [row("discs", "quick", 0.25)] and result["groups"]["known"]["quick"]["miou"] == 0.25
    assert Rows(None, stamp).read() == [] and Rows(tmp_path / "none", stamp).read() == []


def test_a_new_version_of_the_recipe_repeats_its_own_draws_only(tmp_path, monkeypatch):
    path, sha = tmp_path / "rows.jsonl", "0123456789abcdef"
    for recipe in bench.RECIPES:
        run_finetune.kept_rows(path, sha, 30).add(row("discs", recipe, 0.5))
    monkeypatch.setattr(run_finetune, "RECIPE", run_finetune.RECIPE + 1)
    assert [kept["recipe"] for kept in run_finetune.kept_rows(path, sha, 30).read()] == ["naive", "usual"]
    assert run_finetune.kept_rows(path, sha, 20).read() == run_finetune.kept_rows(path, "other", 30).read() == []


def test_chips_of_one_scene_are_never_trained_and_tested_on():
    stems = [f"big_x-{number:03d}" for number in range(9)] + [f"small-{number}" for number in range(3)]
    train, test = pools("aerial_ortho", stems)
    assert len(train) == 9 and len(test) == 3
    assert not {stem.rpartition("-")[0] for stem in train} & {stem.rpartition("-")[0] for stem in test}
