"""What a highway net costs: parameters, bytes and multiply-accumulates, from shapes alone."""

from __future__ import annotations

import dataclasses
import math

BYTES_PER_PARAMETER = 4  # float32


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of (a part of) a model for one input.

    Attributes:
        parameters: weights, batch-norm statistics included.
        macs: multiply-accumulates of convolutions and dense layers; elementwise work is not
            counted, as in the literature.
    """

    parameters: int
    macs: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.parameters + other.parameters, self.macs + other.macs)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.parameters - other.parameters, self.macs - other.macs)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.parameters * times, self.macs * times)

    @property
    def size_bytes(self) -> int:
        """Bytes of the parameters in float32."""
        return BYTES_PER_PARAMETER * self.parameters


@dataclasses.dataclass(frozen=True)
class BlockShape:
    """The shape of one highway block, all that its cost depends on.

    Attributes:
        in_channels: channels of the block's input.
        channels: channels of the stream the block writes to (C).
        kernel: spatial size of the transform's and the gate's kernel; `()` for `HighwayDense`.
        positions: output positions, as height x width; a side that is not known counts as 1.
        projection: whether the carry goes through a projection.
    """

    in_channels: int
    channels: int
    kernel: tuple[int, ...]
    positions: int
    projection: bool

    def cost(self, active: int) -> Cost:
        """Returns the cost of the block when it transforms `active` of its channels.

        A block that transforms none has neither norm nor kernels; only its projection stays.
        """
        area = math.prod(self.kernel)
        weights = self.in_channels * self.channels if self.projection else 0
        other = 0
        if active:
            weights += area * active * (self.in_channels + active)
            other = 4 * self.in_channels + 2 * active  # norm; biases of transform and gate
        return Cost(weights + other, weights * self.positions)
