"""What gates compete with at equal cost: channels chosen otherwise, and a net narrow throughout.

Channels by chance and by kernel norm are the same share of every block, as in Li et al., "Pruning
Filters for Efficient ConvNets", ICLR 2017 (https://arxiv.org/abs/1608.08710). By the change of the
loss they are ranked over all blocks and divided by what they cost, as the gates rank them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import scores
from figures import AS_THEY_ARE

from hwkeras.dataset import Split
from hwkeras.graph import highway_blocks
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.plan import GateStats, PlanError, PruningPlan
from hwkeras.planning import make_plan
from hwkeras.stats import model_cost


def random_plan(stats: GateStats, counts: str, most: float, seed: int) -> PruningPlan:
    """Returns a plan that keeps random channels, at most so many parameters or MACs in all."""
    rng = np.random.default_rng(seed)
    orders = {block.name: rng.permutation(len(block.active)) for block in stats.blocks}
    return _equal_shares(stats, counts, most, orders)


def l1_plan(model: keras.Model, stats: GateStats, counts: str, most: float) -> PruningPlan:
    """Returns a plan that keeps the channels whose transform has the kernel of largest L1 norm."""
    orders = {}
    for name, block in highway_blocks(model).items():
        if block.active:
            kernel = np.abs(keras.ops.convert_to_numpy(block.transform.kernel))
            norms = kernel.reshape(-1, kernel.shape[-1]).sum(axis=0)
            orders[name] = np.argsort(-norms, kind="stable")
    return _equal_shares(stats, counts, most, orders)


def taylor_plan(
    model: keras.Model, stats: GateStats, split: Split, counts: str, most: float
) -> PruningPlan:
    """Returns a plan that keeps the channels without which the loss would change most.

    To first order, on some labelled images, as `scores.py` says.
    """
    some = split.take(slice(0, scores.IMAGES))
    found = scores.moments(model, some.images, some.labels)
    changes = {name: values["change"] for name, values in found.items()}
    aim: dict[str, Any] = AS_THEY_ARE | {counts: most}
    return make_plan(scores.scored(stats, changes), **aim)


def _equal_shares(
    stats: GateStats, counts: str, most: float, orders: dict[str, np.ndarray]
) -> PruningPlan:
    sizes = {block.name: len(block.active) for block in stats.blocks}

    def kept(share: float) -> dict[str, int]:
        return {name: int(share * size) for name, size in sizes.items()}

    widest = max(sizes.values())
    share = largest(widest, lambda step: getattr(stats.cost(kept(step / widest)), counts), most)
    chosen = {
        block.name: sorted(
            block.active[place]
            for place in orders[block.name][: kept(share / widest)[block.name]].tolist()
        )
        for block in stats.blocks
    }
    return make_plan(stats, kept=chosen)


def narrow_net(
    config: HighwayConfig, counts: str, most: float, build: Callable[[HighwayConfig], keras.Model]
) -> keras.Model:
    """Returns the widest net of a config's depth whose layers are all narrower by one factor."""
    widest = max(config.stages)

    def narrower(step: int) -> HighwayConfig:
        def scaled(width: int) -> int:
            return max(1, round(width * step / widest))

        stages = tuple(map(scaled, config.stages))
        return HighwayConfig(
            scaled(config.stem), stages, config.blocks, config.strides, config.gate_bias
        )

    step = largest(
        widest - 1, lambda step: getattr(model_cost(build(narrower(step + 1))), counts), most
    )
    return build(narrower(step + 1))


def largest(steps: int, cost: Callable[[int], float], most: float) -> int:
    """Returns the largest of 0 to `steps` that costs at most `most`; the cost rises with it."""
    if cost(0) > most:
        raise PlanError(f"{most:,.0f}: cannot be reached, the least is {cost(0):,.0f}")
    low, high = 0, steps + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= most else (low, middle)
    return low


def for_images(dataset) -> Callable[[HighwayConfig], keras.Model]:
    """Returns what builds a net for a data set's images."""
    return lambda config: highway_net(
        config, dataset.input_shape, len(dataset.classes),
        dataset.channel_mean, dataset.channel_deviation,
    )  # fmt: skip
