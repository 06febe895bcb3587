"""What the apps load is a folder: models, each with its JSON, pictures to try, and an index."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.bundle import BundleError, Sidecar, read_sidecar, sidecar_path, write_model
from export.runtime import io_spec, load
from export.samples import Sample, as_png, file_names, load_samples
from hwkeras.files import read_json, write_bytes, write_text

INDEX, FORMAT = "bundles.json", "hwkeras-bundles-1"
SAMPLES = "samples"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A model and its sidecar, which belong together.

    Attributes:
        name: of its two files, without their endings.
        content: of the .tflite.
    """

    name: str
    content: bytes
    sidecar: Sidecar

    @property
    def input_shape(self) -> tuple[int, ...]:
        """`(height, width, 1 or 3)`"""
        return self.sidecar.input.shape[1:]


def read_bundle(path: str | Path) -> Bundle:
    """Returns a .tflite and the JSON beside it.

    Raises:
        ModelFileError, FileError: naming the file that is missing, broken or foreign.
        BundleError: if the JSON describes another model, or the model takes no pictures.
    """
    path = Path(path)
    content, beside = load(path), sidecar_path(path)
    sidecar = read_sidecar(beside)
    if hashlib.sha256(content).hexdigest() != sidecar.sha256:
        raise BundleError(f"{path}: not the file that {beside.name} describes: SHA-256 differs")
    spec, classes = io_spec(content), len(sidecar.labels)
    if (spec.inputs, spec.outputs) != ((sidecar.input,), (sidecar.output,)):
        raise BundleError(f"{beside}: describes another input or output than {path.name} has")
    if spec.outputs[0].shape != (1, classes):
        raise BundleError(f"{beside}: {classes} labels for output {spec.outputs[0].shape}")
    shape = spec.inputs[0].shape
    if len(shape) != 4 or shape[0] != 1 or shape[-1] not in (1, 3):
        raise BundleError(f"{path}: the apps need input (1, height, width, 1 or 3), found {shape}")
    return Bundle(path.stem, content, dataclasses.replace(sidecar, name=path.stem))


def read_bundles(paths: Sequence[str | Path]) -> tuple[Bundle, ...]:
    """Returns bundles that can be shown side by side, in the order given.

    They must have the same labels: their accuracies stand in one table, and a picture's true class
    is shown beside the answers of all of them.

    Raises:
        BundleError: if names repeat or labels differ, and what `read_bundle` raises.
    """
    bundles: list[Bundle] = []
    taken: dict[str, str | Path] = {Path(INDEX).stem: INDEX}  # as on disks that know no upper case
    for path in paths:
        bundle = read_bundle(path)
        if other := taken.get(bundle.name.casefold()):
            raise BundleError(f"{path}: {other} has that name; rename the .tflite and its JSON")
        if bundles and bundle.sidecar.labels != bundles[0].sidecar.labels:
            raise BundleError(f"{path}: expected the labels of {paths[0]}, found others")
        taken[bundle.name.casefold()] = path
        bundles.append(bundle)
    return tuple(bundles)


def gather(
    paths: Sequence[str | Path],
    folder: str | Path,
    sources: Sequence[str] = (),
    *,
    force: bool = False,
) -> dict[str, Any]:
    """Puts .tflite files and pictures of `sources` into a folder, and returns its index.

    Pictures are stored as the model with the largest input sees them: small, and for that model
    the app's own conversion changes nothing.

    Args:
        paths: as `read_bundles` takes them.
        folder, force: as `write_folder` takes them.
        sources: as `load_samples` takes them.

    Raises:
        ValueError: of the kinds that those raise.
    """
    bundles = read_bundles(paths)
    shape = max((bundle.input_shape for bundle in bundles), key=math.prod)
    labels = bundles[0].sidecar.labels
    samples = [sample for source in sources for sample in load_samples(source, shape, labels)]
    return write_folder(folder, bundles, samples, force=force)


def write_folder(
    folder: str | Path,
    bundles: Sequence[Bundle],
    samples: Sequence[Sample] = (),
    *,
    force: bool = False,
) -> dict[str, Any]:
    """Writes what an app loads, and returns the index.

    Every file is whole or not there. The index comes last, so that what it names is there, and the
    files that only an older index named go after it. What a killed call left is no obstacle to the
    same call again. Files that are not the folder's own are never touched.

    Args:
        folder: new, or with other files in it.
        bundles: of `read_bundles`.
        samples: pictures to try the models on.
        force: replace a bundle folder.

    Raises:
        BundleError: if there is a bundle folder and no `force`, or a file of someone else's in
            the way.
    """
    folder = Path(folder)
    names = [f"{SAMPLES}/{name}" for name in file_names(samples)]
    pictures = dict(zip(names, samples, strict=True))
    index = {
        "format": FORMAT,
        "models": [bundle.name for bundle in bundles],
        "samples": [{"file": file, "label": sample.label} for file, sample in pictures.items()],
    }
    contents = {file: as_png(sample.pixels) for file, sample in pictures.items()}
    for bundle in bundles:
        contents[f"{bundle.name}.tflite"] = bundle.content
        contents[f"{bundle.name}.json"] = bundle.sidecar.to_json().encode()
    ours = _files(folder)
    if ours and not force:
        raise BundleError(f"{folder / INDEX} exists; --force replaces the folder's bundles")
    for name, content in contents.items():
        if name not in ours and _holds_another(folder / name, content):
            raise BundleError(f"{folder / name} exists and is no part of a bundle folder; move it")
    for bundle in bundles:
        write_model(folder / f"{bundle.name}.tflite", bundle.content, bundle.sidecar)
    for file in pictures:
        write_bytes(folder / file, contents[file])
    write_text(folder / INDEX, json.dumps(index, indent=2, ensure_ascii=False) + "\n")
    for name in ours - {INDEX, *contents}:
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty, or not there
        (folder / SAMPLES).rmdir()
    return index


def _files(folder: Path) -> set[str]:
    """Returns the folder's own files, its index and what that names; none if there is no index.

    Raises:
        FileError, BundleError: if the index is broken or foreign.
    """
    path = folder / INDEX
    if not path.exists():
        return set()
    index = read_json(path, "the index of a bundle folder")
    try:
        if index["format"] != FORMAT:
            raise KeyError
        models = [Path(name).name for name in index["models"]]
        pictures = [Path(sample["file"]).name for sample in index["samples"]]
    except (KeyError, TypeError):
        raise BundleError(f"{path}: expected an index of format {FORMAT!r}") from None
    # names only: an index from elsewhere must not reach out of the folder
    files = {f"{name}{ending}" for name in models for ending in (".tflite", ".json")}
    return {INDEX, *files, *(f"{SAMPLES}/{name}" for name in pictures)}


def _holds_another(path: Path, content: bytes) -> bool:
    return path.exists() and not (path.is_file() and path.read_bytes() == content)
