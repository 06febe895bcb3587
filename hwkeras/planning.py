"""Statistics in, plan out: which channels of each block stay. No model, no ML import."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from hwkeras.cost import BYTES_PER_PARAMETER, Cost
from hwkeras.order import order_channels
from hwkeras.plan import (
    RANKINGS,
    BlockPlan,
    GateStats,
    PlanError,
    PruningPlan,
    StreamOrder,
    check_kept,
)


def make_plan(
    stats: GateStats,
    *,
    threshold: float | None = None,
    keep: float | None = None,
    size_bytes: float | None = None,
    parameters: float | None = None,
    macs: float | None = None,
    kept: Mapping[str, Sequence[int]] | None = None,
    by: str = "update",
    multiple: int = 1,
    minimum: int = 0,
    protect: Collection[str] = (),
) -> PruningPlan:
    """Returns the plan that reaches exactly one aim; channels are ranked over all blocks at once.

    Args:
        stats: what the gates did.
        threshold: aim: channels whose score is below go.
        keep: aim: share of all active channels that stays, 0 to 1.
        size_bytes: aim: at most so many bytes of float32 parameters.
        parameters: aim: at most so many parameters.
        macs: aim: at most so many multiply-accumulates for one input.
        kept: aim: the channels that stay, by block; blocks not named stay whole.
        by: "update" ranks by the mean change |t * (h - c)|, "gate" by the mean gate, as the
            poster does.
        multiple: kept counts are rounded up to a multiple of it.
        minimum: channels that every block keeps at least.
        protect: names of blocks that stay whole.

    Raises:
        PlanError: if there is not exactly one aim, an aim cannot be reached, or a block or
            channel named does not exist.
    """
    aims = {
        "threshold": threshold, "keep": keep, "size_bytes": size_bytes,
        "parameters": parameters, "macs": macs, "kept": kept,
    }  # fmt: skip
    given = {name: value for name, value in aims.items() if value is not None}
    if len(given) != 1:
        raise PlanError(f"expected exactly one aim of {', '.join(aims)}; received {list(given)}")
    if by not in RANKINGS:
        raise PlanError(f"expected a ranking of {', '.join(RANKINGS)}; received {by!r}")
    if multiple < 1 or minimum < 0:
        raise PlanError(f"expected multiple >= 1, minimum >= 0; received {multiple}, {minimum}")
    names = {block.name for block in stats.blocks}
    for name in [*protect, *(kept or ())]:
        if name not in names:
            raise PlanError(f"no block is named {name!r}; there are {', '.join(sorted(names))}")
    if kept is not None:
        return _plan(stats, "channels given by hand", "hand", None, kept)

    (aim, value), *_ = given.items()
    if not math.isfinite(value) or value < 0 or (aim == "keep" and value > 1):
        raise PlanError(f"{aim}: expected {'0 to 1' if aim == 'keep' else '>= 0'}; found {value}")
    ranking = _Ranking(stats, by, multiple, minimum, protect)
    if aim == "threshold":
        cut = int(np.searchsorted(ranking.scores, value))
        words = f"channels with a mean {by} of at least {value:g}"
    elif aim == "keep":
        cut = len(ranking.scores) - math.ceil(value * len(ranking.scores) - 1e-9)
        words = f"{value:.2%} of the channels"
    else:
        attribute, per = ("macs", 1) if aim == "macs" else ("parameters", 1)
        if aim == "size_bytes":
            per = BYTES_PER_PARAMETER
        unit = "bytes" if aim == "size_bytes" else aim
        words = f"at most {value:,.0f} {unit}"
        cut = ranking.smallest_cut(lambda cost: getattr(cost, attribute) * per <= value)
        if cut is None:
            least = getattr(ranking.cost(len(ranking.scores)), attribute) * per
            raise PlanError(
                f"{words}: cannot be reached, the least is {least:,} {unit} with"
                f" minimum={minimum}, multiple={multiple}, protected blocks: {len(set(protect))}"
            )
    return _plan(stats, words, by, ranking.cutoff(cut), ranking.kept(cut))


class _Ranking:
    """All channels of a model in ascending order of their score."""

    def __init__(self, stats, by, multiple, minimum, protect):
        self.stats, self.by, self.multiple, self.minimum = stats, by, multiple, minimum
        self.protect = frozenset(protect)
        for block in stats.blocks:
            bad = np.flatnonzero(~np.isfinite(block.scores(by)))
            if len(bad):
                raise PlanError(
                    f"block {block.name!r}: the mean {by} of channel {block.active[bad[0]]} is"
                    " not a number; the model's weights may be NaN"
                )
        self.scores = np.sort(np.concatenate([[], *(b.scores(by) for b in stats.blocks)]))

    def cutoff(self, cut: int) -> float:
        """Returns the score that the lowest `cut` channels stay under."""
        if not len(self.scores):
            return 0.0
        if cut == len(self.scores):
            return float(np.nextafter(self.scores[-1], np.inf))
        return float(self.scores[cut])

    def kept(self, cut: int) -> dict[str, tuple[int, ...]]:
        """Returns the channels that stay, by block, when the lowest `cut` go."""
        cutoff, result = self.cutoff(cut), {}
        for block in self.stats.blocks:
            scores = block.scores(self.by)
            count = max(int(np.sum(scores >= cutoff)), self.minimum)
            count = math.ceil(count / self.multiple) * self.multiple
            if block.name in self.protect:
                count = len(scores)
            best = np.argsort(-scores, kind="stable")[:count]
            result[block.name] = tuple(sorted(block.active[i] for i in best))
        return result

    def cost(self, cut: int) -> Cost:
        return self.stats.cost({name: len(kept) for name, kept in self.kept(cut).items()})

    def smallest_cut(self, reached: Callable[[Cost], bool]) -> int | None:
        """Returns the least number of channels to cut so that the cost is as wanted, or None."""
        low, high = 0, len(self.scores)
        if not reached(self.cost(high)):
            return None
        while low < high:
            middle = (low + high) // 2
            if reached(self.cost(middle)):
                high = middle
            else:
                low = middle + 1
        return low


def _plan(stats, aim, by, cutoff, kept) -> PruningPlan:
    blocks = []
    for block in stats.blocks:
        channels = tuple(kept.get(block.name, block.active))
        check_kept(block.name, channels, frozenset(block.active))
        channels = tuple(map(int, channels))  # JSON takes no NumPy integers
        blocks.append(BlockPlan(block.name, block.shape.channels, len(block.active), channels))
    return PruningPlan(stats.model, aim, by, cutoff, tuple(blocks), _orders(stats, blocks))


def _orders(stats: GateStats, blocks: Sequence[BlockPlan]) -> tuple[StreamOrder, ...]:
    """Returns the orders that make what the blocks keep few contiguous runs of their streams."""
    kept: dict[str, list[BlockPlan]] = {}
    for block, plan in zip(stats.blocks, blocks, strict=True):
        if block.stream is not None:
            kept.setdefault(block.stream, []).append(plan)
    orders = (
        StreamOrder(stream, order_channels([plan.kept for plan in plans], plans[0].channels))
        for stream, plans in kept.items()
    )
    return tuple(order for order in orders if order.order != tuple(range(len(order.order))))
