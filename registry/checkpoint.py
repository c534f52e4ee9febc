"""Model files: what differs from the base, and all that is needed to rebuild the network.

One format for custom models and bases, which torch.load opens with weights_only. Beside torch's own records a file
holds an index of plain JSON that says the same, and where each tensor's bytes lie: reading by it takes a tenth of the
time, and no object is unpickled. A file without one is read by torch, with weights_only, so it cannot run code
either. The sha256 is checked before a byte is parsed.
"""

import hashlib
import io
import json
import math
import mmap
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from registry.files import ModelFileDamaged, short_of_room, verify, write_atomically
from registry.network import Spec

FORMAT = 3  # 2: a spec may name more than a plain FPN, such as a detail branch; 3: or an interior head
READ = (1, 2, 3)  # formats that are read
INDEX = "segapp.json"
STABLE = (1980, 1, 1, 0, 0, 0)  # the index's time: the same content makes the same file
# Tensors lie in pages of their own: what comes and goes with the cache would leave holes in the heap.
OWN_PAGES = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)  # there at once, where it can
ALIGNED = 64  # bytes
LOCAL_HEADER = 30  # bytes of a zip record's header before its name and its extra field


@dataclass(frozen=True)
class Checkpoint:
    """A model file's content. Tensors are float32 again, whatever the file held; `precision` says what that was."""

    spec: Spec
    tensors: dict[str, Tensor]
    base_key: str
    base_sha256: str
    extra: dict[str, Any]
    precision: str = "float32"


def save(
    path: Path,
    spec: Spec,
    tensors: Mapping[str, Tensor],
    base_sha256: str,
    extra: Mapping[str, Any] | None = None,
) -> tuple[str, int]:
    """Write a model file atomically; returns its sha256 and size in bytes.

    `tensors` are the changed ones by state-dict name, in the precision the file
    shall hold. `base_sha256` is empty for a base itself.
    """
    joined = _joined(tensors)
    content = {
        "format": FORMAT,
        "base_key": spec.base_key,
        "base_sha256": base_sha256,
        "spec": spec.to_dict(),
        "precision": precision(tensors),
        # Plain JSON values only: anything else, be it a subclass of str, weights_only would refuse to read.
        "extra": json.loads(json.dumps(dict(extra or {}))),
    }
    file = io.BytesIO()
    torch.save({**content, "tensors": joined}, file)
    _add_index(file, content, joined)
    whole = file.getvalue()
    write_atomically(path, lambda out: out.write(whole))
    return hashlib.sha256(whole).hexdigest(), len(whole)


def load(path: Path, sha256: str) -> Checkpoint:
    """Read a model file after holding it to its sha256.

    Raises ModelFileMissing or ModelFileDamaged; a machine that is short of memory or of file handles says so itself.
    """
    verify(path, sha256)
    try:
        content = _by_index(path) or torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] not in READ:
            raise ModelFileDamaged(
                f"The model file {path.name} has format {content['format']}; this version "
                f"reads formats up to {FORMAT}. Update the program."
            )
        held = content.get("precision", "float32")
        return Checkpoint(
            spec=Spec.from_dict(content["spec"]),
            tensors=_widened(content["tensors"]) if held == "float16" else content["tensors"],
            base_key=content["base_key"],
            base_sha256=content["base_sha256"],
            extra=content["extra"],
            precision=held,
        )
    except Exception as error:
        if isinstance(error, ModelFileDamaged) or short_of_room(error):
            raise
        raise ModelFileDamaged(
            f"The model file {path.name} cannot be read ({type(error).__name__}). Use another version of the model."
        ) from error


def halve(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors in half precision where that loses no range; others unchanged."""
    return {
        name: tensor.half() if tensor.dtype == torch.float32 and bool((tensor.abs() < 60_000).all()) else tensor
        for name, tensor in tensors.items()
    }


def precision(tensors: Mapping[str, Tensor]) -> str:
    """ "float16" where any of the tensors is in half precision, else "float32"."""
    return "float16" if any(tensor.dtype == torch.float16 for tensor in tensors.values()) else "float32"


def _joined(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that lie one behind the other in one storage for each dtype: read in one go, and in less room.

    Weights of convolutions lie with their channels last, as networks want them.
    """
    plain = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    sizes: dict[torch.dtype, int] = {}
    for tensor in plain.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.numel()
    room = {dtype: torch.empty(size, dtype=dtype) for dtype, size in sizes.items()}
    joined, taken = {}, dict.fromkeys(sizes, 0)
    for name, tensor in plain.items():
        begin = taken[tensor.dtype]
        taken[tensor.dtype] = end = begin + tensor.numel()
        joined[name] = _laid(room[tensor.dtype][begin:end], tensor.shape).copy_(tensor)
    return joined


def _laid(flat: Tensor, shape: torch.Size) -> Tensor:
    """A flat tensor in `shape`, its channels last where that is a convolution's weight."""
    if len(shape) != 4:
        return flat.view(shape)
    out, into, height, width = shape
    return flat.view(out, height, width, into).permute(0, 3, 1, 2)


def _add_index(file: io.BytesIO, content: Mapping[str, Any], joined: Mapping[str, Tensor]) -> None:
    """Append what `_by_index` reads to a file of torch.save, which has a record for each dtype's storage."""
    storages: dict[torch.dtype, int] = {}
    for tensor in joined.values():
        storages.setdefault(tensor.dtype, len(storages))
    data = file.getvalue()
    with zipfile.ZipFile(file, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        starts = {
            dtype: _data_start(data, archive.getinfo(f"{root}/data/{number}")) for dtype, number in storages.items()
        }
        places = [
            [
                name,
                str(tensor.dtype).removeprefix("torch."),
                starts[tensor.dtype] + tensor.storage_offset() * tensor.element_size(),
                list(tensor.shape),
                list(tensor.stride()),
            ]
            for name, tensor in joined.items()
        ]
        archive.writestr(zipfile.ZipInfo(f"{root}/{INDEX}", STABLE), json.dumps({**content, "tensors": places}))


def _data_start(data: bytes, record: zipfile.ZipInfo) -> int:
    """Where in the file a record's bytes begin; torch stores them uncompressed."""
    begin = record.header_offset + LOCAL_HEADER
    name, extra = (int.from_bytes(data[begin - k : begin - k + 2], "little") for k in (4, 2))
    return begin + name + extra


def _by_index(path: Path) -> dict[str, Any] | None:
    """A file's content, all tensors views of one buffer; None for a file without an index. Raises on a wrong one."""
    with open(path, "rb") as file:
        with zipfile.ZipFile(file) as archive:
            last = archive.namelist()[-1]
            if not last.endswith(f"/{INDEX}"):
                return None
            content: dict[str, Any] = json.loads(archive.read(last))
        if content["format"] not in READ:  # whatever a later version's index looks like
            return {"format": content["format"]}
        data = mmap.mmap(-1, os.fstat(file.fileno()).st_size, flags=OWN_PAGES)
        file.seek(0)
        file.readinto(data)
    content["tensors"] = {
        name: torch.frombuffer(data, dtype=getattr(torch, dtype), count=math.prod(shape), offset=start).as_strided(
            shape, strides
        )
        for name, dtype, start, shape, strides in content["tensors"]
    }
    return content


def _widened(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies with float16 as float32, in one buffer; nothing of the file's own buffer stays in memory beside it."""
    dtypes = {name: torch.float32 if t.dtype == torch.float16 else t.dtype for name, t in tensors.items()}
    starts, end = {}, 0
    for name, tensor in tensors.items():
        starts[name] = end
        end += math.ceil(tensor.numel() * dtypes[name].itemsize / ALIGNED) * ALIGNED
    data = mmap.mmap(-1, end, flags=OWN_PAGES)
    return {
        name: _laid(
            torch.frombuffer(data, dtype=dtypes[name], count=tensor.numel(), offset=starts[name]), tensor.shape
        ).copy_(tensor)
        for name, tensor in tensors.items()
    }
