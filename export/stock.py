"""A Keras 3 model as a flat list of stock layers that any Keras can build: no highway blocks, no
nested models. Keras 2, the only one that TensorFlow Model Optimization speaks, is what it is for.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import keras
import numpy as np

from export.tflite import ExportError
from hwkeras.conv import FastConv2D
from hwkeras.graph import GraphError, as_functional
from hwkeras.layers import HighwayBlock
from hwkeras.norm import FusedBatchNormalization
from hwkeras.order import contiguous_runs

# Keras's own in all but speed.
_OURS = {
    FastConv2D: keras.layers.Conv2D,
    FusedBatchNormalization: keras.layers.BatchNormalization,
}
# What must be told of each layer that has the same name and meaning in Keras 2.
_CONV = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "use_bias")
_POOL = ("pool_size", "strides", "padding")
_SETTINGS = {
    "Conv1D": _CONV, "Conv2D": _CONV, "Dense": ("units", "use_bias"),
    "BatchNormalization": ("momentum", "epsilon", "center", "scale"),
    "ReLU": ("max_value", "negative_slope", "threshold"), "ELU": ("alpha",),
    "MaxPooling1D": _POOL, "MaxPooling2D": _POOL,
    "AveragePooling1D": _POOL, "AveragePooling2D": _POOL,
    "GlobalAveragePooling1D": ("keepdims",), "GlobalAveragePooling2D": ("keepdims",),
    "GlobalMaxPooling1D": ("keepdims",), "GlobalMaxPooling2D": ("keepdims",),
    "ZeroPadding1D": ("padding",), "ZeroPadding2D": ("padding",),
    "Cropping1D": ("cropping",), "Cropping2D": ("cropping",),
    "UpSampling1D": ("size",), "UpSampling2D": ("size", "interpolation"),
    "Add": (), "Subtract": (), "Multiply": (), "Average": (), "Maximum": (), "Minimum": (),
    "Concatenate": ("axis",), "Flatten": (), "Rescaling": ("scale", "offset"),
    "Activation": (),
}  # fmt: skip
_TRAINING_ONLY = (
    "Identity", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise",
    "GaussianDropout",
)  # fmt: skip
_ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh", "elu", "selu", "softplus", "softmax")


@dataclasses.dataclass(frozen=True)
class Node:
    """One call of one stock layer.

    Attributes:
        name: of its output.
        layer: name of the layer; calls of one layer share it.
        kind: the layer's class, or "ChannelSlice", which takes start to stop of the last axis.
        config: arguments of the class.
        inputs: names of nodes, or of the model's input.
    """

    name: str
    layer: str
    kind: str
    config: dict[str, Any]
    inputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class StockModel:
    """A model as stock layers.

    Attributes:
        input: name of the input.
        shape: of the input, without the batch.
        nodes: in the order of computation; the last one is the output.
        variables: of each layer that has any, in the order of `get_weights` in every Keras.
    """

    input: str
    shape: tuple[int, ...]
    nodes: tuple[Node, ...]
    variables: dict[str, list[Any]]

    def to_json(self) -> str:
        nodes = [dataclasses.asdict(node) for node in self.nodes]
        return json.dumps({"input": self.input, "shape": self.shape, "nodes": nodes})

    def weights(self) -> dict[str, np.ndarray]:
        """Returns the weights, float32, each under `<layer>:<number>`."""
        return {
            f"{layer}:{number}": np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
            for layer, variables in self.variables.items()
            for number, variable in enumerate(variables)
        }

    def assign(self, weights: dict[str, np.ndarray]) -> None:
        """Gives the model other weights, named as `weights()` names them."""
        for layer, variables in self.variables.items():
            for number, variable in enumerate(variables):
                variable.assign(weights[f"{layer}:{number}"])


def as_stock_layers(model: keras.Model) -> StockModel:
    """Returns a model as stock layers.

    Args:
        model: functional or built sequential, one input and one output; untouched.

    Raises:
        ExportError: if it has no graph, or several inputs or outputs, or holds a layer that Keras 2
            may not compute alike; the message names it.
    """
    try:
        model = as_functional(model)
    except GraphError as error:
        raise ExportError(str(error)) from None
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ExportError(
            f"expected a model with one input and one output to train on; {model.name!r} has"
            f" {len(model.inputs)} and {len(model.outputs)}"
        )
    graph = _Graph()
    (output,) = graph.add(model, [model.inputs[0].name])
    # Whatever comes last, the output is the last node. No layer of a model's own has such a name.
    graph.call("output/", "Activation", [output], activation="linear")
    shape = tuple(model.inputs[0].shape[1:])
    return StockModel(model.inputs[0].name, shape, tuple(graph.nodes), graph.variables)


class _Graph:
    """The nodes so far, and which of them made which symbolic tensor."""

    def __init__(self):
        self.nodes: list[Node] = []
        self.variables: dict[str, list[Any]] = {}
        self.makers: dict[int, tuple[Any, str]] = {}  # a tensor, kept alive for its id, and a node

    def add(self, model: keras.Model, inputs: list[str], where: str = "") -> list[str]:
        """Adds a model's layers, called on the nodes `inputs`; returns the nodes of its outputs."""
        given = dict(zip([tensor.name for tensor in model.inputs], inputs, strict=True))

        def name_of(tensor) -> str:
            if id(tensor) in self.makers:
                return self.makers[id(tensor)][1]
            return given[tensor._keras_history.operation.name]  # a copy of an input

        def call(layer, *args, **kwargs):
            output = layer(*args, **kwargs)
            values = keras.tree.flatten((args, kwargs))
            sources = [name_of(value) for value in values if isinstance(value, keras.KerasTensor)]
            if isinstance(layer, keras.Model):
                made = self.add(as_functional(layer), sources, f"{where}{layer.name}/")
            else:
                made = [self.layer(layer, where + layer.name, sources)]
            for tensor, name in zip(keras.tree.flatten(output), made, strict=True):
                self.makers[id(tensor)] = tensor, name
            return output

        copy = keras.models.clone_model(
            model, clone_function=lambda layer: layer, call_function=call
        )
        return [name_of(tensor) for tensor in keras.tree.flatten(copy.output)]

    def call(self, layer: str, kind: str, inputs: list[str], **config) -> str:
        """Adds one node and returns its name."""
        calls = sum(node.layer == layer for node in self.nodes)
        name = f"{layer}@{calls}" if calls else layer
        self.nodes.append(Node(name, layer, kind, config, tuple(inputs)))
        return name

    def layer(self, layer, name: str, inputs: list[str]) -> str:
        """Adds a layer's nodes and returns the name of the last one."""
        if isinstance(layer, HighwayBlock):
            return self.block(layer, name, inputs[0])
        found = _OURS.get(type(layer), type(layer))
        kind = found.__name__
        stock = found is getattr(keras.layers, kind, None)
        if stock and kind in _TRAINING_ONLY:
            return inputs[0]
        if stock and kind == "LeakyReLU":
            return self.call(name, "ReLU", inputs, negative_slope=float(layer.negative_slope))
        if stock and kind == "Normalization" and not layer.invert:
            deviation = np.maximum(np.sqrt(layer.variance), keras.config.epsilon())
            scale, offset = 1 / deviation, -np.asarray(layer.mean) / deviation
            return self.call(name, "Rescaling", inputs, scale=_plain(scale), offset=_plain(offset))
        if not stock or kind not in _SETTINGS or not _looks_at_the_last_axis(layer):
            raise ExportError(
                f"layer {name!r} ({kind}) is not known in Keras 2: it can be exported as it is, but"
                " not trained on"
            )
        config = layer.get_config()
        if layer.weights:
            self.variables[name] = list(layer.weights)
        if kind == "Rescaling":  # the config wraps arrays in a way of Keras 3
            config |= {"scale": layer.scale, "offset": layer.offset}
        settings = {key: _plain(config[key]) for key in _SETTINGS[kind]}
        activation = self.activation_of(layer, name)
        if kind == "Activation":
            return self.call(name, kind, inputs, activation=activation)
        output = self.call(name, kind, inputs, **settings)
        if activation != "linear":
            output = self.call(f"{name}/{activation}", "Activation", [output],
                               activation=activation)  # fmt: skip
        return output

    def activation_of(self, layer, name: str) -> str:
        activation = getattr(layer, "activation", keras.activations.linear)
        found = getattr(activation, "__name__", str(activation))
        if found not in _ACTIVATIONS or activation is not getattr(keras.activations, found):
            raise ExportError(f"layer {name!r}: the activation {found!r} is not known in Keras 2")
        return found

    def block(self, block: HighwayBlock, name: str, source: str) -> str:
        """Adds a highway block as its formula; `hwkeras.layers` has it."""
        carry = source
        if block.projection is not None:
            carry = self.layer(block.projection, f"{name}/projection", [source])
        if not block.active:
            return carry
        normed = self.layer(block.norm, f"{name}/norm", [source])
        z = self.call(f"{name}/relu", "ReLU", [normed])
        h = self.layer(block.transform, f"{name}/transform", [z])
        logit = self.layer(block.gate, f"{name}/gate", [h])
        t = self.call(f"{name}/sigmoid", "Activation", [logit], activation="sigmoid")

        runs, width, part = contiguous_runs(block.active), block.channels, len(block.active)
        carried = self.joined(
            f"{name}/take", [self.slice(f"{name}/carry", carry, *run, width) for run in runs]
        )
        difference = self.call(f"{name}/difference", "Subtract", [h, carried])
        update = self.call(f"{name}/update", "Multiply", [t, difference])
        updated = self.call(f"{name}/updated", "Add", [carried, update])

        parts, done, used = [], 0, 0
        for start, stop in (*runs, (width, width)):
            if start > done:
                parts.append(self.slice(f"{name}/rest", carry, done, start, width))
            if stop > start:
                end = used + stop - start
                parts.append(self.slice(f"{name}/new", updated, used, end, part))
                used = end
            done = stop
        return self.joined(f"{name}/put", parts)

    def slice(self, name: str, source: str, start: int, stop: int, width: int) -> str:
        if (start, stop) == (0, width):
            return source
        return self.call(f"{name}{start}", "ChannelSlice", [source], start=start, stop=stop)

    def joined(self, name: str, parts: list[str]) -> str:
        return self.call(name, "Concatenate", parts, axis=-1) if len(parts) > 1 else parts[0]


def _looks_at_the_last_axis(layer) -> bool:
    """Returns whether channels are last for a layer to which it matters."""
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return False
    axis = layer.get_config().get("axis", -1)
    return axis == -1 or axis == len(layer.output.shape) - 1


def _plain(value: Any) -> Any:
    """Returns a setting as JSON can hold it."""
    return np.asarray(value).tolist() if value is not None else None
