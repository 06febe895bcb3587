"""Which channels may move: known layers let them, anything else holds them in place."""

import dataclasses

import keras
import numpy as np
import pytest
from conftest import assert_equal_in_range, plan_by_hand, randomize
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from hwkeras.graph import highway_blocks
from hwkeras.layers import HighwayConv2D, HighwayDense
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.order import contiguous_runs
from hwkeras.plan import PlanError, PruningPlan, StreamOrder
from hwkeras.planning import make_plan
from hwkeras.rebuild import apply_plan
from hwkeras.stats import collect_stats
from hwkeras.streams import find_streams


def test_the_streams_of_a_highway_net():
    net = highway_net(HighwayConfig(4, (8, 12), 2, (1, 2)), (8, 8, 3), 10)
    streams = find_streams(net)
    assert streams.makes == {
        "normalization": None,  # in the order of the image's channels
        "stem": "stem",
        "stage1_block1": "stage1_block1",
        "stage1_block2": "stage1_block1",
        "stage2_block1": "stage2_block1",
        "stage2_block2": "stage2_block1",
        "norm": "stage2_block1",
        "relu": "stage2_block1",
        "pool": "stage2_block1",
        "logits": None,  # the classes
    }
    assert streams.reads["stem"] is None
    assert streams.reads["stage1_block1"] == "stem"
    assert streams.reads["stage2_block1"] == "stage1_block1"
    assert streams.reads["logits"] == "stage2_block1"
    assert streams.norms == {
        "relu": ("norm", False), "pool": ("norm", True), "logits": ("norm", True),
    }  # fmt: skip


@keras.saving.register_keras_serializable("test_streams")
def ramp(x):
    """An activation that is not the same for every channel."""
    return x * keras.ops.arange(x.shape[-1], dtype=x.dtype)


@keras.saving.register_keras_serializable("test_streams")
class Unknown(keras.layers.Layer):
    """A layer of the user's, about which nothing is known."""

    def call(self, x):
        return ramp(x)


@keras.saving.register_keras_serializable("test_streams")
class OwnBlock(HighwayConv2D):
    """A block whose answers depend on where a channel stands."""

    def call(self, x, training=None, return_gates=False):
        if return_gates:
            y, gates = super().call(x, training=training, return_gates=True)
            return ramp(y), gates
        return ramp(super().call(x, training=training))


FACTORS = np.arange(6, dtype=np.float32).reshape(1, 1, 1, 6)


def chain(between):
    inputs = keras.Input((6, 6, 4), name="image")
    x = layers.Conv2D(6, 3, padding="same", name="stem")(inputs)
    x = HighwayConv2D(6, name="a")(x)
    x = between(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="chain")


MOVABLE = {
    "nothing": lambda x: x,
    "batch norm, activation, dropout": lambda x: layers.Dropout(0.5)(
        layers.Activation("gelu")(layers.BatchNormalization()(x))
    ),
    "a residual sum": lambda x: layers.Add()([x, HighwayConv2D(6, name="b")(x)]),
    "a convolution and another block": lambda x: HighwayConv2D(5, strides=2, name="b")(
        layers.Conv2D(7, 3, activation="relu")(x)
    ),
    "pooling": lambda x: layers.MaxPooling2D()(layers.ZeroPadding2D()(x)),
}
FIXED = {
    "a layer of one's own": lambda x: Unknown()(x),
    "a softmax over channels": lambda x: layers.Activation("softmax")(x),
    "layer normalization": lambda x: layers.LayerNormalization()(x),
    "a grouped convolution": lambda x: layers.Conv2D(6, 3, groups=3)(x),
    "a depthwise convolution": lambda x: layers.DepthwiseConv2D(3)(x),
    "concatenation": lambda x: layers.Concatenate()([x, x]),
    "one gate for all channels": lambda x: layers.Multiply()([x, layers.Conv2D(1, 1)(x)]),
    "a dropout that counts channels": lambda x: layers.Dropout(0.5, noise_shape=(None, 1, 1, 6))(x),
    "channels moved by an operation": lambda x: keras.ops.flip(x, axis=-1),
    "an operation with a constant": lambda x: x * np.arange(6.0, dtype=np.float32),
    "a product with a constant": lambda x: layers.Multiply()([x, FACTORS]),
    "a sum with a constant": lambda x: layers.Add()([x, FACTORS]),
    "a mean over channels": lambda x: keras.ops.expand_dims(keras.ops.average(x, axis=-1), -1),
    "a layer as an activation": lambda x: layers.Dense(6, activation=layers.LeakyReLU())(x),
    "a block of one's own": lambda x: OwnBlock(6, name="b")(x),
    "an activation of one's own": lambda x: layers.Activation(ramp)(x),
    "a layer that is called at two widths": lambda x, relu=layers.ReLU(): relu(
        HighwayConv2D(7, name="b")(relu(x))
    ),
    "a nested model": lambda x: keras.Sequential([keras.Input((6, 6, 6)), Unknown()])(x),
}


@pytest.mark.parametrize("between", MOVABLE)
def test_known_layers_let_channels_move(between):
    assert find_streams(chain(MOVABLE[between])).makes["a"] is not None


@pytest.mark.parametrize("between", FIXED)
def test_unknown_layers_hold_channels_in_place(between):
    assert find_streams(chain(FIXED[between])).makes["a"] is None


@pytest.mark.parametrize("between", [*MOVABLE, *FIXED])
@settings(max_examples=4)
@given(data=st.data())
def test_any_order_gives_the_same_answers(between, data):
    model = randomize(chain({**MOVABLE, **FIXED}[between]))
    streams = find_streams(model)
    widths = {layer.name: layer.output.shape[-1] for layer in model.layers}
    kept = {
        name: sorted(data.draw(st.sets(st.integers(0, block.channels - 1))))
        for name, block in highway_blocks(model).items()
    }
    plan = plan_by_hand(model, kept)
    orders = tuple(
        StreamOrder(stream, tuple(data.draw(st.permutations(range(widths[stream])))))
        for stream in dict.fromkeys(filter(None, streams.makes.values()))
    )
    images = np.random.default_rng(0).uniform(-1, 1, (4, 6, 6, 4)).astype(np.float32)
    plain = apply_plan(model, plan)(images, training=False)
    ordered = apply_plan(model, dataclasses.replace(plan, orders=orders))
    assert_equal_in_range(ordered(images, training=False), plain)


def test_the_outputs_of_a_nested_model_stay_in_place():
    """The nested model's last block has no reader inside; outside, its order is somebody's."""
    inner = chain(MOVABLE["nothing"])
    backbone = keras.Model(inner.input, inner.get_layer("a").output, name="backbone")
    image = keras.Input((6, 6, 4), name="outer")
    outputs = layers.Dense(3, name="read")(layers.Flatten()(backbone(image)))
    streams = find_streams(keras.Model(image, outputs))
    assert streams.makes["a"] is None
    assert find_streams(backbone).makes["a"] is None


@settings(max_examples=4)
@given(share=st.floats(0, 1), again=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_made_plan_orders_and_answers_alike_once_and_twice(share, again, seed):
    net = randomize(highway_net(HighwayConfig(4, (8, 12), 3, (1, 2)), (8, 8, 3), 10), seed)
    images = np.random.default_rng(seed).integers(0, 256, (8, 8, 8, 3), np.uint8)
    for keep in (share, again):
        if not any(block.active for block in highway_blocks(net).values()):
            return
        plan = make_plan(collect_stats(net, images), keep=keep)
        slim = apply_plan(net, plan)
        plain = apply_plan(net, dataclasses.replace(plan, orders=()))
        assert_equal_in_range(slim(images, training=False), plain(images, training=False))
        runs = [
            sum(len(contiguous_runs(block.active)) for block in highway_blocks(model).values())
            for model in (slim, plain)
        ]
        assert runs[0] <= runs[1]
        net = slim


def test_the_order_makes_one_run_of_each_block_where_that_is_possible():
    inputs = keras.Input((4,), name="features")
    x = HighwayDense(6, name="a")(inputs)
    x = HighwayDense(6, name="b")(x)
    net = randomize(keras.Model(inputs, layers.Dense(2, name="logits")(x)))
    stats = collect_stats(net, np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32))
    plan = make_plan(stats, kept={"a": [0, 2, 4], "b": [4, 5]})
    slim = apply_plan(net, plan)
    # channel 4, which both keep, stands between those of a alone and those of b alone
    assert [len(contiguous_runs(b.active)) for b in highway_blocks(slim).values()] == [1, 1]


def ordered(order, stream="a"):
    net = chain(MOVABLE["nothing"])
    plan = plan_by_hand(net, {"a": [0, 3]})
    return net, dataclasses.replace(plan, orders=(StreamOrder(stream, tuple(order)),))


@pytest.mark.parametrize(
    "order, stream, message",
    [
        ([0, 1, 2, 3, 4, 4], "stem", "stream 'stem': the order is no permutation of 0 to 5"),
        ([0, 1, 2], "stem", "stream 'stem' has 6 channels, the plan orders 3"),
        ([1, 0, 2], "logits", "stream 'logits' is not one whose channels can be moved"),
    ],
)
def test_an_order_that_does_not_fit_is_refused_by_name(order, stream, message):
    net, plan = ordered(order, stream)
    with pytest.raises(PlanError) as caught:
        apply_plan(net, plan)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "order, cut, stream, message",
    [
        ([0, 1, 2, 3], [4, 5], "stem", None),
        ([0, 1, 2], [4, 5], "stem", "order and cut together are no permutation of 0 to 4"),
        ([0, 1, 2, 3], [3, 4, 5], "stem", "order and cut together are no permutation of 0 to 6"),
        ([0, 1, 2, 3, 4], [True], "stem", "order and cut together are no permutation of 0 to 5"),
        ([0, 1, 2, 3], [5, 4], "stem", "cut channels must be ascending"),
        ([], [0, 1, 2, 3, 4, 5], "stem", "every channel is cut; one must stay"),
    ],
)
def test_a_cut_that_does_not_fit_is_refused_by_name(order, cut, stream, message):
    _, plan = ordered(order, stream)
    plan = dataclasses.replace(plan, orders=(StreamOrder(stream, tuple(order), tuple(cut)),))
    text = plan.to_json()
    if message is None:
        assert PruningPlan.from_json(text) == plan
        assert plan.cut_counts == {"stem": 2}
        return
    with pytest.raises(PlanError) as caught:
        PruningPlan.from_json(text)
    assert str(caught.value) == f"stream {stream!r}: {message}"


@pytest.mark.parametrize(
    "order, cut, stream, message",
    [
        # a keeps 0 and 3
        (
            [0, 1, 2, 4], [3, 5], "stem",
            "block 'a' keeps channel 3, which the plan cuts out of stream 'stem'",
        ),
        ([0, 3], [1, 2], "stem", "stream 'stem' has 6 channels, the plan orders 4"),
        ([0, 1], [2], "logits", "stream 'logits' is not one whose channels can be moved"),
    ],
)  # fmt: skip
def test_a_cut_that_the_model_does_not_allow_is_refused(order, cut, stream, message):
    net, plan = ordered(order, stream)
    orders = (StreamOrder(stream, tuple(order), tuple(cut)),)
    with pytest.raises(PlanError) as caught:
        apply_plan(net, dataclasses.replace(plan, orders=orders))
    assert str(caught.value) == message


def test_a_stream_at_an_unknown_layer_cannot_be_cut():
    net = chain(FIXED["a layer of one's own"])
    plan = dataclasses.replace(
        plan_by_hand(net, {"a": [0]}), orders=(StreamOrder("stem", (0, 1, 2, 3, 4), (5,)),)
    )
    with pytest.raises(PlanError) as caught:
        apply_plan(net, plan)
    assert str(caught.value) == "stream 'stem' is not one whose channels can be moved"


def test_a_plan_file_of_before_channels_could_be_cut_still_applies():
    net, plan = ordered([5, 4, 3, 2, 1, 0], "stem")
    text = plan.to_json().replace(', "cut": []', "")
    assert '"cut"' not in text
    assert PruningPlan.from_json(text) == plan


def test_a_plan_file_with_a_broken_order_is_refused():
    _, plan = ordered([5, 4, 3, 2, 1, 0], "stem")
    text = plan.to_json()
    assert PruningPlan.from_json(text) == plan
    with pytest.raises(PlanError, match="the order is no permutation of 0 to 5"):
        PruningPlan.from_json(text.replace("[5, 4, 3, 2, 1, 0]", "[5, 4, 3, 2, 1, 1]"))


def test_a_plan_file_of_before_there_were_orders_still_applies():
    net, plan = ordered([0, 1, 2, 3, 4, 5], "stem")
    text = dataclasses.replace(plan, orders=()).to_json().replace(',\n  "orders": []', "")
    assert "orders" not in text
    slim = apply_plan(net, PruningPlan.from_json(text))
    assert slim.get_layer("a").active == (0, 3)
