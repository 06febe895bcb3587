"""How a block reads and writes its active channels in the graph, chosen by measured prices.

A slim block takes some channels out of its stream and puts them back. Two forms are exact and stay
in one delegate partition: slices with a concatenation, which copy each run of neighbouring channels
row by row; and a 1x1 convolution of zeros and ones, which costs multiplications and bytes. Which is
faster depends on the positions, the channels, the runs and the type, so each block gets its own.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import ClassVar

CONCAT_ARITY = 4  # XNNPACK takes a concatenation of two to five tensors; more are nested
TILE = 16  # output channels that one pass of a convolution's kernel makes
OPERATOR_BYTES = 170  # of an operator with its tensor in a file, about

SLICES, CONVOLUTION = "slices", "convolution"


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator of a graph, as the quantities that its time depends on.

    Attributes:
        name: what it does, with its shape.
        features: as many of each as it has, in the order of `FEATURES`.
    """

    FEATURES: ClassVar = (
        "operator", "value", "copied_row", "copied_value", "convolved_row", "tap", "mac",
    )  # fmt: skip

    name: str
    features: tuple[int, ...]

    @classmethod
    def elementwise(cls, rows: int, channels: int) -> Operator:
        """Returns an addition, subtraction or multiplication of `rows` positions."""
        return cls(f"elementwise {rows} x {channels}", (1, rows * channels, 0, 0, 0, 0, 0))

    @classmethod
    def copy(cls, rows: int, channels: int) -> Operator:
        """Returns a slice, or one part of a concatenation."""
        return cls(f"copy {rows} x {channels}", (1, 0, rows, rows * channels, 0, 0, 0))

    @classmethod
    def convolution(cls, rows: int, taps: int, inputs: int, outputs: int) -> Operator:
        """Returns a convolution of `taps` = height x width of its kernel."""
        macs = rows * taps * inputs * TILE * math.ceil(outputs / TILE)
        name = f"convolution {rows} x {taps} x {inputs} -> {outputs}"
        return cls(name, (1, 0, 0, 0, rows, rows * taps, macs))


@dataclasses.dataclass(frozen=True)
class Prices:
    """What the quantities of `Operator` cost on a device.

    Attributes:
        microseconds: of each, in the order of `Operator.FEATURES`.
        weight_bytes: of one weight.
        output_bytes: of one output channel of a convolution: its bias, and the scales and zero
            points of both where they are integers.
    """

    microseconds: tuple[float, ...]
    weight_bytes: int
    output_bytes: int

    def size(self, weights: int, outputs: int) -> int:
        """Returns the bytes of convolutions with so many weights and output channels."""
        return self.weight_bytes * weights + self.output_bytes * outputs

    def time(self, operators: Iterable[Operator]) -> float:
        """Returns the microseconds of operators that run one after the other."""
        return sum(
            price * count
            for operator in operators
            for price, count in zip(self.microseconds, operator.features, strict=True)
        )


# Fitted by `benchmarks/forms.py` (results/forms.json): one thread of an x86-64 server.
PRICES = {
    "float32": Prices((0.357, 9.39e-05, 0.00298, 2.42e-05, 0, 0.000501, 1.76e-05), 4, 0),
    "int8": Prices((0.502, 0.000162, 0.00236, 2.84e-06, 0.013, 0.00227, 7.97e-07), 1, 28),
}


@dataclasses.dataclass(frozen=True)
class Form:
    """How a block takes its active channels out of the stream, and puts them back."""

    take: str
    put: str


FORMS = tuple(itertools.starmap(Form, itertools.product((SLICES, CONVOLUTION), repeat=2)))


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What the time of a block depends on.

    Attributes:
        rows: positions of its output.
        taps: height x width of its kernels.
        inputs: channels that it reads.
        channels: channels of its stream.
        runs: of its active channels.
    """

    rows: int
    taps: int
    inputs: int
    channels: int
    runs: tuple[tuple[int, int], ...]

    @property
    def active(self) -> int:
        return sum(stop - start for start, stop in self.runs)

    def operators(self, form: Form) -> list[Operator]:
        """Returns the operators of the block, but for its projection."""
        active, rows = self.active, self.rows
        return [
            Operator.elementwise(rows, self.inputs),
            Operator.convolution(rows, self.taps, self.inputs, active),
            Operator.convolution(rows, self.taps, active, active),
            *[Operator.elementwise(rows, active)] * 3,  # sigmoid, difference, product
            *self._take(form.take),
            *self._put(form.put),
        ]

    def extra_bytes(self, form: Form, prices: Prices) -> int:
        """Returns the bytes of the convolutions that the form adds."""
        outputs = (form.take == CONVOLUTION) * self.active + (
            form.put == CONVOLUTION
        ) * self.channels
        convolutions = (form.take, form.put).count(CONVOLUTION)
        return prices.size(convolutions * self.channels * self.active, outputs)

    def _take(self, form: str) -> list[Operator]:
        if form == CONVOLUTION:
            return [Operator.convolution(self.rows, 1, self.channels, self.active)]
        widths = [stop - start for start, stop in self.runs]
        if widths == [self.channels]:
            return []
        slices = [Operator.copy(self.rows, width) for width in widths]
        return slices + self._concatenation(widths)

    def _put(self, form: str) -> list[Operator]:
        if form == CONVOLUTION:
            return [
                Operator.convolution(self.rows, 1, self.active, self.channels),
                Operator.elementwise(self.rows, self.channels),
            ]
        added = [Operator.elementwise(self.rows, self.active)]
        edges = sorted({0, self.channels, *(edge for run in self.runs for edge in run)})
        widths = [stop - start for start, stop in itertools.pairwise(edges)]
        if len(widths) == 1:
            return added
        sliced = widths if len(self.runs) > 1 else [w for w in widths if w != self.active]
        slices = [Operator.copy(self.rows, width) for width in sliced]
        return added + slices + self._concatenation(widths)

    def _concatenation(self, widths: Sequence[int]) -> list[Operator]:
        """Returns the copies of a concatenation, nested where it has many parts."""
        copies, widths = [], list(widths)
        while len(widths) > 1:
            groups = [widths[i : i + CONCAT_ARITY] for i in range(0, len(widths), CONCAT_ARITY)]
            copies += [Operator.copy(self.rows, width) for g in groups if len(g) > 1 for width in g]
            widths = [sum(group) for group in groups]
        return copies


def choose_forms(blocks: Sequence[Geometry], prices: Prices, parameters: int) -> list[Form]:
    """Returns the form of each block of a net: a larger one only where it makes the net faster by
    a larger share than it makes the file larger.

    Args:
        blocks: of the net.
        prices: of the device and the type.
        parameters: of the net.
    """
    plain = Form(SLICES, SLICES)
    time = sum(prices.time(block.operators(plain)) for block in blocks)
    size = prices.weight_bytes * parameters

    def price(block: Geometry, form: Form) -> float:
        operators = block.operators(form)
        content = OPERATOR_BYTES * len(operators) + block.extra_bytes(form, prices)
        return prices.time(operators) / time + content / size

    return [min(FORMS, key=lambda form: price(block, form)) for block in blocks]
