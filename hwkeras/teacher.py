"""The teacher of a fine-tuning: a frozen model's answers to the batches of its pupil."""

from __future__ import annotations

import hashlib
from pathlib import Path

import keras
import numpy as np

from hwkeras.device import has_gpu
from hwkeras.files import replacing
from hwkeras.graph import as_functional, rewire, set_weights


class Teacher:
    """Answers batches as in inference, and may keep the answers for the next pupil.

    Batch i of epoch e is the same images for every pupil that is trained with the same seed
    (`TrainingBatches`), so several cuts of one model need its answers once.

    Args:
        model: takes and gives what its pupils do; copied, so that it may be one of them.
        precision: Keras's policy to compute in.
        kept: folder for the answers, one file an epoch; None keeps none.
        lesson: names the batches, the data they are of and how they are made: answers are taken
            from a file only if model, precision and lesson are those that it was made with.
    """

    def __init__(
        self,
        model: keras.Model,
        precision: str = "float32",
        kept: Path | None = None,
        lesson: str = "",
    ):
        self.model = rewire(model, lambda layer: layer.__class__.from_config(layer.get_config()))
        weights = as_functional(model).get_weights()
        set_weights(self.model, weights)
        for layer in self.model._flatten_layers():  # the only way into layers inside layers
            layer.dtype_policy = precision
        # XLA takes long to compile on a CPU, and answers no sooner.
        self.model.jit_compile = has_gpu()
        self.kept = kept
        digest = hashlib.sha256(f"{self.model.to_json()}\n{precision}\n{lesson}".encode())
        for weight in weights:
            digest.update(np.ascontiguousarray(weight).tobytes())
        self.digest = digest.hexdigest()[:16]
        self._epoch = -1
        self._answers: dict[int, np.ndarray] = {}

    def answer(self, epoch: int, index: int, images: np.ndarray, batches: int) -> np.ndarray:
        """Returns logits `(batch, classes)` as float32 for one batch of an epoch of `batches`."""
        if epoch != self._epoch:
            self._epoch, self._answers = epoch, self._read(epoch)
        if index not in self._answers:
            (logits,) = keras.tree.flatten(self.model.predict_on_batch(images))
            self._answers[index] = np.asarray(logits).astype(np.float32)  # PyTorch: of bfloat16
            if self.kept and len(self._answers) == batches:
                self._write(epoch)
        return self._answers[index]

    def _path(self, epoch: int) -> Path:
        assert self.kept is not None
        return self.kept / f"{self.digest}-epoch-{epoch + 1:04}.npy"

    def _read(self, epoch: int) -> dict[int, np.ndarray]:
        if self.kept is None or not self._path(epoch).exists():
            return {}
        try:
            return dict(enumerate(np.load(self._path(epoch), allow_pickle=False)))
        except Exception:  # a broken file fails in many ways, and is only a cache
            return {}

    def _write(self, epoch: int) -> None:
        answers = np.stack([self._answers[i] for i in range(len(self._answers))])
        with replacing(self._path(epoch)) as temporary, open(temporary, "wb") as file:
            np.save(file, answers, allow_pickle=False)
