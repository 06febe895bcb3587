"""Statistics in, plan out: which channels of each block stay. No model, no ML import."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from hwkeras.cost import BYTES_PER_PARAMETER
from hwkeras.latency import LatencyTable
from hwkeras.order import order_channels
from hwkeras.plan import (
    MEASURES,
    NORMALIZERS,
    RANKINGS,
    BlockPlan,
    BlockStats,
    GateStats,
    PlanError,
    PruningPlan,
    StreamOrder,
    check_kept,
)
from hwkeras.ranking import Ranking, measure_of

# What an aim counts, of `MEASURES`.
_COUNTED = {
    "size_bytes": "parameters", "parameters": "parameters", "macs": "macs",
    "latency_ratio": "latency",
}  # fmt: skip


def rules_of(aim: str) -> tuple[str, float]:
    """Returns the normalizer and the `cut_carried` that go with an aim of `make_plan`.

    They are what lost least after fine-tuning at each (`benchmarks/deep_cuts.py`).
    """
    weights = aim in ("size_bytes", "parameters")
    return "lamp" if weights else "none", float(weights or aim == "macs")


def make_plan(
    stats: GateStats,
    *,
    threshold: float | None = None,
    keep: float | None = None,
    size_bytes: float | None = None,
    parameters: float | None = None,
    macs: float | None = None,
    latency_ratio: float | None = None,
    kept: Mapping[str, Sequence[int]] | None = None,
    by: str = "update",
    normalizer: str | None = None,
    per: str | None = None,
    latency: LatencyTable | None = None,
    multiple: int = 1,
    minimum: int = 0,
    protect: Collection[str] = (),
    cut_carried: float | None = None,
) -> PruningPlan:
    """Returns the plan that reaches exactly one aim; channels are ranked over all blocks at once.

    Args:
        stats: what the gates did.
        threshold: aim: channels whose score is below go.
        keep: aim: share of all active channels that stays, 0 to 1.
        size_bytes: aim: at most so many bytes of float32 parameters.
        parameters: aim: at most so many parameters.
        macs: aim: at most so many multiply-accumulates for one input.
        latency_ratio: aim: at most this share of the dense model's time, by `latency`.
        kept: aim: the channels that stay, by block; blocks not named stay whole.
        by: "update" ranks by the mean change |t * (h - c)|, "gate" by the mean gate, as the
            poster does.
        normalizer: "lamp" divides each score by the sum of those of its block that are no lower
            (Lee 2021, https://arxiv.org/abs/2010.07611): what a block still does counts more the
            less it is, so that deep cuts take no whole blocks but those that do next to nothing
            (less than a hundredth of the mean block). "none" compares scores as they are.
            By default "lamp" for a size in bytes or parameters.
        per: what a channel's score is divided by before channels are compared: the "parameters",
            "macs" or "latency" that it costs, or "channel" for nothing. By default what the aim
            counts: what else to spend it on.
        latency: what blocks cost on a device; needed to count latency.
        multiple: kept counts are rounded up to a multiple of it.
        minimum: channels that every block keeps at least.
        protect: names of blocks that stay whole.
        cut_carried: share of the channels that no block keeps, 0 to 1, that leaves each stream
            which blocks write to, the least needed first. Sizes and MACs count that exactly; a
            time counts each block at the width it was measured with, which is too much. By default
            1 for a size in bytes, parameters or multiply-accumulates, else 0.

    Raises:
        PlanError: if there is not exactly one aim, an aim cannot be reached, or a block or
            channel named does not exist.
        LatencyError: if the table lacks a block.
    """
    aims = {
        "threshold": threshold, "keep": keep, "size_bytes": size_bytes,
        "parameters": parameters, "macs": macs, "latency_ratio": latency_ratio, "kept": kept,
    }  # fmt: skip
    given = {name: value for name, value in aims.items() if value is not None}
    if len(given) != 1:
        raise PlanError(f"expected exactly one aim of {', '.join(aims)}; received {list(given)}")
    if by not in RANKINGS:
        raise PlanError(f"expected a ranking of {', '.join(RANKINGS)}; received {by!r}")
    (aim, value), *_ = given.items()
    normalizer = rules_of(aim)[0] if normalizer is None else normalizer
    cut_carried = rules_of(aim)[1] if cut_carried is None else cut_carried
    if normalizer not in NORMALIZERS:
        expected = ", ".join(NORMALIZERS)
        raise PlanError(f"expected a normalizer of {expected}; received {normalizer!r}")
    if multiple < 1 or minimum < 0:
        raise PlanError(f"expected multiple >= 1, minimum >= 0; received {multiple}, {minimum}")
    carried = _Carried(stats, cut_carried)
    names = {block.name for block in stats.blocks}
    for name in [*protect, *(kept or ())]:
        if name not in names:
            raise PlanError(f"no block is named {name!r}; there are {', '.join(sorted(names))}")
    if kept is not None:
        words = "channels given by hand"
        return _plan(stats, words, "hand", "none", "channel", None, kept, carried)

    if not math.isfinite(value) or value < 0 or (aim == "keep" and value > 1):
        raise PlanError(f"{aim}: expected {'0 to 1' if aim == 'keep' else '>= 0'}; found {value}")
    per = per or _COUNTED.get(aim, "channel")
    if per not in MEASURES:
        raise PlanError(f"expected per one of {', '.join(MEASURES)}; received {per!r}")
    if latency is None and "latency" in (per, aim.removesuffix("_ratio")):
        raise PlanError("counting latency needs a latency table: hwkeras latency makes one")
    if aim == "threshold" and per != "channel":
        raise PlanError(f"a threshold counts {by} per channel, not per {per}")
    if aim == "threshold" and normalizer != "none":
        raise PlanError(f"a threshold counts {by} as it is; expected no normalizer {normalizer!r}")
    ranking = Ranking(stats, by, normalizer, measure_of(per, latency), multiple, minimum, protect)
    unit, count = _counter(aim, stats, latency, carried.counter(ranking.order))

    def fits(counts):
        return count(counts) <= value

    if aim == "threshold":
        cut = int(np.searchsorted(ranking.scores, value))
        words = f"channels with a mean {by} of at least {value:g}"
    elif aim == "keep":
        total = sum(len(block.active) for block in stats.blocks)
        cut = ranking.holding(total - math.ceil(value * total - 1e-9))
        words = f"{value:.2%} of the channels"
    else:
        number = "{:.2%} of the {}" if unit == "latency" else "{:,.0f} {}"
        words = "at most " + number.format(value, unit)
        cut = ranking.smallest_cut(fits)
        if cut is None:
            least = number.format(count(ranking.counts(len(ranking.scores))), unit)
            raise PlanError(
                f"{words}: cannot be reached, the least is {least} with"
                f" minimum={minimum}, multiple={multiple}, protected blocks: {len(set(protect))}"
            )
    counts = ranking.counts(cut)
    if aim in _COUNTED and (per, normalizer) != ("channel", "none"):
        counts = ranking.filled(counts, fits)
    cutoff, chosen = ranking.cutoff(cut), ranking.best(counts)
    if not math.isfinite(cutoff):  # all went but channels that cost nothing
        cutoff = None
    return _plan(stats, words, by, normalizer, per, cutoff, chosen, carried)


def _counter(
    aim: str,
    stats: GateStats,
    latency: LatencyTable | None,
    cut: Callable[[Mapping[str, int]], dict[str, int]],
) -> tuple[str, Callable[[Mapping[str, int]], float]]:
    """Returns the unit of an aim, and what counts it in a plan's kept counts."""
    if aim == "latency_ratio" and latency is not None:
        shapes = {block.name: block.shape for block in stats.blocks}
        whole = latency.total_ms(shapes, {b.name: len(b.active) for b in stats.blocks})
        return "latency", lambda kept: latency.total_ms(shapes, kept) / whole
    if aim == "size_bytes":
        return "bytes", lambda kept: stats.cost(kept, cut(kept)).parameters * BYTES_PER_PARAMETER
    return aim, lambda kept: getattr(stats.cost(kept, cut(kept)), aim)


class _Carried:
    """The channels that no block transforms any more, and which of them leave their stream.

    Only streams that blocks write to are cut. What else makes a stream is no carry.
    """

    def __init__(self, stats: GateStats, share: float):
        if not (math.isfinite(share) and 0 <= share <= 1):
            raise PlanError(f"cut_carried: expected 0 to 1; found {share}")
        self.share = share
        self.blocks: dict[str, list[BlockStats]] = {}  # that write to each stream, if it is cut
        for block in stats.blocks if share else ():
            if block.stream is not None:
                self.blocks.setdefault(block.stream, []).append(block)
        self.need = {stream.name: np.asarray(stream.need) for stream in stats.streams}
        for name in self.blocks:
            if name not in self.need:
                raise PlanError(
                    f"the gate statistics do not say how much stream {name!r} is needed: collect"
                    " them again"
                )
            bad = np.flatnonzero(~np.isfinite(self.need[name]))
            if len(bad):
                raise PlanError(
                    f"stream {name!r}: the need of channel {bad[0]} is not a number; the model's"
                    " weights may be NaN"
                )

    def counter(
        self, order: Mapping[str, np.ndarray]
    ) -> Callable[[Mapping[str, int]], dict[str, int]]:
        """Returns what counts the channels that leave each stream, when so many stay by block.

        Args:
            order: places among a block's active channels, the best first, by block.
        """
        ranks = {}  # of all channels of a stream in each of its blocks (blocks, channels)
        for stream, blocks in self.blocks.items():
            ranks[stream] = np.full((len(blocks), len(self.need[stream])), 1 << 60)
            for row, block in zip(ranks[stream], blocks, strict=True):
                row[np.array(block.active, int)[order[block.name]]] = np.arange(len(block.active))

        def count(kept):
            result = {}
            for stream, blocks in self.blocks.items():
                counts = np.array([kept[block.name] for block in blocks])
                free = (ranks[stream] >= counts[:, None]).all(axis=0).sum()
                result[stream] = self.count(int(free), ranks[stream].shape[1])
            return result

        return count

    def cut(self, stream: str, kept: Collection[int]) -> tuple[int, ...]:
        """Returns the channels that leave a stream of which these are kept."""
        if stream not in self.blocks:
            return ()
        need = self.need[stream]
        free = np.setdiff1d(np.arange(len(need)), np.array(sorted(kept), int))
        least = free[np.argsort(need[free], kind="stable")]
        return tuple(sorted(least[: self.count(len(free), len(need))].tolist()))

    def count(self, free: int, channels: int) -> int:
        return min(math.floor(self.share * free + 1e-9), channels - 1)  # a stream keeps one


def _plan(stats, aim, by, normalizer, per, cutoff, kept, carried: _Carried) -> PruningPlan:
    blocks = []
    for block in stats.blocks:
        channels = tuple(kept.get(block.name, block.active))
        check_kept(block.name, channels, frozenset(block.active))
        channels = tuple(map(int, channels))  # JSON takes no NumPy integers
        blocks.append(BlockPlan(block.name, block.shape.channels, len(block.active), channels))
    if carried.share:
        what = "all" if carried.share == 1 else f"{carried.share:.2%}"
        aim += f", {what} of what is only carried cut"
    orders = _orders(stats, blocks, carried)
    return PruningPlan(stats.model, aim, by, normalizer, per, cutoff, tuple(blocks), orders)


def _orders(
    stats: GateStats, blocks: Sequence[BlockPlan], carried: _Carried
) -> tuple[StreamOrder, ...]:
    """Returns the orders that make what the blocks keep few contiguous runs of their streams,
    without the channels that are cut."""
    kept: dict[str, list[BlockPlan]] = {}
    for block, plan in zip(stats.blocks, blocks, strict=True):
        if block.stream is not None:
            kept.setdefault(block.stream, []).append(plan)
    orders = []
    for stream, plans in kept.items():
        cut = carried.cut(stream, {channel for plan in plans for channel in plan.kept})
        stay = sorted(set(range(plans[0].channels)).difference(cut))
        places = {channel: place for place, channel in enumerate(stay)}
        active = [[places[channel] for channel in plan.kept] for plan in plans]
        order = tuple(stay[place] for place in order_channels(active, len(stay)))
        if cut or order != tuple(stay):
            orders.append(StreamOrder(stream, order, cut))
    return tuple(orders)
