"""From the name of a source to a dataset with a validation split."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hwkeras.dataset import TEST_SEED, DataError, Dataset, Split, carve, reason
from hwkeras.folder import load_folder
from hwkeras.npz import NPZ_KEYS, load_npz

FORMS = f"digits, cifar10, a folder train/<class>/*.png, or an .npz with {', '.join(NPZ_KEYS)}"
CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"


def load_dataset(
    source: str | Path,
    *,
    validation: float = 0.1,
    seed: int = 0,
    image_size: int | None = None,
    max_bad: int = 0,
) -> Dataset:
    """Returns the dataset that `source` names, with a validation split carved out of training.

    Args:
        source: `digits` (scikit-learn's, 8x8), `cifar10` (downloaded), a folder or an `.npz`.
        validation: share of each class's training images; x_val in an `.npz` takes its place.
        seed: of the validation split; the test split does not depend on it.
        image_size: side in pixels to which the images of a folder are resized. By default they keep
            a size that all share, up to 128 pixels, and else become 64x64.
        max_bad: how many unreadable image files of a folder may be skipped.

    Raises:
        DataError: if the source is unknown, damaged or unfit to train on.
    """
    if not 0 < validation < 1:
        raise DataError(f"the validation share must be between 0 and 1, found {validation}")
    if image_size is not None and image_size < 1:
        raise DataError(f"the image size must be at least 1 pixel, found {image_size}")
    for what, number in (("seed", seed), ("number of images to skip", max_bad)):
        if number < 0:
            raise DataError(f"the {what} must be at least 0, found {number}")
    path = Path(source)
    if source == "digits":
        dataset = _load_digits()
    elif source == "cifar10":
        dataset = _load_cifar10()
    elif path.is_dir():
        dataset = load_folder(path, image_size, max_bad)
    elif path.suffix in (".keras", ".tflite"):
        raise DataError(f"{source} is a model, and no data; expected {FORMS}")
    elif path.is_file():
        dataset = load_npz(path)
    else:
        raise DataError(f"{source}: no such data; expected {FORMS}")
    if len(dataset.validation):
        return dataset
    train, held_out = carve(dataset.train, validation, seed, f"{source}: validation")
    return dataclasses.replace(dataset, train=train, validation=held_out)


def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    pixels = np.rint(digits.images[..., None] * 255 / 16).astype(np.uint8)  # stored as 0..16
    whole = Split(pixels, digits.target.astype(np.int32))
    train, test = carve(whole, 0.2, TEST_SEED, "digits: test")
    return Dataset("digits", train, train.take(slice(0)), test, tuple("0123456789"), augment=False)


def _load_cifar10() -> Dataset:
    import keras

    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras tells of the download there
            parts = keras.datasets.cifar10.load_data()
    except Exception as error:  # Keras raises a plain Exception if the download fails
        advice = f"pass an .npz with {', '.join(NPZ_KEYS)} instead"
        raise DataError(f"cifar10: download failed; {advice} ({reason(error)})") from error
    train, test = (Split(x, y.reshape(-1).astype(np.int32)) for x, y in parts)
    names = tuple(CIFAR10_CLASSES.split())
    return Dataset("cifar10", train, train.take(slice(0)), test, names, augment=True)
