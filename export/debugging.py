"""Where a quantized .tflite loses accuracy: each operator against the same one in float."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from export.bundle import read_sidecar, sidecar_path
from export.calibration import MOVES, samples_of
from export.pipeline import some_images
from export.runtime import Images, allocated, load
from export.silence import silenced
from export.tflite import SIGNATURE, ExportError, convert
from export.tfmot import TRAINED
from hwkeras.dataset import Dataset
from hwkeras.saving import load_model


@dataclasses.dataclass(frozen=True)
class OperatorError:
    """How far what an operator gives out is from float, as a share of the signal: 0.1 is 10%.

    Attributes:
        operator: name of its output, which begins with the block: "stage1_block2/gate".
        kind: "CONV_2D", ...
        error: root of the mean over images of noise power over signal power, all that came before
            it included.
        inherited: the largest such error among its inputs.
        added: what the operator itself adds, if errors are independent.
    """

    operator: str
    kind: str
    error: float
    inherited: float
    added: float


def operator_errors(content: bytes, reference: bytes, images: Images) -> list[OperatorError]:
    """Returns the error of every operator that computes something in both files, the one that adds
    most first.

    Args:
        content: of a quantized .tflite.
        reference: what the file was made from: `export.tflite.convert` of the same model and
            variant.
        images: real inputs `(n, ...)` as the model takes them, n >= 8.

    Raises:
        ExportError: if the files are not of one model, or the images do not fit.
    """
    from litert_quantizer import model_validator
    from litert_quantizer.utils.validation_utils import ValidationErrorMetric

    samples = samples_of(reference, images)
    slot = ValidationErrorMetric.SNR  # its own adds 1e-9 to the noise: much, of a small signal
    try:
        with silenced():
            compared = model_validator.compare_model(
                reference, content, {SIGNATURE: samples}, [slot], [_noise_share],
                use_xnnpack=False, num_threads=2,
            )  # fmt: skip
    except (KeyError, ValueError, RuntimeError) as error:  # other inputs, outputs or shapes
        raise ExportError(f"the file was not made from this model: {error}") from None
    errors = {
        name: values[slot.value] ** 0.5
        for name, values in compared.get_all_tensor_results().items()
    }
    interpreter = allocated(reference, delegate=False)
    names = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    nodes = interpreter._get_ops_details()
    computed = {names[index] for node in nodes for index in node["outputs"]}
    found = []
    for node in nodes:
        output = names[node["outputs"][0]]
        inputs = [names[index] for index in node["inputs"] if index >= 0]
        inherited = max((errors.get(n, 0.0) for n in inputs if n in computed), default=0.0)
        if output in errors and node["op_name"] not in MOVES:
            error = errors[output]
            added = max(error**2 - inherited**2, 0.0) ** 0.5
            found.append(OperatorError(output, node["op_name"], error, inherited, added))
    if not found:
        raise ExportError("the file is not of this model: they have no operator in common")
    return sorted(found, key=lambda row: row.added, reverse=True)


def _noise_share(noisy: np.ndarray, signal: np.ndarray) -> float:
    """Returns the power of the difference over the power of the signal."""
    noisy, signal = (np.asarray(values, np.float64).ravel() for values in (noisy, signal))
    if noisy.size != signal.size:
        raise ValueError(f"{signal.size:,} values in float, {noisy.size:,} in the file")
    noise, power = float(np.mean((noisy - signal) ** 2)), float(np.mean(signal**2))
    return noise / power if power else float(noise > 0)


def debug(
    path: Path, model: Path, dataset: Dataset, images: int = 32, variant: str | None = None
) -> list[OperatorError]:
    """Returns `operator_errors` of a file against its `.keras` model on validation images.

    Args:
        path: of the file.
        model: the `.keras` file that it was made of.
        dataset: validation images of it are compared.
        images: how many.
        variant: which the file is; None reads the JSON beside it.

    Raises:
        FileError, ModelFileError: if a file is missing, broken or of another kind.
        ExportError: if the file is not of the model, or the data does not fit.
    """
    content, keras_model = load(path), load_model(model)
    if variant is None:
        if not sidecar_path(path).is_file():
            raise ExportError(
                f"{path}: there is no {sidecar_path(path).name} beside it that says which variant"
                " it is; name it with --variant"
            )
        variant = read_sidecar(sidecar_path(path)).variant
    if variant in TRAINED:
        raise ExportError(
            f"{path}: {variant} trained on after {model.name} was saved, so no model holds its"
            " weights; compare int8 instead"
        )
    reference = convert(keras_model, variant)
    return operator_errors(content, reference, some_images(dataset.validation.images, images))
