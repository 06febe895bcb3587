"""Sides of a comparison, each in processes of its own, in turns; and what most of them time."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time


def in_turns(script: str, sides: dict[str, dict[str, str]], settings: dict, rounds: int) -> dict:
    """Returns what a script printed for each side in each round.

    Args:
        script: a path; run as `python SCRIPT --here SIDE --NAME=VALUE`, prints a number last.
        sides: what each side's environment has more than ours.
        settings: options of the script.
        rounds: processes of each side.
    """
    numbers = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    rows: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, extra in sides.items():
            command = [sys.executable, script, "--here", side, *numbers]
            usual = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
            environment = {**os.environ, **usual, **extra}
            text = subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE, text=True
            ).stdout
            rows[side].append(round(json.loads(text.strip().splitlines()[-1]), 3))
    return rows


def middle_ratio(slower: list[float], faster: list[float]) -> float:
    """Returns the median of the rounds' ratios."""
    return statistics.median(b / a for a, b in zip(faster, slower, strict=True))


def second_epoch(net, batch_size: int, steps: int) -> float:
    """Returns seconds a step of training on random images, after an epoch for the tracing."""
    import numpy as np

    from hwkeras.batches import TrainingBatches
    from hwkeras.training import TrainConfig, training_view

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size * steps, *net.input_shape[1:]), np.uint8)
    labels = rng.integers(0, net.output_shape[-1], batch_size * steps)
    fed = TrainingBatches(images, labels, batch_size, 0, augment=True)
    view = training_view(net, TrainConfig(), steps)
    spent = 0.0
    for _ in range(2):
        started = time.perf_counter()
        view.fit(fed, shuffle=False, verbose=0)
        spent = time.perf_counter() - started
    return spent / steps
