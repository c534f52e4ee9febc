"""The usual way to answer scribbles, as ilastik and Labkit do: a random forest on filter features of single pixels."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

from segapp.pipeline.constants import IGNORE

TREES = 100
SIGMAS = (0.5, 16.0)  # of the smallest and the largest filter, in pixels
MAX_SIDE = 1024  # pixels; larger images are seen at this size


def filter_features(image: np.ndarray) -> np.ndarray:
    """float32 (h, w, C) of an image (uint8 H,W,3): its colours, gradients and Hessian eigenvalues at six scales."""
    found: np.ndarray = multiscale_basic_features(
        smaller(image), sigma_min=SIGMAS[0], sigma_max=SIGMAS[1], channel_axis=-1, workers=1
    )
    return found


def smaller(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    factor = MAX_SIDE / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def train_forest(features: Sequence[np.ndarray], masks: Sequence[np.ndarray], seed: int) -> RandomForestClassifier:
    """A forest of the labelled pixels; `masks` are uint8 H,W of class ids, 255 where nothing is known."""
    samples, targets = [], []
    for feature, mask in zip(features, masks, strict=True):
        y, x = np.nonzero(mask != IGNORE)
        rows, columns = y * feature.shape[0] // mask.shape[0], x * feature.shape[1] // mask.shape[1]
        samples.append(feature[rows, columns])
        targets.append(mask[y, x])
    forest = RandomForestClassifier(TREES, class_weight="balanced", max_samples=None, n_jobs=-1, random_state=seed)
    return forest.fit(np.concatenate(samples), np.concatenate(targets))


def forest_ids(forest: RandomForestClassifier, features: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Class ids (uint8 H,W) of an image of `size` (height, width)."""
    height, width, channels = features.shape
    found = forest.predict(features.reshape(-1, channels)).astype(np.uint8).reshape(height, width)
    return np.asarray(Image.fromarray(found).resize((size[1], size[0]), Image.Resampling.NEAREST))
