"""Applying a plan: a new model without the pruned channels; the old one is untouched."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from hwkeras.graph import all_layers, highway_blocks, require_blocks, rewire, set_weights
from hwkeras.layers import HighwayBlock
from hwkeras.plan import PlanError, PruningPlan
from hwkeras.stats import model_digest
from hwkeras.streams import WIDTHS, Streams, find_streams


def apply_plan(model: keras.Model, plan: PruningPlan) -> keras.Model:
    """Returns a slim functional model, not compiled: `model` with the pruned channels only carried.

    Exactly: on the pruned channels of a block, its gate is t = 0 and its transform is h = 0. The
    second matters because the gate reads h: a pruned channel feeds the gates of the others no more.

    A channel that the plan cuts out of its stream is not even carried: the layers that make it
    make it no more, and its readers (transforms, projections, dense layers, convolutions) compute
    what they do with 0 in that channel's rows of their kernels.

    A block left with no channel disappears from the graph; if its carry has a projection, the
    projection stays. Everything else is copied, weights included.

    Args:
        model: functional or sequential, possibly pruned before, with any other Keras layers,
            inputs and outputs.
        plan: made for this model.

    Raises:
        PlanError: if the plan was made for another model; names the first block that differs.
        GraphError: if the model has no graph.
    """
    blocks = require_blocks(model)
    check_plan(model, plan)
    kept = {block.name: block.kept for block in plan.blocks}
    orders = _Orders(model, plan)
    made: dict[int, keras.layers.Layer] = {}

    def slim(layer):
        config = layer.get_config()
        if isinstance(layer, HighwayBlock):
            channels = kept.get(layer.name, layer.active)
            config["active"] = sorted(orders.positions(layer, channels))
            config["projects"] = layer.projection is not None  # whatever the widths are now
        if (width := orders.width(layer)) is not None:
            config[WIDTHS[type(layer)]] = width
        made[id(layer)] = layer.__class__.from_config(config)
        return made[id(layer)]

    def call(layer, *args, **kwargs):
        if isinstance(layer, HighwayBlock) and not layer.active:
            if blocks[layer.name].projection is None:
                return args[0] if args else kwargs["inputs"]
        return layer(*args, **kwargs)

    result = rewire(model, slim, call)
    for layer in all_layers(model):
        copy = made.get(id(layer))  # none for an input
        if copy is None or not copy.built:
            continue  # a block that disappeared was never called
        reads, makes = orders.reads(layer), orders.makes(layer)
        if isinstance(layer, HighwayBlock):
            channels = np.array(kept.get(layer.name, layer.active), int)
            channels = channels[np.argsort(orders.positions(layer, channels))]
            weights = _block_weights(layer, channels, reads, makes)
        else:
            weights = _layer_weights(layer, reads, makes)
        set_weights(copy, weights)
    return result


def check_plan(model: keras.Model, plan: PruningPlan) -> None:
    """Raises PlanError, naming the first block that differs, if the plan is for another model."""
    blocks = {name: block for name, block in highway_blocks(model).items() if block.active}
    planned = {block.name: block for block in plan.blocks}
    for name in [*planned, *blocks]:
        if name not in blocks:
            raise PlanError(f"the plan is for another model: no block here is named {name!r}")
        if name not in planned:
            raise PlanError(f"the plan is for another model: it does not name block {name!r}")
        found = (blocks[name].channels, len(blocks[name].active))
        wanted = (planned[name].channels, planned[name].active)
        if found != wanted:
            raise PlanError(
                f"the plan is for another model: block {name!r} transforms {found[1]} of"
                f" {found[0]} channels here, {wanted[1]} of {wanted[0]} in the plan"
            )
        absent = sorted(set(planned[name].kept) - set(blocks[name].active))
        if absent:
            raise PlanError(f"block {name!r} transforms no channel {absent[0]}")
    digest = model_digest(model)
    if plan.model != digest:
        raise PlanError(
            f"the plan is for another model: same blocks, other weights (digest {plan.model} in"
            f" the plan, {digest} here); collect the gates of this model and plan again"
        )


class _Orders:
    """What a plan's stream orders mean to each layer: which channel stands where.

    Raises:
        PlanError: if the plan orders a stream that is not there, that has another width, or whose
            order must stay; or cuts a channel that a block keeps.
    """

    def __init__(self, model: keras.Model, plan: PruningPlan):
        self.orders = {order.stream: np.array(order.order, int) for order in plan.orders}
        self.streams = find_streams(model) if self.orders else Streams({}, {})
        makers = {layer.name: layer for layer in all_layers(model)}
        for order in plan.orders:
            order.check()
            if order.stream not in self.streams.makes.values():
                raise PlanError(f"stream {order.stream!r} is not one whose channels can be moved")
            width = makers[order.stream].output.shape[-1]
            if order.channels != width:
                raise PlanError(
                    f"stream {order.stream!r} has {width} channels, the plan orders"
                    f" {order.channels}"
                )
        self.cut = {order.stream: order.cut for order in plan.orders if order.cut}
        for block in plan.blocks:
            stream = self.streams.makes.get(block.name) or ""
            for channel in sorted(set(block.kept).intersection(self.cut.get(stream, ()))):
                raise PlanError(
                    f"block {block.name!r} keeps channel {channel}, which the plan cuts out of"
                    f" stream {stream!r}"
                )

    def reads(self, layer: keras.layers.Layer) -> Any:
        """Returns an index `(in,)`: the old channel at each new position of the layer's input."""
        return self.orders.get(self.streams.reads.get(layer.name) or "", slice(None))

    def makes(self, layer: keras.layers.Layer) -> Any:
        """Returns the same of the layer's output."""
        return self.orders.get(self.streams.makes.get(layer.name) or "", slice(None))

    def width(self, layer: keras.layers.Layer) -> int | None:
        """Returns how many channels a layer must now be told to make; None for as many."""
        stream = self.streams.makes.get(layer.name)
        return len(self.orders[stream]) if stream in self.cut and type(layer) in WIDTHS else None

    def positions(self, block: HighwayBlock, channels) -> list[int]:
        """Returns the new position of each old channel, none of them cut, of a block's stream."""
        order = np.arange(block.channels)[self.makes(block)]
        places = np.zeros(block.channels, int)
        places[order] = np.arange(len(order))
        return places[np.asarray(channels, int)].tolist()


def _layer_weights(layer: keras.layers.Layer, reads, makes) -> list[np.ndarray]:
    """Returns a layer's weights for other input and output channels, or another order of them."""
    weights = layer.get_weights()
    if isinstance(reads, slice) and isinstance(makes, slice):
        return weights  # nothing moves, whatever the layer is
    if isinstance(layer, keras.layers.BatchNormalization):
        return [weight[reads] for weight in weights]
    return [
        weight[..., reads, :][..., makes] if weight.ndim > 1 else weight[makes]
        for weight in weights
    ]


def _block_weights(block: HighwayBlock, kept: np.ndarray, reads, makes) -> list[np.ndarray]:
    """Returns a block's weights, cut to the kept channels, in the order of `get_weights`.

    Args:
        block: the dense one.
        kept: the channels that stay, in the order in which they stand in the slim stream.
        reads: index of the input's channels that stay.
        makes: index of the output's channels that stay.
    """
    rows = np.searchsorted(block.active, kept)
    weights = []
    for variable in block.weights:
        value, part = np.asarray(keras.ops.convert_to_numpy(variable)), _owner(block, variable)
        if part is block.projection:
            weights.append(value[..., reads, :][..., makes])
        elif not len(kept):
            continue  # norm, transform and gate are gone
        elif part is block.norm:
            weights.append(value[reads])
        elif value.ndim == 1:
            weights.append(value[rows])
        else:
            inputs = reads if part is block.transform else rows
            weights.append(value[..., inputs, :][..., rows])
    return weights


def _owner(block: HighwayBlock, variable) -> keras.layers.Layer:
    for sublayer in (block.norm, block.transform, block.gate, block.projection):
        if sublayer is not None and any(variable is own for own in sublayer.weights):
            return sublayer
    raise PlanError(f"block {block.name!r} has a weight of no known part: {variable.path}")
