"""What a .tflite must satisfy before anybody gets it: checked against the Keras model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from export.runtime import BUILTIN_OPERATORS, Images, graph, io_spec, operators, predict_all
from export.tflite import ExportError, in_float32, output_names

if TYPE_CHECKING:
    import keras

EXACT_DIFFERENCE = 1e-4  # of the logits' range: float32 summed in another order

Logits = Mapping[str, np.ndarray]  # the first entry is the classifier's


@dataclasses.dataclass(frozen=True)
class Verification:
    """How a .tflite compares with its Keras model on labelled images.

    Attributes:
        images: how many were compared.
        accuracy: top-1 of the file, 0 to 1.
        keras_accuracy: top-1 of the Keras model.
        agreement: share of images on which both name the same class.
        max_difference: largest |difference of logits| over the range of the Keras logits.
        partitions: of the graph under the XNNPACK delegate; 1 is best, 0 means none.
        operators: how many of each operator the file holds.
        undelegated: operators left outside the delegate.
    """

    images: int
    accuracy: float
    keras_accuracy: float
    agreement: float
    max_difference: float
    partitions: int
    operators: dict[str, int]
    undelegated: dict[str, int]


def keras_logits(model: keras.Model, images: Images, batch_size: int = 256) -> Logits:
    """Returns every output of the Keras model `(n, ...)`, by the name that the .tflite gives it,
    computed in float32."""
    import keras

    from hwkeras.graph import as_functional

    model = in_float32(as_functional(model))
    outputs = model.predict(images, batch_size=batch_size, verbose="0")
    arrays = (np.asarray(output, np.float32) for output in keras.tree.flatten(outputs))
    return dict(zip(output_names(model), arrays, strict=True))


def verify(
    model: keras.Model,
    content: bytes,
    images: Images,
    labels: np.ndarray,
    *,
    exact: bool,
    limit_drop: float | None = None,
    logits: Logits | None = None,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Returns how a .tflite compares with its Keras model; raises if it is not fit to ship.

    Args:
        model: what the file was made of.
        content: of the .tflite, with labels or without.
        images: real inputs `(n, ...)`, or one such array for each input by name.
        labels: `(n,)` class numbers, for the first output.
        exact: demand the same logits up to 1e-4 of their range, and the same class wherever
            Keras's first two logits are further apart than that.
        limit_drop: points of accuracy, 0 to 100, that the file may lose against Keras.
        logits: from `keras_logits`, to compute them once for several files.
        threads: of the runtime.
        progress: called with (images done, images in all).

    Raises:
        ExportError: if a check fails; the message holds what was expected and found.
        ModelFileError: if the content is no .tflite.
    """
    _check_form(content)
    found = predict_all(content, images, threads, progress)
    wanted = keras_logits(model, images) if logits is None else logits
    shapes, expected = (
        {name: array.shape for name, array in side.items()} for side in (found, wanted)
    )
    if shapes != expected:
        raise ExportError(f"expected the outputs {expected} of Keras; the .tflite gives {shapes}")
    if not all(np.isfinite(array).all() for array in found.values()):
        raise ExportError("the .tflite gives NaN or infinite logits")
    difference = max(
        float(np.abs(found[name] - array).max() / _width(array)) for name, array in wanted.items()
    )
    classifier = next(iter(wanted))
    classes, keras_classes = found[classifier].argmax(-1), wanted[classifier].argmax(-1)
    same = classes == keras_classes
    info = graph(content)
    result = Verification(
        images=len(same),
        accuracy=float(np.mean(classes == labels)),
        keras_accuracy=float(np.mean(keras_classes == labels)),
        agreement=float(np.mean(same)),
        max_difference=difference,
        partitions=info.partitions,
        operators=info.operators,
        undelegated=info.undelegated,
    )
    if exact:
        _check_exact(result, same, wanted[classifier])
    drop = 100 * (result.keras_accuracy - result.accuracy)
    if limit_drop is not None and drop > limit_drop + 1e-9:  # 100 * (1 - 0.98) is more than 2
        raise ExportError(
            f"the .tflite loses {drop:.2f} points of accuracy on {result.images:,} images"
            f" ({100 * result.keras_accuracy:.2f}% in Keras, {100 * result.accuracy:.2f}% here);"
            f" the limit is {limit_drop:g}"
        )
    return result


def _check_form(content: bytes) -> None:
    names = operators(content)
    foreign = sorted(set(names) - BUILTIN_OPERATORS)
    if foreign:
        raise ExportError(f"the .tflite needs more than LiteRT's builtins: {', '.join(foreign)}")
    gathers = sorted(name for name in names if name.startswith("GATHER"))
    if gathers:
        raise ExportError(
            f"the .tflite holds {', '.join(gathers)}, which XNNPACK cannot take: use slices and"
            " concatenation"
        )
    spec = io_spec(content)  # raises unless there is one signature
    for tensor in (*spec.inputs, *spec.outputs):
        if tensor.shape[:1] != (1,):
            raise ExportError(f"{tensor.name!r} has the shape {tensor.shape}: expected batch 1")


def _width(logits: np.ndarray) -> float:
    return float(np.ptp(logits)) or 1.0


def _check_exact(result: Verification, same: np.ndarray, wanted: np.ndarray) -> None:
    if result.max_difference > EXACT_DIFFERENCE:
        raise ExportError(
            f"the .tflite's logits differ from Keras's by {result.max_difference:.2e} of their"
            f" range; at most {EXACT_DIFFERENCE:.0e} is rounding"
        )
    top = np.sort(wanted, axis=-1)[:, -2:]  # (n, 2)
    tied = top[:, -1] - top[:, 0] < EXACT_DIFFERENCE * _width(wanted)
    if not (same | tied).all():
        raise ExportError(
            f"the .tflite names another class than Keras on {np.sum(~(same | tied))} of"
            f" {result.images:,} images that are no ties"
        )
