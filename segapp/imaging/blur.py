"""The pixel arithmetic behind snapping: which places are plain, which pixels blend their neighbours, who is nearest.

Arrays of values are int16 or int32 (h, w, C), C = 1 for numbers and 3 for colours. Works on bands of rows, so that a
large mask costs little more than its own bytes.
"""

from collections.abc import Callable

import numpy as np

from segapp.imaging.values import bands

LABELLED_AROUND = 2  # pixels: the square in which a blurred pixel looks for main values
ROUNDS = 3  # so far from a plain place (times the above) blur may reach
NONE = 255  # no label yet

Values = Callable[[slice], np.ndarray]  # rows -> their values; a transparent pixel's are all negative


def flat(values: np.ndarray, tolerance: int) -> np.ndarray:
    """bool (h, w): pixels within `tolerance` of their four neighbours in every channel; outside counts as the same."""
    plain = np.ones(values.shape[:2], dtype=bool)
    for axis in (0, 1):
        apart = np.abs(np.diff(values, axis=axis)).max(axis=2) <= tolerance
        first, last = (apart, slice(1, None)) if axis == 0 else (apart.T, slice(1, None))
        turned = plain if axis == 0 else plain.T
        turned[last] &= first
        turned[:-1] &= first
    return plain


def plain_places(values: np.ndarray, tolerance: int) -> np.ndarray:
    """bool (h, w): pixels that are flat and have flat neighbours only; narrower than five pixels there are none."""
    inner = flat(values, tolerance)
    wide = inner.copy()
    wide[1:] &= inner[:-1]
    wide[:-1] &= inner[1:]
    wide[:, 1:] &= inner[:, :-1]
    wide[:, :-1] &= inner[:, 1:]
    return wide


def blending(values: np.ndarray, rows: np.ndarray, columns: np.ndarray, step: int) -> np.ndarray:
    """bool (N,): whether pixels lie strictly between two opposite neighbours that are more than `step` apart."""
    edged = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
    own = values[rows, columns].astype(np.float32)
    found = np.zeros(len(rows), dtype=bool)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = edged[rows + 1 - down, columns + 1 - right].astype(np.float32)
        other = edged[rows + 1 + down, columns + 1 + right].astype(np.float32)
        seen = (one.min(axis=1) >= 0) & (other.min(axis=1) >= 0)
        to_one, to_other = np.linalg.norm(own - one, axis=1), np.linalg.norm(own - other, axis=1)
        whole = np.linalg.norm(one - other, axis=1)
        slack = 0.0 if values.shape[2] == 1 else 0.1 * whole + 3
        on_the_way = (to_one + to_other <= whole + slack) & (np.minimum(to_one, to_other) > 0)
        found |= seen & on_the_way & (whole > step)
    return found


def assign(
    values: Values, shape: tuple[int, int], mains: np.ndarray, *, near: int, noise: int, edge: int, most: float
) -> tuple[np.ndarray, int, int, int] | None:
    """Each pixel's main value: (index uint8 (H, W), pixels near theirs, pixels moved by more, pixels astray).

    mains (M, C). Pixels within `near` of a main value are its own, unless they blend their neighbours; `noise` is what
    flat places may vary by. A blurred pixel takes the nearest of the main values around it, one with none around the
    nearest of all. Moved pixels further than `edge` from any edge are astray: blur does not explain them, shading in a
    photo does. Transparent pixels are NONE. None as soon as more than `most` pixels would move: that is a photo.
    """
    index = np.empty(shape, dtype=np.uint8)
    close = moved = astray = 0
    for rows, proper in bands(shape, halo=(ROUNDS + 1) * LABELLED_AROUND + edge):
        here = values(rows)
        label, distance = nearest(here, mains)
        clear = here[..., 0] < 0
        label[clear], distance[clear] = NONE, 0
        close += int(((distance <= near) & ~clear)[proper].sum())
        open_ = (distance > near) & ~clear
        r, c = np.nonzero((distance <= near) & ~flat(here, noise) & ~clear)
        blends = blending(here, r, c, 2 * near + noise + 8)
        open_[r[blends], c[blends]] = True
        moved += int(open_[proper].sum())
        if moved > most:
            return None
        best = label.copy()
        label[open_] = NONE
        label = _spread(label, open_, here, mains, best)
        index[rows][proper] = label[proper]
        astray += int((open_ & ~_near_edges(label, edge))[proper].sum())
    return index, close, moved, astray


def nearest(values: np.ndarray, mains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(index uint8, distance int32), each (h, w): the nearest main value, by the channel that differs most."""
    if values.shape[2] == 1 and int(values.max(initial=0)) < 65536:
        table = np.abs(np.arange(int(values.max(initial=0)) + 1)[:, None] - mains[:, 0][None])
        which, far = table.argmin(axis=1).astype(np.uint8), table.min(axis=1).astype(np.int32)
        found = np.maximum(values[..., 0], 0)
        return which[found], far[found]
    # Colours: masks are plain, so it is done once for each run of equal pixels.
    flat_values = values.reshape(-1, values.shape[2])
    starts = np.flatnonzero(np.concatenate([[True], (flat_values[1:] != flat_values[:-1]).any(axis=1)]))
    which, far = _nearest_of_few(flat_values[starts], mains)
    lengths = np.diff(starts, append=len(flat_values))
    return np.repeat(which, lengths).reshape(values.shape[:2]), np.repeat(far, lengths).reshape(values.shape[:2])


def _nearest_of_few(colours: np.ndarray, mains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    which = np.zeros(len(colours), dtype=np.uint8)
    far = np.full(len(colours), 1 << 20, dtype=np.int32)
    for k, main in enumerate(mains.astype(np.int32)):
        apart = np.abs(colours - main).max(axis=1)
        better = apart < far
        which[better], far[better] = k, apart[better]
    return which, far


def _spread(
    label: np.ndarray, open_: np.ndarray, values: np.ndarray, mains: np.ndarray, best: np.ndarray
) -> np.ndarray:
    """Give each open pixel the nearest main value among its neighbours' labels, or its best where none is around."""
    reach = LABELLED_AROUND
    # The peak of a thin line is no blend: it stands out from its ground towards a main value that nothing else near
    # it shows. It keeps the nearest of all.
    r, c = np.nonzero(open_)
    stands = ~blending(values, r, c, 0)
    for _ in range(ROUNDS):
        if not len(r):
            break
        edged = np.pad(label, reach, constant_values=NONE)
        own = values[r, c].astype(np.float32)
        choice = np.full(len(r), NONE, dtype=np.uint8)
        least = np.full(len(r), np.inf, dtype=np.float32)
        for down in range(2 * reach + 1):
            for right in range(2 * reach + 1):
                around = edged[r + down, c + right]
                apart = np.linalg.norm(own - mains[np.minimum(around, len(mains) - 1)], axis=1)
                apart[around == NONE] = np.inf
                better = apart < least
                choice[better], least[better] = around[better], apart[better]
        wins = np.linalg.norm(own - mains[best[r, c]], axis=1)
        out = stands & (least > 48) & (wins < 0.5 * least)
        choice[out] = best[r, c][out]
        done = choice != NONE
        label[r[done], c[done]] = choice[done]
        r, c, stands = r[~done], c[~done], stands[~done]
    label[r, c] = best[r, c]
    return label


def _near_edges(label: np.ndarray, width: int) -> np.ndarray:
    """bool (h, w): pixels within `width` of a place where the label changes."""
    near = ~flat(label[..., None].astype(np.int16), 0)
    for _ in range(width - 1):
        wide = near.copy()
        wide[1:] |= near[:-1]
        wide[:-1] |= near[1:]
        wide[:, 1:] |= near[:, :-1]
        wide[:, :-1] |= near[:, 1:]
        near = wide
    return near
