"""Which tensors of a graph must keep their channels in the same order, and which are free to
change it.

A stream is a set of layer inputs and outputs whose channels correspond one to one: a chain of
highway blocks, what lies between them channel by channel, and the inputs of what reads them. If
every layer at a stream is known, its channels can be put in any order and nothing changes, because
the layers that make it and the layers that read it are permuted along. For the same reason a
channel can be cut out of it: they all lose that channel.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from hwkeras.graph import rewire
from hwkeras.layers import HighwayConv2D, HighwayDense

# Give out what they take in, channel by channel, and have no weights. Exactly these: a subclass,
# or an operation of the same name with a constant of its own, may do anything.
_CHANNELWISE = frozenset(
    getattr(keras.layers, name)
    for name in (
        "ReLU", "LeakyReLU", "ELU", "Dropout", "SpatialDropout1D", "SpatialDropout2D",
        "GaussianNoise", "GaussianDropout", "MaxPooling1D", "MaxPooling2D", "AveragePooling1D",
        "AveragePooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D",
        "GlobalMaxPooling1D", "GlobalMaxPooling2D", "ZeroPadding1D", "ZeroPadding2D",
        "Cropping1D", "Cropping2D", "UpSampling1D", "UpSampling2D", "Identity",
        "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum",
    )
)  # fmt: skip
_BLOCKS = (HighwayConv2D, HighwayDense)
# Read all channels by a kernel `(..., in, out)`, and what their config calls its `out`.
WIDTHS = {
    HighwayConv2D: "channels", HighwayDense: "channels", keras.layers.Dense: "units",
    keras.layers.Conv1D: "filters", keras.layers.Conv2D: "filters",
}  # fmt: skip
_RECTIFIERS = frozenset(
    getattr(keras.layers, name) for name in ("ReLU", "LeakyReLU", "ELU", "Activation")
)
_MIXING_ACTIVATIONS = ("softmax", "log_softmax", "glu", "sparsemax")  # look across channels


@dataclasses.dataclass(frozen=True)
class Streams:
    """The streams of a model.

    Attributes:
        reads: name of the stream that each layer takes in, by the layer's name; None for one
            whose order must stay.
        makes: name of the stream that each layer gives out, likewise.
        norms: name of the batch norm that each layer reads the outcome of, and whether through an
            activation, by the layer's name; only layers without weights lie between.
    """

    reads: dict[str, str | None]
    makes: dict[str, str | None]
    norms: dict[str, tuple[str, bool]] = dataclasses.field(default_factory=dict)


def find_streams(model: keras.Model) -> Streams:
    """Returns the streams of a model; a stream is named after the first layer that makes it.

    The order of a model's inputs and outputs stays, and so does that of every stream at a layer
    which is not known to treat channels alike: flattening, concatenation, a nested model, a layer
    of one's own.

    Raises:
        GraphError: if the model has no graph.
    """
    groups = _Groups()
    tensors: dict[int, tuple[Any, Any]] = {}  # a tensor, kept alive for its id, and its group
    normed: dict[int, tuple[str, bool]] = {}  # likewise, and the batch norm it comes from
    norms: dict[str, tuple[str, bool]] = {}
    named: dict[str, Any] = {}
    widths: dict[str, int | None] = {}

    def group_of(tensor):
        if id(tensor) not in tensors:  # a model's input
            tensors[id(tensor)] = (tensor, ("input", id(tensor)))
            groups.pin(("input", id(tensor)))
        return tensors[id(tensor)][1]

    def call(layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        reads, makes = ("in", layer.name), ("out", layer.name)
        given = keras.tree.flatten((args, kwargs))
        inputs = [x for x in given if _is_tensor(x)]
        for tensor in inputs:
            groups.join(reads, group_of(tensor))
        for tensor in keras.tree.flatten(outputs):
            tensors[id(tensor)] = (tensor, makes)
        if len(inputs) == 1 and id(inputs[0]) in normed:
            norms[layer.name] = normed[id(inputs[0])]
        if (norm := _norm_behind(layer, norms)) and _is_tensor(outputs):
            normed[id(outputs)] = norm
        if isinstance(layer, keras.Model):  # its own outputs leave it here
            for tensor in keras.tree.flatten(layer.output):
                groups.pin(group_of(tensor))
        same_name = named.setdefault(layer.name, layer) is layer
        found = {tensor.shape[-1] for tensor in inputs}  # in this call and in all before it
        same_width = found == {widths.setdefault(layer.name, next(iter(found), None))}
        # An array may hold a value for each channel.
        no_array = not any(np.ndim(x) for x in given if not _is_tensor(x))
        known = same_name and same_width and no_array
        if known and _passes_channels(layer):
            groups.join(reads, makes)
        elif not (known and _mixes_channels(layer)):
            groups.pin(reads)
            groups.pin(makes)
        return outputs

    rewired = rewire(model, lambda layer: layer, call)
    for tensor in keras.tree.flatten(rewired.output):
        groups.pin(group_of(tensor))
    return Streams(groups.names("in"), groups.names("out"), norms)


def _norm_behind(layer, norms: dict[str, tuple[str, bool]]) -> tuple[str, bool] | None:
    """Returns the batch norm that a layer's output comes from, and whether by an activation."""
    if type(layer) is keras.layers.BatchNormalization:
        return layer.name, False
    if layer.name not in norms or type(layer) in _BLOCKS or not _passes_channels(layer):
        return None
    norm, rectified = norms[layer.name]
    return norm, rectified or type(layer) in _RECTIFIERS


def _passes_channels(layer) -> bool:
    """Returns whether channel i goes in and channel i comes out."""
    if type(layer) in _BLOCKS:
        return layer.projection is None
    if type(layer) is keras.layers.BatchNormalization:
        return layer.axis in (-1, len(layer.output.shape) - 1)
    if type(layer) is keras.layers.Activation:
        return _is_elementwise(layer.activation)
    if type(layer) is keras.layers.Rescaling:
        return np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0
    if (getattr(layer, "noise_shape", None) or (None,))[-1] not in (None, 1):
        return False  # a dropout that counts the channels
    channels_last = getattr(layer, "data_format", "channels_last") == "channels_last"
    return channels_last and type(layer) in _CHANNELWISE


def _mixes_channels(layer) -> bool:
    """Returns whether a layer reads all channels by a kernel `(..., in, out)` that we permute."""
    if type(layer) in _BLOCKS:
        return True
    return (
        type(layer) in WIDTHS
        and getattr(layer, "groups", 1) == 1
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and _is_elementwise(layer.activation)
        and not layer.get_config().get("lora_rank")
    )


def _is_elementwise(activation) -> bool:
    """Returns whether an activation is Keras's own and looks at one value at a time."""
    name = getattr(activation, "__name__", None)  # a layer used as one has none
    ours = getattr(activation, "__module__", "").split(".")[0] == "keras"
    return ours and name is not None and name not in _MIXING_ACTIVATIONS


def _is_tensor(value) -> bool:
    return isinstance(value, keras.KerasTensor)


class _Groups:
    """Union-find over layer inputs and outputs."""

    def __init__(self):
        self.parent: dict[Any, Any] = {}
        self.pinned: set[Any] = set()

    def root(self, key):
        self.parent.setdefault(key, key)
        while self.parent[key] != key:
            key = self.parent[key]
        return key

    def join(self, one, other) -> None:
        one, other = self.root(one), self.root(other)
        if one != other:
            self.parent[other] = one
            if other in self.pinned:
                self.pinned.add(one)

    def pin(self, key) -> None:
        self.pinned.add(self.root(key))

    def names(self, side: str) -> dict[str, str | None]:
        """Returns the stream's name, or None, for each layer's input ("in") or output ("out")."""
        makers: dict[Any, str] = {}
        for key in self.parent:  # in the order of the graph
            if key[0] == "out":
                makers.setdefault(self.root(key), key[1])
        return {
            key[1]: None if self.root(key) in self.pinned else makers.get(self.root(key))
            for key in self.parent
            if key[0] == side
        }
