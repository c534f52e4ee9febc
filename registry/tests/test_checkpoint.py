"""Model files: torch reads the same as their index says, and neither way runs anything or reads beyond the file."""

import dataclasses
import errno
import io
import json
import zipfile
from pathlib import Path

import pytest
import torch

from registry import checkpoint
from registry.files import ModelFileDamaged, digest
from registry.tests.conftest import spec_of

LITE = "efficientnet_lite0"


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "decoder.p5.weight": torch.randn(6, 3, 3, 3),
        "decoder.p5.bias": torch.randn(6),
        "decoder.norm.num_batches_tracked": torch.tensor(7),
        "segmentation_head.0.weight": torch.randn(2, 6, 1, 1),
    }


def saved(path: Path, content: dict[str, torch.Tensor]) -> checkpoint.Checkpoint:
    sha256, size = checkpoint.save(path, spec_of(LITE), content, "base", {"note": [1, "two"]})
    assert (sha256, size) == (digest(path), path.stat().st_size)
    return checkpoint.load(path, sha256)


def rewritten(path: Path, change) -> None:
    """The file with another index; `change` gets the present one and returns what is written, None for none at all."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for record in old.infolist():
            content = old.read(record)
            changed = change(json.loads(content)) if record.filename.endswith(checkpoint.INDEX) else content
            if changed is not None:
                new.writestr(record, changed)
    path.write_bytes(out.getvalue())


@pytest.mark.parametrize("half", [False, True])
def test_the_index_says_what_torch_reads(tmp_path, half):
    content = checkpoint.halve(tensors()) if half else tensors()
    read = saved(tmp_path / "user_a.pth", content)
    plain = torch.load(tmp_path / "user_a.pth", weights_only=True)
    assert (read.spec, read.base_key, read.base_sha256) == (spec_of(LITE), LITE, "base")
    assert read.extra == plain["extra"] == {"note": [1, "two"]}
    assert read.precision == plain["precision"] == ("float16" if half else "float32")
    assert plain["spec"] == spec_of(LITE).to_dict()
    assert list(read.tensors) == list(plain["tensors"]) == list(content)
    for name, tensor in content.items():
        assert torch.equal(plain["tensors"][name], tensor)
        assert torch.equal(read.tensors[name], tensor.float() if half and tensor.dim() else tensor)
        assert read.tensors[name].dtype in (torch.float32, torch.int64)
    assert read.tensors["decoder.p5.weight"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("half", [False, True])
def test_a_models_tensors_lie_together_in_memory(tmp_path, half):
    """Pages of their own, which go back as one when the cache drops the model, also where they had to be widened."""
    content = checkpoint.halve(tensors()) if half else tensors()
    read = saved(tmp_path / "user_a.pth", content).tensors.values()
    first = min(tensor.data_ptr() for tensor in read)
    last = max(tensor.data_ptr() + tensor.numel() * tensor.element_size() for tensor in read)
    padding = len(content) * checkpoint.ALIGNED
    assert last - first <= sum(tensor.numel() * tensor.element_size() for tensor in read) + padding


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "no memory"), OSError(errno.EMFILE, "files")])
def test_a_machine_short_of_memory_or_handles_has_no_damaged_file(tmp_path, monkeypatch, error):
    path = tmp_path / "user_a.pth"
    saved(path, tensors())

    def short(_):
        raise error

    monkeypatch.setattr(checkpoint, "_by_index", short)
    with pytest.raises(type(error)) as raised:
        checkpoint.load(path, digest(path))
    assert raised.value is error


def test_a_file_with_an_index_is_not_unpickled(tmp_path, monkeypatch):
    path = tmp_path / "user_a.pth"
    saved(path, tensors())

    def unpickle(*_, **__):
        raise AssertionError("unpickled")

    monkeypatch.setattr(torch, "load", unpickle)
    read = checkpoint.load(path, digest(path))
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in tensors().items())


def test_the_same_content_makes_the_same_file(tmp_path):
    saved(tmp_path / "a.pth", tensors())
    saved(tmp_path / "b.pth", tensors())
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_the_page_and_channels_a_model_learnt_from_are_in_its_file(tmp_path):
    chosen = {"page": "max", "channels": [3, 2, 1], "bands": 5, "range": "percentiles"}
    told = dataclasses.replace(spec_of(LITE), image_input=chosen)
    path = tmp_path / "told.pth"
    sha256, _ = checkpoint.save(path, told, tensors(), "")
    assert checkpoint.load(path, sha256).spec.image_input == chosen


def test_a_file_that_names_no_page_or_channels_is_for_plain_images(tmp_path):
    assert "image_input" not in spec_of(LITE).to_dict()
    assert saved(tmp_path / "plain.pth", tensors()).spec.image_input == {}


def test_a_file_without_an_index_is_read_by_torch(tmp_path):
    path = tmp_path / "user_a.pth"
    read = saved(path, tensors())
    rewritten(path, lambda index: None)
    again = checkpoint.load(path, digest(path))
    assert (again.spec, again.extra) == (read.spec, read.extra)
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in tensors().items())


@pytest.mark.parametrize("start", [-8, 10**9])
def test_an_index_that_points_beyond_the_file_is_refused(tmp_path, start):
    path = tmp_path / "user_a.pth"
    saved(path, tensors())

    def misled(index: dict) -> bytes:
        index["tensors"][0][2] = start
        return json.dumps(index).encode()

    rewritten(path, misled)
    with pytest.raises(ModelFileDamaged, match="cannot be read"):
        checkpoint.load(path, digest(path))


def test_strides_beyond_the_file_are_refused(tmp_path):
    path = tmp_path / "user_a.pth"
    saved(path, tensors())

    def misled(index: dict) -> bytes:
        index["tensors"][0][4][0] = 10**7
        return json.dumps(index).encode()

    rewritten(path, misled)
    with pytest.raises(ModelFileDamaged, match="cannot be read"):
        checkpoint.load(path, digest(path))


def test_a_later_format_asks_for_an_update_whatever_its_index_holds(tmp_path):
    path = tmp_path / "user_a.pth"
    saved(path, tensors())
    rewritten(path, lambda index: json.dumps({"format": checkpoint.FORMAT + 1, "tensors": "elsewhere"}))
    with pytest.raises(ModelFileDamaged, match="Update the program"):
        checkpoint.load(path, digest(path))


@pytest.mark.parametrize("earlier", [1, 2])
def test_files_of_earlier_formats_are_read(tmp_path, monkeypatch, earlier):
    monkeypatch.setattr(checkpoint, "FORMAT", earlier)
    sha256, _ = checkpoint.save(tmp_path / "user_a.pth", spec_of(LITE), tensors(), "base")
    monkeypatch.undo()
    assert torch.load(tmp_path / "user_a.pth", weights_only=True)["format"] == earlier
    read = checkpoint.load(tmp_path / "user_a.pth", sha256)
    assert read.spec == spec_of(LITE) and read.spec.detail is None and read.spec.interior is None
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in tensors().items())


class Evil:
    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self):
        return (self.ran.touch, ())


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    ran, path = tmp_path / "ran", tmp_path / "user_a.pth"
    torch.save({"format": 1, "tensors": Evil(ran)}, path)
    with pytest.raises(ModelFileDamaged):
        checkpoint.load(path, digest(path))
    assert not ran.exists()
