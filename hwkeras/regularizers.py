"""The gate penalty: what makes a highway net use fewer transforms."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from keras import ops

from hwkeras.cost import BlockShape
from hwkeras.latency import read_latency

COSTS = ("parameters", "macs", "latency")


@dataclasses.dataclass(frozen=True)
class GatePenalty:
    """`strength * sum_b share_b * mean(T_b)`, ramped up while training starts.

    `share_b` is block b's share of the cost that pruning can remove, so a strength means the same
    for any width and depth. Parameters sit in the late stages of a net and multiply-accumulates
    in the early ones, so the cost decides which gates close.

    Attributes:
        strength: weight of the penalty after the ramp.
        cost: "parameters", "macs" or "latency", what the shares count.
        ramp: share of training over which the strength rises linearly from 0: gates must first
            learn what is useful.
        threshold: mean gate under which a channel counts as shut in the metric `share_shut`.
        latency_table: path of the table that "latency" counts by.

    Raises:
        ValueError: if a value is out of range, or latency has no table.
    """

    strength: float = 1.0
    cost: str = "parameters"
    ramp: float = 0.5
    threshold: float = 0.05
    latency_table: str | None = None

    def __post_init__(self):
        if self.strength < 0 or not 0 <= self.ramp <= 1:
            raise ValueError(f"expected strength >= 0 and ramp in [0, 1]. Received: {self}")
        if self.cost not in COSTS:
            raise ValueError(f"`cost` must be one of {COSTS}. Received: {self.cost!r}")
        if (self.cost == "latency") != (self.latency_table is not None):
            raise ValueError('`cost` "latency" goes with a `latency_table`, and with it only')

    def shares(self, blocks: Mapping[str, tuple[BlockShape, int]]) -> dict[str, float]:
        """Returns each block's share of the removable cost; the shares add up to 1.

        Args:
            blocks: shape and number of active channels of each block.

        Raises:
            LatencyError: if the latency table is broken or lacks a block.
        """
        table = read_latency(self.latency_table) if self.latency_table else None
        removable = {
            name: float(table.milliseconds(shape, active))
            if table
            else getattr(shape.cost(active) - shape.cost(0), self.cost)
            for name, (shape, active) in blocks.items()
        }
        total = sum(removable.values())
        return {name: value / total for name, value in removable.items()}

    def scale(self, progress):
        """Returns the strength at a progress of training from 0 to 1; takes tensors too."""
        if not self.ramp:
            return self.strength
        return self.strength * ops.minimum(progress / self.ramp, 1.0)


def weighted_mean_gate(gates: Mapping[str, list], shares: Mapping[str, float]):
    """Returns `sum_b share_b * mean(T_b)`, a scalar tensor; 0 without gates.

    Args:
        gates: as `graph.with_gates` gives them: for each block a list of calls with
            "mean_gate" `(batch, k)`.
        shares: each block's weight.
    """
    total = 0.0
    for name, calls in gates.items():
        for call in calls:
            mean = ops.mean(ops.cast(call["mean_gate"], "float32"))
            total = total + shares[name] / len(calls) * mean
    return total


def share_shut(gates: Mapping[str, list], threshold: float):
    """Returns the share of all channels whose mean gate over a batch is below a threshold.

    Args:
        gates: as for `weighted_mean_gate`.
        threshold: 0 to 1.
    """
    means = [ops.mean(call["mean_gate"], axis=0) for calls in gates.values() for call in calls]
    if not means:
        return ops.zeros(())
    shut = ops.cast(ops.concatenate(means) < threshold, "float32")
    return ops.mean(shut)
