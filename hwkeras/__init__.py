"""Highway networks whose gates learn what can be cut, and the cutting.

    import hwkeras

    dataset = hwkeras.load_dataset("digits")
    model = hwkeras.highway_net(hwkeras.PRESETS["tiny"], dataset.input_shape, 10)
    hwkeras.fit(model, dataset)
    stats = hwkeras.collect_stats(model, dataset.train.images)
    plan = hwkeras.make_plan(stats, keep=0.25)
    slim = hwkeras.apply_plan(model, plan)

Names are imported when they are first used, so that `hwkeras.plan` works without Keras.
"""

from __future__ import annotations

import importlib

__version__ = "0.2.0"

_HOMES = {
    "batchnorm": ("recalibrate",),
    "checkpoint": ("Checkpoint",),
    "cost": ("BlockShape", "Cost"),
    "data": ("load_dataset",),
    "dataset": ("DataError", "Dataset", "Split"),
    "evaluation": ("accuracy", "predict_logits"),
    "files": ("FileError",),
    "folder": ("load_image",),
    "graph": ("GraphError", "highway_blocks", "with_gates"),
    "layers": ("HighwayConv2D", "HighwayDense"),
    "models": ("PRESETS", "HighwayConfig", "highway_net"),
    "plan": ("GateStats", "PlanError", "PruningPlan"),
    "planning": ("make_plan",),
    "rebuild": ("apply_plan",),
    "regularizers": ("GatePenalty",),
    "rounds": ("prune_in_rounds",),
    "search": ("search_plan",),
    "saving": ("load_model", "save_model"),
    "stats": ("collect_stats", "model_cost", "model_digest"),
    "training": ("FINETUNE", "TrainConfig", "TrainingError", "finetune", "fit"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'hwkeras' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hwkeras.{_HOME[name]}"), name)


def __dir__():
    return [*globals(), *__all__]
