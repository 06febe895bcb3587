"""The variants that need training on, by TensorFlow Model Optimization (TFMOT).

TFMOT speaks Keras 2 only and switches its whole process to it. So the work is done in a process of
its own, `export.retrain`, which gets the model as stock layers and gives back weights. What ships
is the model with those weights, made like any other int8 variant: TFLite's own conversion of a
quantization-aware model gave a file 12% larger, with float islands.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export.stock import as_stock_layers
from export.tflite import ExportError
from hwkeras.dataset import Dataset

TRAINED = ("qat-int8", "clustered", "clustered-qat", "sparse24")
CLUSTERED = ("clustered", "clustered-qat")


@dataclasses.dataclass(frozen=True)
class Retraining:
    """How to train on.

    Attributes:
        steps: batches that are learnt from, however large the data.
        clusters: values that the weights of each kernel share in the clustered variants.
        batch_size: clipped to the training split.
        learning_rate: Adam's at the start; it falls to 0 as a half cosine. None takes 2e-4 for
            qat-int8, whose kernels are nearly right, and 1e-3 for the others.
        seed: of shuffling, augmentation and the first clusters.
    """

    steps: int = 800
    clusters: int = 16
    batch_size: int = 128
    learning_rate: float | None = None
    seed: int = 0


def train_on(
    model: keras.Model,
    variant: str,
    dataset: Dataset,
    config: Retraining = Retraining(),
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Trains a classifier on in place, so that it loses little as a variant.

    It learns from the training split and from its own answers before; of five states, the one that
    does best on the validation split, rounded and shared as the variant does it, is kept.

    Args:
        model: functional or built sequential, one input and one output of logits.
        variant: one of `TRAINED`.
        dataset: of the model's images and classes.
        config: how.
        progress: called with (steps done, steps in all).

    Returns:
        "validation_accuracy" of what is kept, 0 to 1, and the "steps" after which it was.

    Raises:
        ExportError: if the model holds a layer that Keras 2 does not know, TFMOT is missing or
            broken, or training fails; one line.
    """
    if variant not in TRAINED:
        raise ExportError(f"no variant {variant!r} to train; there are {', '.join(TRAINED)}")
    stock = as_stock_layers(model)
    if stock.shape != dataset.input_shape or not len(dataset.validation):
        raise ExportError(
            f"{variant}: the model takes {stock.shape}; {dataset.name!r} gives"
            f" {dataset.input_shape}, {len(dataset.validation)} of them to validate on"
        )
    with tempfile.TemporaryDirectory(prefix="hwkeras-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        rate = config.learning_rate or (2e-4 if variant == "qat-int8" else 1e-3)
        settings = {
            **vars(config),
            "learning_rate": rate,
            "variant": variant,
            "augment": dataset.augment,
        }
        (folder / "model.json").write_text(stock.to_json(), encoding="utf-8")
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        np.savez(folder / "weights.npz", allow_pickle=False, **stock.weights())
        for split, prefix in ((dataset.train, ""), (dataset.validation, "validation_")):
            np.save(folder / f"{prefix}images.npy", split.images)
            np.save(folder / f"{prefix}labels.npy", split.labels)
        outcome = _run(folder, variant, progress or (lambda done, total: None))
        with np.load(folder / "trained.npz", allow_pickle=False) as archive:
            stock.assign(dict(archive))
    return outcome


def _run(folder: Path, variant: str, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Runs the process on a folder and returns its outcome."""
    root = Path(__file__).resolve().parents[1]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {
        **os.environ,
        "PYTHONPATH": paths,
        "KERAS_BACKEND": "tensorflow",
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    with (
        open(folder / "log.txt", "w+", encoding="utf-8", errors="replace") as log,
        subprocess.Popen(
            # -P: a folder `export` in the working directory is none of ours
            [sys.executable, "-P", "-m", "export.retrain", str(folder)],
            env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        message: dict[str, Any] = {}
        try:
            for line in process.stdout:
                message = json.loads(line)
                if "progress" in message:
                    progress(*message["progress"])
        finally:
            process.kill()  # on an interrupt; it has ended otherwise
        process.wait()
        if "outcome" in message:
            return message["outcome"]
        log.seek(0)
        last = (log.read().strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        reason = message.get("error", f"the training process died: {last}")
        raise ExportError(f"{variant}: {reason}")
