"""A Keras model as the graph that a phone runs: the same answers, fewer and cheaper operators.

What is known after training is worked out here. The scale of a norm g * x + b before a ReLU goes
into the kernel that reads it, because relu(g * x + b) = g * relu(x + b / g) for g > 0; each block
takes and puts its active channels in its fastest form; and the pixels are normalised in long rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from export.forms import CONCAT_ARITY, CONVOLUTION, PRICES, SLICES, Form, Geometry, choose_forms
from hwkeras.graph import highway_blocks, rewire
from hwkeras.layers import HighwayBlock, HighwayConv2D

_FEW = 16  # channels: below, an operator that broadcasts over positions wastes its vectors
_TOO_ROUGH = 8  # times the rounding of unfolded activations; trained nets here have at most 6


@dataclasses.dataclass(frozen=True)
class Target:
    """What a graph is lowered for.

    Attributes:
        kind: the type it computes in, one of `export.forms.PRICES`, whose prices decide the blocks'
            forms; None where only copies are exact or fast: dynamically quantized convolutions
            round what they read, and some types have no fast ones.
        fold: whether kernels take the scales of the norms before them. With 4 bits a weight, one
            scale for a whole filter leaves too little for channels that a norm scales down; and
            weights that share few values would share them no more.
    """

    kind: str | None = "float32"
    fold: bool = True


def target_of(variant: str) -> Target:
    """Returns what the graph that a variant is made from is lowered for."""
    if variant in ("dynamic", "int16x8", "int4"):
        return Target(None, fold=variant != "int4")
    kind = "float32" if variant in ("float32", "float16") else "int8"
    return Target(kind, fold=variant not in ("clustered", "clustered-qat"))


def lower(model: keras.Model, target: Target = Target(), form: Form | None = None) -> keras.Model:
    """Returns a functional model of stock layers and operations, for inference only.

    It computes what `model` computes in inference, to float noise. What becomes of a block is a
    model nested in it that has the block's name.

    Args:
        model: functional or built sequential, in float32; untouched.
        target: what for.
        form: of all blocks; None for the cheapest of each.
    """
    forms = dict.fromkeys(highway_blocks(model), form or Form(SLICES, SLICES))
    if form is None and target.kind is not None:
        forms |= _cheapest_forms(model, target.kind)

    def replace(layer):
        if isinstance(layer, HighwayBlock):
            if not layer.active and layer.projection is None:
                return keras.layers.Identity(name=layer.name)
            return _lowered_block(layer, forms[layer.name], target.fold)
        if isinstance(layer, keras.layers.Rescaling) and _is_by_channel(layer):
            return _lowered_rescaling(layer)
        return layer

    return rewire(model, replace)


def _cheapest_forms(model: keras.Model, kind: str) -> dict[str, Form]:
    """Returns the forms of the convolutional blocks, in which there is a choice."""
    geometries = {
        name: _geometry(block)
        for name, block in highway_blocks(model).items()
        if isinstance(block, HighwayConv2D) and block.active and None not in block.output.shape[1:]
    }
    chosen = choose_forms(list(geometries.values()), PRICES[kind], model.count_params())
    return dict(zip(geometries, chosen, strict=True))


def _geometry(block: HighwayConv2D) -> Geometry:
    shape = block.block_shape()
    return Geometry(
        shape.positions, math.prod(shape.kernel), shape.in_channels, shape.channels, block.runs
    )


def _lowered_block(block: HighwayBlock, form: Form, fold: bool) -> keras.Model:
    """Returns a model with the block's name that computes what it computes in inference."""
    shape = block.input.shape
    inputs = keras.Input((*[None] * (len(shape) - 2), shape[-1]), name="inputs")
    carry = inputs
    if block.projection is not None:
        carry = _copy(block.projection, block.projection.get_weights())(inputs)
    outputs = _transformed(block, form, fold, inputs, carry) if block.active else carry
    return keras.Model(inputs, outputs, name=block.name)


def _transformed(block: HighwayBlock, form: Form, fold: bool, x: Any, carry: Any) -> Any:
    """Returns the block's output for its input `(batch, ..., in_channels)` and its carry."""
    kernel, bias = block.transform.get_weights()
    scale, offset = _affine(block.norm)
    if fold and np.all(scale > 0) and _roughness(block.norm) < _TOO_ROUGH:
        x, kernel = x + offset / scale, kernel * scale[:, None]
    else:
        x = x * scale + offset
    h = _copy(block.transform, [kernel, bias])(ops.relu(x))
    t = ops.sigmoid(_copy(block.gate, block.gate.get_weights())(h))
    carried = TAKES[form.take](block, carry)
    return PUTS[form.put](block, carry, carried, t * (h - carried))


def _take_by_convolution(block: HighwayBlock, carry: Any) -> Any:
    return _one_by_one(_selection(block), "take")(carry)


def _put_by_convolution(block: HighwayBlock, carry: Any, carried: Any, update: Any) -> Any:
    return carry + _one_by_one(_selection(block).T, "put")(update)


def take_channels(x, runs: Sequence[tuple[int, int]]):
    """Returns the channels of x `(..., channels)` that lie in the runs, `(..., k)`, by slices and
    concatenation."""
    return _concatenate([_slice(x, start, stop) for start, stop in runs])


def put_channels(x, values, runs: Sequence[tuple[int, int]]):
    """Returns x `(..., channels)` with the channels that lie in the runs replaced by values
    `(..., k)`, in their order."""
    parts, done, used = [], 0, 0
    for start, stop in runs:
        if start > done:
            parts.append(_slice(x, done, start))
        parts.append(_slice(values, used, used + stop - start))
        done, used = stop, used + stop - start
    if done < x.shape[-1]:
        parts.append(_slice(x, done, x.shape[-1]))
    return _concatenate(parts)


def _slice(x, start: int, stop: int):
    return x if (start, stop) == (0, x.shape[-1]) else x[..., start:stop]


def _concatenate(parts):
    while len(parts) > 1:
        groups = [parts[i : i + CONCAT_ARITY] for i in range(0, len(parts), CONCAT_ARITY)]
        parts = [ops.concatenate(g, axis=-1) if len(g) > 1 else g[0] for g in groups]
    return parts[0]


# By form: the active channels `(..., k)` of a carry; and the carry with them updated.
TAKES = {
    SLICES: lambda block, carry: take_channels(carry, block.runs),
    CONVOLUTION: _take_by_convolution,
}
PUTS = {
    SLICES: lambda block, carry, carried, update: put_channels(carry, carried + update, block.runs),
    CONVOLUTION: _put_by_convolution,
}


def _selection(block: HighwayBlock) -> np.ndarray:
    """Returns the matrix `(channels, k)` of zeros and ones that picks the active channels."""
    return np.eye(block.channels, dtype=np.float32)[:, list(block.active)]


def _roughness(norm: keras.layers.BatchNormalization) -> float:
    """Returns how many times coarser 8 bits round what a norm gives if its scale is folded.

    Activations share one scale, set by the channel that reaches furthest. Where a norm scales one
    channel down to nearly nothing and then shifts it, the folded shift, b / g, is that channel.
    """
    gamma, beta, _, _ = (np.asarray(w, np.float64) for w in norm.get_weights())
    scale = _affine(norm)[0].astype(np.float64)
    reach = np.maximum(beta + 3 * gamma, 0)  # after the ReLU, three deviations up
    if not reach.any():
        return 1.0
    return float(np.max(reach / scale) * np.sqrt(np.mean(scale**2)) / np.max(reach))


def _affine(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scale and offset `(channels,)` of a batch norm in inference."""
    gamma, beta, mean, variance = (np.asarray(w, np.float64) for w in norm.get_weights())
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


def _copy(layer: keras.layers.Layer, weights: list) -> keras.layers.Layer:
    """Returns a layer of the same kind and name with weights of its own."""
    copy = type(layer).from_config(layer.get_config())
    copy.build((*[None] * (weights[0].ndim - 1), weights[0].shape[-2]))
    copy.set_weights(weights)
    return copy


def _one_by_one(matrix: np.ndarray, name: str) -> keras.layers.Layer:
    """Returns a 1x1 convolution by a matrix `(in, out)`."""
    layer = keras.layers.Conv2D(
        matrix.shape[1], 1, use_bias=False, data_format="channels_last", name=name
    )
    layer.build((None, None, None, matrix.shape[0]))
    layer.set_weights([matrix[None, None]])
    return layer


def _is_by_channel(layer: keras.layers.Rescaling) -> bool:
    """Returns whether a rescaling is of images of one size and few channels, each alike."""
    shapes = {tuple(node.input_tensors[0].shape) for node in layer._inbound_nodes}
    plain = max(np.ndim(layer.scale), np.ndim(layer.offset)) <= 1
    if len(shapes) > 1 or not plain:
        return False
    (shape,) = shapes
    return len(shape) == 4 and None not in shape[1:] and shape[-1] < _FEW


def _lowered_rescaling(layer: keras.layers.Rescaling) -> keras.Model:
    """Returns a model that rescales images row by row."""
    _, height, width, channels = layer.input.shape

    def row(value):
        return np.tile(np.broadcast_to(np.asarray(value, np.float32), channels), width)

    inputs = keras.Input((height, width, channels), name="inputs")
    rows = ops.reshape(inputs, (-1, height, width * channels))
    rows = rows * row(layer.scale) + row(layer.offset)
    outputs = ops.reshape(rows, (-1, height, width, channels))
    return keras.Model(inputs, outputs, name=layer.name)
