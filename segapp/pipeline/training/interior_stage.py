"""The stage that learns to tell touching objects apart, where object numbers were given: after all others, on networks
that are trained already and stay as they are."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from registry.interior import STRIDE, InteriorHead, interior_features
from registry.network import Network
from segapp.pipeline.inference.upsample import coarse_map
from segapp.pipeline.training.features import features_for
from segapp.pipeline.training.interior import FOLD_STEPS, STEPS, Data, train_interior
from segapp.pipeline.training.job import Job
from segapp.pipeline.training.validation import FoldTraining


def train_interiors(job: Job, network: Network, folds: Sequence[FoldTraining]) -> InteriorHead | None:
    """The head of the model's trained `network`; None where no objects are numbered.

    The folds get heads of their own, which put their maps of what was held out into job.held_out.
    """
    if all(numbers is None for numbers in job.instances):
        return None
    for fold in folds:
        if fold.scored is None:
            continue
        own = replace(job.base, spec=job.spec, module=fold.scored)
        data = Data(fold.prepared, job.instances, fold.fold.train, fold.features)
        head = train_interior(own, data, job.seed, FOLD_STEPS, job.progress.report)
        if head is not None:
            for index in fold.fold.held_out:
                _hold_out(job, fold, head, index)
    own = replace(job.base, spec=job.spec, module=network)
    whole = job.effort == "thorough" and not job.adapts  # its encoder is another one than the cached features'
    data = Data(job.prepared, job.instances, range(len(job.examples)), None if whole else job.features)
    return train_interior(own, data, job.seed, STEPS, job.progress.report)


def _hold_out(job: Job, fold: FoldTraining, head: InteriorHead, index: int) -> None:
    """The map of what a fold holds out of an example, into the example's entry in job.held_out."""
    view = job.base_features.get(index, 0)
    height, width = view.size
    with torch.inference_mode():
        features = features_for(fold.scored, view)
        found = head(interior_features(fold.scored.decoder(features), features))
        whole = F.interpolate(found, scale_factor=STRIDE, mode="bilinear", align_corners=False)
    coarse = coarse_map(0, whole[0, 0, :height, :width].float().cpu())
    item = next(item for item in job.held_out if item.index == index)
    if item.interior is not None:  # the other half of the same image
        middle = coarse.shape[1] // 2
        half = np.s_[:, middle:] if fold.fold.train_half == 0 else np.s_[:, :middle]
        item.interior[half] = coarse[half]
    else:
        item.interior = coarse
