"""The last finished epoch of a training run on disk: whole or not there."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

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
        """Sets the weights, the optimizer and the random states of a compiled model to the
        checkpoint's."""
        content = self._read()
        weights = self.folder / content["weights"]
        if model.optimizer is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        try:
            model.load_weights(weights)
            states = content.get("random", [])  # once, they were not kept
            for variable, state in zip(_random_states(model), states, strict=bool(states)):
                variable.assign(state)
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
            "random": [np.asarray(ops.convert_to_numpy(v)).tolist() for v in _random_states(model)],
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


def _random_states(model: keras.Model) -> list[Any]:
    """Returns the variables that dropout and its like draw from, which are no weights."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def fingerprint(model: keras.Model, data: str, config: Any, *others: str) -> str:
    """Returns a digest of a model's architecture, the digest of its data, its settings, and others,
    such as that of its teacher.

    The names of layers count: one that is to be found again in a model that was built anew needs a
    name of its own, for Keras counts on with those that it makes up.
    """
    settings = json.dumps(dataclasses.asdict(config), sort_keys=True)
    parts = [model.to_json(), data, settings, *others]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
