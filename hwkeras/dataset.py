"""Labelled images or tables in three splits that share no row."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable

import numpy as np

# A test split that we carve out ignores the user's seed: a command that is given another seed than
# training was must not test on training images.
TEST_SEED = 0


class DataError(ValueError):
    """Data that cannot be used; one line: which file, what was expected, what was found."""


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images `(n, height, width, channels)` uint8, or tables `(n, features)` float32, and labels.

    Labels are `(n,)` int32, indices into `Dataset.classes`.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray | slice) -> Split:
        """Returns these rows only."""
        return Split(self.images[rows], self.labels[rows])


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits that share no row.

    Attributes:
        augment: whether flips and crops make sense by default: not for digits, not for tables.
        skipped: the unreadable image files that were left out.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    augment: bool
    skipped: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """`(height, width, channels)` or `(features,)`."""
        return self.train.images.shape[1:]

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, over all arrays and the classes."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for split in (self.train, self.validation, self.test):
            for array in (split.images, split.labels):
                digest.update(f"{array.dtype} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @functools.cached_property
    def channel_mean(self) -> tuple[float, ...]:
        """Mean of each channel (or feature) over the training split."""
        return tuple(self._average(lambda images: images).tolist())

    @functools.cached_property
    def channel_deviation(self) -> tuple[float, ...]:
        """Standard deviation of each channel over the training split; 1 if it is constant."""
        mean = np.broadcast_to(self.channel_mean, self.input_shape).copy()
        deviation = np.sqrt(self._average(lambda images: np.square(images - mean)))
        return tuple(np.where(deviation == 0, 1.0, deviation).tolist())

    def _average(self, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        total = np.zeros(self.input_shape)  # summed over images first: much faster
        for start in range(0, len(self.train), 256):  # all of CIFAR-10 in float64 is 1.2 GB
            total += of(self.train.images[start : start + 256].astype(np.float64)).sum(axis=0)
        return total.reshape(-1, self.input_shape[-1]).mean(axis=0) / len(self.train)


def carve(split: Split, share: float, seed: int, where: str) -> tuple[Split, Split]:
    """Returns (rest, carved): a share of each class, at least one image where it has two."""
    rng = np.random.default_rng(seed)
    carved = np.zeros(len(split), bool)
    for label in np.unique(split.labels):
        members = np.flatnonzero(split.labels == label)
        count = min(max(1, round(share * len(members))), len(members) - 1)
        carved[rng.permutation(members)[:count]] = True
    if not carved.any():
        raise DataError(f"{where} split: expected 2 images of some class to share out, found 1")
    return split.take(~carved), split.take(carved)


def require_classes(labels: np.ndarray, classes: tuple[str, ...], where: str) -> None:
    if len(classes) < 2:
        raise DataError(f"{where}: expected at least 2 classes, found {len(classes)}")
    counts = np.bincount(labels, minlength=len(classes))
    if not counts.all():
        empty = classes[int(counts.argmin())]
        raise DataError(f"{where}: expected images of every class, found none of {empty!r}")


def reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
