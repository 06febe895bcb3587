"""An `.npz` archive of arrays as a dataset."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from hwkeras.dataset import DataError, Dataset, Split, reason, require_classes

NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")


def load_npz(path: Path) -> Dataset:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: expected an .npz archive, found another file or a cut-off one")
    arrays: dict[str, np.ndarray] = {}
    key = "archive"
    try:
        with np.load(path, allow_pickle=False) as archive:
            for key in (*NPZ_KEYS, "x_val", "y_val", "classes"):
                if key in archive.files:
                    arrays[key] = np.asarray(archive[key])
    except Exception as error:  # a damaged archive fails in zipfile, zlib, struct, NumPy, memory
        raise DataError(f"{path}: {key} cannot be read: {reason(error)}") from error
    validates = "x_val" in arrays or "y_val" in arrays
    expected = (*NPZ_KEYS, "x_val", "y_val") if validates else NPZ_KEYS
    if missing := [key for key in expected if key not in arrays]:
        raise DataError(f"{path}: expected {', '.join(expected)}; {missing[0]} is missing")
    names = arrays.get("classes", np.empty(0, str))
    if names.dtype.kind != "U" or names.ndim != 1 or len({*names.tolist()}) < len(names):
        raise DataError(f"{path}: classes must be distinct strings, found {names.tolist()}")
    classes = tuple(names.tolist())

    def split(part: str, bound: int) -> Split:
        images = _as_images(arrays[f"x_{part}"], f"{path}: x_{part}")
        labels = _as_labels(arrays[f"y_{part}"], bound, f"{path}: y_{part}")
        if len(images) != len(labels):
            found = f"x_{part} has {len(images)} rows and y_{part} has {len(labels)}"
            raise DataError(f"{path}: expected a label for each image, but {found}")
        return Split(images, labels)

    train = split("train", len(classes) or arrays["y_train"].size)  # no more classes than labels
    classes = classes or tuple(str(label) for label in range(int(train.labels.max()) + 1))
    require_classes(train.labels, classes, f"{path}: y_train")
    test = split("test", len(classes))
    validation = split("val", len(classes)) if validates else train.take(slice(0))
    for part, other in (("test", test), ("val", validation)):
        if other.images.shape[1:] != train.images.shape[1:]:
            found = f"x_{part} {other.images.shape} and x_train {train.images.shape}"
            raise DataError(f"{path}: expected images of one shape, found {found}")
    augment = train.images.ndim == 4
    return Dataset(path.resolve().stem, train, validation, test, classes, augment)


def _refuse(bad: np.ndarray, array: np.ndarray, where: str, expected: str) -> None:
    """Raises if anything is bad, naming the first index and value."""
    if bad.any():
        at = np.unravel_index(int(bad.argmax()), bad.shape)
        index = ", ".join(str(i) for i in at)
        raise DataError(f"{where}[{index}] must be {expected}, found {array[at]}")


def _as_labels(array: np.ndarray, bound: int, where: str) -> np.ndarray:
    if array.shape[1:] == (1,):
        array = array[:, 0]
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "biuf":
        found = f"{array.dtype} {array.shape}"
        raise DataError(f"{where}: expected whole numbers of shape (n,), found {found}")
    bad = (array < 0) | (array >= bound) | (array != np.rint(array))  # nan, too
    _refuse(bad, array, where, f"a whole number 0..{bound - 1}")
    return array.astype(np.int32)


def _as_images(array: np.ndarray, where: str) -> np.ndarray:
    if array.ndim not in (2, 3, 4) or array.size == 0 or array.dtype.kind not in "biuf":
        form = "(n, height, width), (n, height, width, channels) or (n, features)"
        found = f"{array.dtype} {array.shape}"
        raise DataError(f"{where}: expected numbers of shape {form}, found {found}")
    if array.ndim == 2:
        with np.errstate(over="ignore"):
            table = array.astype(np.float32)
        _refuse(~np.isfinite(table), array, where, "a finite float32")
        return table
    if array.ndim == 4 and array.shape[-1] > 4 >= array.shape[1]:
        raise DataError(f"{where}: expected channels last, found shape {array.shape}")
    if array.dtype != np.uint8:
        _refuse(~((array >= 0) & (array <= 255)), array, where, "a pixel 0..255")
        if array.dtype.kind == "f" and array.max() <= 1:
            expected = "pixels 0..255 uint8 expected"
            raise DataError(f"{where}: {expected}, found float 0..1; multiply by 255")
        _refuse(array != np.rint(array), array, where, "a whole pixel 0..255")
    images = array.astype(np.uint8, copy=False)
    return images[..., None] if images.ndim == 3 else images
