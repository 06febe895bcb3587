"""Rounding kernels to a few bits so that what they compute changes least.

To the nearest value is the best that can be done for a weight alone, not for a sum: what rounding
one weight does to the output, the weights that are not rounded yet can take back, as far as what
they read goes together. Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", 2023; litert-quantizer has it for dense layers only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.calibration import Sample
from export.packing import pack, unpack
from export.runtime import allocated
from export.tflite import SIGNATURE

_DAMPING = 0.01  # of the mean square of what is read: how little to trust few images
_POSITIONS = 64  # of an image, that are enough to see what goes together
_TOGETHER = 16  # images whose products are made at once, which is faster
_BLOCK = 64  # weights of a row, after which those behind them are brought up to date at once
_WIDEST = 8192  # weights of a row: wider ones would take minutes and gigabytes
_CLIPPED = np.linspace(1.0, 0.5, 26)  # shares of its largest weight that a channel may be cut to


def compensated(
    content: bytes,
    samples: Sequence[Sample],
    bits: Mapping[str, int],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bytes:
    """Returns a .tflite whose kernels hold few values, which rounding by min and max keeps.

    Depthwise and grouped convolutions stay as they are, and kernels that several operators read or
    whose rows have more than 8192 weights.

    Args:
        content: of a float32 .tflite.
        samples: from `export.calibration.samples_of`.
        bits: of the weights of some convolutions and dense layers, by the names of their outputs.
        progress: called with (images and kernels done, images and kernels in all).
    """
    model = unpack(content)
    (graph,) = model.subgraphs
    layers = [layer for layer in _layers(model) if layer.name in bits]
    total = len(samples) + len(layers)
    squares = _mean_squares(content, samples, layers, lambda done: progress(done, total))
    for done, (layer, square) in enumerate(zip(layers, squares, strict=True), len(samples) + 1):
        buffer = model.buffers[graph.tensors[layer.kernel].buffer]
        kernel = np.frombuffer(buffer.data.tobytes(), np.float32)
        rows = kernel.reshape(layer.outputs, -1)
        buffer.data = np.frombuffer(rounded(rows, square, bits[layer.name]).tobytes(), np.uint8)
        progress(done, total)
    return pack(model)


def rounded(kernel: np.ndarray, square: np.ndarray, bits: int) -> np.ndarray:
    """Returns a kernel of which each row holds multiples of one step, the largest included.

    Args:
        kernel: float32 `(outputs, inputs)`.
        square: `(inputs, inputs)`, the mean of the products of what the inputs read.
        bits: for multiples of up to 2^(bits - 1) - 1, of either sign.
    """
    levels = 2 ** (bits - 1) - 1
    square = square.astype(np.float64)
    square[np.diag_indices_from(square)] += _DAMPING * max(np.diag(square).mean(), 1e-12)
    steps = _steps(kernel, np.diag(square), levels)
    largest = np.abs(kernel).argmax(1)
    order = np.argsort(-np.diag(square), kind="stable")  # what weighs most has most left to help it
    inverse = np.linalg.inv(square[np.ix_(order, order)])
    factor = np.linalg.cholesky((inverse + inverse.T) / 2).T  # upper
    left, result = kernel[:, order].astype(np.float64), np.empty_like(kernel)
    for first in range(0, len(order), _BLOCK):
        block = slice(first, min(first + _BLOCK, len(order)))
        errors = np.empty((len(kernel), block.stop - first))
        for place, column in enumerate(order[block], first):
            values = np.clip(np.rint(left[:, place] / steps), -levels, levels)
            fixed = largest == column  # by which the quantizer will find the step again
            values[fixed] = levels * np.sign(kernel[fixed, column])
            result[:, column] = values * steps
            error = errors[:, place - first] = (left[:, place] - result[:, column]) / factor[
                place, place
            ]
            left[:, place : block.stop] -= np.outer(error, factor[place, place : block.stop])
        left[:, block.stop :] -= errors @ factor[block, block.stop :]
    return result


def _steps(kernel: np.ndarray, weight: np.ndarray, levels: int) -> np.ndarray:
    """Returns the step of each row that costs least if each weight goes to the nearest value."""
    largest = np.maximum(np.abs(kernel).max(1), 1e-9)
    best, chosen = np.full(len(kernel), np.inf), largest / levels
    for share in _CLIPPED:
        steps = (share * largest / levels)[:, None]
        nearest = np.clip(np.rint(kernel / steps), -levels, levels) * steps
        cost = (kernel - nearest) ** 2 @ weight
        chosen = np.where(cost < best, steps[:, 0], chosen)
        best = np.minimum(cost, best)
    return chosen


@dataclasses.dataclass(frozen=True)
class _Layer:
    """A convolution or dense layer.

    Attributes:
        name: of its output.
        source, kernel: tensors that it reads.
        outputs: rows of the kernel.
        window: of the kernel, height and width; None for a dense layer.
        stride, dilation: height and width.
        same: whether the image is padded, so that the stride alone makes it smaller.
    """

    name: str
    source: int
    kernel: int
    outputs: int
    window: tuple[int, int] | None = None
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    same: bool = False

    def read(self, values: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Returns `(positions, inputs)`: what the rows of the kernel are multiplied with, at up to
        `_POSITIONS` random positions."""
        if self.window is None:
            return values.reshape(-1, values.shape[-1])
        spans = [1 + (k - 1) * d for k, d in zip(self.window, self.dilation, strict=True)]
        if self.same:
            padding = []
            for size, span, stride in zip(values.shape[1:3], spans, self.stride, strict=True):
                lacking = max((-(-size // stride) - 1) * stride + span - size, 0)
                padding.append((lacking // 2, lacking - lacking // 2))
            values = np.pad(values, [(0, 0), *padding, (0, 0)])
        views = np.lib.stride_tricks.sliding_window_view(values, spans, (1, 2))
        views = views[:, :: self.stride[0], :: self.stride[1]]
        views = views[..., :: self.dilation[0], :: self.dilation[1]]
        windows = np.moveaxis(views, 3, -1)  # n, y, x, window, channels
        places = np.arange(np.prod(windows.shape[:3]))
        if len(places) > _POSITIONS:
            places = random.choice(places, _POSITIONS, replace=False)
        chosen = windows[np.unravel_index(places, windows.shape[:3])]
        return chosen.reshape(len(places), -1)


def _layers(model: schema.ModelT) -> list[_Layer]:
    """Returns the layers whose kernels can be compensated."""
    (graph,) = model.subgraphs
    kinds = schema.BuiltinOperator
    readers: dict[int, int] = {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            buffer = graph.tensors[tensor].buffer if tensor >= 0 else -1
            readers[buffer] = readers.get(buffer, 0) + 1
    found = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)
        if kind not in (kinds.CONV_2D, kinds.FULLY_CONNECTED):
            continue
        source, kernel = map(int, operator.inputs[:2])
        tensor = graph.tensors[kernel]
        name, shape = graph.tensors[operator.outputs[0]].name.decode(), tuple(tensor.shape)
        constant = model.buffers[tensor.buffer].data is not None
        if not constant or readers[tensor.buffer] > 1 or np.prod(shape[1:]) > _WIDEST:
            continue
        if kind == kinds.FULLY_CONNECTED:
            found.append(_Layer(name, source, kernel, shape[0]))
        elif graph.tensors[source].shape[-1] == shape[-1]:  # else it is grouped
            options: Any = operator.builtinOptions
            found.append(
                _Layer(
                    name, source, kernel, shape[0], shape[1:3],
                    (options.strideH, options.strideW),
                    (options.dilationHFactor, options.dilationWFactor),
                    options.padding == schema.Padding.SAME,
                )
            )  # fmt: skip
    return found


def _mean_squares(
    content: bytes,
    samples: Sequence[Sample],
    layers: Sequence[_Layer],
    on_images: Callable[[int], None],
) -> list[np.ndarray]:
    """Returns, for each layer, the mean products of what it reads, `(inputs, inputs)`."""
    interpreter = allocated(content, threads=2, delegate=False, keep_all=True)
    run = interpreter.get_signature_runner(SIGNATURE)
    random = np.random.default_rng(0)
    sums: list[Any] = [0.0] * len(layers)
    counts = [0] * len(layers)
    for first in range(0, len(samples), _TOGETHER):
        reads: list[list[np.ndarray]] = [[] for _ in layers]
        for sample in samples[first : first + _TOGETHER]:
            run(**sample)
            for layer, read in zip(layers, reads, strict=True):
                read.append(layer.read(interpreter.get_tensor(layer.source), random))
        for index, read in enumerate(reads):
            rows = np.concatenate(read)
            sums[index] = sums[index] + rows.T @ rows
            counts[index] += len(rows)
        on_images(min(first + _TOGETHER, len(samples)))
    return [total / count for total, count in zip(sums, counts, strict=True)]
