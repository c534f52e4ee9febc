"""How doubtful an answer is, as one number that images are ordered by."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MAX_SIDE = 1024  # pixels looked at: of larger masks every second, third …
FRAME_SIDE = 256  # of a video's frames, where it is to cost little beside the network


def doubt(ids: np.ndarray, confidence: np.ndarray) -> float:
    """Mean of 1 - confidence along the borders between classes, 0 to 1; over all pixels where there are none.

    `ids` are uint8 H,W class ids, `confidence` uint8 h,w of any size, 255 is certain.
    """
    step = -(-max(ids.shape) // MAX_SIDE)
    ids = ids[::step, ::step]
    if confidence.shape != ids.shape:
        size = (ids.shape[1], ids.shape[0])
        confidence = np.asarray(Image.fromarray(confidence).resize(size, Image.Resampling.BILINEAR))
    border = np.zeros(ids.shape, bool)
    border[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    border[1:] |= ids[1:] != ids[:-1]
    chosen = confidence[border] if border.any() else confidence
    return round(1 - float(chosen.mean()) / 255, 4)


def doubt_of_logits(logits: Tensor) -> float:
    """The same from logits K,h,w, on a coarse grid."""
    step = -(-max(logits.shape[-2:]) // FRAME_SIDE)
    confidence, channel = torch.softmax(logits[:, ::step, ::step], dim=0).max(dim=0)
    ids = channel.to(torch.uint8).cpu().numpy()
    return doubt(ids, (confidence * 255).round().to(torch.uint8).cpu().numpy())
