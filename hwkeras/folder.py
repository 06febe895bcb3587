"""A folder of photographs as a dataset, and single pictures converted in the same way."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from hwkeras.dataset import TEST_SEED, DataError, Dataset, Split, carve, reason, require_classes

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp")
UNREADABLE = (".heic", ".heif", ".avif", ".gif", ".tif", ".tiff")
LARGEST_KEPT_SIDE, DEFAULT_SIDE = 128, 64  # pixels; folders of larger images are resized


def load_folder(folder: Path, image_size: int | None, max_bad: int) -> Dataset:
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
        found = f"found {len(skipped)}; the first is {skipped[0][0]}: {reason(skipped[0][1])}"
        raise DataError(f"{folder}: expected at most {max_bad} unreadable images, {found}")
    for label in np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0):
        _refuse_other_files(root / classes[label])
    require_classes(labels, classes, f"{root}/<class>/*.png")
    if test_root and not test_pictures:
        raise DataError(f"{test_root}/<class>/*.png: expected images, found none")
    shared = sizes.pop() if len(sizes) == 1 and not image_size else small
    size = shared if max(shared) <= LARGEST_KEPT_SIDE else small
    mode = "L" if all(p.mode == "L" for p in pictures + test_pictures) else "RGB"
    pixels = np.stack([_pixels(p, size, mode) for p in pictures + test_pictures])
    train = Split(pixels[: len(labels)], labels)
    test = Split(pixels[len(labels) :], test_labels)
    if test_root is None:
        train, test = carve(train, 0.15, TEST_SEED, f"{folder}: test")
    name, files = folder.resolve().name, tuple(str(file) for file, _ in skipped)
    return Dataset(name, train, train.take(slice(0)), test, classes, augment=True, skipped=files)


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
        raise DataError(f"{path}: not a readable image: {reason(error)}") from error
    return _pixels(picture, input_shape[1::-1], "L" if input_shape[-1] == 1 else "RGB")


def _class_folders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(f.name for f in folder.iterdir() if f.is_dir() and f.name[0] != "."))


def _image_files(folder: Path) -> list[Path]:
    images = SUFFIXES + UNREADABLE
    files = (f for f in folder.iterdir() if f.suffix.lower() in images and f.name[0] != ".")
    return sorted(f for f in files if f.is_file())


def _refuse_other_files(folder: Path) -> None:
    """Raises DataError if a folder without an image to read holds other files."""
    files = (f for f in folder.iterdir() if f.suffix.lower() not in SUFFIXES and f.name[0] != ".")
    if names := sorted(f.name for f in files if f.is_file()):
        raise DataError(f"{folder}: expected images ({', '.join(SUFFIXES)}), found {names[0]!r}")


def _open_picture(path: str | Path) -> Any:
    """Returns a PIL image, upright, on white where transparent, in mode L or RGB."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=("PNG", "JPEG", "WEBP", "BMP")) as file:
                picture = ImageOps.exif_transpose(file)
        except UnidentifiedImageError as error:
            raise DataError("neither PNG, JPEG, WebP nor BMP") from error
    if picture.mode[0] == "I":  # 16 bits a pixel, which PIL would clip to 255
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert(mode)


def _resized(picture: Any, size: tuple[int, ...]) -> Any:
    """Resizes rows, then columns: in one call, Pillow 13 takes the order that costs less, older
    versions always this one, and the two round differently. The apps need one that stays."""
    from PIL import Image

    for step in ((size[0], picture.height), size):
        if picture.size != step:
            picture = picture.resize(step, Image.Resampling.BILINEAR)
    return picture


def _pixels(picture: Any, size: tuple[int, ...], mode: str) -> np.ndarray:
    """Returns uint8 `(height, width, channels)`; `size` is PIL's (width, height)."""
    return np.asarray(_resized(picture, size).convert(mode)).reshape(size[1], size[0], -1)
