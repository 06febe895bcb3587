"""A short training of one net, watched on the validation split, for benchmarks."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from hwkeras import PRESETS, TrainConfig, fit, highway_net
from hwkeras.dataset import Dataset


def fresh_net(dataset: Dataset, preset: str, seed: int) -> keras.Model:
    """Returns a preset's net for a data set, its kernels drawn from a seed."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    return highway_net(
        PRESETS[preset], dataset.input_shape, len(dataset.classes),
        dataset.channel_mean, dataset.channel_deviation,
    )  # fmt: skip


def short_training(
    model: keras.Model,
    dataset: Dataset,
    steps: int,
    config: TrainConfig,
    teacher: keras.Model | None = None,
) -> dict[str, Any]:
    """Returns the last row of the history of a training with `steps` batches an epoch."""
    few = dataset.train.take(slice(0, steps * config.batch_size))
    return fit(model, dataclasses.replace(dataset, train=few), config, teacher=teacher)[-1]
