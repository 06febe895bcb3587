"""Pictures to try a model on: from files, a folder of classes, or a data set."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwkeras.data import load_dataset
from hwkeras.dataset import DataError
from hwkeras.folder import SUFFIXES, load_image


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """A picture as a model sees it, uint8 `(height, width, 1 or 3)`, and what it shows."""

    label: str
    pixels: np.ndarray


def load_samples(
    source: str, input_shape: tuple[int, ...], labels: Sequence[str]
) -> tuple[Sample, ...]:
    """Returns the pictures that a source names.

    Args:
        source: an image file; a folder of them, or of one folder a class, whose first picture is
            taken; or a data set by name, whose first test image of each class is taken.
        input_shape: `(height, width, channels)` that files are converted to, as `load_image` does.
        labels: the classes of the model. A file's label is its folder's name where that is a class,
            else its own.

    Raises:
        DataError: if there is no picture, an unreadable one, or a class that the model lacks.
    """
    path = Path(source)
    if path.is_dir():
        files = _first_of_each_class(path, labels) or _pictures(path)
        if not files:
            raise DataError(f"{source}: expected pictures, or a folder for each class; found none")
    elif path.suffix.lower() in SUFFIXES:
        files = [path]
    else:
        return _first_test_images(source, labels)
    return tuple(
        Sample(
            folder if (folder := file.resolve().parent.name) in labels else file.stem,
            load_image(file, input_shape),
        )
        for file in files
    )


def file_names(samples: Sequence[Sample]) -> list[str]:
    """Returns a name for each sample's file, from its label: 3.png, cat.png, cat-2.png."""
    names: dict[str, str] = {}  # by what they are on a disk that knows no upper case
    for sample in samples:
        stem = name = re.sub(r"[^\w.-]+", "_", sample.label).lstrip(".") or "sample"
        number = 1
        while name.casefold() in names:
            number += 1
            name = f"{stem}-{number}"
        names[name.casefold()] = f"{name}.png"
    return list(names.values())


def as_png(pixels: np.ndarray) -> bytes:
    """Returns uint8 `(height, width, 1 or 3)` as the content of a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def _first_of_each_class(folder: Path, labels: Sequence[str]) -> list[Path]:
    """Returns a file of each class, from the test images where there are some: the model has not
    been trained on those."""
    for split in ("test", "train"):
        if (folder / split).is_dir():
            folder = folder / split
            break
    classes = sorted(part for part in folder.iterdir() if part.is_dir() and part.name[0] != ".")
    _require_known([part.name for part in classes], labels, folder)
    files = []
    for part in classes:
        if not (pictures := _pictures(part)):
            raise DataError(f"{part}: expected a picture, found none")
        files.append(pictures[0])
    return files


def _pictures(folder: Path) -> list[Path]:
    files = (f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and f.name[0] != ".")
    return sorted(f for f in files if f.is_file())


def _first_test_images(source: str, labels: Sequence[str]) -> tuple[Sample, ...]:
    dataset = load_dataset(source)
    if len(dataset.input_shape) != 3:
        raise DataError(f"{source}: expected pictures, found a table")
    _require_known(dataset.classes, labels, source)
    test = dataset.test
    present, first = np.unique(test.labels, return_index=True)
    return tuple(
        Sample(dataset.classes[label], test.images[row])
        for label, row in zip(present, first, strict=True)
    )


def _require_known(classes: Sequence[str], labels: Sequence[str], where: str | Path) -> None:
    if unknown := [name for name in classes if name not in labels]:
        known = ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
        raise DataError(f"{where}: the model has no class {unknown[0]!r}; it has {known}")
