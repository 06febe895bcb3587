"""The JSON beside a .tflite: everything an app has to know to use it."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from export import facts
from export.runtime import TensorSpec, io_spec
from export.verify import Verification
from hwkeras.files import FileError, replacing
from hwkeras.plan import PruningPlan

SIDECAR_FORMAT = "hwkeras-bundle-1"
PIXELS = (0.0, 255.0)


class BundleError(ValueError):
    """A sidecar that cannot be read; the message names the field."""


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """What lies beside `<name>.tflite` as `<name>.json`.

    Attributes:
        name: of the model.
        variant: "float32", "int8", ...
        labels: in the order of the logits.
        input: name, shape, type and quantization of the one input.
        range: lowest and highest real value of the input: raw pixels 0..255; None for a table.
        output: the same of the logits.
        accuracy: top-1 on `accuracy_images` test images, 0 to 1; None if unknown.
        accuracy_images: how many.
        size_bytes: of the .tflite.
        gzip_bytes: of the .tflite when compressed.
        sha256: of the .tflite.
        parameters: weights of the Keras model.
        macs: multiply-accumulates for one input.
        plan: sha256 of the pruning plan's JSON; None for a model that was not pruned.
        versions: of Python and the packages that made the file.
    """

    name: str
    variant: str
    labels: tuple[str, ...]
    input: TensorSpec
    range: tuple[float, float] | None
    output: TensorSpec
    accuracy: float | None
    accuracy_images: int
    size_bytes: int
    gzip_bytes: int
    sha256: str
    parameters: int
    macs: int
    plan: str | None
    versions: dict[str, str]

    def to_json(self) -> str:
        content = {"format": SIDECAR_FORMAT, **dataclasses.asdict(self)}
        content["input"]["range"] = content.pop("range")  # where an app looks for it
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Sidecar:
        """Raises BundleError if the text is no sidecar, or a field is missing or foreign."""
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise BundleError(f"expected a sidecar, found broken JSON: {error}") from None
        found = content.pop("format", None) if isinstance(content, dict) else type(content).__name__
        if found != SIDECAR_FORMAT:
            raise BundleError(f"expected a sidecar of format {SIDECAR_FORMAT!r}; found {found!r}")
        try:
            content["range"] = content["input"].pop("range")
            for side in ("input", "output"):
                shape = tuple(content[side].pop("shape"))
                content[side] = TensorSpec(shape=shape, **content[side])
            content["labels"] = tuple(content["labels"])
            content["range"] = content["range"] and tuple(content["range"])
            return cls(**content)
        except (AttributeError, KeyError, TypeError) as error:
            raise BundleError(f"broken sidecar: {error!r}") from None


def describe(
    name: str,
    variant: str,
    content: bytes,
    labels: Sequence[str],
    *,
    parameters: int,
    macs: int,
    verification: Verification | None = None,
    plan: PruningPlan | None = None,
) -> Sidecar:
    """Returns the sidecar of a finished .tflite.

    Args:
        name: of the model.
        variant: one of `export.quantize.VARIANTS`, or another name.
        content: of the file exactly as it will be written, labels included.
        labels: in the order of the logits.
        parameters: weights of the Keras model.
        macs: multiply-accumulates for one input.
        verification: where the accuracy comes from.
        plan: by which the model was pruned.

    Raises:
        BundleError: if the model has not one input and one output, or not one label a class.
    """
    spec = io_spec(content)
    if len(spec.inputs) != 1 or len(spec.outputs) != 1:
        raise BundleError(
            "expected a model with one input and one output;"
            f" found {len(spec.inputs)} and {len(spec.outputs)}"
        )
    classes = spec.outputs[0].shape[-1]
    if len(labels) != classes:
        raise BundleError(f"expected {classes} labels, one a class; found {len(labels)}")
    return Sidecar(
        name=name,
        variant=variant,
        labels=tuple(labels),
        input=spec.inputs[0],
        range=PIXELS if len(spec.inputs[0].shape) == 4 else None,
        output=spec.outputs[0],
        accuracy=verification and verification.accuracy,
        accuracy_images=verification.images if verification else 0,
        size_bytes=len(content),
        gzip_bytes=len(gzip.compress(content, mtime=0)),
        sha256=hashlib.sha256(content).hexdigest(),
        parameters=parameters,
        macs=macs,
        plan=plan and hashlib.sha256(plan.to_json().encode()).hexdigest(),
        versions=facts.versions(),
    )


def sidecar_path(path: str | Path) -> Path:
    """Returns where the sidecar of a .tflite lies."""
    return Path(path).with_suffix(".json")


def write_model(path: str | Path, content: bytes, sidecar: Sidecar) -> None:
    """Writes `<name>.tflite` and `<name>.json`, each whole or not at all.

    Both are on disk under temporary names before either is renamed, and the old sidecar goes
    first: a crash may leave a .tflite without a sidecar, never one with another file's sidecar.

    Raises:
        BundleError: if the sidecar describes other bytes, or the name does not end in .tflite.
    """
    if Path(path).suffix != ".tflite":
        raise BundleError(f"{path}: expected a name that ends in .tflite")
    if hashlib.sha256(content).hexdigest() != sidecar.sha256:
        raise BundleError(f"{path}: the sidecar describes another file")
    beside = sidecar_path(path)
    with replacing(beside) as described:
        described.write_text(sidecar.to_json(), encoding="utf-8")
        with replacing(path) as temporary:
            temporary.write_bytes(content)
            beside.unlink(missing_ok=True)


def read_sidecar(path: str | Path) -> Sidecar:
    """Returns the sidecar in a JSON file.

    Raises:
        FileError: naming the file, if it is missing or no sidecar.
    """
    try:
        return Sidecar.from_json(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; expected the JSON beside a .tflite") from None
    except (OSError, UnicodeDecodeError, BundleError) as error:
        raise FileError(f"{path}: {error}") from None
