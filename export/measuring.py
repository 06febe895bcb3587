"""Measuring the accuracy of files of any run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from export import runtime
from export.pipeline import Progress, quiet
from export.tflite import ExportError
from hwkeras.dataset import DataError, Dataset
from hwkeras.evaluation import accuracy, check_fits, predict_logits
from hwkeras.saving import load_model


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Accuracy, 0 to 1, of one `.keras` or `.tflite` file on a split."""

    file: str
    accuracy: float
    images: int
    split: str
    size_bytes: int


def evaluate(
    path: Path, dataset: Dataset, split: str = "test", progress: Progress = quiet
) -> Evaluation:
    """Returns how often a `.keras` or `.tflite` file is right on a split.

    Raises:
        FileError, ModelFileError: if the file is missing, broken or of another kind.
        ExportError: if the data does not fit the model.
    """
    data = dataset.test if split == "test" else dataset.validation
    stage = f"evaluate {path.name}"
    if path.suffix == ".tflite":
        content = runtime.load(path)
        try:
            logits = runtime.predict(
                content, data.images, progress=lambda n, total: progress(stage, n, total)
            )
        except ValueError as error:
            raise ExportError(f"{path}: {error}") from None
    else:
        model = load_model(path)
        try:
            check_fits(model, dataset)
        except DataError as error:
            raise ExportError(f"{path}: {error}") from None
        logits = predict_logits(model, data.images)
    if logits.shape[-1] != len(dataset.classes):
        raise ExportError(
            f"{path}: gives {logits.shape[-1]} logits, {dataset.name!r} has"
            f" {len(dataset.classes)} classes"
        )
    return Evaluation(
        str(path), accuracy(logits, data.labels), len(data), split, path.stat().st_size
    )
