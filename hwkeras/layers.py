"""The highway block: a transform, a gate that decides how much of it is used, and a carry.

    z = relu(norm(x))
    h = transform(z)
    t = sigmoid(gate(h))
    c = x, or projection(x) where the shape changes
    y = c, with y[active] = c[active] + t * (h - c[active])

`active` are the channels that a block transforms: all of them in a fresh block, fewer in a pruned
one. Every other channel is carried. One class serves dense and slim models, so a slim model can be
trained, measured and pruned again.

Source: Srivastava, Greff, Schmidhuber, "Training Very Deep Networks", NIPS 2015
(https://arxiv.org/abs/1507.06228); the gate that reads h instead of x is the pruning poster's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import keras
from keras import ops

from hwkeras.conv import FastConv2D
from hwkeras.cost import BlockShape
from hwkeras.norm import FusedBatchNormalization
from hwkeras.order import contiguous_runs


class HighwayBlock(keras.layers.Layer):
    """What `HighwayConv2D` and `HighwayDense` share; not a layer of its own.

    A subclass says how to make the transform, the gate and the projection.
    """

    def __init__(
        self,
        channels: int,
        active: Sequence[int] | None = None,
        gate_bias: float = -1.0,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        projects: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not isinstance(channels, int) or channels < 1:
            raise ValueError(f"`channels` must be a positive integer. Received: {channels}")
        kept = range(channels) if active is None else [int(channel) for channel in active]
        if list(kept) != sorted(set(kept)) or not set(kept) <= set(range(channels)):
            raise ValueError(
                f"`active` must hold ascending channel numbers from 0 to {channels - 1}, each once."
                f" Received: active={list(kept)}"
            )
        self.channels = channels
        self.active = tuple(kept)
        self.gate_bias = gate_bias
        self.momentum = momentum
        self.epsilon = epsilon
        self.projects = projects
        self.runs = contiguous_runs(self.active)

    def make_transform(self, channels: int) -> keras.layers.Layer:
        raise NotImplementedError

    def make_gate(self, channels: int) -> keras.layers.Layer:
        raise NotImplementedError

    def make_projection(self, channels: int) -> keras.layers.Layer:
        raise NotImplementedError

    def changes_shape(self, input_shape: tuple[int | None, ...]) -> bool:
        """Returns whether the carry needs a projection."""
        return self.projects or input_shape[-1] != self.channels

    def build(self, input_shape):
        if input_shape[-1] is None:
            raise ValueError(f"{self.name}: the input's channels must be known: {input_shape}")
        self.norm: Any = None
        self.transform: Any = None
        self.gate: Any = None
        self.projection: Any = None
        if self.changes_shape(input_shape):
            self.projection = self.make_projection(self.channels)
            self.projection.build(input_shape)
        if self.active:
            self.norm = FusedBatchNormalization(
                momentum=self.momentum,
                epsilon=self.epsilon,
                name="norm",
                dtype=self.dtype_policy,
            )
            self.norm.build(input_shape)
            self.transform = self.make_transform(len(self.active))
            self.transform.build(input_shape)
            transformed = self.transform.compute_output_shape(input_shape)
            self.gate = self.make_gate(len(self.active))
            self.gate.build(transformed)

    def call(self, inputs, training=None, return_gates=False):
        """Returns y; with `return_gates`, also what the gates did.

        Args:
            inputs: `(batch, ..., in_channels)`.
            training: whether batch statistics are used and moved.
            return_gates: return `(y, gates)`, where `gates` holds, each `(batch, k)` over the k
                active channels: "mean_gate" and "max_gate" of t over the positions, and
                "mean_update" of |t * (h - c)|.
        """
        carry = inputs if self.projection is None else self.projection(inputs)
        if not self.active:
            return (carry, {}) if return_gates else carry
        h = self.transform(ops.relu(self.norm(inputs, training=training)))  # (..., k)
        t = ops.sigmoid(self.gate(h))  # (..., k)
        parts = split_channels(carry, [edge for run in self.runs for edge in run])
        mine = slice(int(self.runs[0][0] > 0), None, 2)  # carried and active parts alternate
        carried = join_channels(parts[mine])  # (..., k)
        update = t * (h - carried)
        ends = accumulate(stop - start for start, stop in self.runs)
        parts[mine] = split_channels(carried + update, ends)
        outputs = join_channels(parts)
        if not return_gates:
            return outputs
        axes = tuple(range(1, len(t.shape) - 1))
        gates = {
            "mean_gate": ops.mean(t, axes) if axes else t,
            "max_gate": ops.max(t, axes) if axes else t,
            "mean_update": ops.mean(ops.abs(update), axes) if axes else ops.abs(update),
        }
        return outputs, gates

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.channels)

    def block_shape(self) -> BlockShape:
        """Returns the shape that the block's cost depends on; the layer must have been called."""
        raise NotImplementedError

    def get_config(self):
        fresh = len(self.active) == self.channels
        return {
            **super().get_config(),
            "channels": self.channels,
            "active": None if fresh else list(self.active),
            "gate_bias": self.gate_bias,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "projects": self.projects,
        }


@keras.saving.register_keras_serializable("hwkeras")
class HighwayConv2D(HighwayBlock):
    """A highway block of 3x3 convolutions.

    Args:
        channels: channels of the output stream (C).
        kernel_size: side or (height, width) of the transform's and the gate's kernel.
        strides: stride of the transform and of the projection.
        active: ascending channel numbers that the block transforms; all by default.
        gate_bias: where the gate's bias starts; below 0, so that a fresh block mostly carries.
        momentum: of the batch norm's moving statistics.
        epsilon: of the batch norm.
        projects: whether the carry has a projection even where the shape stays the same: a cut
            stream may become as wide as the one it is made from.

    Input shape: `(batch, height, width, in_channels)`.
    Output shape: `(batch, ceil(height / stride), ceil(width / stride), channels)`.

    Raises:
        ValueError: if `active` is not ascending or names a channel that does not exist.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int] = 3,
        strides: int | Sequence[int] = 1,
        **kwargs,
    ):
        super().__init__(channels, **kwargs)
        self.kernel_size = _pair(kernel_size)
        self.strides = _pair(strides)

    def _conv(self, channels, kernel_size, strides=(1, 1), **kwargs):
        return FastConv2D(
            channels,
            kernel_size,
            strides=strides,
            padding="same",
            data_format="channels_last",
            dtype=self.dtype_policy,
            **kwargs,
        )

    def make_transform(self, channels):
        return self._conv(
            channels, self.kernel_size, self.strides, kernel_initializer=small_kernels(),
            name="transform",
        )  # fmt: skip

    def make_gate(self, channels):
        return self._conv(
            channels, self.kernel_size, kernel_initializer=small_kernels(),
            bias_initializer=keras.initializers.Constant(self.gate_bias), name="gate",
        )  # fmt: skip

    def make_projection(self, channels):
        return self._conv(channels, 1, self.strides, use_bias=False, name="projection")

    def changes_shape(self, input_shape):
        return super().changes_shape(input_shape) or self.strides != (1, 1)

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        out = (
            None if side is None else -(-side // step)
            for side, step in zip(sides, self.strides, strict=True)
        )
        return (batch, *out, self.channels)

    def block_shape(self):
        height, width = self.output.shape[1:3]
        return BlockShape(
            in_channels=self.input.shape[-1],
            channels=self.channels,
            kernel=self.kernel_size,
            positions=(height or 1) * (width or 1),
            projection=self.projection is not None,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
        }


@keras.saving.register_keras_serializable("hwkeras")
class HighwayDense(HighwayBlock):
    """A highway block of dense layers, for tables and for the end of a network.

    Args:
        channels: units of the output stream (C).
        active: ascending unit numbers that the block transforms; all by default.
        gate_bias: where the gate's bias starts.
        momentum: of the batch norm's moving statistics.
        epsilon: of the batch norm.
        projects: whether the carry has a projection even where the width stays the same.

    Input shape: `(batch, ..., in_channels)`. Output shape: `(batch, ..., channels)`.

    Raises:
        ValueError: if `active` is not ascending or names a unit that does not exist.
    """

    def make_transform(self, channels):
        return self._dense(channels, kernel_initializer=small_kernels(), name="transform")

    def make_gate(self, channels):
        return self._dense(
            channels, kernel_initializer=small_kernels(),
            bias_initializer=keras.initializers.Constant(self.gate_bias), name="gate",
        )  # fmt: skip

    def make_projection(self, channels):
        return self._dense(channels, use_bias=False, name="projection")

    def _dense(self, channels, **kwargs):
        return keras.layers.Dense(channels, dtype=self.dtype_policy, **kwargs)

    def block_shape(self):
        return BlockShape(
            in_channels=self.input.shape[-1],
            channels=self.channels,
            kernel=(),
            positions=math.prod(side or 1 for side in self.output.shape[1:-1]),
            projection=self.projection is not None,
        )


def small_kernels() -> keras.initializers.Initializer:
    """Returns the initializer of transforms and gates: uniform, with a variance of 1 / (3 fan in).

    He's variance of 2 / fan in makes h as large as what is carried, so that a deep stack of fresh
    blocks drowns its input in noise (`results/cifar10/initialization.json`).
    """
    return keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)


def split_channels(x, edges: Iterable[int]) -> list:
    """Returns x `(..., channels)` in parts that meet at the edges; one at either end parts nothing.

    One operator for all of them: its gradient is one concatenation, where that of every slice is
    as large as x.
    """
    inner = [edge for edge in edges if 0 < edge < x.shape[-1]]
    return list(ops.split(x, inner, axis=-1)) if inner else [x]


def join_channels(parts: Sequence):
    """Returns the parts `(..., any)` behind one another."""
    return ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
