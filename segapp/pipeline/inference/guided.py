"""Class borders that follow the edges of the image: the guided filter, over the classes' probabilities.

He and Sun, "Fast Guided Filter", 2015, after He, Sun and Tang, "Guided Image Filtering", 2010.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 16  # of the windows, in pixels of the network's input
STRIDE = 4  # of the places at which functions are fitted: logits are no finer
EPSILON = 1e-4  # variance of colours (0 to 1) from which on an edge counts as one
LIKELY = 0.1  # a class that is nowhere likelier keeps its probabilities, which saves time where there are many
WIDE = 512  # places of a map's side from which on means are taken by pooling
LEAST = 1e-4  # a probability: the filter's results go a little below 0


def guided(logits: Tensor, image: np.ndarray, radius: int) -> Tensor:
    """Logits K,H,W again, float32 on the CPU, their probabilities filtered with the image (uint8 H,W,3) as guide.

    In every window of `radius` pixels to each side a linear function of the colours is fitted to a class's
    probabilities; each pixel takes the mean of the functions of all windows around it. So a border moves to an edge
    of the image that is near, and stays where there is none.
    """
    height, width = logits.shape[1:]
    probabilities = torch.softmax(logits, dim=0)
    colours = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)
    guide, coarse = (F.avg_pool2d(each[None], STRIDE, ceil_mode=True) for each in (colours, probabilities))
    likely = [k for k, most in enumerate(coarse[0].amax(dim=(1, 2)).tolist()) if k and most > LIKELY]
    if likely:
        functions = _fitted(guide, coarse[:, likely], max(1, round(radius / STRIDE)))
        # One class after the other: all at full size would take much memory.
        for k, function in zip(likely, functions, strict=True):
            whole = F.interpolate(function[None], scale_factor=STRIDE, mode="bilinear", align_corners=False)
            wide = whole[0, :, :height, :width]
            torch.sum(wide[:3] * colours, dim=0, out=probabilities[k]).add_(wide[3])
        # The filter keeps sums, so the first class has what the others leave.
        torch.sub(1, probabilities[1:].sum(dim=0), out=probabilities[0])
    return probabilities.clamp_min_(LEAST).log_()


def guided_strips(
    pieces: Iterable[tuple[int, Tensor]], image: np.ndarray, classes: int, radius: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(first row, strip, its logits guided) from the top down, of an image's strips as tiles.strips gives them, whose
    first `classes` channels are logits. With a radius of 0 the logits stay as they are.

    Strips end elsewhere than those that came: each is given once the rows below that its borders depend on are there.
    """
    if not radius:
        yield from ((top, strip, strip[:classes]) for top, strip in pieces)
        return
    reach = 2 * radius + STRIDE  # a pixel's functions come from windows around it, and are fitted to what these cover
    kept, first, given = torch.empty(0), 0, 0
    for top, strip in pieces:
        kept = torch.cat([kept, strip], dim=1) if top else strip
        end = first + kept.shape[1]
        last = end == image.shape[0]
        end = end if last else end // STRIDE * STRIDE
        stop = end if last else end - reach
        if stop <= given:
            continue
        found = guided(kept[:classes, : end - first], image[first:end], radius)
        yield given, kept[:, given - first : stop - first], found[:, given - first : stop - first]
        given, begin = stop, max(first, stop - reach)
        if not last:
            kept, first = kept[:, begin - first :].clone(), begin


def _fitted(guide: Tensor, values: Tensor, reach: int) -> Tensor:
    """Three slopes and an offset, C,4,h,w, of the linear functions from guide 1,3,h,w to values 1,C,h,w, the mean of
    those of all windows around a place."""
    _, classes, height, width = values.shape
    pairs = [(a, b) for a in range(3) for b in range(a, 3)]
    products = [guide[:, a] * guide[:, b] for a, b in pairs]
    mixed = (guide[0] * values[0, :, None]).view(1, 3 * classes, height, width)
    means = _box(torch.cat([guide, values, torch.stack(products, dim=1), mixed], dim=1), reach)[0]
    colour, value, square, product = means.split([3, classes, len(pairs), 3 * classes])
    variance = torch.empty(height, width, 3, 3)
    for number, (a, b) in enumerate(pairs):
        variance[..., a, b] = variance[..., b, a] = square[number] - colour[a] * colour[b]
    covariance = product.view(classes, 3, height, width) - colour * value[:, None]
    variance += EPSILON * torch.eye(3)
    slopes = torch.linalg.solve(variance, covariance.permute(2, 3, 1, 0)).permute(3, 2, 0, 1)
    offsets = value[:, None] - (slopes * colour).sum(dim=1, keepdim=True)
    functions = torch.cat([slopes, offsets], dim=1)
    return _box(functions.reshape(1, 4 * classes, height, width), reach).view(classes, 4, height, width)


def _box(values: Tensor, reach: int) -> Tensor:
    """The mean over squares of `reach` places to each side, those within the map. By products of matrices, which on
    maps of one pass is several times as quick as pooling; their time grows with the square of a side."""
    if max(values.shape[-2:]) > WIDE:
        columns = F.avg_pool2d(values, (2 * reach + 1, 1), 1, (reach, 0), count_include_pad=False)
        return F.avg_pool2d(columns, (1, 2 * reach + 1), 1, (0, reach), count_include_pad=False)
    return _window(values.shape[-2], reach) @ values @ _window(values.shape[-1], reach).T


def _window(places: int, reach: int) -> Tensor:
    """The matrix places,places that takes means along a line."""
    place = torch.arange(places)
    near = ((place[:, None] - place[None]).abs() <= reach).float()
    return near / near.sum(dim=1, keepdim=True)
