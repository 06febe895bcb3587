"""Pruning in several rounds: a little is cut, what is left is trained on, and the gates are asked
again before more is cut."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np

from hwkeras.batchnorm import recalibrate
from hwkeras.dataset import Dataset
from hwkeras.latency import LatencyTable
from hwkeras.plan import GateStats, PlanError, PruningPlan
from hwkeras.planning import make_plan
from hwkeras.rebuild import apply_plan
from hwkeras.stats import collect_stats
from hwkeras.training import FINETUNE, Row, TrainConfig, finetune

AIMS = ("keep", "size_bytes", "parameters", "macs", "latency_ratio")  # that can be approached
_SHARES = ("keep", "latency_ratio")  # of the model that the statistics are of


def prune_in_rounds(
    model: keras.Model,
    stats: GateStats,
    dataset: Dataset,
    rounds: int,
    aim: str,
    value: float,
    *,
    training: TrainConfig = dataclasses.replace(FINETUNE, epochs=1),
    images: np.ndarray | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    on_round: Callable[[int, keras.Model, list[Row]], None] | None = None,
    **options,
) -> tuple[keras.Model, PruningPlan]:
    """Returns the slim model and its plan, relative to `model`, that reach an aim in rounds.

    What the aim counts falls by the same factor each round. Each round but the last cuts,
    recalibrates, fine-tunes with `model` as the teacher, and watches the gates again. The last
    only cuts: recalibrate and fine-tune as after any cut.

    The slim model has the form of `apply_plan(model, plan)`, with the weights of the rounds:
    channels keep their numbers, and streams their order and width, until the last cut. With
    `cut_carried`, rounds count as if they cut the streams; the last one does, except those that
    no block writes to any more by then.

    Args:
        model: the dense model the statistics are of; untouched.
        stats: its gates.
        dataset: fine-tuned on its training split.
        rounds: how many, at least 1; fewer if no block transforms anything before the last.
        aim: one of `AIMS`, as `make_plan` takes it.
        value: of the aim, of the last round.
        training: how to fine-tune in a round; round r adds r to its seed.
        images: training images for gates and batch norms, `(n, ...)`; by default all.
        progress: called with (what is being done, how much of it, out of how much).
        on_round: called after each round that trains, with its number from 1 on, the slim model so
            far, and the history of its training.
        options: of `make_plan`, beside the aim.

    Raises:
        PlanError: if the aim cannot be approached in rounds, or not be reached.
        LatencyError: if the table lacks a block.
        TrainingError: if training cannot start or diverges.
    """
    if rounds < 1:
        raise PlanError(f"rounds: expected at least 1; found {rounds}")
    if aim not in AIMS:
        raise PlanError(f"rounds: expected an aim of {', '.join(AIMS)}; received {aim!r}")
    wanted = make_plan(stats, **{aim: value}, **options)  # before anything is trained in vain
    if images is None:
        images = dataset.train.images

    def counted(gates: GateStats) -> float:
        return _counted(aim, gates, options.get("latency"))

    def shown(stage: str) -> Callable[[int, int], None] | None:
        return functools.partial(progress, stage) if progress else None

    whole = counted(stats)
    share = value if aim in _SHARES else value / whole
    slim, now, number = model, stats, 1
    while True:
        target = value if number == rounds else whole * share ** (number / rounds)
        if aim in _SHARES:
            target = share ** (number / rounds) * whole / (counted(now) or 1)
        step = make_plan(now, **{aim: target}, **options)
        if number == rounds or not any(step.kept_counts.values()):
            break
        slim = apply_plan(slim, dataclasses.replace(step, orders=()))
        recalibrate(slim, images, progress=shown(f"round {number} norms"))
        config = dataclasses.replace(training, seed=training.seed + number)
        rows = finetune(slim, dataset, config, teacher=model, on_batch=shown(f"round {number}"))
        now = collect_stats(slim, images, progress=shown(f"round {number} gates"))
        if on_round:
            on_round(number, slim, rows)
        number += 1
    kept = {block.name: () for block in stats.blocks} | {b.name: b.kept for b in step.blocks}
    plan = dataclasses.replace(
        make_plan(stats, kept=kept),
        aim=f"{wanted.aim}, in {number} round{'s' * (number > 1)}",
        by=wanted.by,
        per=wanted.per,
        normalizer=wanted.normalizer,
        orders=step.orders,
    )
    return apply_plan(slim, step), plan


def _counted(aim: str, stats: GateStats, latency: LatencyTable | None) -> float:
    """Returns what an aim counts of the model that the statistics are of."""
    if aim == "keep":
        return sum(len(block.active) for block in stats.blocks)
    if aim == "latency_ratio" and latency is not None:
        shapes = {block.name: block.shape for block in stats.blocks}
        return latency.total_ms(shapes, {b.name: len(b.active) for b in stats.blocks})
    return getattr(stats.cost(), aim)
