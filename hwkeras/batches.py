"""What `fit` eats: `TrainingBatches`, the same batches on every run and after every resume."""

from __future__ import annotations

import keras
import numpy as np

from hwkeras.memory import keep_freed_memory
from hwkeras.teacher import Teacher

Labels = np.ndarray | dict[str, np.ndarray]
MAX_PAD = 4  # pixels; the customary crop for 32x32 images


def crop_pad(height: int, width: int) -> int:
    """Returns how far a random crop may shift an image, in pixels: 4 for 32x32, less if smaller."""
    side = min(height, width)
    return min(MAX_PAD, max(1, side // 8), side - 1)  # a reflection needs one pixel beyond the edge


def _reflected(positions: np.ndarray, size: int) -> np.ndarray:
    """Returns positions folded into 0..size-1, the edge itself not repeated: -1 becomes 1."""
    positions = np.abs(positions)
    return np.minimum(positions, 2 * (size - 1) - positions)


def augment_images(
    images: np.ndarray, rng: np.random.Generator, pad: int | None = None
) -> np.ndarray:
    """Returns the images, each flipped left-right or not and cropped at random; a new array.

    A crop keeps the size: the image is shifted by up to `pad` pixels each way and what comes in at
    the edge is its reflection.

    Args:
        images: `(batch, height, width, channels)`, any plain dtype, which is kept.
        rng: source of the flips and shifts.
        pad: greatest shift in pixels, 0 to side - 1; None takes `crop_pad`.

    Raises:
        ValueError: if `images` has not four axes or `pad` does not fit the images.
    """
    if images.ndim != 4:
        raise ValueError(f"only images of 4 axes can be augmented. Received: shape={images.shape}")
    count, height, width, channels = images.shape
    if pad is None:
        pad = crop_pad(height, width)
    if not 0 <= pad < min(height, width):
        raise ValueError(
            f"`pad` must be from 0 to {min(height, width) - 1} for {height}x{width} images. "
            f"Received: pad={pad}"
        )
    flipped = rng.random(count) < 0.5
    down, right = rng.integers(-pad, pad + 1, size=(2, count))
    rows = _reflected(np.arange(height) + down[:, None], height)  # (batch, height)
    columns = _reflected(np.arange(width) + right[:, None], width)  # (batch, width)
    columns = np.where(flipped[:, None], width - 1 - columns, columns)
    first_rows = np.arange(count)[:, None] * height
    sources = (first_rows + rows)[:, :, None] * width + columns[:, None, :]
    # One `take` of whole pixels is much faster than indexing three axes.
    pixel = np.dtype((np.void, images.itemsize * channels))
    pixels = np.ascontiguousarray(images).reshape(-1).view(pixel)
    return pixels.take(sources).view(images.dtype).reshape(images.shape)


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled, optionally augmented batches of `(images, labels)`, one epoch after the other.

    Batch i of epoch e depends on (seed, e, i) only, so a run resumed at epoch e with
    `TrainingBatches(..., epoch=e)` and `fit(..., initial_epoch=e)` sees what an unbroken run sees.
    Every epoch takes a new order and drops the remainder that fills no batch.

    Call `fit(batches, shuffle=False)`: fit's default, `shuffle=True`, deals the batches of an epoch
    in another order, from Python's global random state. `steps_per_epoch` must stay None.

    Args:
        images: `(n, height, width, channels)` or `(n, features)`; batches keep the dtype.
        labels: `(n,)`.
        batch_size: images in a batch; clipped to n.
        seed: not negative.
        augment: whether batches go through `augment_images`.
        epoch: the epoch to begin with. The attribute of that name is the current epoch.
        teacher: batches become `(images, {"labels": ..., "teacher": its logits})`.

    Raises:
        ValueError: if the arrays are empty or differ in length, `batch_size` is under 1, `seed` or
            `epoch` is negative, or tables are to be augmented.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        seed: int,
        augment: bool,
        epoch: int = 0,
        teacher: Teacher | None = None,
    ) -> None:
        # One worker is none of Keras's own: on TensorFlow, tf.data draws ahead in a thread that
        # ends with the epoch. Keras's queue (workers > 1) repeats batches after a symbolic build.
        super().__init__(workers=1)
        if len(images) == 0 or len(images) != len(labels):
            found = f"{len(images)} images, {len(labels)} labels"
            raise ValueError(f"`images` and `labels` must be as many, not 0. Received: {found}")
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
        if seed < 0 or epoch < 0:
            found = f"seed={seed}, epoch={epoch}"
            raise ValueError(f"`seed` and `epoch` must not be negative. Received: {found}")
        if augment and images.ndim != 4:
            raise ValueError(f"only images can be augmented. Received: shape={images.shape}")
        self.images, self.labels = images, labels
        self.batch_size = min(batch_size, len(images))
        self.seed, self.augment, self.epoch, self.teacher = seed, augment, epoch, teacher
        self._order = (-1, np.empty(0, int))  # an epoch and its order, replaced as one
        self._due: int | None = None  # the index that `fit` must ask for next; None between epochs

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, Labels]:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        if self._due is not None:
            if index != self._due:
                raise ValueError(
                    f"batch {self._due} is due, but {index} was asked for: call fit(shuffle=False)"
                )
            self._due += 1
        if keras.backend.backend() == "tensorflow":
            keep_freed_memory()  # the data set that asks has told malloc the opposite
        epoch, order = self._order
        if epoch != self.epoch:
            epoch = self.epoch
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.images))
            self._order = (epoch, order)
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        images = self.images[chosen]
        if self.augment:
            # + 1: to NumPy the seeds (seed, epoch) and (seed, epoch, 0) are the same.
            images = augment_images(images, np.random.default_rng((self.seed, epoch, index + 1)))
        labels = self.labels[chosen]
        if self.teacher is None:
            return images, labels
        answers = self.teacher.answer(epoch, index, images, len(self))
        return images, {"labels": labels, "teacher": answers}

    def on_epoch_begin(self) -> None:
        """Starts the count of batches."""
        self._due = 0

    def on_epoch_end(self) -> None:
        """Advances the epoch if all its batches were drawn.

        `fit` also calls this before its first epoch, with none or one drawn to build the model.
        """
        if self._due == len(self):
            self.epoch += 1
        self._due = None
