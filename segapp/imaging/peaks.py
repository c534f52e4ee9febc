"""The main values of a noisy mask: what its plain places are made of, with the noise around each taken together."""

import numpy as np

from segapp.imaging.blur import Values, plain_places
from segapp.imaging.values import bands

NOISE = 6  # how far compression moves a flat value
APART, APART_COLOUR = 24, 28  # main values stand at least this far apart
LEAST = 4  # pixels of plain places that a main value needs, and one in a hundred thousand of all
EXTREME = 4  # so near to black or white it is black or white
STANDS_OUT = 96  # a thin line's value lies this far beyond what fills places
WHITE = 225  # compression leaves no more of a thin white line
MOST = 80  # more peaks than this are no mask


def find(values: Values, shape: tuple[int, int], channels: int) -> np.ndarray:
    """int32 (M, C): the main values, the one that fills most first; empty when there is no plain place."""
    shift = 0 if channels == 1 else 3  # colours are counted in cells of eight
    side = 256 >> shift
    counts = np.zeros(side**channels, dtype=np.int64)
    sums = np.zeros((channels, side**channels))
    for rows, proper in bands(shape, halo=2):
        here = values(rows)
        plain = plain_places(here, NOISE) & (here[..., 0] >= 0)
        chosen = here[proper][plain[proper]]
        cells = np.zeros(len(chosen), dtype=np.int64)
        for channel in range(channels):
            cells = cells * side + (chosen[:, channel] >> shift)
        counts += np.bincount(cells, minlength=len(counts))
        for channel in range(channels):
            sums[channel] += np.bincount(cells, weights=chosen[:, channel], minlength=len(counts))
    apart = APART if channels == 1 else APART_COLOUR
    return _strongest(counts, sums, max(LEAST, shape[0] * shape[1] * 1e-5), apart)


def with_thin_lines(mains: np.ndarray, top: int) -> np.ndarray:
    """The main numbers (M, 1), and `top`, the largest that occurs, where only thin lines can have left it."""
    if top - mains.max() < STANDS_OUT:
        return mains
    return np.concatenate([mains, [[255 if top >= WHITE else top]]]).astype(np.int32)


def _strongest(counts: np.ndarray, sums: np.ndarray, least: float, apart: int) -> np.ndarray:
    """Take the fullest cell and all near it as one main value, then the fullest of the rest."""
    cells = np.flatnonzero(counts)
    weights, means = counts[cells].astype(float), (sums[:, cells] / counts[cells]).T
    found: list[np.ndarray] = []
    while len(weights) and len(found) <= MOST:
        top = int(weights.argmax())
        distance = np.abs(means - means[top]).max(axis=1)
        own = distance <= apart / 3
        if weights[own].sum() < least:
            break
        found.append(np.average(means[own], axis=0, weights=weights[own]))
        stays = distance > apart
        weights, means = weights[stays], means[stays]
    mains = np.rint(np.array(found).reshape(len(found), len(sums))).astype(np.int32)
    mains[mains <= EXTREME] = 0
    mains[mains >= 255 - EXTREME] = 255
    return mains
