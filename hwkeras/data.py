"""Labelled images or tables in three splits: `load_dataset` and the `Dataset` it returns."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")
FORMS = f"digits, cifar10, a folder train/<class>/*.png, or an .npz with {', '.join(NPZ_KEYS)}"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
LARGEST_KEPT_SIDE, DEFAULT_SIDE = 128, 64  # pixels; folders of larger images are resized
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
        total = np.zeros(self.input_shape)  # summed over images first: 20 times faster
        for start in range(0, len(self.train), 256):  # all of CIFAR-10 in float64 is 1.2 GB
            total += of(self.train.images[start : start + 256].astype(np.float64)).sum(axis=0)
        return total.reshape(-1, self.input_shape[-1]).mean(axis=0) / len(self.train)


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
    path = Path(source)
    if source == "digits":
        dataset = _load_digits()
    elif source == "cifar10":
        dataset = _load_cifar10()
    elif path.is_dir():
        dataset = _load_folder(path, image_size, max_bad)
    elif path.is_file():
        dataset = _load_npz(path)
    else:
        raise DataError(f"{source}: no such data; expected {FORMS}")
    if len(dataset.validation):
        return dataset
    train, held_out = _carve(dataset.train, validation, seed, f"{source}: validation")
    return dataclasses.replace(dataset, train=train, validation=held_out)


def load_image(path: str | Path, input_shape: tuple[int, ...]) -> np.ndarray:
    """Returns one picture as uint8 `input_shape`, converted as the images of a folder are.

    Raises:
        DataError: if the file is no readable image or `input_shape` is not (height, width, 1 or 3).
    """
    if len(input_shape) != 3 or input_shape[-1] not in (1, 3):
        raise DataError(f"{path}: a picture becomes (height, width, 1 or 3), not {input_shape}")
    try:
        picture = _open_picture(path)
    except Exception as error:  # a damaged image fails in many ways
        raise DataError(f"{path}: not a readable image: {_reason(error)}") from error
    return _pixels(picture, input_shape[1::-1], "L" if input_shape[-1] == 1 else "RGB")


def _carve(split: Split, share: float, seed: int, where: str) -> tuple[Split, Split]:
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


def _require_classes(labels: np.ndarray, classes: tuple[str, ...], where: str) -> None:
    if len(classes) < 2:
        raise DataError(f"{where}: expected at least 2 classes, found {len(classes)}")
    counts = np.bincount(labels, minlength=len(classes))
    if not counts.all():
        empty = classes[int(counts.argmin())]
        raise DataError(f"{where}: expected images of every class, found none of {empty!r}")


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    pixels = np.rint(digits.images[..., None] * 255 / 16).astype(np.uint8)  # stored as 0..16
    whole = Split(pixels, digits.target.astype(np.int32))
    train, test = _carve(whole, 0.2, TEST_SEED, "digits: test")
    return Dataset("digits", train, train.take(slice(0)), test, tuple("0123456789"), augment=False)


def _load_cifar10() -> Dataset:
    import keras

    try:
        parts = keras.datasets.cifar10.load_data()
    except Exception as error:  # Keras raises a plain Exception if the download fails
        advice = f"pass an .npz with {', '.join(NPZ_KEYS)} instead"
        raise DataError(f"cifar10: download failed; {advice} ({_reason(error)})") from error
    train, test = (Split(x, y.reshape(-1).astype(np.int32)) for x, y in parts)
    names = tuple(CIFAR10_CLASSES.split())
    return Dataset("cifar10", train, train.take(slice(0)), test, names, augment=True)


def _open_picture(path: str | Path) -> Any:
    """Returns a PIL image, upright, on white where transparent, in mode L or RGB."""
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "BMP")) as file:
            picture = ImageOps.exif_transpose(file)
    if picture.mode[0] == "I":  # 16 bits a pixel, which PIL would clip to 255
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert(mode)


def _resized(picture: Any, size: tuple[int, ...]) -> Any:
    from PIL import Image

    return picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR)


def _pixels(picture: Any, size: tuple[int, ...], mode: str) -> np.ndarray:
    """Returns uint8 `(height, width, channels)`; `size` is PIL's (width, height)."""
    return np.asarray(_resized(picture, size).convert(mode)).reshape(size[1], size[0], -1)


def _class_folders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(f.name for f in folder.iterdir() if f.is_dir() and f.name[0] != "."))


def _image_files(folder: Path) -> list[Path]:
    files = (f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and f.name[0] != ".")
    return sorted(f for f in files if f.is_file())


def _load_folder(folder: Path, image_size: int | None, max_bad: int) -> Dataset:
    root, test_root = folder, None
    if (folder / "train").is_dir():
        root = folder / "train"
        test_root = folder / "test" if (folder / "test").is_dir() else None
    classes = _class_folders(root)
    small = (image_size or DEFAULT_SIDE,) * 2
    sizes: set[tuple[int, int]] = set()
    skipped: list[tuple[Path, Exception]] = []

    def read(part: Path) -> tuple[list[Any], np.ndarray]:
        pictures, labels = [], []
        for name in _class_folders(part):
            if name not in classes:
                raise DataError(f"{part}: expected only classes of {root}, found {name!r}")
            for file in _image_files(part / name):
                try:
                    picture = _open_picture(file)
                except Exception as error:  # a damaged image makes PIL raise nearly anything
                    skipped.append((file, error))
                    continue
                sizes.add(picture.size)
                if image_size or max(picture.size) > LARGEST_KEPT_SIDE:
                    picture = _resized(picture, small)  # at once: photos would fill the memory
                pictures.append(picture)
                labels.append(classes.index(name))
        return pictures, np.array(labels, np.int32)

    pictures, labels = read(root)
    test_pictures, test_labels = read(test_root) if test_root else ([], labels[:0])
    if len(skipped) > max_bad:
        found = f"found {len(skipped)}; the first is {skipped[0][0]}: {_reason(skipped[0][1])}"
        raise DataError(f"{folder}: expected at most {max_bad} unreadable images, {found}")
    _require_classes(labels, classes, f"{root}/<class>/*.png")
    if test_root and not test_pictures:
        raise DataError(f"{test_root}/<class>/*.png: expected images, found none")
    shared = sizes.pop() if len(sizes) == 1 and not image_size else small
    size = shared if max(shared) <= LARGEST_KEPT_SIDE else small
    mode = "L" if all(p.mode == "L" for p in pictures + test_pictures) else "RGB"
    pixels = np.stack([_pixels(p, size, mode) for p in pictures + test_pictures])
    train = Split(pixels[: len(labels)], labels)
    test = Split(pixels[len(labels) :], test_labels)
    if test_root is None:
        train, test = _carve(train, 0.15, TEST_SEED, f"{folder}: test")
    name, files = folder.resolve().name, tuple(str(file) for file, _ in skipped)
    return Dataset(name, train, train.take(slice(0)), test, classes, augment=True, skipped=files)


def _load_npz(path: Path) -> Dataset:
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
        raise DataError(f"{path}: {key} cannot be read: {_reason(error)}") from error
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
    _require_classes(train.labels, classes, f"{path}: y_train")
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
