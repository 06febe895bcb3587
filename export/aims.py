"""What pruning should reach, as a user says it, and the plan that reaches it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hwkeras.dataset import Dataset
from hwkeras.latency import read_latency
from hwkeras.plan import GateStats, PlanError, PruningPlan
from hwkeras.planning import make_plan, rules_of
from hwkeras.rebuild import apply_plan
from hwkeras.rounds import prune_in_rounds
from hwkeras.search import search_plan
from hwkeras.training import Row, TrainConfig

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
        normalizer: how scores of different blocks are made comparable, as `make_plan` takes it; by
            default what goes with the aim.
        per: what scores are divided by, as `make_plan` takes it; None for what goes with the aim.
        latency_table: path of what `hwkeras latency` measured; None if latency does not count.
        multiple: kept counts are rounded up to a multiple of it.
        minimum: channels that every block keeps.
        protect: blocks that stay whole.
        cut_carried: share of the channels that no block keeps to cut out of their streams;
            likewise.
        rounds: in how many the aim is reached; between two the net is trained on.
        round_epochs: passes over the training split in each round but the last.
    """

    kind: str
    value: float | str
    relative: bool = False
    by: str = "update"
    normalizer: str | None = None
    per: str | None = None
    latency_table: str | None = None
    multiple: int = 1
    minimum: int = 0
    protect: tuple[str, ...] = ()
    cut_carried: float | None = None
    rounds: int = 1
    round_epochs: int = 1

    def __post_init__(self):
        normalizer, cut_carried = rules_of(_COUNTED.get(self.kind, self.kind))
        if self.normalizer is None:
            object.__setattr__(self, "normalizer", normalizer)  # so that a record says it
        if self.cut_carried is None:
            object.__setattr__(self, "cut_carried", cut_carried)


def plan_for(
    aim: Aim,
    model: keras.Model,
    stats: GateStats,
    dataset: Dataset,
    progress: Callable[[int, int], None] | None = None,
) -> PruningPlan:
    """Returns the plan for an aim in one round; only "max_drop" looks at the model and the data.

    Raises:
        PlanError: if the aim cannot be reached, or a plan's file is broken.
        LatencyError: if the latency table is broken or lacks a block.
    """
    if aim.kind == "plan":
        plan = read_plan(str(aim.value))
        stats.cost(cut=plan.cut_counts)  # statistics that cannot count the plan are refused
        return plan
    if aim.kind == "max_drop":
        return search_plan(model, stats, dataset, float(aim.value), progress, **_options(aim))
    name, value = _target(aim, stats)
    return make_plan(stats, **{name: value}, **_options(aim))


def prune_for(
    aim: Aim,
    model: keras.Model,
    stats: GateStats,
    dataset: Dataset,
    training: TrainConfig,
    images: np.ndarray,
    progress: Callable[[str, int, int], None],
    on_round: Callable[[int, keras.Model, list[Row]], None],
) -> tuple[keras.Model, PruningPlan]:
    """Returns the slim model for an aim, just cut, and its plan.

    Args:
        aim: in one round or in several.
        model: the dense model; untouched.
        stats: its gates.
        dataset: that it was trained on.
        training: how to train on between two rounds, as `prune_in_rounds` takes it.
        images: training images for gates and batch norms, likewise.
        progress: likewise.
        on_round: likewise.

    Raises:
        PlanError: if the aim cannot be reached, or not be approached in rounds.
        LatencyError: if the latency table is broken or lacks a block.
        TrainingError: if training between two rounds cannot start or diverges.
    """
    if aim.rounds == 1:
        plan = plan_for(
            aim, model, stats, dataset, lambda done, total: progress("search", done, total)
        )
        return apply_plan(model, plan), plan
    return prune_in_rounds(
        model, stats, dataset, aim.rounds, *_target(aim, stats), training=training, images=images,
        progress=progress, on_round=on_round, **_options(aim),
    )  # fmt: skip


def _target(aim: Aim, stats: GateStats) -> tuple[str, Any]:
    """Returns what `make_plan` calls an aim, and its value there."""
    if aim.kind not in _COUNTED:
        return aim.kind, aim.value
    name, value = _COUNTED[aim.kind], float(aim.value)
    return name, value * getattr(stats.cost(), name) if aim.relative else value


def _options(aim: Aim) -> dict[str, Any]:
    """Returns how channels are ranked, as `make_plan` takes it."""
    return {
        "by": aim.by,
        "normalizer": aim.normalizer,
        "per": aim.per,
        "latency": aim.latency_table and read_latency(aim.latency_table),
        "multiple": aim.multiple,
        "minimum": aim.minimum,
        "protect": aim.protect,
        "cut_carried": aim.cut_carried,
    }


def read_plan(path: str | Path) -> PruningPlan:
    """Returns the plan in a file; raises PlanError naming the file."""
    try:
        return PruningPlan.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot be read as a pruning plan: {error}") from None
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from None
