"""The highway block against numbers by hand and against a NumPy oracle, in float64."""

import json

import keras
import numpy as np
import pytest
from conftest import assert_equal_in_range, randomize
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import hwkeras.layers
from hwkeras.layers import HighwayConv2D, HighwayDense


def sigmoid(x):
    return (1 + np.tanh(x / 2)) / 2  # does not overflow


def array(variable):
    return ops.convert_to_numpy(variable).astype(np.float64)


def convolve(x, kernel, strides=(1, 1)):
    """Returns a convolution with `same` padding: as much before as after, an odd one after."""
    height, width = kernel.shape[:2]
    out = [-(-side // step) for side, step in zip(x.shape[1:3], strides, strict=True)]
    total = [
        max((o - 1) * step + size - side, 0)
        for o, step, size, side in zip(out, strides, (height, width), x.shape[1:3], strict=True)
    ]
    x = np.pad(x, [(0, 0), *((t // 2, t - t // 2) for t in total), (0, 0)])
    y = np.zeros((len(x), *out, kernel.shape[-1]))
    for i, j in np.ndindex(*out):
        top, left = i * strides[0], j * strides[1]
        window = x[:, top : top + height, left : left + width]
        y[:, i, j] = np.tensordot(window, kernel, 3)
    return y


def oracle(block, x):
    """Returns y, t and h - c of a built block, from section 1 of the design."""

    def linear(x, layer, strides=(1, 1)):
        kernel = array(layer.kernel)
        y = x @ kernel if kernel.ndim == 2 else convolve(x, kernel, strides)
        return y + array(layer.bias) if layer.use_bias else y

    strides = getattr(block, "strides", (1, 1))
    x = np.asarray(x, np.float64)
    norm, active = block.norm, list(block.active)
    deviation = np.sqrt(array(norm.moving_variance) + norm.epsilon)
    z = (x - array(norm.moving_mean)) / deviation * array(norm.gamma) + array(norm.beta)
    h = linear(np.maximum(z, 0), block.transform, strides)
    t = sigmoid(linear(h, block.gate))
    c = x if block.projection is None else linear(x, block.projection, strides)
    y = c.copy()
    y[..., active] = h * t + (1 - t) * c[..., active]
    return y, t, h - c[..., active]


def set_weights(layer, kernel, bias):
    layer.kernel.assign(np.reshape(kernel, layer.kernel.shape))
    layer.bias.assign(np.reshape(bias, layer.bias.shape))


def test_dense_block_by_hand():
    block = HighwayDense(2, epsilon=0.0)
    block.build((None, 2))
    # x = (2, -3); the norm does nothing, so z = relu(x) = (2, 0).
    set_weights(block.transform, [[1, 3], [5, 7]], [0, 1])  # h = (2 x 1, 2 x 3 + 1) = (2, 7)
    # The gate reads h: t_0 = sigmoid(2 - 2) = 1/2, t_1 = sigmoid(7 - 7 + ln 3) = 3/4.
    set_weights(block.gate, [[1, 0], [0, 1]], [-2, -7 + np.log(3)])
    # y = h t + (1 - t) x = (2 / 2 + 2 / 2, 7 x 3/4 - 3 / 4) = (2, 4.5)
    np.testing.assert_allclose(block(np.array([[2.0, -3.0]])), [[2.0, 4.5]], rtol=1e-6)


def test_dense_block_with_a_projection_by_hand():
    block = HighwayDense(1, epsilon=0.0)
    block.build((None, 2))
    set_weights(block.transform, [[1], [1]], [0])  # x = (2, 4): h = 6
    set_weights(block.gate, [[0]], [-np.log(3)])  # t = 1/4
    block.projection.kernel.assign([[3.0], [-1.0]])  # c = 6 - 4 = 2
    np.testing.assert_allclose(block(np.array([[2.0, 4.0]])), [[6 / 4 + 2 * 3 / 4]], rtol=1e-6)


def test_convolutional_block_by_hand():
    block = HighwayConv2D(1, epsilon=0.0)
    block.build((None, 2, 2, 1))
    set_weights(block.transform, np.ones(9), [0])  # every 3x3 window holds all: h = 10
    set_weights(block.gate, np.zeros(9), [0])  # t = 1/2
    y = block(np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 2, 2, 1))
    np.testing.assert_allclose(np.ravel(y), [5.5, 6.0, 6.5, 7.0])  # (10 + x) / 2


def test_stride_two_by_hand():
    block = HighwayConv2D(1, strides=2, epsilon=0.0)
    block.build((None, 3, 3, 1))
    # Windows of 1..9 around the four corners: 1 2 4 5 = 12, 2 3 5 6 = 16, 4 5 7 8, 5 6 8 9.
    set_weights(block.transform, np.ones(9), [0])
    set_weights(block.gate, np.zeros(9), [0])
    block.projection.kernel.assign(np.ones((1, 1, 1, 1)))  # c = the corners 1, 3, 7, 9
    y = block(np.arange(1.0, 10.0).reshape(1, 3, 3, 1))
    assert y.shape == (1, 2, 2, 1)
    np.testing.assert_allclose(np.ravel(y), [(12 + 1) / 2, (16 + 3) / 2, (24 + 7) / 2, 37 / 2])


def test_gates_by_hand():
    block = HighwayConv2D(1, kernel_size=1, epsilon=0.0)
    block.build((None, 1, 3, 1))
    set_weights(block.transform, [1], [0])  # x = (-2, 2, 4): h = relu(x) = (0, 2, 4)
    set_weights(block.gate, [np.log(3) / 2], [-np.log(3)])  # gate -ln 3, 0, ln 3: t = 1/4 1/2 3/4
    y, gates = block(np.array([-2.0, 2.0, 4.0]).reshape(1, 1, 3, 1), return_gates=True)
    np.testing.assert_allclose(np.ravel(y), [-1.5, 2.0, 4.0], rtol=1e-6)
    assert {name: value.shape for name, value in gates.items()} == {
        "mean_gate": (1, 1), "max_gate": (1, 1), "mean_update": (1, 1),
    }  # fmt: skip
    np.testing.assert_allclose(gates["mean_gate"], [[0.5]], rtol=1e-6)
    np.testing.assert_allclose(gates["max_gate"], [[0.75]], rtol=1e-6)
    # |t (h - x)| = 1/4 x 2, 0, 0
    np.testing.assert_allclose(gates["mean_update"], [[0.5 / 3]], rtol=1e-6)


@settings(max_examples=30)
@given(
    sides=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    in_channels=st.integers(1, 6),
    active=st.sets(st.integers(0, 5), min_size=1),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.sampled_from([(1, 1), (2, 2), (2, 1)]),
)
def test_convolutional_block_equals_numpy(sides, in_channels, active, kernel, strides):
    block = HighwayConv2D(6, kernel_size=kernel, strides=strides, active=sorted(active))
    x = np.random.default_rng(1).normal(size=(2, *sides, in_channels)).astype("float32")
    block.build(x.shape)
    randomize(block)
    y, gates = block(x, return_gates=True)
    expected, t, change = oracle(block, x)
    assert y.shape == block.compute_output_shape(x.shape)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(gates["mean_gate"], t.mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(gates["max_gate"], t.max((1, 2)), atol=1e-5)
    np.testing.assert_allclose(gates["mean_update"], np.abs(t * change).mean((1, 2)), atol=1e-5)


@settings(max_examples=15)
@given(in_channels=st.integers(1, 6), active=st.sets(st.integers(0, 5), min_size=1))
def test_dense_block_equals_numpy(in_channels, active):
    block = HighwayDense(6, active=sorted(active))
    x = np.random.default_rng(1).normal(size=(3, in_channels)).astype("float32")
    block.build(x.shape)
    randomize(block)
    y, gates = block(x, return_gates=True)
    expected, t, change = oracle(block, x)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(gates["mean_gate"], t, atol=1e-5)
    np.testing.assert_allclose(gates["max_gate"], t, atol=1e-5)
    np.testing.assert_allclose(gates["mean_update"], np.abs(t * change), atol=1e-5)


# One run at the start, in the middle, at the end; then many runs.
SUBSETS = [[0], [3, 4], [11], [0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11], [0, 1, 4, 6, 9, 10, 11]]


@pytest.mark.parametrize("active", SUBSETS)
@pytest.mark.parametrize("in_channels", [12, 5])  # 5: carried by a projection
def test_every_other_channel_is_carried_bit_for_bit(active, in_channels):
    block = HighwayConv2D(12, active=active)
    x = (1e4 * np.random.default_rng(0).normal(size=(2, 3, 3, in_channels))).astype("float32")
    block.build(x.shape)
    randomize(block)
    carry = x if block.projection is None else ops.convert_to_numpy(block.projection(x))
    y = ops.convert_to_numpy(block(x))
    others = sorted(set(range(12)) - set(active))
    np.testing.assert_array_equal(y[..., others], carry[..., others])
    assert (y[..., active] != carry[..., active]).any(axis=(0, 1, 2)).all()
    assert_equal_in_range(y, oracle(block, x)[0].astype("float32"))


def test_a_stream_is_parted_once(monkeypatch):
    """Its gradient is then one concatenation; each slice's would be as large as the stream."""
    done = []
    for name in ("split", "concatenate"):
        original = getattr(ops, name)

        def counted(*args, name=name, original=original, **options):
            done.append(name)
            return original(*args, **options)

        monkeypatch.setattr(hwkeras.layers.ops, name, counted)
    HighwayDense(40, active=range(0, 40, 2))(np.zeros((1, 40), "float32"))
    assert done == ["split", "concatenate", "split", "concatenate"]


def test_a_whole_block_parts_nothing(monkeypatch):
    monkeypatch.setattr(hwkeras.layers.ops, "concatenate", None)
    monkeypatch.setattr(hwkeras.layers.ops, "split", None)
    assert HighwayDense(4)(np.ones((2, 4), "float32")).shape == (2, 4)


def test_an_empty_block_is_its_carry():
    x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    plain, changed = HighwayDense(4, active=[]), HighwayDense(3, active=[])
    np.testing.assert_array_equal(plain(x), x)
    assert plain.weights == []
    np.testing.assert_allclose(changed(x), x @ array(changed.projection.kernel), atol=1e-6)
    assert [weight.path for weight in changed.weights] == [f"{changed.name}/projection/kernel"]
    y, gates = changed(x, return_gates=True)
    assert gates == {} and y.shape == (2, 3)


@pytest.mark.parametrize(
    ("strides", "in_channels", "projected"),
    [(1, 4, False), (1, 3, True), (2, 4, True), ((1, 2), 4, True)],
)
def test_a_projection_stands_where_the_shape_changes(strides, in_channels, projected):
    block = HighwayConv2D(4, strides=strides)
    block.build((None, 5, 5, in_channels))
    assert (block.projection is not None) is projected
    if projected:
        assert not block.projection.use_bias
        assert block.projection.kernel.shape == (1, 1, in_channels, 4)


def test_sides_that_are_not_known():
    block = HighwayConv2D(4, strides=(2, 1))
    assert block.compute_output_shape((None, None, 7, 3)) == (None, None, 7, 4)
    assert block(keras.Input((None, 7, 3))).shape == (None, None, 7, 4)


def test_weights_have_stable_names():
    block = HighwayConv2D(4, name="b")
    block.build((None, 5, 5, 3))
    assert sorted(weight.path for weight in block.weights) == [
        "b/gate/bias", "b/gate/kernel", "b/norm/beta", "b/norm/gamma", "b/norm/moving_mean",
        "b/norm/moving_variance", "b/projection/kernel", "b/transform/bias", "b/transform/kernel",
    ]  # fmt: skip


def test_a_fresh_block_mostly_carries():
    block = HighwayConv2D(4, gate_bias=-2.0)
    block.build((None, 5, 5, 4))
    np.testing.assert_array_equal(block.gate.bias, [-2.0] * 4)
    np.testing.assert_array_equal(HighwayConv2D(4).gate_bias, -1.0)
    dense = HighwayDense(3, gate_bias=-5.0)
    dense.build((None, 3))
    np.testing.assert_array_equal(dense.gate.bias, [-5.0] * 3)


def test_only_training_moves_the_statistics():
    block = HighwayDense(1, momentum=0.75)
    x = np.array([[2.0], [6.0]], "float32")  # mean 4, variance 4
    block(x)
    np.testing.assert_array_equal(block.norm.moving_mean, [0.0])
    block(x, training=True)
    np.testing.assert_allclose(block.norm.moving_mean, [0.25 * 4.0])
    np.testing.assert_allclose(block.norm.moving_variance, [0.75 * 1.0 + 0.25 * 4.0])


def test_mixed_precision_computes_low_and_stores_float32():
    block = HighwayConv2D(4, active=[0, 2], dtype="mixed_bfloat16")
    y = block(np.ones((1, 3, 3, 2), "float32"))
    assert y.dtype == "bfloat16"
    assert {weight.dtype for weight in block.weights} == {"float32"}


ARGUMENTS = {"channels": 6, "active": [0, 1, 5], "gate_bias": -3.0, "momentum": 0.5, "epsilon": 0.1}


@pytest.mark.parametrize(
    "block",
    [
        HighwayConv2D(**ARGUMENTS, kernel_size=(1, 3), strides=2, name="b", dtype="mixed_bfloat16"),
        HighwayConv2D(4),
        HighwayDense(**ARGUMENTS, name="b", trainable=False),
        HighwayDense(4, active=[]),
    ],
)
def test_config_round_trip(block):
    config = json.loads(json.dumps(block.get_config()))  # what a .keras file does to it
    copy = type(block).from_config(config)
    assert copy.get_config() == block.get_config()
    assert (copy.active, copy.trainable) == (block.active, block.trainable)
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(block))
    assert loaded.get_config() == block.get_config()


def test_config_holds_every_argument():
    config = HighwayConv2D(**ARGUMENTS, kernel_size=(1, 3), strides=2).get_config()
    expected = {**ARGUMENTS, "kernel_size": (1, 3), "strides": (2, 2)}
    assert {name: config[name] for name in expected} == expected
    assert HighwayDense(4).get_config()["active"] is None  # so that `channels` may be edited


def test_names_in_files_are_stable():
    assert keras.saving.get_registered_name(HighwayConv2D) == "hwkeras>HighwayConv2D"
    assert keras.saving.get_registered_name(HighwayDense) == "hwkeras>HighwayDense"


@pytest.mark.parametrize("channels", [0, -1, 2.0, "4", None])
def test_channels_that_cannot_be(channels):
    with pytest.raises(ValueError) as caught:
        HighwayConv2D(channels)
    assert str(caught.value) == f"`channels` must be a positive integer. Received: {channels}"


@pytest.mark.parametrize("active", [[1, 0], [0, 0], [0, 4], [-1, 2]])
def test_active_channels_that_cannot_be(active):
    with pytest.raises(ValueError) as caught:
        HighwayDense(4, active=active)
    assert str(caught.value) == (
        "`active` must hold ascending channel numbers from 0 to 3, each once."
        f" Received: active={active}"
    )


def test_an_input_of_unknown_channels_is_refused():
    with pytest.raises(ValueError, match="^b: the input's channels must be known: .*None"):
        HighwayDense(4, name="b").build((None, None))
