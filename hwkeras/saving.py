"""`.keras` files: written whole or not at all, read without running anything that is in them."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import keras

import hwkeras.layers  # noqa: F401  (registers the blocks that a file may name)
from hwkeras.files import FileError, replacing


def save_model(model: keras.Model, path: str | Path) -> None:
    """Writes a `.keras` file, or leaves the old one as it was."""
    with replacing(path) as temporary:
        model.save(temporary)


def load_model(path: str | Path) -> keras.Model:
    """Returns the model in a `.keras` file, ready for inference and for training on.

    Raises:
        FileError: if the file is missing, broken, foreign, or holds code: safe mode stays on.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise FileError(f"{path}: {what}; expected a .keras model")
    if not zipfile.is_zipfile(path):
        raise FileError(
            f"{path}: expected a .keras model, found {_kind(path)} of {path.stat().st_size:,} bytes"
        )
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises anything; one line of it tells the user enough
        text = str(error)
        if "Lambda" in text or "safe_mode" in text:
            raise FileError(f"{path}: refused: the model holds code (a Lambda layer)") from None
        unknown = re.search(r"Could not locate (?:class|function) '[^']*'", text)
        if unknown:
            raise FileError(f"{path}: refused: {unknown[0]}; import it first") from None
        raise FileError(f"{path}: broken .keras model: {_first_line(text)}") from None


def _kind(path: Path) -> str:
    head = path.open("rb").read(8)
    if not head:
        return "an empty file"
    if head.startswith(b"PK"):
        return "a truncated archive"
    return "an HDF5 file" if head.startswith(b"\x89HDF") else "something else"


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0][:200]
