"""What each variant does to a layer while it trains, and what of it ships."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

Layer = Any  # Keras 2 has no types
Node = dict[str, Any]  # of `export.stock`, as JSON

CLUSTERED = ("clustered", "clustered-qat")
ROUNDED = ("qat-int8", "clustered-qat")

_KERNELS = (tf_keras.layers.Conv2D, tf_keras.layers.Dense)
_WEIGHTS_A_VALUE = 4  # a kernel with fewer weights for each value to share stays as it is

# Give out values that went in, so they need no rounding of their own.
_MOVES = ("ChannelSlice", "Concatenate", "Flatten", "ZeroPadding1D", "ZeroPadding2D", "Cropping1D",
          "Cropping2D", "MaxPooling1D", "MaxPooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
          "Maximum", "Minimum", "UpSampling1D")  # fmt: skip
# Ranges that int8 fixes for these, whatever the data.
_FIXED = {"sigmoid": (0.0, 255 / 256), "softmax": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}


class Scheme:
    """How to train on for one variant.

    Args:
        variant: "qat-int8", "clustered", "clustered-qat" or "sparse24".
        nodes: of the stock model.
        clusters: values that the weights of a kernel share.
    """

    def __init__(self, variant: str, nodes: Sequence[Node], clusters: int):
        self.variant, self.clusters = variant, clusters
        self.rounds = variant in ROUNDED
        self._rounded = _rounded_layers(nodes) if self.rounds else set()

    def wrap(self, node: Node, layer: Layer) -> Layer:
        """Returns a built layer as it trains."""
        has_kernel = isinstance(layer, _KERNELS)
        if self.variant in CLUSTERED and has_kernel:
            layer = self._clustered(layer)
        if self.variant == "sparse24" and has_kernel:
            # It halves each four weights by magnitude once, at its first step.
            return tfmot.sparsity.keras.prune_low_magnitude(layer, sparsity_m_by_n=(2, 4))
        output = _output_quantizer(node) if node["layer"] in self._rounded else None
        kernel = has_kernel and self.variant == "qat-int8"
        if output or kernel:
            return tfmot.quantization.keras.QuantizeWrapperV2(layer, Rounding(kernel, output))
        return layer

    def _clustered(self, layer: Layer) -> Layer:
        if np.prod(layer.kernel.shape) < _WEIGHTS_A_VALUE * self.clusters:
            return layer
        # Evenly spread values: those near 0 are then the most used, which is what compresses.
        # Where values are spread by density, all are used alike.
        start = tfmot.clustering.keras.CentroidInitialization.LINEAR
        return tfmot.clustering.keras.cluster_weights(layer, self.clusters, start)


def shipped(layer: Layer, values: list[np.ndarray]) -> list[np.ndarray]:
    """Returns a layer's weights as they ship.

    Args:
        layer: as `Scheme.wrap` gave it.
        values: of the variables of the layer inside, the kernel first.
    """
    if isinstance(layer, tfmot.quantization.keras.QuantizeWrapperV2):
        layer = layer.layer
    if hasattr(layer, "update_clustered_weights_associations"):
        layer.update_clustered_weights_associations()
        return [layer.layer.kernel.numpy(), *values[1:]]
    if hasattr(layer, "pruning_vars"):
        ((_, mask, _),) = layer.pruning_vars
        return [values[0] * mask.numpy(), *values[1:]]
    return values


class Rounding(tfmot.quantization.keras.QuantizeConfig):
    """Rounds a layer's kernel, output channel by output channel, and its output to 8 bits.

    TFMOT's own configs refuse a batch norm with no convolution before it, Subtract and Multiply.
    """

    def __init__(self, kernel: bool, output: Any):
        self.kernel, self.output = kernel, output

    def get_weights_and_quantizers(self, layer):
        quantizer = tfmot.quantization.keras.quantizers.LastValueQuantizer(
            num_bits=8, per_axis=True, symmetric=True, narrow_range=True
        )
        return [(layer.kernel, quantizer)] if self.kernel else []

    def set_quantize_weights(self, layer, quantize_weights):
        if self.kernel:
            (layer.kernel,) = quantize_weights

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_activations(self, layer, quantize_activations):
        """Rounds no activation within a layer: the stock model has them as layers."""

    def get_output_quantizers(self, layer):
        return [self.output] if self.output else []

    def get_config(self):
        return {"kernel": self.kernel, "output": self.output}


class Range(tfmot.quantization.keras.quantizers.MovingAverageQuantizer):
    """Rounds to 8 bits over a moving range; TFMOT's own moves by a thousandth a step, so that a
    short training would end where it began, at -6 to 6."""

    def __init__(self):
        super().__init__(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)

    def __call__(self, inputs, training, weights, **kwargs):
        low, high = weights["min_var"], weights["max_var"]
        if training:  # a range holds 0, which int8 must represent
            low.assign_sub(0.1 * (low - tf.minimum(tf.reduce_min(inputs), 0.0)))
            high.assign_sub(0.1 * (high - tf.maximum(tf.reduce_max(inputs), 0.0)))
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high)


def _output_quantizer(node: Node) -> Any:
    fixed = _FIXED.get(node["config"].get("activation", ""))
    if fixed is None:
        return Range()
    return tfmot.quantization.keras.quantizers.FixedQuantizer(8, *fixed, narrow_range=False)


def _rounded_layers(nodes: Sequence[Node]) -> set[str]:
    """Returns the layers whose output int8 rounds: all but those that only move values, and those
    that the converter fuses with the one layer that reads them."""
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node["inputs"]:
            readers.setdefault(name, []).append(node)
    rounded = set()
    for node in nodes:
        reading = readers.get(node["name"], [])
        fused = len(reading) == 1 and _fuses(node, reading[0])
        if node["kind"] not in _MOVES and not _is(node, "linear") and not fused:
            rounded.add(node["layer"])
    return rounded


def _fuses(node: Node, reader: Node) -> bool:
    if reader["kind"] == "BatchNormalization":
        return node["kind"] in ("Conv1D", "Conv2D", "Dense")
    return reader["kind"] == "ReLU" or _is(reader, "relu")


def _is(node: Node, activation: str) -> bool:
    return node["kind"] == "Activation" and node["config"]["activation"] == activation
