"""The fast convolution is Keras's: the same answers and gradients, by other kernels."""

import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from hwkeras.conv import FastConv2D

tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow's gradient is replaced"
)
CASES = {
    "3x3": {"kernel_size": 3},
    "3x3 to fewer channels": {"kernel_size": 3, "filters": 2},
    "5x3 to fewer channels": {"kernel_size": (5, 3), "filters": 1},
    "1x1": {"kernel_size": 1},
    "5x3": {"kernel_size": (5, 3)},
    "even side": {"kernel_size": (2, 3)},
    "stride": {"kernel_size": 3, "strides": 2},
    "1x1, stride": {"kernel_size": 1, "strides": 2},
    "1x1, strides, valid": {"kernel_size": 1, "strides": (3, 2), "padding": "valid"},
    "groups": {"kernel_size": 3, "filters": 6, "groups": 3},
    "dilation": {"kernel_size": 3, "dilation_rate": 2},
    "valid": {"kernel_size": 3, "padding": "valid"},
}


def pair(options, dtype="float32"):
    """Returns the fast convolution and Keras's own with the same weights."""
    rng = np.random.default_rng(0)
    layers = []
    for kind in (FastConv2D, keras.layers.Conv2D):
        layer = kind(**{"filters": 4, "padding": "same", "dtype": dtype, **options})
        layer.build((None, 7, 6, 3))
        layers.append(layer)
    weights = [rng.normal(size=weight.shape) for weight in layers[0].get_weights()]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def pixels():
    return np.random.default_rng(1).normal(size=(2, 7, 6, 3)).astype("float32")


def gradients(layer, images, upstream):
    import tensorflow as tf

    images = tf.cast(images, layer.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(images)
        answers = layer(images)
        loss = tf.reduce_sum(tf.cast(answers, "float32") * upstream[: answers.shape[0]])
    wanted = [images, layer.kernel.value, layer.bias.value]
    return [tf.cast(found, "float32").numpy() for found in tape.gradient(loss, wanted)]


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_answers_are_those_of_keras(options):
    answers = [np.asarray(layer(pixels())) for layer in pair(options)]
    np.testing.assert_allclose(*answers, atol=1e-5)


@tensorflow
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_gradients_are_those_of_keras(options):
    fast, own = pair(options)
    shape = own(pixels()).shape
    upstream = np.random.default_rng(2).normal(size=shape).astype("float32")
    for mine, theirs in zip(
        gradients(fast, pixels(), upstream), gradients(own, pixels(), upstream), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@tensorflow
@pytest.mark.parametrize("case", ["3x3", "3x3 to fewer channels", "1x1, stride"])
def test_gradients_in_bfloat16_are_those_of_float32_rounded(case):
    fast, own = pair(CASES[case], "mixed_bfloat16")[0], pair(CASES[case])[1]
    upstream = np.random.default_rng(2).normal(size=own(pixels()).shape).astype("float32")
    for mine, theirs in zip(
        gradients(fast, pixels(), upstream), gradients(own, pixels(), upstream), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=0.05 * np.abs(theirs).max())


@tensorflow
@pytest.mark.parametrize("filters, turns", [(4, 1), (2, 2)])
def test_the_kernels_gradient_has_the_fewer_channels_first(filters, turns):
    import tensorflow as tf

    if keras.distribution.list_devices("gpu"):
        pytest.skip("a GPU's own kernels are fast")
    fast, _ = pair({"kernel_size": 3, "filters": filters})

    @tf.function
    def graph(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(fast(images))
        return tape.gradient(loss, fast.kernel.value)

    operations = graph.get_concrete_function(tf.TensorSpec((2, 7, 6, 3))).graph.get_operations()
    (found,) = [op for op in operations if op.type == "Conv2DBackpropFilter"]
    assert found.inputs[0].shape[-1] == min(filters, 3)
    assert sum(op.type == "ReverseV2" for op in operations) == turns


@tensorflow
@pytest.mark.parametrize(
    "options, expected", [({"kernel_size": 3}, 0), ({"kernel_size": 3, "strides": 2}, 1)]
)
def test_it_replaces_the_gradient_of_what_it_can_turn_and_no_other(options, expected):
    import tensorflow as tf

    if keras.distribution.list_devices("gpu"):
        pytest.skip("a GPU's own kernels are fast")
    fast, _ = pair(options)

    @tf.function
    def graph(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(fast(images))
        return tape.gradient(loss, images)

    operations = graph.get_concrete_function(tf.TensorSpec((2, 7, 6, 3))).graph.get_operations()
    assert sum(op.type == "Conv2DBackpropInput" for op in operations) == expected


CHILD = """
import json, sys
import keras, numpy as np, torch
from hwkeras.conv import FastConv2D
rng, worst = np.random.default_rng(0), 0.0
for side, read, made in json.loads(sys.argv[1]):
    layer = FastConv2D(made, 1, strides=2, padding="same", use_bias=False)
    layer.build((None, side, side, read))
    images = torch.tensor(rng.normal(size=(64, side, side, read)), dtype=torch.float32)
    answers = layer(images)
    upstream = torch.tensor(rng.normal(size=answers.shape), dtype=torch.float32)
    answers.backward(upstream)
    expected = torch.einsum("bhwi,bhwo->io", images[:, ::2, ::2], upstream)
    found = layer.kernel.value.grad[0, 0]
    worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
print(json.dumps(worst))
"""


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_pytorchs_gradient_of_a_projection_is_right():
    """PyTorch's own is not on every processor: it reads what is beside its memory."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps([(16, 3, 7), (8, 8, 5), (32, 3, 3), (9, 5, 7)])],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) < 1e-4
