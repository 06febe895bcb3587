"""Statistics derived by hand on tiny nets, and costs that the rebuilt model really has."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
from conftest import plan_by_hand, randomize
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from keras import layers

from hwkeras.cost import Cost
from hwkeras.graph import GraphError, highway_blocks
from hwkeras.layers import HighwayConv2D, HighwayDense
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.plan import PlanError, StreamStats
from hwkeras.planning import make_plan
from hwkeras.rebuild import apply_plan
from hwkeras.stats import collect_stats, model_cost, model_digest, stream_stats

LN3 = np.log(3)


def doubling(block, channels=1):
    """Sets the weights of a block so that, for x >= 0 in each channel on its own,

    h = 2 x, the update is t (h - x) = t x, and t = sigmoid((x - 1) ln 3):
    x = 0 gives 1/4, x = 1 gives 1/2, x = 2 gives 3/4.
    """
    eye = np.eye(channels)
    block.transform.kernel.assign((2 * eye).reshape(block.transform.kernel.shape))
    block.gate.kernel.assign((LN3 / 2 * eye).reshape(block.gate.kernel.shape))
    block.gate.bias.assign([-LN3] * channels)
    return block


def dense_net(channels=1, name="a"):
    x = keras.Input((channels,), name="x")
    block = HighwayDense(channels, epsilon=0.0, name=name)
    model = keras.Model(x, block(x))
    doubling(block, channels)
    return model


def test_means_of_a_dense_block_by_hand():
    stats = collect_stats(dense_net(), np.array([[0.0], [1.0], [2.0]]))
    (block,) = stats.blocks
    assert (block.name, block.active, stats.images) == ("a", (0,), 3)
    assert block.mean_gate == pytest.approx([(1 / 4 + 1 / 2 + 3 / 4) / 3])
    assert block.max_gate == pytest.approx([3 / 4])
    assert block.mean_update == pytest.approx([(0 + 1 / 2 + 2 * 3 / 4) / 3])


def test_means_are_over_images_and_positions_and_kept_by_channel():
    x = keras.Input((1, 3, 2), name="x")
    block = HighwayConv2D(2, kernel_size=1, epsilon=0.0, name="a")
    model = keras.Model(x, block(x))
    doubling(block, 2)
    images = np.zeros((2, 1, 3, 2))
    images[0, 0, :, 1] = [0, 1, 2]  # t = 1/4 1/2 3/4, update 0 1/2 3/2
    images[1, 0, :, 1] = [2, 2, 2]  # t = 3/4, update 3/2
    stats = collect_stats(model, images).blocks[0]
    assert stats.mean_gate == pytest.approx([1 / 4, (1 / 2 + 3 / 4) / 2])
    assert stats.max_gate == pytest.approx([1 / 4, 3 / 4])
    assert stats.mean_update == pytest.approx([0, (2 / 3 + 3 / 2) / 2])


def test_the_update_has_no_sign():
    x = keras.Input((1,), name="x")
    block = HighwayDense(1, epsilon=0.0, name="a")
    model = keras.Model(x, block(x))
    block.transform.kernel.assign([[0.0]])  # h = 0: the update is -x t, and t = 1/2
    block.gate.bias.assign([0.0])
    stats = collect_stats(model, np.array([[4.0], [-2.0]])).blocks[0]
    assert stats.mean_update == pytest.approx([(4 / 2 + 2 / 2) / 2])


def test_a_shared_block_counts_its_calls_alike():
    x = keras.Input((1,), name="x")
    block = HighwayDense(1, epsilon=0.0, name="a")
    model = keras.Model(x, block(block(x)))
    doubling(block)
    # x = 2: t = 3/4, update 3/2, y = 3.5; then gate = 2.5 ln 3
    second = 3**2.5 / (1 + 3**2.5)
    stats = collect_stats(model, np.array([[2.0]])).blocks[0]
    assert stats.mean_gate == pytest.approx([(3 / 4 + second) / 2])
    assert stats.max_gate == pytest.approx([second])
    assert stats.mean_update == pytest.approx([(3 / 2 + second * 3.5) / 2])


def test_several_batches_give_what_one_gives():
    model = dense_net(channels=3)
    rows = np.random.default_rng(0).normal(size=(7, 3))
    whole, parts = collect_stats(model, rows), collect_stats(model, rows, batch_size=3)
    assert whole.model == parts.model and whole.images == parts.images == 7
    for one, other in zip(whole.blocks, parts.blocks, strict=True):
        for field in ("mean_gate", "max_gate", "mean_update"):
            assert getattr(one, field) == pytest.approx(getattr(other, field), rel=1e-6)


def test_progress_tells_images_done():
    told = []
    collect_stats(
        dense_net(), np.zeros((5, 1)), batch_size=2, progress=lambda *done: told.append(done)
    )
    assert told == [(2, 5), (4, 5), (5, 5)]


@functools.cache
def image_and_row():
    image, row = keras.Input((4, 4, 2), name="image"), keras.Input((3,), name="row")
    x = layers.GlobalAveragePooling2D()(HighwayConv2D(3, name="conv")(image))
    y = layers.Add()([x, HighwayDense(3, name="dense")(row)])
    return image, row, y


@pytest.mark.parametrize("form", [list, dict])
def test_several_inputs(form):
    image, row, y = image_and_row()
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(5, 4, 4, 2)), rng.normal(size=(5, 3))]
    names = ["image", "row"]
    inputs = [image, row] if form is list else {"image": image, "row": row}
    model = randomize(keras.Model(inputs, y))
    data = arrays if form is list else dict(zip(names, arrays, strict=True))
    stats = collect_stats(model, data, batch_size=4)
    assert (stats.images, [block.name for block in stats.blocks]) == (5, ["conv", "dense"])


def test_the_model_stays_as_it_was():
    model = dense_net()
    config, weights = model.get_config(), [w.tobytes() for w in model.get_weights()]
    collect_stats(model, np.full((3, 1), 7.0))
    assert model.get_config() == config
    assert [w.tobytes() for w in model.get_weights()] == weights


def test_a_pruned_model_is_measured_by_the_channels_it_still_transforms():
    x = keras.Input((5,), name="x")
    y = HighwayDense(5, active=[1, 4], name="a")(x)
    y = HighwayDense(3, active=[], name="carry")(y)
    model = keras.Model(x, HighwayDense(3, active=[2], name="b")(y))
    stats = collect_stats(randomize(model), np.ones((2, 5)))
    assert [(block.name, block.active) for block in stats.blocks] == [("a", (1, 4)), ("b", (2,))]
    assert [len(block.mean_gate) for block in stats.blocks] == [2, 1]
    assert stats.cost() == model_cost(model)
    # the carry's 5 x 3 projection is no part of any block that can shrink
    assert stats.rest == Cost(15, 15)


def test_a_model_that_can_shrink_no_further_has_empty_statistics():
    x = keras.Input((5,), name="x")
    stats = collect_stats(keras.Model(x, HighwayDense(3, active=[])(x)), np.ones((2, 5)))
    assert stats.blocks == () and stats.rest == Cost(15, 15)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="^no images to collect statistics on$"):
        collect_stats(dense_net(), np.zeros((0, 1)))


def test_a_model_without_blocks_is_refused():
    x = keras.Input((2,), name="x")
    with pytest.raises(GraphError, match="has no highway block"):
        collect_stats(keras.Model(x, layers.Dense(2)(x)), np.zeros((1, 2)))


def test_weights_that_are_nan_reach_the_plan_as_one_clear_line():
    model = dense_net(channels=2)
    model.get_layer("a").gate.bias.assign([0.0, np.nan])
    stats = collect_stats(model, np.ones((2, 2)))
    with pytest.raises(PlanError) as caught:
        make_plan(stats, keep=0.5)
    assert str(caught.value) == (
        "block 'a': the mean update of channel 1 is not a number; the model's weights may be NaN"
    )


def test_cost_of_a_net_by_hand():
    x = keras.Input((8, 6, 3), name="image")
    y = layers.Conv2D(4, 3, strides=2, padding="valid", name="conv")(x)  # 3 x 2
    y = HighwayConv2D(5, name="block")(y)
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(y)
    y = layers.SeparableConv2D(2, 3, padding="same", name="separable")(y)
    y = layers.Conv2DTranspose(3, 2, strides=2, name="up")(y)  # 6 x 4
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.Dense(2, name="everywhere")(y)
    y = HighwayDense(4, name="dense")(layers.Flatten()(y))
    model = keras.Model(x, layers.Dense(10, name="logits")(y))
    parts = {
        "conv": Cost(27 * 4 + 4, 6 * 27 * 4),
        # norm 16, transform 9 x 4 x 5 + 5, gate 9 x 5 x 5 + 5, projection 20
        "block": Cost(16 + 185 + 230 + 20, 6 * (180 + 225 + 20)),
        "depthwise": Cost(9 * 10 + 10, 6 * 90),
        "separable": Cost(9 * 10 + 10 * 2 + 2, 6 * (90 + 20)),
        "up": Cost(4 * 2 * 3 + 3, 6 * 24),  # each of the 3 x 2 positions it reads, once
        "norm": Cost(12, 0),
        "everywhere": Cost(3 * 2 + 2, 24 * 6),
        "dense": Cost(4 * 48 + 196 + 20 + 192, 48 * 4 + 16 + 48 * 4),
        "logits": Cost(4 * 10 + 10, 40),
    }
    for name, cost in parts.items():
        assert model.get_layer(name).count_params() == cost.parameters, name
    total = functools.reduce(Cost.__add__, parts.values())
    assert model_cost(model) == total


def test_channels_may_come_first():
    x = keras.Input((3, 8, 6), name="image")
    y = layers.Conv2D(4, 3, padding="same", data_format="channels_first", name="conv")(x)
    assert y.shape[1:] == (4, 8, 6)
    assert model_cost(keras.Model(x, y)) == Cost(27 * 4 + 4, 8 * 6 * 27 * 4)


def test_a_side_that_is_not_known_counts_as_one():
    x = keras.Input((None, 6, 3), name="image")
    inner = keras.Model(x, layers.Conv2D(4, 3, padding="same", name="conv")(x), name="inner")
    y = keras.Input((8, 6, 3), name="outer")
    assert model_cost(keras.Model(y, inner(y))).macs == 6 * 27 * 4


def test_a_layer_called_twice_costs_once_wherever_it_is_called():
    x = keras.Input((4,), name="x")
    dense = layers.Dense(4)
    nested = keras.Model(x, dense(x), name="nested")
    y = keras.Input((4,), name="y")
    model = keras.Model(y, HighwayDense(4, active=[0])(nested(dense(dense(y)))))
    # Dense 16 + 4; block: norm 16, transform 4 + 1, gate 1 + 1
    assert model_cost(model) == Cost(20 + 23, 16 + 5)


def test_a_layer_whose_kernel_is_no_weight_is_passed_over():
    class Blur(layers.Layer):
        kernel = 3

        def call(self, inputs):
            return inputs

    x = keras.Input((4,), name="x")
    assert model_cost(keras.Model(x, Blur()(x))) == Cost(0, 0)


def test_the_digest_is_of_the_blocks():
    model = dense_net(channels=2)
    digest = model_digest(model)
    assert len(digest) == 16 and set(digest) <= set("0123456789abcdef")
    assert model_digest(dense_net(channels=2)) == digest
    assert model_digest(dense_net(channels=2, name="b")) != digest
    assert model_digest(apply_plan(model, plan_by_hand(model, {"a": (0,)}))) != digest
    model.get_layer("a").gate.bias.assign([-LN3, -1.0])
    assert model_digest(model) != digest
    x = keras.Input((2,), name="x")
    assert model_digest(keras.Model(x, layers.Dense(9)(dense_net(2)(x)))) == digest


# How much readers need the channels of a stream


def test_need_by_hand():
    x = keras.Input((3,), name="x")
    y = layers.Dense(2, name="stem")(x)
    block = HighwayDense(2, epsilon=0.0, name="a")
    y = layers.BatchNormalization(name="norm")(block(y))
    logits = layers.Dense(1, name="logits")
    model = keras.Model(x, logits(layers.ReLU()(y)))
    # The block: relu of a normal with mean 0 and deviation 1 has mean square 1/2, with mean 2 and
    # deviation 0 it is 4; kernel rows of squared length 2 and 1: 1 and 4, mean 2.5.
    block.norm.gamma.assign([-1.0, 0.0])
    block.norm.beta.assign([0.0, 2.0])
    block.transform.kernel.assign([[1.0, 1.0], [0.0, -1.0]])
    # The logits, behind norm and relu: both 1/2, rows 9 and 1: 4.5 and 0.5, mean 2.5.
    logits.kernel.assign([[3.0], [1.0]])
    (stream,) = stream_stats(model)
    assert (stream.name, stream.channels) == ("stem", 2)
    assert stream.need == pytest.approx([4.5 / 2.5, 4 / 2.5])
    # The stem makes a channel of 3 weights and a bias, the norm has 4, the logits read one weight.
    assert (stream.rest, stream.pairs) == (Cost(3 + 1 + 4 + 1, 3 + 1), ())


def test_need_of_readers_without_a_norm_and_of_projections():
    x = keras.Input((3,), name="x")
    y = layers.Dense(2, name="stem", use_bias=False)(x)
    between = layers.Dense(2, name="between")
    block = HighwayDense(3, epsilon=0.0, name="a")
    model = keras.Model(x, layers.Dense(1, name="logits")(block(between(y))))
    between.kernel.assign([[1.0, 2.0], [0.0, 1.0]])  # rows of squared length 5 and 1
    block.norm.gamma.assign([0.0, 0.0])  # and beta is 0: the transform sees nothing
    block.norm.moving_mean.assign([1.0, 0.0])
    block.norm.moving_variance.assign([3.0, 2.0])  # mean squares 1 + 3 and 2
    block.projection.kernel.assign([[1.0, 1.0, 0.0], [0.0, 1.0, 3.0]])  # 2 and 10: 8 and 20
    model.get_layer("logits").kernel.assign([[0.0], [0.0], [0.0]])
    stem, made, last = stream_stats(model)
    assert stem.need == pytest.approx([5 / 3, 1 / 3])
    assert made.need == pytest.approx([8 / 14, 20 / 14])
    assert last.need == (0.0, 0.0, 0.0)
    # between reads stem and makes its own: 2 x 2 weights, one for each pair of channels
    assert stem == StreamStats("stem", 2, stem.need, Cost(3 + 2, 3 + 2), (("between", Cost(1, 1)),))
    assert (made.rest, made.pairs) == (Cost(2 + 1, 2), ())
    assert (last.rest, last.pairs) == (Cost(1, 1), ())  # the block's projection is the block's


def test_costs_of_a_stream_of_images():
    x = keras.Input((6, 4, 3), name="image")
    y = layers.Conv2D(2, 3, padding="same", name="stem")(x)  # 24 positions
    y = HighwayConv2D(5, strides=2, active=[], name="empty")(y)  # 6 positions
    y = layers.Conv2D(4, 2, name="conv")(layers.BatchNormalization(scale=False)(y))  # 2
    model = keras.Model(x, layers.Flatten()(y))
    stem, empty = stream_stats(model)
    # the stem's 27 weights and a bias; the projection's row of 5
    assert (stem.rest, stem.pairs) == (
        Cost(27 + 1 + 5, 24 * 27 + 6 * 5), (("empty", Cost(1, 6)),),
    )  # fmt: skip
    # the projection's column of 2; 3 of the norm; 4 x 4 of the convolution
    assert (empty.rest, empty.pairs) == (Cost(2 + 3 + 16, 6 * 2 + 2 * 16), ())


@settings(max_examples=20)
@given(st.floats(-3, 3), st.floats(0.01, 3), st.booleans())
def test_the_mean_square_behind_a_norm_against_an_integral(beta, gamma, rectified):
    x = keras.Input((2,), name="x")
    y = HighwayDense(2, name="a")(layers.Dense(2, name="stem")(x))
    norm, logits = layers.BatchNormalization(name="norm"), layers.Dense(1, name="logits")
    y = norm(y)
    model = keras.Model(x, logits(layers.ReLU()(y) if rectified else y))
    model.get_layer("a").transform.kernel.assign(np.zeros((2, 2)))
    logits.kernel.assign(np.ones((2, 1)))
    norm.gamma.assign([gamma, 0.0])
    norm.beta.assign([beta, 1.0])  # the other channel's is 1
    z = np.linspace(-9, 9, 20001)
    seen = beta + gamma * z
    square = (np.maximum(seen, 0) if rectified else seen) ** 2
    square = float(np.sum(square * np.exp(-z * z / 2)) * (z[1] - z[0]) / np.sqrt(2 * np.pi))
    mean = (square + 1) / 2
    assert stream_stats(model)[0].need == pytest.approx([square / mean, 1 / mean], rel=1e-4)


def test_weights_that_are_nan_leave_no_channel_to_cut():
    x = keras.Input((3,), name="x")
    y = HighwayDense(2, name="a")(layers.Dense(2, name="stem")(x))
    model = keras.Model(x, layers.Dense(1, name="logits")(y))
    model.get_layer("logits").kernel.assign([[np.nan], [1.0]])
    stats = collect_stats(model, np.ones((2, 3)))
    make_plan(stats, keep=0.5)
    with pytest.raises(PlanError) as caught:
        make_plan(stats, keep=0.5, cut_carried=0.5)
    assert str(caught.value) == (
        "stream 'stem': the need of channel 0 is not a number; the model's weights may be NaN"
    )


@functools.cache
def image_net():
    config = HighwayConfig(stem=3, stages=(4, 5), blocks=2, strides=(1, 2))
    model = randomize(highway_net(config, (6, 6, 1), 3, deviation=(1.0,)))
    images = np.random.default_rng(0).normal(size=(8, 6, 6, 1))
    return model, collect_stats(model, images)


@settings(max_examples=12, phases=[Phase.generate])  # a model takes too long to build to shrink
@given(
    aim=st.sampled_from(["size_bytes", "parameters", "macs"]),
    share=st.floats(0, 1),
    rules=st.fixed_dictionaries(
        {
            "multiple": st.sampled_from([1, 2]),
            "minimum": st.sampled_from([0, 1]),
            "protect": st.sampled_from([(), ("stage1_block2",)]),
            "by": st.sampled_from(["update", "gate"]),
            "normalizer": st.sampled_from(["none", "lamp"]),
            "cut_carried": st.sampled_from([0.0, 0.0, 0.4, 1.0]),
        }
    ),
    seed=st.integers(0, 2**16),
)
def test_a_size_is_met_by_the_model_that_the_plan_gives(aim, share, rules, seed):
    model, stats = image_net()
    rng = np.random.default_rng(seed)  # other scores, so that blocks shrink in any order
    blocks = tuple(
        dataclasses.replace(
            block,
            mean_update=tuple(rng.random(len(block.active))),
            mean_gate=tuple(rng.random(len(block.active))),
        )
        for block in stats.blocks
    )
    stats = dataclasses.replace(stats, blocks=blocks)
    smallest = make_plan(stats, keep=0.0, **rules)
    least = stats.cost(smallest.kept_counts, smallest.cut_counts)
    low, high = getattr(least, aim), getattr(stats.cost(), aim)
    limit = int(low + share * (high - low))
    plan = make_plan(stats, **{aim: limit}, **rules)
    slim = apply_plan(model, plan)
    true = Cost(slim.count_params(), model_cost(slim).macs)
    assert getattr(true, aim) <= limit
    assert true == stats.cost(plan.kept_counts, plan.cut_counts)
    assert collect_stats(slim, np.zeros((1, 6, 6, 1))).cost() == true


def test_the_dense_models_cost_is_predicted_exactly():
    model, stats = image_net()
    assert stats.cost() == model_cost(model)
    assert stats.cost().parameters == model.count_params()
    assert [block.shape for block in stats.blocks] == [
        block.block_shape() for block in highway_blocks(model).values()
    ]
