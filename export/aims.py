"""What pruning should reach, as a user says it, and the plan that reaches it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras

from hwkeras.dataset import Dataset
from hwkeras.latency import read_latency
from hwkeras.plan import GateStats, PlanError, PruningPlan
from hwkeras.planning import make_plan
from hwkeras.search import search_plan

# The aims that count something, and what `make_plan` and `Cost` call it.
_COUNTED = {"size": "size_bytes", "parameters": "parameters", "macs": "macs"}


@dataclasses.dataclass(frozen=True)
class Aim:
    """One aim and how channels are ranked for it.

    Attributes:
        kind: "threshold", "keep", "size" (bytes), "parameters", "macs", "latency_ratio",
            "max_drop" or "plan".
        value: a number, or the path of a plan.
        relative: whether a size, parameters or MACs are a share of the dense model's.
        by: the ranking, "update" or "gate".
        per: what scores are divided by, as `make_plan` takes it; None for what goes with the aim.
        latency_table: path of what `hwkeras latency` measured; None if latency does not count.
        multiple: kept counts are rounded up to a multiple of it.
        minimum: channels that every block keeps.
        protect: blocks that stay whole.
        cut_carried: share of the channels that no block keeps to cut out of their streams.
    """

    kind: str
    value: float | str
    relative: bool = False
    by: str = "update"
    per: str | None = None
    latency_table: str | None = None
    multiple: int = 1
    minimum: int = 0
    protect: tuple[str, ...] = ()
    cut_carried: float = 0.0


def plan_for(
    aim: Aim,
    model: keras.Model,
    stats: GateStats,
    dataset: Dataset,
    progress: Callable[[int, int], None] | None = None,
) -> PruningPlan:
    """Returns the plan for an aim; only "max_drop" looks at the model and the data.

    Raises:
        PlanError: if the aim cannot be reached, or a plan's file is broken.
        LatencyError: if the latency table is broken or lacks a block.
    """
    if aim.kind == "plan":
        plan = read_plan(str(aim.value))
        stats.cost(cut=plan.cut_counts)  # statistics that cannot count the plan are refused
        return plan
    options = {
        "by": aim.by,
        "per": aim.per,
        "latency": aim.latency_table and read_latency(aim.latency_table),
        "multiple": aim.multiple,
        "minimum": aim.minimum,
        "protect": aim.protect,
        "cut_carried": aim.cut_carried,
    }
    value = float(aim.value)
    if aim.kind == "max_drop":
        return search_plan(model, stats, dataset, value, progress, **options)
    if aim.kind not in _COUNTED:
        return make_plan(stats, **{aim.kind: value}, **options)
    counted = _COUNTED[aim.kind]
    if aim.relative:
        value *= getattr(stats.cost(), counted)
    return make_plan(stats, **{counted: value}, **options)


def read_plan(path: str | Path) -> PruningPlan:
    """Returns the plan in a file; raises PlanError naming the file."""
    try:
        return PruningPlan.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot be read as a pruning plan: {error}") from None
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from None
