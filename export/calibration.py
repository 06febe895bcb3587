"""The range of every tensor of a float .tflite on real images: what integer variants round to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from export.runtime import TensorSpec, allocated, io_spec
from export.tflite import SIGNATURE, ExportError

Images = np.ndarray | Mapping[str, np.ndarray]
Sample = dict[str, np.ndarray]
Range = tuple[float, float]

MINIMUM_IMAGES = 8

# Of each tensor, a range keeps what this share of the images stays within; the few that reach
# further are clipped. See `benchmarks` in the final comment of quantize.py for what it gains.
_IMAGES_COVERED = 0.95

# These move values and change none, so all their tensors can share one range. Otherwise each slice
# of a slim block is rescaled by an operator of its own: 1,084 of them in the poster's net at 1.40 M
# parameters, a tenth of the file and a sixth of the time, for nothing.
_MOVES = {"STRIDED_SLICE": 1, "SLICE": 1, "CONCATENATION": None}  # how many inputs hold values


def samples_of(content: bytes, images: Images | None) -> list[Sample]:
    """Returns calibration images one by one, each as the model's signature takes it.

    Args:
        content: of a .tflite.
        images: real inputs `(n, ...)`, n >= 8, or one such array for each input by name.

    Raises:
        ExportError: if they are missing, too few, of another shape or not finite.
    """
    if images is None:
        raise ExportError(f"int8 and int16x8 need at least {MINIMUM_IMAGES} calibration images")
    inputs = io_spec(content).inputs
    given = images if isinstance(images, Mapping) else {inputs[0].name: images}
    arrays = {tensor.name: _checked(tensor, given.get(tensor.name)) for tensor in inputs}
    count = min(len(array) for array in arrays.values())
    return [{name: array[i : i + 1] for name, array in arrays.items()} for i in range(count)]


def _checked(tensor: TensorSpec, images: np.ndarray | None) -> np.ndarray:
    if images is None:
        raise ExportError(f"no calibration images for the input {tensor.name!r}")
    images = np.asarray(images, np.float32)
    if images.shape[1:] != tensor.shape[1:]:
        expected = ", ".join(map(str, tensor.shape[1:]))
        raise ExportError(f"calibration images: expected (n, {expected}), found {images.shape}")
    if len(images) < MINIMUM_IMAGES:
        raise ExportError(
            f"calibration images: expected at least {MINIMUM_IMAGES}, found {len(images)}"
        )
    finite = np.isfinite(images).all(axis=tuple(range(1, images.ndim)))
    if not finite.all():
        raise ExportError(f"calibration image {np.argmin(finite)} holds NaN or infinity")
    return images


def tensor_ranges(
    content: bytes, samples: Sequence[Sample], recipe: list[dict[str, Any]]
) -> dict[str, dict[str, np.ndarray]]:
    """Returns "min" and "max" of each tensor by name, as litert-quantizer takes them.

    Args:
        content: of a float32 .tflite.
        samples: from `samples_of`.
        recipe: litert-quantizer's, which says what will be quantized.
    """
    seen = _extremes(content, samples, recipe)
    ranges = {
        name: (
            float(np.quantile(values["min"], 1 - _IMAGES_COVERED)),
            float(np.quantile(values["max"], _IMAGES_COVERED)),
        )
        for name, values in seen.items()
    }
    interpreter = allocated(content, delegate=False)
    for tensor in interpreter.get_input_details():
        ranges[tensor["name"]] = _input_range(samples, seen[tensor["name"]], tensor["shape"])
    for tensor in interpreter.get_output_details():  # a clipped logit would be a wrong answer
        values = seen[tensor["name"]]
        ranges[tensor["name"]] = (float(values["min"].min()), float(values["max"].max()))
    for group in _moved_together(interpreter):
        known = [name for name in group if name in ranges]
        shared = (min(ranges[n][0] for n in known), max(ranges[n][1] for n in known))
        ranges |= dict.fromkeys(known, shared)
    return {
        name: {"min": np.float32([low]), "max": np.float32([high])}
        for name, (low, high) in ranges.items()
    }
