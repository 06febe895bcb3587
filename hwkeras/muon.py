"""Muon: momentum SGD whose steps turn every direction of a kernel equally far."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

# Of the quintic a s + b s^3 + c s^5 that moves singular values s in (0, 1] to about 1 (Jordan).
_A, _B, _C = 3.4445, -4.7750, 2.0315


class Muon(keras.optimizers.SGD):
    """SGD with momentum; the steps of some kernels are made orthogonal.

    A kernel `(..., in, out)` is taken as a matrix with one row a reading and one column a filter.
    Its step is that of Nesterov's momentum, moved to the nearest matrix with singular values of 1,
    times `learning_rate * scale`: a step as large, against a kernel drawn with a variance of
    1 / (3 fan in), in every layer and along every direction. All other variables take the steps of
    SGD with plain momentum.

    Args:
        learning_rate: as SGD's.
        momentum: of both kinds of steps.
        scale: of an orthogonal step against the learning rate.
        steps: iterations towards the orthogonal matrix.
        **kwargs: as SGD's.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks"
    (https://kellerjordan.github.io/posts/muon/).
    """

    def __init__(
        self,
        learning_rate=0.1,
        momentum: float = 0.9,
        scale: float = 0.3,
        steps: int = 5,
        **kwargs,
    ):
        super().__init__(learning_rate, momentum=momentum, **kwargs)
        self.scale, self.steps = scale, steps
        self._named: set[int] = set()
        self._turned: list[bool] = []

    def orthogonalize(self, variables: Sequence[keras.Variable]) -> None:
        """Names the kernels whose steps are orthogonal."""
        self._named = {id(variable) for variable in variables}

    def build(self, variables):
        super().build(variables)
        self._turned = [id(variable) in self._named for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        if not self._turned[self._get_variable_index(variable)]:
            return super().update_step(gradient, variable, learning_rate)
        gradient = ops.cast(gradient, variable.dtype)
        ahead = gradient
        if self.momentum:  # without, Keras keeps none
            momentum = self.momentums[self._get_variable_index(variable)]
            self.assign(momentum, self.momentum * momentum + gradient)
            ahead = gradient + self.momentum * momentum
        matrix = ops.reshape(ahead, (-1, variable.shape[-1]))
        step = ops.reshape(nearest_orthogonal(matrix, self.steps), variable.shape)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * self.scale * step)


def nearest_orthogonal(matrix, steps: int = 5):
    """Returns the matrix `(rows, columns)` with its singular values moved to about 1.

    The iteration runs on the smaller Gram matrix, so that a long kernel is multiplied twice only.
    """
    rows, columns = matrix.shape
    if rows < columns:
        return ops.transpose(nearest_orthogonal(ops.transpose(matrix), steps))
    gram = ops.matmul(ops.transpose(matrix), matrix)
    square = ops.trace(gram) + 1e-14  # of the Frobenius norm, at least that of the largest value
    gram = gram / square
    turn = ops.eye(columns, dtype=matrix.dtype)
    for _ in range(steps):
        factor = _B * gram + _C * ops.matmul(gram, gram) + _A * ops.eye(columns, dtype=gram.dtype)
        turn = ops.matmul(turn, factor)
        gram = ops.matmul(ops.matmul(factor, gram), factor)
    return ops.matmul(matrix, turn) / ops.sqrt(square)
