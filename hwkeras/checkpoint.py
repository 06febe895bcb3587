"""The last finished epoch of a training run on disk: whole or not there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import keras

from hwkeras.files import FileError, read_json, replacing, write_text

FORMAT = "hwkeras-checkpoint-1"


class Checkpoint:
    """A folder with one JSON that names one file of weights; the JSON is replaced last.

    Args:
        folder: made when first saved to.
        run: fingerprint of what is trained, on what and how; another run's is refused.
    """

    def __init__(self, folder: Path, run: str):
        self.folder, self.run = folder, run
        self.index = folder / "checkpoint.json"

    def history(self) -> list[dict[str, Any]]:
        """Returns the rows of the finished epochs; none without a checkpoint.

        Raises:
            FileError: if the checkpoint is broken or of another run.
        """
        return self._read()["history"] if self.index.exists() else []

    def load(self, model: keras.Model) -> None:
        """Sets the weights and the optimizer of a compiled model to the checkpoint's."""
        weights = self.folder / self._read()["weights"]
        if model.optimizer is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        try:
            model.load_weights(weights)
        except (OSError, ValueError, KeyError) as error:
            raise FileError(f"{weights}: broken checkpoint: {error}") from None

    def save(self, model: keras.Model, history: list[dict[str, Any]]) -> None:
        """Writes a finished epoch, then removes the one before."""
        weights = self.folder / f"epoch-{len(history):04}.weights.h5"
        with replacing(weights) as temporary:
            model.save_weights(temporary)
        content = {
            "format": FORMAT,
            "run": self.run,
            "weights": weights.name,
            "history": history,
        }
        write_text(self.index, json.dumps(content, indent=1) + "\n")
        for old in self.folder.glob("epoch-*.weights.h5"):
            if old != weights:
                old.unlink()

    def _read(self) -> dict[str, Any]:
        content = read_json(self.index, "a training checkpoint")
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise FileError(f"{self.index}: expected a training checkpoint of format {FORMAT!r}")
        if content.get("run") != self.run:
            raise FileError(
                f"{self.index}: the checkpoint is of another run (other data, model or settings);"
                " resume with the same ones or start anew"
            )
        return content


def fingerprint(model: keras.Model, data: str, config: Any, teacher: str = "") -> str:
    """Returns a digest of a model's architecture, the digest of its data, its settings, and the
    digest of its teacher."""
    settings = json.dumps(dataclasses.asdict(config), sort_keys=True)
    parts = [model.to_json(), data, settings, teacher]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
