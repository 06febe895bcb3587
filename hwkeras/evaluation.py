"""What a Keras classifier says about images, how often it is right, and which data it fits."""

from __future__ import annotations

import keras
import numpy as np

from hwkeras.dataset import DataError, Dataset

_TO_SHARES = (keras.activations.softmax, keras.activations.sigmoid)


def predict_logits(model: keras.Model, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Returns logits `(n, classes)` as float32 for images as the model takes them."""
    (logits,) = keras.tree.flatten(model.predict(images, batch_size=batch_size, verbose=0))
    return np.asarray(logits, np.float32)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of rows, 0 to 1, whose largest logit is the label's."""
    return float(np.mean(np.argmax(logits, axis=-1) == labels))


def check_fits(model: keras.Model, dataset: Dataset, who: str = "the model") -> None:
    """Raises DataError unless a model takes a data set's rows and gives one number a class."""
    takes, gives = model.input_shape, model.output_shape
    if not isinstance(gives, tuple) or gives[-1] != len(dataset.classes):
        raise DataError(
            f"{who} gives {gives}; expected one output of {len(dataset.classes)} logits,"
            f" one for each class of {dataset.name!r}"
        )
    if not isinstance(takes, tuple) or takes[1:] != tuple(dataset.input_shape):
        one = takes[1:] if isinstance(takes, tuple) else takes
        raise DataError(f"{who} takes {one}, {dataset.name!r} gives {dataset.input_shape}")


def require_logits(model: keras.Model, who: str = "the model") -> None:
    """Raises DataError if a model ends in softmax or sigmoid: losses and apps take logits."""
    for output in model.outputs:
        last = output._keras_history.operation
        if isinstance(last, keras.Model):
            require_logits(last, who)
        elif isinstance(last, keras.layers.Softmax) or (
            getattr(last, "activation", None) in _TO_SHARES
        ):
            raise DataError(
                f"{who} ends in {last.name!r}, which gives shares; expected logits: leave softmax"
                " or sigmoid out"
            )
