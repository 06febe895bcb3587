"""Applying a plan: a new model without the pruned channels; the old one is untouched."""

from __future__ import annotations

import keras
import numpy as np

from hwkeras.graph import all_layers, highway_blocks, require_blocks, rewire
from hwkeras.layers import HighwayBlock
from hwkeras.plan import PlanError, PruningPlan
from hwkeras.stats import model_digest


def apply_plan(model: keras.Model, plan: PruningPlan) -> keras.Model:
    """Returns a slim functional model, not compiled: `model` with the pruned channels only carried.

    Exactly: on the pruned channels of a block, its gate is t = 0 and its transform is h = 0. The
    second matters because the gate reads h: a pruned channel feeds the gates of the others no more.

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
    made: dict[int, keras.layers.Layer] = {}

    def slim(layer):
        config = layer.get_config()
        if isinstance(layer, HighwayBlock):
            config["active"] = list(kept.get(layer.name, layer.active))
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
        weights = layer.get_weights()
        if isinstance(layer, HighwayBlock):
            weights = _slim_weights(layer, copy.active)
        copy.set_weights(weights)
        if isinstance(copy, keras.layers.Normalization):
            copy.finalize_state()  # it computes with values derived from its weights
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


def _slim_weights(block: HighwayBlock, kept: tuple[int, ...]) -> list[np.ndarray]:
    """Returns a block's weights, cut to the kept channels, in the order of `get_weights`."""
    rows = np.searchsorted(block.active, kept)
    weights = []
    for variable in block.weights:
        value, sublayer = np.asarray(keras.ops.convert_to_numpy(variable)), _owner(block, variable)
        if sublayer is block.projection:
            weights.append(value)
        elif not kept:
            continue  # norm, transform and gate are gone
        elif sublayer is block.norm:
            weights.append(value)
        elif sublayer is block.gate and value.ndim > 1:
            weights.append(value[..., rows, :][..., rows])
        else:
            weights.append(value[..., rows])
    return weights


def _owner(block: HighwayBlock, variable) -> keras.layers.Layer:
    for sublayer in (block.norm, block.transform, block.gate, block.projection):
        if sublayer is not None and any(variable is own for own in sublayer.weights):
            return sublayer
    raise PlanError(f"block {block.name!r} has a weight of no known part: {variable.path}")
