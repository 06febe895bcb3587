"""How far a net can be cut before it loses too much: a search on the validation split."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from hwkeras.batchnorm import recalibrate
from hwkeras.dataset import Dataset
from hwkeras.evaluation import accuracy, predict_logits
from hwkeras.plan import GateStats, PlanError, PruningPlan
from hwkeras.planning import make_plan
from hwkeras.rebuild import apply_plan

_STEPS = 8  # halvings of the range of sizes: the answer is within 0.4% of the dense size
_IMAGES = 2048  # training images that recalibrate each candidate


def search_plan(
    model: keras.Model,
    stats: GateStats,
    dataset: Dataset,
    max_drop: float,
    progress: Callable[[int, int], None] | None = None,
    **options,
) -> PruningPlan:
    """Returns the smallest plan found that loses at most `max_drop` points of validation accuracy.

    Each candidate is cut and its batch norms recalibrated, but not fine-tuned: fine-tuning wins
    back more, so this is the cautious end. Accuracy is taken to fall as the net shrinks; where it
    does not, a smaller plan may exist.

    Args:
        model: the dense model the statistics are of; untouched.
        stats: its gates.
        dataset: measured on its validation split only.
        max_drop: points, 0 to 100.
        progress: called with (candidates tried, candidates in all).
        options: of `make_plan`, beside the aim.

    Raises:
        PlanError: if `max_drop` is out of range.
    """
    if not 0 <= max_drop <= 100:
        raise PlanError(f"max_drop: expected 0 to 100 points; found {max_drop}")

    def measured(net: keras.Model) -> float:
        held_out = dataset.validation
        return accuracy(predict_logits(net, held_out.images), held_out.labels)

    # At random, for a folder's images are sorted by class; the same ones for every candidate.
    rows = np.random.default_rng(0).permutation(len(dataset.train))[:_IMAGES]
    images = dataset.train.take(rows).images
    wanted = measured(model) - max_drop / 100 - 1e-9  # a share of images is no exact number
    # What is lost at once is least so; the defaults count on fine-tuning.
    options = {"per": "parameters", "normalizer": "none", "cut_carried": 0.0} | {
        name: value for name, value in options.items() if value is not None
    }
    best = make_plan(stats, keep=1.0, **{**options, "cut_carried": 0.0})  # nothing is lost
    low, high = 0.0, 1.0  # shares of the dense parameters; `high` is known to be good
    for step in range(_STEPS):
        middle = (low + high) / 2
        try:
            plan = make_plan(stats, parameters=middle * stats.cost().parameters, **options)
        except PlanError:  # smaller than the net can be
            low = middle
        else:
            slim = apply_plan(model, plan)
            recalibrate(slim, images)
            if measured(slim) >= wanted:
                best, high = plan, middle
            else:
                low = middle
        if progress:
            progress(step + 1, _STEPS)
    return dataclasses.replace(best, aim=f"at most {max_drop:g} points of accuracy lost at once")
