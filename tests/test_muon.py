"""Muon: orthogonal steps for the kernels it is told of, SGD's for all others."""

import keras
import numpy as np
import pytest

from hwkeras.muon import Muon, nearest_orthogonal

RNG = np.random.default_rng(0)


def stepped(optimizer, variables, gradients, times=1):
    for _ in range(times):
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


@pytest.mark.parametrize("shape", [(40, 8), (8, 40), (16, 16), (9, 1)])
def test_singular_values_come_close_to_one_and_directions_stay(shape):
    # Values over two decades, as those of a gradient. The quintic leaves values between 0.68 and
    # 1.13 once they are up there (Jordan's post); it does not move singular vectors.
    small = min(shape)
    left, _ = np.linalg.qr(RNG.normal(size=(shape[0], small)))
    right, _ = np.linalg.qr(RNG.normal(size=(shape[1], small)))
    matrix = (left * np.logspace(0, -2, small)) @ right.T
    found = keras.ops.convert_to_numpy(nearest_orthogonal(matrix.astype("float32"), steps=8))
    inner = left.T @ found @ right
    np.testing.assert_allclose(inner, np.diag(np.diag(inner)), atol=0.02)
    assert np.diag(inner).min() > 0.65 and np.diag(inner).max() < 1.15


def test_a_zero_gradient_is_a_zero_step():
    found = keras.ops.convert_to_numpy(nearest_orthogonal(np.zeros((6, 3), "float32")))
    np.testing.assert_array_equal(found, np.zeros((6, 3)))


def test_the_size_of_a_gradient_does_not_matter_to_a_named_kernel():
    start = RNG.normal(size=(3, 3, 4, 5)).astype("float32")
    gradient = RNG.normal(size=start.shape).astype("float32")
    steps = []
    for factor in (1e-3, 1e3):
        kernel = keras.Variable(start)
        optimizer = Muon(learning_rate=0.1, scale=0.5)
        optimizer.orthogonalize([kernel])
        (moved,) = stepped(optimizer, [kernel], [factor * gradient])
        steps.append(moved - start)
    np.testing.assert_allclose(*steps, atol=1e-5)
    # 36 rows and 5 columns: five singular values near 1, times 0.1 * 0.5
    values = np.linalg.svd(steps[0].reshape(-1, 5), compute_uv=False)
    assert (values > 0.05 * 0.6).all() and (values < 0.05 * 1.25).all()


def test_without_momentum_a_step_is_that_of_the_gradient_alone():
    # a kernel of one column: its step is the gradient's direction, whatever came before
    kernel = keras.Variable(np.zeros((2, 1), "float32"))
    optimizer = Muon(learning_rate=1.0, momentum=0.0, scale=1.0, steps=12)
    optimizer.orthogonalize([kernel])
    (first,) = stepped(optimizer, [kernel], [np.array([[3.0], [0.0]], "float32")])
    (second,) = stepped(optimizer, [kernel], [np.array([[0.0], [5.0]], "float32")])
    np.testing.assert_allclose(second - first, first[::-1], atol=1e-6)
    assert first[0, 0] == pytest.approx(-1, abs=0.3) and first[1, 0] == 0


def test_all_others_take_the_steps_of_sgd_with_momentum():
    gradient = RNG.normal(size=(4, 3)).astype("float32")
    ends = []
    for optimizer in (
        Muon(learning_rate=0.1, momentum=0.8),
        keras.optimizers.SGD(0.1, momentum=0.8),
    ):
        variable = keras.Variable(np.ones((4, 3), "float32"))
        ends += stepped(optimizer, [variable], [gradient], times=3)
    np.testing.assert_allclose(*ends, atol=1e-6)


def test_momentum_remembers_the_last_gradient():
    # a kernel of one column: its step is the direction of 1.9 g1, then of g2 + 0.9 (g2 + 0.9 g1)
    kernel = keras.Variable(np.zeros((2, 1), "float32"))
    optimizer = Muon(learning_rate=1.0, momentum=0.9, scale=1.0, steps=12)
    optimizer.orthogonalize([kernel])
    (first,) = stepped(optimizer, [kernel], [np.array([[1.0], [0.0]], "float32")])
    (second,) = stepped(optimizer, [kernel], [np.array([[0.0], [1.0]], "float32")])
    assert first[1, 0] == 0 and first[0, 0] < 0
    step = second - first
    assert step[0, 0] / step[1, 0] == pytest.approx(0.81 / 1.9, rel=1e-4)
