"""Reading and re-running a Keras graph: find its highway blocks, watch their gates.

Works on functional and sequential models, and on models nested in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import numpy as np

from hwkeras.layers import HighwayBlock


class GraphError(ValueError):
    """A model whose graph cannot be read or rebuilt; the message says why."""


def highway_blocks(model: keras.Model) -> dict[str, HighwayBlock]:
    """Returns the highway blocks of a model by name, in the order of its graph.

    Raises:
        GraphError: if two blocks share a name.
    """
    blocks: dict[str, HighwayBlock] = {}
    for layer in all_layers(model):
        if isinstance(layer, HighwayBlock):
            if blocks.setdefault(layer.name, layer) is not layer:
                raise GraphError(f"two highway blocks are named {layer.name!r}; rename one")
    return blocks


def require_blocks(model: keras.Model) -> dict[str, HighwayBlock]:
    """Returns `highway_blocks`, and raises GraphError if there are none."""
    blocks = highway_blocks(model)
    if not blocks:
        raise GraphError(
            f"model {model.name!r} has no highway block: expected HighwayConv2D or HighwayDense"
            " layers"
        )
    return blocks


def all_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a model and of the models nested in it, each once; no models."""
    seen: set[int] = set()

    def visit(nested):
        for layer in nested.layers:
            if isinstance(layer, keras.Model):
                yield from visit(layer)
            elif id(layer) not in seen:
                seen.add(id(layer))
                yield layer

    yield from visit(model)


def as_functional(model: keras.Model) -> keras.Model:
    """Returns a functional model on the same layers, not compiled.

    A clone of a compiled model would be compiled, which fails for a loss that is not registered.

    Raises:
        GraphError: if the model is subclassed or was never built: it has no graph to read.
    """
    if not isinstance(model, keras.Model):
        raise GraphError(f"expected a Keras model, found {type(model).__name__}")
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if isinstance(model, keras.Sequential) or not getattr(model, "inputs", None):
        raise GraphError(
            f"model {model.name!r} has no graph: expected a functional model, or a sequential one"
            f" that was built; found {type(model).__name__}"
        )
    return keras.Model(model.input, model.output, name=model.name)


def rewire(model: keras.Model, replace: Callable, call: Callable | None = None) -> keras.Model:
    """Returns a new functional model with each layer replaced and called as asked, not compiled.

    Args:
        model: functional or built sequential model; untouched.
        replace: `layer -> layer`, asked once for each layer that is no model, even if models
            nested in this one share it.
        call: `layer, *args, **kwargs -> outputs`, how to call the layer that `replace` gave.

    Raises:
        GraphError: if the model has no graph.
    """
    made: dict[int, keras.layers.Layer] = {}

    def replace_once(layer):
        if id(layer) not in made:
            nested = isinstance(layer, keras.Model)
            made[id(layer)] = clone(layer) if nested else replace(layer)
        return made[id(layer)]

    def clone(model):
        return keras.models.clone_model(
            as_functional(model), clone_function=replace_once, call_function=call
        )

    return clone(model)


def set_weights(layer: keras.layers.Layer, weights: list[np.ndarray]) -> None:
    """Sets the weights of a layer or model, and with them what its Normalizations compute with."""
    layer.set_weights(weights)
    for part in layer._flatten_layers():  # the only way into layers inside layers
        if isinstance(part, keras.layers.Normalization):
            part.finalize_state()


def with_gates(model: keras.Model) -> keras.Model:
    """Returns a model on the same layers with outputs `{"outputs": ..., "gates": ...}`.

    `outputs` are the model's own; `gates[block]` is a list with one entry for each call of the
    block, each as `HighwayBlock.call(return_gates=True)` gives it. Blocks without an active
    channel are left out.

    Raises:
        GraphError: if the model has no graph.
    """
    gates: dict[str, list] = {}

    def watch(layer):
        if isinstance(layer, keras.Model):
            return with_gates(layer)
        return _Watched(layer) if isinstance(layer, HighwayBlock) and layer.active else layer

    def call(layer, *args, **kwargs):
        result = layer(*args, **kwargs)
        if isinstance(layer, _Watched):
            gates.setdefault(layer.block.name, []).append(result[1])
            return result[0]
        if isinstance(layer, keras.Model):
            for name, calls in result["gates"].items():
                gates.setdefault(name, []).extend(calls)
            return result["outputs"]
        return result

    watched = keras.models.clone_model(
        as_functional(model), clone_function=watch, call_function=call
    )
    return keras.Model(watched.input, {"outputs": watched.output, "gates": gates})


class _Watched(keras.layers.Layer):
    """A block that always returns its gates: Keras wants a layer to return one structure."""

    def __init__(self, block: HighwayBlock):
        super().__init__(name=f"{block.name}_watched", dtype=block.dtype_policy)
        self.block = block

    def call(self, inputs, training=None):
        return self.block(inputs, training=training, return_gates=True)
