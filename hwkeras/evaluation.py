"""What a Keras classifier says about images, and how often it is right."""

from __future__ import annotations

import keras
import numpy as np


def predict_logits(model: keras.Model, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Returns logits `(n, classes)` as float32 for images as the model takes them."""
    return np.asarray(model.predict(images, batch_size=batch_size, verbose=0), np.float32)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of rows, 0 to 1, whose largest logit is the label's."""
    return float(np.mean(np.argmax(logits, axis=-1) == labels))
