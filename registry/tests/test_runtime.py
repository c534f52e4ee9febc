"""From file to network: identical to the full checkpoint, shared, refused when damaged."""

import dataclasses
import pickle
import random
import threading

import pytest
import torch

from registry import vision_shim  # noqa: F401  isort: skip  (before smp)
import segmentation_models_pytorch as smp

from registry import bases, checkpoint
from registry.detail import DetailBranch
from registry.files import ModelFileDamaged, ModelFileMissing
from registry.interior import InteriorHead, interior_features
from registry.network import Spec, Uninitialised, build
from registry.runtime import BaseMissing, ModelRef, Runtime
from registry.stages import deepest_stage, is_deep
from registry.tests.conftest import spec_of, write_small_base

LITE = "efficientnet_lite0"


@pytest.fixture
def lite(media, weights):
    return write_small_base(LITE, media, weights)


@pytest.fixture
def runtime(media, weights):
    return Runtime(media, weights, "cpu", 1 << 30)


def custom(media, weights, full, encoder_scale=None, seed=3, names="xyz"):
    """A custom model's file and the full network it stands for."""
    entry = next(b for b in bases.CATALOGUE.values() if full.name == f"fpn-{b.encoder}")
    ready = bases.find(entry.key, media, weights)
    torch.manual_seed(seed)
    spec = spec_of(ready.key, names)
    whole = build(spec)
    whole.encoder.load_state_dict(full.encoder.state_dict())
    tensors = {k: v for k, v in whole.state_dict().items() if not k.startswith("encoder.")}
    if encoder_scale is not None:
        name, parameter = next(iter(whole.encoder.named_parameters()))
        with torch.no_grad():
            parameter.mul_(encoder_scale)
        tensors[f"encoder.{name}"] = parameter.detach()
    path = media / "models" / f"user_{seed}.pth"
    sha256, _ = checkpoint.save(path, spec, tensors, ready.sha256, {"note": 1})
    return ModelRef(f"user_{seed}", path, sha256, ready.key, ready.sha256), whole.eval()


@pytest.mark.parametrize("encoder_scale", [None, 1.5])
def test_output_is_that_of_the_full_checkpoint_bit_by_bit(media, weights, lite, runtime, encoder_scale):
    ref, whole = custom(media, weights, lite, encoder_scale)
    whole = whole.to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), runtime.use(ref) as net:
        assert torch.equal(net.module(image), whole(image))


def test_what_did_not_change_is_shared(media, weights, lite, runtime):
    one, _ = custom(media, weights, lite)
    two, _ = custom(media, weights, lite, 2.0, seed=4)
    with runtime.use_base(runtime.base(LITE)) as base, runtime.use(one) as a, runtime.use(two) as b:
        assert a.module.encoder is base.module.encoder
        assert a.encoder_key == base.encoder_key != b.encoder_key
        ours = dict(b.module.encoder.named_parameters())
        theirs = dict(base.module.encoder.named_parameters())
        different = [k for k in ours if ours[k].data_ptr() != theirs[k].data_ptr()]
        assert len(different) == 1
    assert runtime.stats()["loads"] == 3


def changed_deep(media, weights, full, seed):
    """A model whose deepest stage is its own, and the whole network it stands for."""
    ref, whole = custom(media, weights, full, seed=seed)
    saved = checkpoint.load(ref.path, ref.sha256)
    tensors = dict(saved.tensors)
    with torch.no_grad():
        for name, module in deepest_stage(whole.encoder).items():
            for leaf, parameter in module.named_parameters():
                parameter.mul_(1.1)
                tensors[f"encoder.{name}.{leaf}"] = parameter.detach().clone()
    sha256, _ = checkpoint.save(ref.path, saved.spec, tensors, ref.base_sha256)
    return dataclasses.replace(ref, sha256=sha256), whole


@pytest.mark.parametrize("base_name", ["lite", "mit_b0"])
def test_a_model_with_a_deepest_stage_of_its_own_shares_the_rest(media, weights, runtime, request, base_name):
    full = request.getfixturevalue(base_name)
    ref, whole = changed_deep(media, weights, full, seed=5)
    whole = whole.to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), runtime.use_base(runtime.base(ref.base_key)) as base, runtime.use(ref) as net:
        assert torch.equal(net.module(image), whole(image))
        assert net.shallow_key == base.shallow_key and net.encoder_key != base.encoder_key
        theirs = dict(base.module.encoder.named_parameters())
        stage = [f"encoder.{name}" for name in deepest_stage(base.module.encoder)]
        for name, parameter in net.module.encoder.named_parameters():
            own = is_deep(f"encoder.{name}", deepest_stage(base.module.encoder))
            assert (parameter.data_ptr() != theirs[name].data_ptr()) == own
        assert stage


def test_a_model_with_a_detail_branch_is_whole_again(media, weights, lite, runtime):
    ref, _ = custom(media, weights, lite)
    saved = checkpoint.load(ref.path, ref.sha256)
    spec = dataclasses.replace(saved.spec, detail={"filters": 1, "hidden": 8})
    torch.manual_seed(0)
    branch = DetailBranch(len(spec.classes), 8)
    own = {f"detail.{name}": tensor for name, tensor in branch.state_dict().items()}
    sha256, _ = checkpoint.save(ref.path, spec, {**saved.tensors, **own}, ref.base_sha256)
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode(), runtime.use(dataclasses.replace(ref, sha256=sha256)) as net:
        plain = net.module.segmentation_head(net.module.decoder(net.module.encoder(image)))
        assert net.spec == spec
        assert torch.allclose(net.module(image), plain + branch(image), atol=1e-5)
    sha256, _ = checkpoint.save(ref.path, spec, saved.tensors, ref.base_sha256)
    with pytest.raises(ModelFileDamaged, match="lacks the tensor detail"):
        with runtime.use(dataclasses.replace(ref, sha256=sha256)):
            pass


def test_a_model_with_an_interior_head_is_whole_again(media, weights, lite, runtime):
    ref, _ = custom(media, weights, lite)
    saved = checkpoint.load(ref.path, ref.sha256)
    torch.manual_seed(0)
    head = InteriorHead(32 + 24, 8)
    spec = dataclasses.replace(saved.spec, interior=head.options())
    own = {f"interior.{name}": tensor for name, tensor in head.state_dict().items()}
    sha256, _ = checkpoint.save(ref.path, spec, {**saved.tensors, **own}, ref.base_sha256)
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode(), runtime.use(dataclasses.replace(ref, sha256=sha256)) as net:
        features = net.module.encoder(image)[-4:]
        decoded = net.module.decoder(features)
        assert net.spec == spec and torch.equal(net.module(image), net.module.segmentation_head(decoded))
        found = head.eval()(interior_features(decoded, features))
        assert torch.allclose(net.module.interior(interior_features(decoded, features)), found, atol=1e-6)
    sha256, _ = checkpoint.save(ref.path, spec, saved.tensors, ref.base_sha256)
    with pytest.raises(ModelFileDamaged, match="lacks the tensor interior"):
        with runtime.use(dataclasses.replace(ref, sha256=sha256)):
            pass


def test_the_mit_way_is_the_same(media, weights, mit_b0, runtime):
    ready = runtime.base()
    assert (ready.key, ready.name, ready.weights_source) == ("mit_b0", "MiT-B0", "local file")
    ref, whole = custom(media, weights, mit_b0)
    assert ref.base_key == "mit_b0"
    whole = whole.to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), runtime.use(ref) as net:
        assert torch.equal(net.module(image), whole(image))


@pytest.mark.fault(30)
def test_a_cached_network_is_not_used_when_its_file_is_gone_or_changed(media, weights, lite, runtime):
    ref, _ = custom(media, weights, lite)
    with runtime.use(ref):
        pass
    content = ref.path.read_bytes()
    ref.path.write_bytes(content[:-1])
    with pytest.raises(ModelFileDamaged), runtime.use(ref):
        pass
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 4
    ref.path.write_bytes(bytes(flipped))
    with pytest.raises(ModelFileDamaged), runtime.use(ref):
        pass
    ref.path.unlink()
    with pytest.raises(ModelFileMissing), runtime.use(ref):
        pass
    ref.path.write_bytes(content)
    with runtime.use(ref):
        pass


def test_another_models_file_is_refused(media, weights, lite, runtime):
    one, _ = custom(media, weights, lite)
    two, _ = custom(media, weights, lite, seed=4)
    one.path.write_bytes(two.path.read_bytes())
    with pytest.raises(ModelFileDamaged), runtime.use(one):
        pass


@pytest.mark.fault(24)
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (ran.touch, ())

    path = tmp_path / "user_x.pth"
    path.write_bytes(pickle.dumps(Evil()))
    from registry.files import digest

    with pytest.raises(ModelFileDamaged):
        checkpoint.load(path, digest(path))
    assert not ran.exists()


def test_a_custom_model_outlives_a_change_of_its_base(media, weights, lite, runtime):
    ref, whole = custom(media, weights, lite)
    old = runtime.base(LITE)
    bases.keep_version(old, media)
    write_small_base(LITE, media, weights, seed=8)
    assert runtime.base(LITE).sha256 != old.sha256
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode(), runtime.use(ref) as net:
        assert torch.allclose(net.module(image), whole(image), atol=1e-3)
    (media / "bases" / bases.version_name(LITE, old.sha256)).unlink()
    with pytest.raises(BaseMissing, match="train the model again"), runtime.use(ref):
        pass


def test_a_base_on_other_encoder_weights_is_refused(media, weights, mit_b0, runtime):
    state = torch.load(weights / "mit_b0.pth", weights_only=True)
    state["patch_embed1.proj.weight"] += 1
    torch.save(state, weights / "mit_b0.pth")
    with pytest.raises(BaseMissing, match="weights"), runtime.use_base(runtime.base("mit_b0")):
        pass


def test_no_ready_base_says_what_to_run(media, weights, runtime):
    with pytest.raises(BaseMissing, match="build_base mit_b3"):
        runtime.base("mit_b3")


def test_memory_stays_bounded_and_the_base_goes_last(media, weights, lite):
    runtime = Runtime(media, weights, "cpu", cache_bytes=1)
    refs = [custom(media, weights, lite, seed=s)[0] for s in range(3)]
    for ref in refs:
        with runtime.use(ref):
            assert runtime.stats()["entries"] == 2
    assert runtime.stats()["entries"] == 0


@pytest.mark.fault(45)
def test_many_visitors_at_once_each_get_their_own_models_answer(media, weights, lite):
    """More models than the cache holds, from threads; some have encoders of their own."""
    made = [custom(media, weights, lite, 1.0 + s / 10 if s % 4 == 0 else None, seed=s) for s in range(9)]
    image = torch.rand(1, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        wanted = [whole.to(memory_format=torch.channels_last)(image) for _, whole in made]
    assert not any(torch.equal(a, b) for k, a in enumerate(wanted) for b in wanted[:k])
    runtime = Runtime(media, weights, "cpu", 1 << 40)
    with runtime.use_base(runtime.base(LITE)):
        pass
    base_bytes = runtime.stats()["bytes"]
    with runtime.use(made[1][0]):
        one = runtime.stats()["bytes"] - base_bytes
    limit = int(base_bytes + 3.5 * one)
    runtime = Runtime(media, weights, "cpu", limit)
    wrong, done = [], []

    def visit(number: int) -> None:
        draw = random.Random(number)
        for _ in range(12):
            which = draw.randrange(len(made))
            with torch.inference_mode(), runtime.use(made[which][0]) as net:
                found = net.module(image)
                if not torch.equal(found, wanted[which]) or net.sha256 != made[which][0].sha256:
                    wrong.append(which)
        done.append(number)

    threads = [threading.Thread(target=visit, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    stats = runtime.stats()
    assert len(done) == 4 and wrong == []
    assert stats["evictions"] > 0 and stats["loads"] > len(made), "the cache was too small for all"
    assert stats["hits"] + stats["misses"] >= 4 * 12 and stats["in_use"] <= 1, "only the base, for what is cached"
    assert stats["bytes"] <= limit


def test_a_file_is_loaded_once_for_all_who_wait_and_another_beside_it(media, weights, lite, monkeypatch):
    (one, _), (two, _) = custom(media, weights, lite), custom(media, weights, lite, seed=4)
    runtime = Runtime(media, weights, "cpu", 1 << 30)
    with runtime.use_base(runtime.base(LITE)):
        pass
    begun, go_on, read = threading.Event(), threading.Event(), []
    plain = checkpoint.load

    def slow(path, sha256):
        read.append(path.name)
        if path == one.path:
            begun.set()
            assert go_on.wait(60)
        return plain(path, sha256)

    monkeypatch.setattr(checkpoint, "load", slow)
    seen = []

    def visit() -> None:
        with runtime.use(one) as net:
            seen.append(net)

    threads = [threading.Thread(target=visit) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    with runtime.use(two) as net:
        assert net.key == two.key and seen == [], "another key does not wait"
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert read.count(one.path.name) == 1 and len(seen) == 4 and len({id(net) for net in seen}) == 1


def test_a_new_file_of_the_same_id_is_never_answered_from_memory(media, weights, lite, runtime):
    old, _ = custom(media, weights, lite)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode(), runtime.use(old) as net:
        before = net.module(image)
    new, whole = custom(media, weights, lite, seed=4)
    old.path.write_bytes(new.path.read_bytes())
    ref = dataclasses.replace(old, sha256=new.sha256)
    with torch.inference_mode(), runtime.use(ref) as net:
        after = net.module(image)
        assert torch.allclose(after, whole(image), atol=1e-4) and not torch.allclose(before, after, atol=1e-2)
    with pytest.raises(ModelFileDamaged), runtime.use(old):
        pass


def test_a_custom_network_leaves_its_bases_tensors_alone(media, weights, lite, runtime):
    changed, _ = custom(media, weights, lite, 2.0)
    with runtime.use_base(runtime.base(LITE)) as base:
        before = {name: t.clone() for name, t in base.module.state_dict().items()}
        with runtime.use(changed) as net:
            assert not net.module.training and not any(p.requires_grad for p in net.module.parameters())
        assert all(torch.equal(t, before[name]) for name, t in base.module.state_dict().items())


@pytest.mark.parametrize("encoder", ["mit_b0", "tu-tf_efficientnet_lite0"])
def test_an_encoder_is_built_without_drawing_numbers_only_where_it_is_asked_for(encoder):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with Uninitialised():
        module = smp.encoders.get_encoder(encoder, weights=None)
    assert torch.equal(torch.get_rng_state(), state)
    usual = smp.encoders.get_encoder(encoder, weights=None)
    assert not torch.equal(torch.get_rng_state(), state)
    assert {k: v.shape for k, v in module.state_dict().items()} == {k: v.shape for k, v in usual.state_dict().items()}
    module.load_state_dict(usual.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        for one, two in zip(module.eval()(image), usual.eval()(image), strict=True):
            assert torch.equal(one, two)


def test_half_precision_on_disk_changes_no_decision(media, weights, lite, runtime):
    ref, whole = custom(media, weights, lite)
    saved = checkpoint.load(ref.path, ref.sha256)
    small = checkpoint.halve(saved.tensors)
    path = media / "models" / "half.pth"
    sha256, size = checkpoint.save(path, saved.spec, small, ref.base_sha256)
    assert size < 0.6 * ref.path.stat().st_size
    half = ModelRef("user_half", path, sha256, LITE, ref.base_sha256)
    image = torch.rand(2, 3, 64, 64)
    with torch.inference_mode(), runtime.use(half) as net:
        one, two = net.module(image), whole(image)
    assert (one - two).abs().max() < 1e-3 * max(1.0, two.abs().max().item())
    assert (one.argmax(1) == two.argmax(1)).float().mean() > 0.998  # an untrained network is full of ties


def test_a_spec_survives_its_file():
    spec = spec_of(LITE)
    assert Spec.from_dict(spec.to_dict()) == spec
