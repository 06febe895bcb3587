"""Batch-norm recalibration: statistics that fit the net after channels were cut."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np


def recalibrate(
    model: keras.Model,
    images: np.ndarray,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Sets every batch norm's moving mean and variance to the plain mean over batches of images.

    No label is used and no other weight moves. It is nearly free and recovers about half of what
    pruning costs before fine-tuning.

    Args:
        model: changed in place.
        images: training images, `(n, ...)`; the rest after the last full batch is left out.
        batch_size: clipped to the number of images.
        progress: called with (batches done, batches in all).

    Raises:
        ValueError: if there are no images.
    """
    if not len(images):
        raise ValueError("no images to recalibrate on")
    norms = [
        layer
        for layer in model._flatten_layers()  # the only way into layers inside layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    batch_size = min(batch_size, len(images))
    batches = len(images) // batch_size
    momenta = [norm.momentum for norm in norms]
    try:
        for done in range(batches):
            for norm in norms:
                norm.momentum = done / (done + 1)  # makes the moving average a plain one
            model(images[done * batch_size : (done + 1) * batch_size], training=True)
            if progress:
                progress(done + 1, batches)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
