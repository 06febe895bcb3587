"""Statistics in, plan out: which channels of each block stay. No model, no ML import; JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from hwkeras.cost import BYTES_PER_PARAMETER, BlockShape, Cost

STATS_FORMAT = "hwkeras-gates-1"
PLAN_FORMAT = "hwkeras-plan-1"
RANKINGS = ("update", "gate")


class PlanError(ValueError):
    """A plan that cannot be made, read or applied; the message says what to change."""


@dataclasses.dataclass(frozen=True)
class BlockStats:
    """What one block's gates did, one value for each active channel.

    Attributes:
        name: the block's layer name.
        shape: what its cost depends on.
        active: the stream channels that the block transforms, ascending.
        mean_gate: mean of t over images and positions.
        max_gate: largest t seen.
        mean_update: mean of |t * (h - c)|: how much the channel really changes.
    """

    name: str
    shape: BlockShape
    active: tuple[int, ...]
    mean_gate: tuple[float, ...]
    max_gate: tuple[float, ...]
    mean_update: tuple[float, ...]

    def scores(self, by: str) -> np.ndarray:
        """Returns the channels' scores `(k,)` under a ranking of `RANKINGS`."""
        return np.asarray(self.mean_update if by == "update" else self.mean_gate)


@dataclasses.dataclass(frozen=True)
class GateStats:
    """What a model's gates did on a set of images.

    Attributes:
        model: digest of the model's blocks and weights.
        images: how many images were seen.
        rest: cost of everything outside the removable part of the blocks.
        blocks: one entry for each block that transforms at least one channel, in graph order.
    """

    model: str
    images: int
    rest: Cost
    blocks: tuple[BlockStats, ...]

    def cost(self, kept: Mapping[str, int] | None = None) -> Cost:
        """Returns the model's cost when each block transforms `kept[name]` channels."""
        total = self.rest
        for block in self.blocks:
            total += block.shape.cost(len(block.active) if kept is None else kept[block.name])
        return total

    def to_json(self) -> str:
        content = {"format": STATS_FORMAT, **dataclasses.asdict(self)}
        return _dump(content, rounded=True)

    @classmethod
    def from_json(cls, text: str) -> GateStats:
        """Raises PlanError if the text is no such statistics, or does not fit together."""
        content = _parse(text, STATS_FORMAT, "gate statistics")
        try:
            blocks = tuple(
                BlockStats(
                    name=str(block["name"]),
                    shape=BlockShape(
                        **{**block["shape"], "kernel": tuple(block["shape"]["kernel"])}
                    ),
                    **{
                        field: tuple(block[field])
                        for field in ("active", "mean_gate", "max_gate", "mean_update")
                    },
                )
                for block in content["blocks"]
            )
            for block in blocks:
                _check_kept(block.name, block.active, range(block.shape.channels))
            rest = Cost(**content["rest"])
            stats = cls(str(content["model"]), int(content["images"]), rest, blocks)
            stats.cost()  # takes numbers only
        except PlanError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise PlanError(f"broken gate statistics: {error!r}") from None
        _check_names("gate statistics name", blocks)
        for block in blocks:
            for field in ("mean_gate", "max_gate", "mean_update"):
                values = getattr(block, field)
                numbers = all(isinstance(value, (int, float)) for value in values)
                if not numbers or len(values) != len(block.active):
                    expected = f"{len(block.active)} numbers as {field} of block {block.name!r}"
                    raise PlanError(f"broken gate statistics: expected {expected}")
        return stats


@dataclasses.dataclass(frozen=True)
class BlockPlan:
    """What stays of one block.

    Attributes:
        name: the block's layer name.
        channels: channels of its stream.
        active: how many of them it transforms before the plan is applied.
        kept: the stream channels that it still transforms afterwards, ascending.
    """

    name: str
    channels: int
    active: int
    kept: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class PruningPlan:
    """Which channels stay, block by block.

    Attributes:
        model: digest of the model that the plan was made for.
        aim: what was asked for, in words.
        by: the ranking used, "update" or "gate"; "hand" for kept channels given by hand.
        cutoff: score under which channels go; None for a plan by hand.
        blocks: in graph order.
    """

    model: str
    aim: str
    by: str
    cutoff: float | None
    blocks: tuple[BlockPlan, ...]

    @property
    def kept_counts(self) -> dict[str, int]:
        return {block.name: len(block.kept) for block in self.blocks}

    def to_json(self) -> str:
        return _dump({"format": PLAN_FORMAT, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> PruningPlan:
        """Raises PlanError if the text is no plan, names a block twice or a channel wrongly."""
        content = _parse(text, PLAN_FORMAT, "pruning plan")
        try:
            blocks = tuple(
                BlockPlan(
                    str(block["name"]),
                    int(block["channels"]),
                    int(block["active"]),
                    tuple(block["kept"]),
                )
                for block in content["blocks"]
            )
            plan = cls(content["model"], content["aim"], content["by"], content["cutoff"], blocks)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise PlanError(f"broken pruning plan: {error!r}") from None
        _check_names("plan names", blocks)
        for block in blocks:
            _check_kept(block.name, block.kept, range(block.channels))
        return plan


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
        _check_kept(block.name, channels, frozenset(block.active))
        channels = tuple(map(int, channels))  # JSON takes no NumPy integers
        blocks.append(BlockPlan(block.name, block.shape.channels, len(block.active), channels))
    return PruningPlan(stats.model, aim, by, cutoff, tuple(blocks))


def _check_names(what: str, blocks: Sequence[BlockStats | BlockPlan]) -> None:
    names = [block.name for block in blocks]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f"the {what} block {name!r} twice")


def _check_kept(name: str, kept: Sequence[int], allowed: Collection[int]) -> None:
    for channel in kept:
        if isinstance(channel, bool) or not isinstance(channel, (int, np.integer)):
            raise PlanError(f"block {name!r}: channel {channel!r} is no whole number")
        if channel not in allowed:
            raise PlanError(f"block {name!r} transforms no channel {channel}")
    if list(kept) != sorted(set(kept)):
        raise PlanError(f"block {name!r}: kept channels must be ascending, each once")


def _dump(content: dict[str, Any], rounded: bool = False) -> str:
    """Returns JSON with one field a line and one block a line, so that a diff shows blocks."""

    def compact(value):
        if rounded and isinstance(value, float):
            return float(f"{value:.6g}")
        if isinstance(value, (list, tuple)):
            return [compact(item) for item in value]
        if isinstance(value, dict):
            return {key: compact(item) for key, item in value.items()}
        return value

    lines = [
        f"  {json.dumps(key)}: {json.dumps(compact(value))}"
        for key, value in content.items()
        if key != "blocks"
    ]
    blocks = ",\n".join(f"    {json.dumps(compact(block))}" for block in content["blocks"])
    lines.append(f'  "blocks": [\n{blocks}\n  ]')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _parse(text: str, form: str, what: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise PlanError(f"expected a {what}, found broken JSON: {error}") from None
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != form:
        raise PlanError(f"expected a {what} of format {form!r}; found {found!r}")
    return content
