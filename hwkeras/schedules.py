"""The learning rate over a run: up linearly, then down to zero."""

from __future__ import annotations

import math

import keras
from keras import ops

SCHEDULES = ("one-cycle", "cosine")


@keras.saving.register_keras_serializable("hwkeras")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `peak`, then falls to 0, linearly ("one-cycle") or as a half cosine.

    Args:
        peak: highest learning rate.
        steps: optimizer steps of the whole run.
        warmup: share of the steps that rise.
        shape: one of `SCHEDULES`.

    Raises:
        ValueError: if the shape is unknown or the share is outside [0, 1).

    Source: Smith, "Super-Convergence" (https://arxiv.org/abs/1708.07120) for one-cycle; Loshchilov
    and Hutter, "SGDR" (https://arxiv.org/abs/1608.03983) for the cosine.
    """

    def __init__(self, peak: float, steps: int, warmup: float = 0.2, shape: str = "one-cycle"):
        if shape not in SCHEDULES or not 0 <= warmup < 1:
            raise ValueError(
                f"expected a shape of {SCHEDULES} and warmup in [0, 1)."
                f" Received: shape={shape!r}, warmup={warmup}"
            )
        self.peak, self.steps, self.warmup, self.shape = peak, steps, warmup, shape

    def __call__(self, step):
        progress = ops.cast(step, "float32") / max(self.steps, 1)
        fall = ops.clip((progress - self.warmup) / (1 - self.warmup), 0.0, 1.0)
        if self.shape == "cosine":
            down = 0.5 * (1 + ops.cos(math.pi * fall))
        else:
            down = 1 - fall
        rise = (progress + 1 / max(self.steps, 1)) / max(self.warmup, 1e-9)  # step 0 learns too
        return self.peak * ops.minimum(rise, down)

    def get_config(self):
        return {
            "peak": self.peak,
            "steps": self.steps,
            "warmup": self.warmup,
            "shape": self.shape,
        }
