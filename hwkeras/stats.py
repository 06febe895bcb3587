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
from hwkeras.plan import BlockStats, GateStats, StreamStats
from hwkeras.streams import WIDTHS, Streams, find_streams


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
            reads=streams.reads[name],
        )
        for name, seen in ((name, sums[name]) for name in blocks if name in sums)
    )
    rest = model_cost(model)
    for entry in entries:
        rest = rest - entry.shape.cost(len(entry.active))
    return GateStats(model_digest(model), count, rest, entries, stream_stats(model, streams))


def stream_stats(model: keras.Model, streams: Streams | None = None) -> tuple[StreamStats, ...]:
    """Returns how much each channel of each free stream is needed, and what it costs outside the
    blocks that transform something.

    Args:
        model: functional or sequential; untouched.
        streams: its streams, if they are known already.
    """
    streams = streams or find_streams(model)
    layers = {layer.name: layer for layer in all_layers(model)}
    names = list(dict.fromkeys(filter(None, streams.makes.values())))
    uses: dict[str, list[np.ndarray]] = {name: [] for name in names}
    rest = dict.fromkeys(names, Cost(0, 0))
    pairs: dict[str, dict[str, Cost]] = {name: {} for name in names}
    for layer in layers.values():
        read, made = streams.reads.get(layer.name), streams.makes.get(layer.name)
        if read in uses and type(layer) in WIDTHS:
            for values in _uses(layer, layers, streams):
                mean = float(values.mean())
                uses[read].append(values / mean if mean else values)
        if (kernel := _counted_kernel(layer)) is not None:
            inputs, outputs = kernel.shape[-2:]
            area = math.prod(kernel.shape[:-2])
            pair = Cost(area, area * _positions(layer))
            if read in rest:
                rest[read] += pair * outputs
            if made in rest:
                rest[made] += pair * inputs + Cost(int(getattr(layer, "use_bias", False)), 0)
            if read in rest and made in rest:
                pairs[read][made] = pairs[read].get(made, Cost(0, 0)) + pair
        elif isinstance(layer, keras.layers.BatchNormalization) and read in rest:
            rest[read] += Cost(len(layer.weights), 0)
    return tuple(
        StreamStats(
            name,
            width := layers[name].output.shape[-1],
            tuple(np.max([np.zeros(width), *uses[name]], axis=0).tolist()),
            rest[name],
            tuple(pairs[name].items()),
        )
        for name in names
    )


def _counted_kernel(layer: Any) -> Any:
    """Returns the kernel by which a layer reads all channels, if no block's shape counts it."""
    if isinstance(layer, HighwayBlock):
        if layer.active or layer.projection is None:
            return None
        return layer.projection.kernel
    return layer.kernel if type(layer) in WIDTHS else None


def _uses(reader: Any, layers: dict[str, keras.layers.Layer], streams: Streams) -> list[np.ndarray]:
    """Returns what a layer makes of each channel it reads, one array `(channels,)` for each of its
    kernels: the channel's mean square, as far as norms tell, by the square of its kernel's row."""

    def rows(kernel):
        kernel = _array(kernel)
        return (kernel**2).sum(axis=(*range(kernel.ndim - 2), -1))

    if not isinstance(reader, HighwayBlock):
        norm, rectified = streams.norms.get(reader.name, (None, False))
        square = 1.0 if norm is None else _normed_square(layers[norm], rectified)
        return [square * rows(reader.kernel)]
    found = []
    if reader.norm is not None:
        found.append(_normed_square(reader.norm, True) * rows(reader.transform.kernel))
    if reader.projection is not None:
        square = 1.0
        if reader.norm is not None:  # its statistics are those of the stream
            mean, variance = map(_array, (reader.norm.moving_mean, reader.norm.moving_variance))
            square = mean**2 + variance
        found.append(square * rows(reader.projection.kernel))
    return found


def _normed_square(norm: Any, rectified: bool) -> np.ndarray:
    """Returns the mean square `(channels,)` of what leaves a batch norm, taken as normal.

    Rectified: E relu(z)^2 = (b^2 + g^2) Phi(b / g) + b g phi(b / g), where z has mean b, deviation
    g, and Phi and phi are the standard normal distribution and its density.
    """
    shape = norm.moving_mean.shape
    mean = _array(norm.beta) if norm.center else np.zeros(shape)
    deviation = np.abs(_array(norm.gamma)) if norm.scale else np.ones(shape)
    square = mean**2 + deviation**2
    if not rectified:
        return square
    ratio = mean / np.maximum(deviation, 1e-30)
    above = np.array([(1 + math.erf(value / math.sqrt(2))) / 2 for value in ratio.tolist()])
    density = np.exp(-np.minimum(ratio**2, 1e4) / 2) / math.sqrt(2 * math.pi)
    return square * above + mean * deviation * density


def _array(variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)


def model_cost(model: keras.Model) -> Cost:
    """Returns the parameters of a model and the multiply-accumulates of its convolutions,
    dense layers and highway blocks for one input.

    A layer that is called several times counts once, as its parameters do. A side that is not
    known, as of `Input((None, None, 3))`, counts as 1: the multiply-accumulates are then those of
    one position, also where the model is nested in one whose sides are known.
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
    first = getattr(layer, "data_format", None) == "channels_first"
    return math.prod(side or 1 for side in (tensor.shape[2:] if first else tensor.shape[1:-1]))


def model_digest(model: keras.Model) -> str:
    """Returns a short digest of a model's highway blocks: names, shapes, channels and weights."""
    digest = hashlib.sha256()
    for name, block in highway_blocks(model).items():
        digest.update(repr((name, block.channels, block.active)).encode())
        for weight in block.get_weights():
            digest.update(np.ascontiguousarray(weight, np.float32).tobytes())
    return digest.hexdigest()[:16]
