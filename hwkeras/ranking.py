"""The channels of a model in the order in which they are worth their cost. No ML import."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

import numpy as np

from hwkeras.latency import LatencyTable
from hwkeras.plan import BlockStats, GateStats, PlanError


def measure_of(per: str, latency: LatencyTable | None) -> Callable[[BlockStats], np.ndarray]:
    """Returns what a block costs with 0, 1, ... of its channels `(k + 1,)`, in a measure."""

    def measure(block: BlockStats) -> np.ndarray:
        counts = np.arange(len(block.active) + 1)
        if per == "channel":
            return counts.astype(float)
        if per == "latency" and latency is not None:
            return np.asarray(latency.milliseconds(block.shape, counts))
        return np.array([getattr(block.shape.cost(count), per) for count in counts.tolist()], float)

    return measure


class Ranking:
    """All channels of a model in steps, from the one least worth its cost.

    A step is what a block may drop next: its lowest channel where all cost alike, or so many of
    its lowest channels that the cost really falls. (A convolution of 17 channels may take as long
    as one of 32: then the 16 go together or not at all.) The steps of a block are the edges of the
    upper convex hull of what it keeps against what that costs, so their scores, value lost by
    cost saved, rise with every step.
    """

    def __init__(
        self,
        stats: GateStats,
        by: str,
        normalizer: str,
        measure: Callable[[BlockStats], np.ndarray],
        multiple: int = 1,
        minimum: int = 0,
        protect: Collection[str] = (),
    ):
        self.stats, self.by, self.multiple, self.minimum = stats, by, multiple, minimum
        self.protect = frozenset(protect)
        self.order: dict[str, np.ndarray] = {}  # of the active channels, the best first
        self.sorted: dict[str, np.ndarray] = {}  # scores, the best first
        self.costs: dict[str, np.ndarray] = {}  # with 0, 1, ... channels
        self.steps: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for block in stats.blocks:
            bad = np.flatnonzero(~np.isfinite(block.scores(by)))
            if len(bad):
                raise PlanError(
                    f"block {block.name!r}: the mean {by} of channel {block.active[bad[0]]} is"
                    " not a number; the model's weights may be NaN"
                )
            self.order[block.name] = np.argsort(-block.scores(by), kind="stable")
            self.sorted[block.name] = np.sort(block.scores(by))[::-1]
            # Where more channels cost less, as whole tiles of them do, they can as well stay.
            self.costs[block.name] = np.minimum.accumulate(measure(block)[::-1])[::-1]
        if normalizer == "lamp":
            self.sorted = _lamp(self.sorted)
        for block in stats.blocks:
            self.steps[block.name] = _steps(self.sorted[block.name], self.costs[block.name])
        self.scores = np.sort(np.concatenate([[], *(scores for scores, _ in self.steps.values())]))

    def holding(self, channels: int) -> int:
        """Returns how many of the lowest steps hold at most so many channels together."""
        scores = np.concatenate([[], *(scores for scores, _ in self.steps.values())])
        sizes = np.concatenate([[], *(sizes for _, sizes in self.steps.values())])
        held = np.cumsum(sizes[np.argsort(scores, kind="stable")])
        return int(np.searchsorted(held, channels, side="right"))

    def cutoff(self, cut: int) -> float:
        """Returns the score that the lowest `cut` steps stay under."""
        if not len(self.scores):
            return 0.0
        if cut == len(self.scores):
            return float(np.nextafter(self.scores[-1], np.inf))
        return float(self.scores[cut])

    def counts(self, cut: int) -> dict[str, int]:
        """Returns how many channels stay, by block, when the lowest `cut` steps go."""
        cutoff, result = self.cutoff(cut), {}
        for block in self.stats.blocks:
            scores, sizes = self.steps[block.name]
            count = max(int(np.sum(sizes[scores >= cutoff])), self.minimum)
            count = math.ceil(count / self.multiple) * self.multiple
            whole = len(block.active)
            result[block.name] = whole if block.name in self.protect else min(count, whole)
        return result

    def best(self, counts: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Returns the best so many channels of each block."""
        result = {}
        for block in self.stats.blocks:
            best = self.order[block.name][: counts[block.name]]
            result[block.name] = tuple(sorted(block.active[i] for i in best))
        return result

    def filled(
        self, counts: dict[str, int], fits: Callable[[Mapping[str, int]], bool]
    ) -> dict[str, int]:
        """Returns the counts, raised channel by channel to what still fits, best first.

        A step of several channels overshoots an aim, as do blocks that tie; part may have room.
        """
        counts = dict(counts)
        while True:
            gains = {}
            for block in self.stats.blocks:
                scores, costs = self.sorted[block.name], self.costs[block.name]
                now = counts[block.name]
                more = min(now + self.multiple, len(scores))
                if more > now and fits(counts | {block.name: more}):
                    paid = costs[more] - costs[now]
                    gains[block.name] = scores[now:more].sum() / paid if paid > 0 else math.inf
            if not gains:
                return counts
            name = max(gains, key=lambda name: gains[name])
            counts[name] = min(counts[name] + self.multiple, len(self.sorted[name]))

    def smallest_cut(self, reached: Callable[[Mapping[str, int]], bool]) -> int | None:
        """Returns the least number of steps to cut so that the counts are as wanted, or None."""
        low, high = 0, len(self.scores)
        if not reached(self.counts(high)):
            return None
        while low < high:
            middle = (low + high) // 2
            if reached(self.counts(middle)):
                high = middle
            else:
                low = middle + 1
        return low


def _lamp(best: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns each score as a share of what its block would do with that channel as its last.

    Of a hundredth of what the mean block does, where that is more: a block whose gates are all
    shut is as good as gone.

    Args:
        best: the scores of each block, the best first.
    """
    least = 0.01 * sum(scores.sum() for scores in best.values()) / max(len(best), 1)
    shares = {}
    for name, scores in best.items():
        so_far = np.maximum(np.cumsum(scores), least)
        shares[name] = np.divide(scores, so_far, out=np.zeros_like(scores), where=so_far > 0)
    return shares


def _steps(best: np.ndarray, costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps of a block: their scores and how many channels each holds.

    Args:
        best: scores of its channels `(k,)`, the best first.
        costs: of the block with 0, 1, ..., k channels `(k + 1,)`, never falling.
    """
    if np.array_equal(costs, np.arange(len(costs))):
        return best, np.ones(len(best), int)  # nothing to work out, and nothing rounded
    values = np.concatenate([[0.0], np.cumsum(best)])
    hull = [0]
    for point in range(1, len(values)):
        while len(hull) > 1 and _slope(values, costs, hull[-2], hull[-1]) <= _slope(
            values, costs, hull[-1], point
        ):
            hull.pop()
        if len(hull) == 1 and costs[point] == costs[0]:
            hull = [0, point]  # channels that cost nothing
            continue
        hull.append(point)
    steps = zip(hull, hull[1:], strict=False)
    slopes = [_slope(values, costs, start, stop) for start, stop in steps]
    return np.array(slopes), np.diff(hull)


def _slope(values: np.ndarray, costs: np.ndarray, start: int, stop: int) -> float:
    saved = costs[stop] - costs[start]
    return float((values[stop] - values[start]) / saved) if saved else math.inf
