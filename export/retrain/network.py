"""A stock model as a Keras 2 network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tf_keras

Layer = Any  # Keras 2 has no types


class ChannelSlice(tf_keras.layers.Layer):
    """Takes `start` to `stop` of the last axis."""

    def __init__(self, start: int, stop: int, **kwargs):
        super().__init__(**kwargs)
        self.start, self.stop = start, stop

    def call(self, inputs):
        return inputs[..., self.start : self.stop]


class Network:
    """A Keras 2 model, and its layers by the names that they have in the stock model.

    Args:
        stock: what `export.stock.StockModel.to_json` wrote, read.
        weights: what its `weights` gave.
        wrap: `(node, layer) -> layer`, asked once for each layer, which has its weights by then.
    """

    def __init__(
        self,
        stock: Mapping[str, Any],
        weights: Mapping[str, np.ndarray],
        wrap: Callable[[dict[str, Any], Layer], Layer] = lambda node, layer: layer,
    ):
        self.layers: dict[str, Layer] = {}
        self.variables: dict[str, list[Any]] = {}
        inputs = tf_keras.Input(tuple(stock["shape"]))
        tensors = {stock["input"]: inputs}
        for node in stock["nodes"]:
            name, given = node["layer"], [tensors[source] for source in node["inputs"]]
            shapes = [tuple(tensor.shape) for tensor in given]
            if len(given) == 1:
                (given,), (shapes,) = given, shapes
            if name not in self.layers:
                layer = _make(node)
                layer.build(shapes)
                layer.set_weights([weights[f"{name}:{i}"] for i in range(len(layer.weights))])
                self.variables[name] = list(layer.weights)
                self.layers[name] = wrap(node, layer)
            tensors[node["name"]] = self.layers[name](given)
        self.model = tf_keras.Model(inputs, tensors[stock["nodes"][-1]["name"]])

    def weights(
        self, shipped: Callable[[Layer, list[np.ndarray]], list[np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Returns the weights, named as they came; `shipped` takes a layer and its values."""
        return {
            f"{name}:{i}": value
            for name, variables in self.variables.items()
            for i, value in enumerate(shipped(self.layers[name], [v.numpy() for v in variables]))
        }


def _make(node: Mapping[str, Any]) -> Layer:
    name = node["layer"].replace("/", ".")  # Keras 2 makes scopes of slashes
    if node["kind"] == "ChannelSlice":
        return ChannelSlice(**node["config"], name=name)
    return getattr(tf_keras.layers, node["kind"])(**node["config"], name=name)
