"""Fine-tuning on tiny images: it learns, it is honest, it can be repeated and stopped."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from registry import checkpoint
from registry.network import DEFAULT_DECODER, ClassInfo, Spec, build
from registry.stages import deepest_stage, is_deep
from segapp.pipeline.inference.forward import normalised, run
from segapp.pipeline.inference.predict import predict
from segapp.pipeline.training import finetune as finetune_module
from segapp.pipeline.training import job, validation
from segapp.pipeline.training.finetune import LIBRARIES, Cancelled, Example, finetune
from segapp.pipeline.training.half_precision import to_half_precision
from segapp.pipeline.training.loop import Settings, Trainee
from segapp.pipeline.training.schedule import Progress, ProgressReporter, Schedule
from segapp.tests.pipeline.conftest import CLASSES, FakeClock, disc, loaded

pytestmark = pytest.mark.usefixtures("short_detail")


def test_loss_goes_down_and_new_images_are_understood(base, trained):
    assert np.mean(trained.losses[-8:]) < 0.7 * np.mean(trained.losses[:8])
    new = disc(99)
    found = predict(loaded(base, trained), new.image).ids
    inside = new.mask == 3
    assert ((found == 3) & inside).sum() / ((found == 3) | inside).sum() > 0.5


@pytest.fixture
def known(monkeypatch):
    """Any subject counts as one that the base knows."""
    monkeypatch.setattr(job, "KNOWN", -1e9)


def test_on_a_new_subject_only_the_deepest_stage_of_the_encoder_changes(base, trained):
    stage = deepest_stage(base.module.encoder)
    changed = [name for name in trained.tensors if name.startswith("encoder.")]
    assert trained.recipe["adapted"] is True and trained.recipe["share"] == 1.0
    assert changed and all(is_deep(name, stage) for name in changed)
    assert trained.spec.detail is None and trained.recipe["detail_gain"] is None
    assert not any("running_" in name for name in changed)
    convolutions = [tensor for tensor in trained.tensors.values() if tensor.dim() == 4]
    assert all(torch.equal(tensor, tensor.half().float()) for tensor in convolutions), "for a file half as large"


def test_on_a_known_subject_every_tensor_of_the_encoder_stays(base, discs, known):
    result = finetune(base, discs, CLASSES, steps=6)
    assert result.tensors and not any(name.startswith("encoder.") for name in result.tensors)
    assert result.recipe["adapted"] is False and result.spec.detail is None
    assert "knows this subject" in result.metrics["choices"][0]


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.1, -0.1])
def test_a_detail_branch_is_kept_where_held_out_images_gain_and_the_result_says_so(base, discs, monkeypatch, gain):
    monkeypatch.setattr(validation, "gain", lambda tables: gain)
    result = finetune(base, discs, CLASSES, steps=6, settings=Settings(detail=True))
    assert result.recipe["detail"] is (gain > 0) and result.recipe["detail_gain"] == gain
    assert (result.spec.detail is not None) == (gain > 0)
    assert any(name.startswith("detail.") for name in result.tensors) == (gain > 0)
    assert f"{gain:+.2f} mean IoU" in result.metrics["sentence"]
    net, image = loaded(base, result), disc(99).image
    whole = run(net, image)
    plain = net.module.segmentation_head(net.module.decoder(net.module.encoder(normalised(image, net))))[0]
    assert torch.allclose(whole, plain, atol=1e-4) == (gain < 0)


@pytest.mark.slow
def test_an_adapted_model_with_a_detail_branch_has_at_most_6_mb_on_disk(base, discs, monkeypatch, tmp_path):
    monkeypatch.setattr(validation, "gain", lambda tables: 0.1)
    spec = replace(base.spec, decoder=DEFAULT_DECODER)
    module = build(spec)
    module.encoder = base.module.encoder
    packaged = replace(base, spec=spec, module=module.eval().requires_grad_(False))
    result = finetune(packaged, discs, CLASSES, steps=2, settings=Settings(detail=True))
    assert result.recipe["adapted"] is True and result.spec.detail is not None
    images = [example.image for example in discs]
    tensors = to_half_precision(packaged, loaded(packaged, result), result.tensors, images)
    _, size = checkpoint.save(tmp_path / "model.pth", result.spec, tensors, "0" * 64)
    assert size < 6_000_000


def test_what_a_change_gains_is_counted_over_all_folds():
    good, bad = np.diag([10, 10]), np.array([[5, 5], [5, 5]])
    assert validation.gain([(bad, good), (bad, good)]) == pytest.approx(1 - 1 / 3)
    assert validation.gain([(bad, good), (good, bad)]) == 0.0


@pytest.mark.slow
def test_a_busy_machine_takes_all_steps_and_a_hopeless_one_says_that_it_did_not(base, discs, monkeypatch):
    monkeypatch.setattr(finetune_module, "PATIENCE", 8.0)
    monkeypatch.setitem(finetune_module.NEW_STEPS, "quick", 27)
    monkeypatch.setitem(finetune_module.SECONDS, "quick", 10.0)
    busy = finetune(base, discs, CLASSES, clock=FakeClock(0.3))
    assert busy.seconds > 3 * 10 and busy.steps == 18
    assert not any("busy" in said for said in busy.metrics["choices"])
    monkeypatch.setitem(finetune_module.NEW_STEPS, "quick", 90)
    hopeless = finetune(base, discs, CLASSES, clock=FakeClock(2.0))
    assert hopeless.steps < 72
    assert f"only {hopeless.steps} of 72" in hopeless.metrics["sentence"]


def test_metrics_are_complete_and_plain(trained):
    metrics = trained.metrics
    assert metrics["better"] is True
    assert metrics["comparison"]["kind"] == "base"  # both know a disc
    assert [c["id"] for c in metrics["per_class"]] == [0, 3]
    assert metrics["per_class"][1]["images"] == 4
    assert all(0 <= row["base_iou"] <= row["base_dice"] <= 1 for row in metrics["per_class"])
    assert all(row["trivial_iou"] is row["trivial_dice"] is None for row in metrics["per_class"])
    assert 0.4 < metrics["miou"] <= 1.0
    assert "held-out" in metrics["sentence"]
    assert sorted(index for index, _, _ in trained.held_out) == [0, 1, 2, 3]


def test_same_seed_and_steps_give_the_same_weights(base, discs):
    first = finetune(base, discs, CLASSES, steps=4, seed=5)
    second = finetune(base, discs, CLASSES, steps=4, seed=5)
    other = finetune(base, discs, CLASSES, steps=4, seed=6)
    assert all(torch.equal(first.tensors[k], second.tensors[k]) for k in first.tensors)
    assert any(not torch.equal(first.tensors[k], other.tensors[k]) for k in first.tensors)


@pytest.mark.slow
@pytest.mark.parametrize("effort", ["quick", "thorough"])
@pytest.mark.parametrize("subject", ["new", "known"])
def test_a_timed_run_can_be_repeated_by_its_number_of_steps(base, discs, effort, subject, request):
    if subject == "known":
        request.getfixturevalue("known")
    step = 0.1 if effort == "quick" else 0.05  # of a thorough one's budget its first stage takes most
    timed = finetune(base, discs, CLASSES, effort=effort, budget_seconds=20, clock=FakeClock(step))
    again = finetune(base, discs, CLASSES, effort=effort, steps=timed.steps)
    assert timed.steps == timed.recipe["steps"] > 4
    assert timed.recipe["threads"] == torch.get_num_threads()
    assert timed.recipe["versions"].keys() == {"python", *LIBRARIES}
    assert all(torch.equal(timed.tensors[k], again.tensors[k]) for k in timed.tensors)


@pytest.mark.slow
def test_a_budget_decides_the_steps_on_a_slow_clock(base, discs, known):
    fast = finetune(base, discs, CLASSES, budget_seconds=20, clock=FakeClock(0.02))
    clock = FakeClock(0.1)
    slow = finetune(base, discs, CLASSES, budget_seconds=20, clock=clock)
    assert slow.steps < fast.steps / 2
    assert clock.now < 33  # every look at this clock costs 0.4 s


@pytest.mark.parametrize("subject", ["new", "known"])
def test_held_out_score_uses_only_images_not_trained_on(base, discs, monkeypatch, subject, request):
    if subject == "known":
        request.getfixturevalue("known")
    learnt: list[set[int]] = []
    judged: list[int] = []
    train, predict_held_out, interpolated = job.train_decoder, validation.predict_held_out, Trainee.interpolated
    train_detail = validation.train_detail

    def note_training(trainee, views, members, *rest):
        learnt.append(set(members))
        trainee.learnt = trainee.ema.learnt = set(members)
        return train(trainee, views, members, *rest)

    def note_blending(trainee, share):
        network = interpolated(trainee, share)
        network.learnt = trainee.learnt
        return network

    def note_detail(net, prepared, members, *rest):
        branch = train_detail(net, prepared, members, *rest)
        branch.learnt = set(members)
        return branch

    def note_judging(job_, training, index, radius):
        assert index not in training.scored.learnt
        assert training.detail is None or index not in training.detail.learnt
        judged.append(index)
        predict_held_out(job_, training, index, radius)

    monkeypatch.setattr(job, "train_decoder", note_training)
    monkeypatch.setattr(Trainee, "interpolated", note_blending)
    monkeypatch.setattr(validation, "predict_held_out", note_judging)
    monkeypatch.setattr(validation, "train_detail", note_detail)
    monkeypatch.setattr(validation, "MIN_DETAIL_GAIN", -1.0)
    finetune(base, discs, CLASSES, steps=4, settings=Settings(detail=True))
    assert sorted(judged) == [0, 1, 2, 3]
    assert {0, 1, 2, 3} in learnt  # what is kept learns from all


@pytest.mark.slow
def test_the_held_out_score_rises_while_training_and_one_image_is_watched(base, discs):
    heard: list[Progress] = []
    result = finetune(base, discs, CLASSES, budget_seconds=60, clock=FakeClock(0.05),
                      watch=lambda p: heard.append(p) is None)  # fmt: skip
    looks = [p for p in heard if p.preview is not None]
    assert len(looks) > 8
    assert looks[0].fraction < 0.2 and looks[-2].fraction > 0.8, "from the first step to the last"
    assert len({p.preview[0] for p in looks[:-1]}) == 1
    assert looks[-1].miou == pytest.approx(result.metrics["miou"])
    scores = [p.miou for p in looks if p.miou is not None]
    assert scores[-1] > scores[0]
    assert looks[0].baseline["kind"] == "base" and looks[0].baseline["miou"] is not None


@pytest.mark.slow
def test_evaluations_on_held_out_images_change_nothing(base, discs):
    many = finetune(base, discs, CLASSES, steps=6, clock=FakeClock(1.0))
    few = finetune(base, discs, CLASSES, steps=6, clock=FakeClock(1.0), settings=Settings(evaluation_interval=1e9))
    assert all(torch.equal(many.tensors[k], few.tensors[k]) for k in many.tensors)
    assert many.metrics == few.metrics


def test_a_stop_in_the_middle_is_scored_too(base, discs):
    kept = finetune(base, discs, CLASSES, steps=400, watch=lambda p: p.fraction < 0.02, clock=FakeClock(0.31))
    assert 0 < kept.steps < 100
    assert kept.recipe["stopped"] is True
    assert kept.metrics["miou"] is not None


def test_how_far_a_training_goes_is_chosen_where_it_was_not_trained(base, discs, known):
    """Each fold is scored with the share that suits the other fold; near the best, the smaller one is taken."""
    good, bad = np.diag([10, 10]), np.array([[5, 5], [5, 5]])
    assert validation.best_alpha([{0.5: bad, 1.0: good}]) == 1.0
    assert validation.best_alpha([{0.5: good, 1.0: good}, {0.5: bad, 1.0: bad}]) == 0.5
    trained = finetune(base, discs, CLASSES, steps=4)
    assert trained.recipe["share"] in validation.ALPHAS


def test_weights_are_interpolated_between_start_and_end(base, discs):
    made = job.prepare_job(base, base, discs, CLASSES, "quick", 0, ProgressReporter(lambda _: True, 1e9), Settings())
    before = {name: tensor.clone() for name, tensor in base.module.state_dict().items()}
    trainee = made.new_trainee(made.features, range(4))
    start = trainee.ema.segmentation_head[0].weight.clone()
    schedule = Schedule(lambda: 0.0, steps=3)
    for _ in made.train_decoder(trainee, made.features, range(4), schedule, lambda loss, schedule: None):
        pass
    end = trainee.ema.segmentation_head[0].weight.clone()
    assert not torch.equal(start, end)
    assert torch.allclose(trainee.interpolated(0.5).segmentation_head[0].weight, (start + end) / 2)
    trainee.interpolate_weights(0.0)
    assert torch.equal(trainee.ema.segmentation_head[0].weight, start)
    assert torch.equal(trainee.network.segmentation_head[0].weight, start)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.module.state_dict().items())


@pytest.mark.slow
def test_wrong_masks_cannot_be_scored_well_by_memory(base):
    """Random masks can be learnt by heart but not held out: the score must stay low."""
    noise = np.random.default_rng(0)
    examples = [
        Example(f"n{i}", noise.integers(0, 255, (64, 64, 3), dtype=np.uint8),
                np.where(noise.random((64, 64)) < 0.5, 0, 3).astype(np.uint8))
        for i in range(2)
    ]  # fmt: skip
    result = finetune(base, examples, CLASSES, steps=30)
    assert result.metrics["miou"] < 0.45


def test_one_image_is_scored_by_halves(base):
    result = finetune(base, [disc(1)], CLASSES, steps=6)
    assert "half" in result.metrics["held_out"].lower()
    assert result.metrics["miou"] is not None


def test_not_better_is_said_in_plain_words(base, discs):
    plain = [Example(e.stem, e.image, np.zeros_like(e.mask)) for e in discs]
    classes = [ClassInfo(0, "background", "#000000"), ClassInfo(3, "thing", "#ff0000")]
    result = finetune(base, plain, classes, steps=4)
    assert result.metrics["comparison"] == {"kind": "trivial", "miou": 1.0}
    plainly = result.metrics["per_class"][0]
    assert (plainly["trivial_iou"], plainly["trivial_dice"], plainly["base_iou"]) == (1.0, 1.0, None)
    assert result.metrics["better"] is False
    assert "not better" in result.metrics["sentence"]
    assert all(bool(torch.isfinite(t).all()) for t in result.tensors.values())
    assert np.isfinite(result.losses).all()


def test_images_of_one_pixel_and_of_extreme_shape(base):
    noise = np.random.default_rng(0)
    examples = [
        Example("dot", noise.integers(0, 255, (1, 1, 3), dtype=np.uint8), np.zeros((1, 1), np.uint8)),
        Example("strip", noise.integers(0, 255, (31, 400, 3), dtype=np.uint8),
                np.full((31, 400), 3, np.uint8)),
        disc(0),
    ]  # fmt: skip
    result = finetune(base, examples, CLASSES, steps=4)
    assert all(bool(torch.isfinite(t).all()) for t in result.tensors.values())


def test_watch_hears_at_once_and_can_stop_or_cancel(base, discs):
    heard: list[Progress] = []

    def stop(progress: Progress) -> bool:
        heard.append(progress)
        return progress.step < 3

    kept = finetune(base, discs, CLASSES, steps=400, watch=stop, clock=FakeClock(0.31))
    assert heard[0].fraction == 0.0
    assert kept.steps < 400
    assert kept.tensors

    def cancel(progress: Progress) -> bool:
        raise Cancelled

    with pytest.raises(Cancelled):
        finetune(base, discs, CLASSES, steps=4, watch=cancel)


def test_progress_never_goes_back_and_ends_at_one(base, discs):
    heard: list[Progress] = []
    finetune(base, discs, CLASSES, steps=8, clock=FakeClock(0.31),
             watch=lambda p: heard.append(p) is None)  # fmt: skip
    fractions = [p.fraction for p in heard]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert any(p.preview is not None for p in heard)
    assert heard[-1].miou is not None


def test_a_thorough_training_on_a_new_subject_looks_at_images_mirrored_too(base, discs, trained):
    result = finetune(base, discs[:2], CLASSES, effort="thorough", steps=3)
    assert result.spec.mirrored and result.recipe["mirrored"] and not trained.spec.mirrored
    assert any("mirrored" in said for said in result.metrics["choices"])
    assert not any("mirrored" in said for said in trained.metrics["choices"])
    assert Spec.from_dict(result.spec.to_dict()) == result.spec


def test_thorough_changes_the_encoder_but_not_its_statistics(base, discs, known):
    before = {k: v.clone() for k, v in base.module.encoder.state_dict().items()}
    result = finetune(base, discs, CLASSES, effort="thorough", steps=3, settings=Settings(thorough_decoder_steps=4))
    changed = [name for name in result.tensors if name.startswith("encoder.")]
    assert changed
    assert not any("running_" in name for name in changed)
    after = base.module.encoder.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)  # the base is as it was


@pytest.mark.slow
def test_going_on_from_an_own_model_starts_better(base, discs, trained):
    start = loaded(base, trained)
    again = finetune(base, discs, CLASSES, steps=4, start=start)
    fresh = finetune(base, discs, CLASSES, steps=4)
    assert again.losses[-1] < fresh.losses[-1]


@pytest.mark.slow
def test_going_on_from_a_model_that_knows_the_images_does_not_flatter_the_score(base, monkeypatch):
    """Random masks learnt by heart before must not be recalled when they are held out."""
    noise = np.random.default_rng(0)
    examples = [
        Example(f"n{i}", noise.integers(0, 255, (64, 64, 3), dtype=np.uint8),
                np.where(noise.random((64, 64)) < 0.5, 0, 3).astype(np.uint8))
        for i in range(2)
    ]  # fmt: skip
    started: list[str] = []
    new = job.new_network
    monkeypatch.setattr(job, "new_network", lambda root, *rest: started.append(root.key) or new(root, *rest))
    known = loaded(base, finetune(base, examples, CLASSES, steps=30))
    started.clear()
    again = finetune(base, examples, CLASSES, steps=30, start=known)
    assert started == [base.key, base.key, known.key], "judged from the base, kept from the model"
    assert again.metrics["miou"] < 0.45


def test_classes_of_another_model_are_no_obstacle(base, discs, trained):
    start = loaded(base, trained)
    classes = [*CLASSES, ClassInfo(9, "never seen", "#0000ff")]
    result = finetune(base, discs, classes, steps=4, start=start)
    assert result.metrics["per_class"][2]["iou"] is None
