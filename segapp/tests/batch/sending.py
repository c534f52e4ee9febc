"""Images to send many at once: each has a bright quarter somewhere else, and its truth can be told by eye."""

import io
import zipfile
from types import SimpleNamespace

from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image
from torch import Tensor, nn

from segapp.tests.video.videos import Bright

BROKEN = b"\x89PNG\r\n\x1a\n" + bytes(60)


class LastFeatures(nn.Module):
    """A decoder that gives the last of the encoder's features."""

    merge = SimpleNamespace(policy="add")  # as an FPN's that cannot be taken apart by levels

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[-1]


class BrightInParts(nn.Module):
    """Class 3 is what is bright, told in the three parts that a real network has."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder, self.segmentation_head = LastFeatures(), nn.Sequential(Bright())

    def encoder(self, images: Tensor) -> list[Tensor]:
        return [images]

    def forward(self, images: Tensor) -> Tensor:
        return self.segmentation_head(self.decoder(self.encoder(images)))


def image(number: int = 0, width: int = 64, height: int = 48, format: str = "PNG") -> bytes:
    """Dark, with a bright box whose place tells the number."""
    image = Image.new("RGB", (width, height), (20, 20, 20))
    left = (number * 7) % (width // 2)
    image.paste((230, 230, 230), (left, height // 4, left + width // 2, height * 3 // 4))
    out = io.BytesIO()
    image.save(out, format)
    return out.getvalue()


def upload(name: str, content: bytes | None = None) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, image() if content is None else content)


def many(count: int = 3) -> list[SimpleUploadedFile]:
    return [upload(f"street{k}.png", image(k)) for k in range(count)]


def packed(files: dict[str, bytes], name: str = "photos.zip") -> SimpleUploadedFile:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return SimpleUploadedFile(name, out.getvalue())
