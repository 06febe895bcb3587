"""What a model's gates do on images, and what the model costs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from hwkeras.cost import Cost
from hwkeras.graph import all_layers, highway_blocks, require_blocks, with_gates
from hwkeras.layers import HighwayBlock
from hwkeras.plan import BlockStats, GateStats
from hwkeras.streams import find_streams


def collect_stats(
    model: keras.Model,
    images,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> GateStats:
    """Returns what the gates did on images.

    Args:
        model: functional or sequential, with highway blocks; untouched.
        images: array `(n, ...)` as the model takes it, or a list or dict of such arrays for a
            model with several inputs.
        batch_size: images at a time.
        progress: called with (images done, images in all).

    Raises:
        GraphError: if the model has no highway block or no graph.
        ValueError: if there are no images.
    """
    blocks = require_blocks(model)
    watched = with_gates(model)
    streams = find_streams(model)
    count = len(keras.tree.flatten(images)[0])
    if not count:
        raise ValueError("no images to collect statistics on")
    sums: dict[str, dict[str, Any]] = {}
    for start in range(0, count, batch_size):
        stop = min(start + batch_size, count)
        batch = keras.tree.map_structure(lambda array: array[start:stop], images)  # noqa: B023
        for name, calls in watched.predict_on_batch(batch)["gates"].items():
            seen = sums.setdefault(name, {"mean_gate": 0.0, "mean_update": 0.0, "max_gate": 0.0})
            for call in calls:
                values = {key: np.asarray(value, np.float64) for key, value in call.items()}
                for key in ("mean_gate", "mean_update"):
                    seen[key] = seen[key] + values[key].sum(axis=0) / len(calls)
                seen["max_gate"] = np.maximum(seen["max_gate"], values["max_gate"].max(axis=0))
        if progress:
            progress(stop, count)
    entries = tuple(
        BlockStats(
            name=name,
            shape=blocks[name].block_shape(),
            active=blocks[name].active,
            mean_gate=tuple((seen["mean_gate"] / count).tolist()),
            max_gate=tuple(seen["max_gate"].tolist()),
            mean_update=tuple((seen["mean_update"] / count).tolist()),
            stream=streams.makes[name],
        )
        for name, seen in ((name, sums[name]) for name in blocks if name in sums)
    )
    rest = model_cost(model)
    for entry in entries:
        rest = rest - entry.shape.cost(len(entry.active))
    return GateStats(model_digest(model), count, rest, entries)


def model_cost(model: keras.Model) -> Cost:
    """Returns the parameters of a model and the multiply-accumulates of its convolutions,
    dense layers and highway blocks for one input.

    A layer that is called several times counts once, as its parameters do.
    """
    macs = 0
    for layer in all_layers(model):
        if isinstance(layer, HighwayBlock):
            macs += layer.block_shape().cost(len(layer.active)).macs
        else:
            macs += sum(_positions(layer) * math.prod(kernel.shape) for kernel in _kernels(layer))
    return Cost(model.count_params(), macs)


def _kernels(layer: keras.layers.Layer) -> list:
    names = ("kernel", "depthwise_kernel", "pointwise_kernel")  # a separable convolution has two
    found = [getattr(layer, name, None) for name in names]
    return [kernel for kernel in found if hasattr(kernel, "shape")]


def _positions(layer: keras.layers.Layer) -> int:
    """Returns how many times a layer's kernel is applied to one input."""
    kinds = keras.layers
    transposed = (kinds.Conv1DTranspose, kinds.Conv2DTranspose, kinds.Conv3DTranspose)
    tensor = layer.input if isinstance(layer, transposed) else layer.output
    return math.prod(side or 1 for side in tensor.shape[1:-1])


def model_digest(model: keras.Model) -> str:
    """Returns a short digest of a model's highway blocks: names, shapes, channels and weights."""
    digest = hashlib.sha256()
    for name, block in highway_blocks(model).items():
        digest.update(repr((name, block.channels, block.active)).encode())
        for weight in block.get_weights():
            digest.update(np.ascontiguousarray(weight, np.float32).tobytes())
    return digest.hexdigest()[:16]
