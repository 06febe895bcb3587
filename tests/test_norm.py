"""The fused batch norm is Keras's: the same answers, gradients, moving averages and weights."""

import keras
import numpy as np
import pytest
from keras import ops

from hwkeras.norm import FusedBatchNormalization

SHAPE = (5, 6, 4, 3)
tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the fused kernel is TensorFlow's"
)


def pair(shape=SHAPE, **options):
    """Returns the fused norm and Keras's own, with the same odd weights."""
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.5, 2, SHAPE[-1]) for _ in range(4)]
    norms = []
    for kind in (FusedBatchNormalization, keras.layers.BatchNormalization):
        norm = kind(momentum=0.7, epsilon=1e-3, **options)
        norm.build(shape)
        norm.set_weights(weights)
        norms.append(norm)
    return norms


def pixels(shape=SHAPE):
    return np.random.default_rng(1).normal(3, 2, shape).astype("float32")


def assert_same_weights(fused, own):
    for mine, theirs in zip(fused.get_weights(), own.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def test_a_training_step_answers_and_moves_the_averages_as_keras_does():
    fused, own = pair()
    images = pixels()
    before = [weight.copy() for weight in fused.get_weights()]
    answers = [np.asarray(norm(images, training=True)) for norm in (fused, own)]
    np.testing.assert_allclose(*answers, rtol=1e-4, atol=1e-5)
    assert_same_weights(fused, own)
    assert not np.allclose(fused.get_weights()[3], before[3])


@tensorflow
def test_gradients_are_those_of_keras():
    import tensorflow as tf

    images, weights = tf.constant(pixels()), tf.constant(pixels()[::-1])
    found = []
    for norm in pair():
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(norm(images, training=True) * weights)
        found.append(tape.gradient(loss, [images, norm.gamma.value, norm.beta.value]))
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


@tensorflow
def test_it_uses_the_kernel_in_training_only():
    import tensorflow as tf

    fused, _ = pair()

    def kernels(training):
        graph = tf.function(lambda x: fused(x, training=training))
        concrete = graph.get_concrete_function(tf.TensorSpec(SHAPE))
        return [op.type for op in concrete.graph.get_operations() if "FusedBatchNorm" in op.type]

    assert kernels(training=True) == ["FusedBatchNormV3"]
    assert kernels(training=False) == []


@pytest.mark.parametrize("case", ["inference", "frozen", "table", "float64", "float16", "bfloat16"])
def test_all_else_is_left_to_keras(case):
    inputs = pixels((8, 3)) if case == "table" else pixels()
    dtype = case if "float" in case else "float32"
    norms = pair(inputs.shape, trainable=case != "frozen", dtype=dtype)
    answers = [np.asarray(norm(inputs, training=case != "inference")) for norm in norms]
    np.testing.assert_array_equal(*answers)
    for mine, theirs in zip(norms[0].get_weights(), norms[1].get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_bfloat16_stays_bfloat16_and_weights_float32():
    fused, own = pair(dtype="mixed_bfloat16")
    images = ops.cast(pixels(), "bfloat16")
    answers = [norm(images, training=True) for norm in (fused, own)]
    assert {str(ops.dtype(answer)) for answer in answers} == {"bfloat16"}
    assert {weight.dtype for weight in fused.weights} == {"float32"}
    as_float = [np.asarray(ops.cast(answer, "float32")) for answer in answers]
    np.testing.assert_allclose(*as_float, atol=0.05)
    assert_same_weights(fused, own)
