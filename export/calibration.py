"""The range of every tensor of a float .tflite on real images: what integer variants round to."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export.runtime import Images, TensorSpec, allocated, io_spec
from export.tflite import SIGNATURE, ExportError

Sample = dict[str, np.ndarray]
Extremes = MutableMapping[str, np.ndarray]  # "min" and "max" of a tensor

MINIMUM_IMAGES = 8

# These move values and change none, so all their tensors can share one range. Otherwise a slim
# block rescales each slice by an operator of its own, for more bytes and time and the same answer.
MOVES = {"STRIDED_SLICE": slice(1), "SLICE": slice(1), "CONCATENATION": slice(None)}  # of inputs


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
    content: bytes, samples: Sequence[Sample], recipe: list[dict[str, Any]], covered: float
) -> dict[str, Extremes]:
    """Returns "min" and "max" of each tensor by name, as litert-quantizer takes them.

    Args:
        content: of a float32 .tflite.
        samples: from `samples_of`.
        recipe: litert-quantizer's, which says what will be quantized.
        covered: share of the images that stay within a tensor's range; in the others, values
            beyond it will be clipped. Inputs and outputs cover all of them.
    """
    seen = _extremes(content, samples, recipe)
    ranges = {
        name: (
            float(np.quantile(values["min"], 1 - covered)),
            float(np.quantile(values["max"], covered)),
        )
        for name, values in seen.items()
    }
    interpreter = allocated(content, delegate=False)
    inputs = {tensor["name"]: tensor for tensor in interpreter.get_input_details()}
    for name in [*inputs, *(tensor["name"] for tensor in interpreter.get_output_details())]:
        # What goes in and comes out is clipped for no image.
        ranges[name] = float(seen[name]["min"].min()), float(seen[name]["max"].max())
    for name, tensor in inputs.items():
        low, high = ranges[name]
        if len(tensor["shape"]) == 4 and low >= 0 and 1 < high <= 255:
            ranges[name] = 0.0, 255.0  # pixels: one step a level, so that rounding changes none
    for group in _moved_together(interpreter):
        if known := [ranges[name] for name in group if name in ranges]:
            shared = min(low for low, _ in known), max(high for _, high in known)
            ranges |= dict.fromkeys(group, shared)
    return {
        name: {"min": np.full(1, low, np.float32), "max": np.full(1, high, np.float32)}
        for name, (low, high) in ranges.items()
    }


def _extremes(content, samples, recipe) -> dict[str, Extremes]:
    """Returns "min" and "max" of each tensor, each with one value an image."""
    from litert_quantizer.calibrator import CalibrationMode, Calibrator
    from litert_quantizer.recipe_manager import RecipeManager

    def collect(seen, new):
        return {key: np.concatenate([seen[key], new[key]]) for key in ("min", "max")}

    manager = RecipeManager()
    manager.load_quantization_recipe(recipe)
    calibrator = Calibrator(
        content,
        num_threads=2,
        mode=CalibrationMode.CALIBRATION_PROFILER_BASED,  # faster, and the same ranges
        qsv_update_func=collect,
    )
    calibrator.calibrate({SIGNATURE: samples}, manager)
    return calibrator.get_model_qsvs()


def _moved_together(interpreter: Interpreter) -> list[list[str]]:
    """Returns the names of tensors that hold the same values, moved about, group by group."""
    names = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    group = {index: {index} for index in names}
    for node in interpreter._get_ops_details():
        if node["op_name"] in MOVES:
            for tensor in node["inputs"][MOVES[node["op_name"]]]:
                merged = group[node["outputs"][0]] | group[tensor]
                group |= dict.fromkeys(merged, merged)
    distinct = {id(members): members for members in group.values() if len(members) > 1}
    return [[names[index] for index in members] for members in distinct.values()]
