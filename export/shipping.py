"""The export step of a run, and measuring files: every figure about a `.tflite` starts here."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import keras

from export import runtime, timing
from export.bundle import Sidecar, describe, write_model
from export.measurement import Measurement
from export.pipeline import Progress, quiet, some_images
from export.quantize import make_variant
from export.reporting import provenance
from export.runfolder import RunFolder, remove
from export.tflite import ExportError, convert, with_labels
from export.verify import keras_logits, verify
from hwkeras.dataset import Dataset
from hwkeras.evaluation import accuracy, predict_logits
from hwkeras.files import write_text
from hwkeras.saving import load_model
from hwkeras.stats import model_cost

DENSE_VARIANTS = ("float32", "int8")  # enough to show what pruning and quantization do together
CALIBRATION_IMAGES = 256
LATENCY_RUNS = 50


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Accuracy, 0 to 1, of one `.keras` or `.tflite` file on a split."""

    file: str
    accuracy: float
    images: int
    split: str
    size_bytes: int


@dataclasses.dataclass(frozen=True)
class Bench:
    """What one `.tflite` costs on this machine; memory is over that of an empty process."""

    file: str
    size_bytes: int
    gzip_bytes: int
    latency_ms: float
    latency_p90_ms: float
    runs: int
    threads: int
    load_ms: float
    first_ms: float
    peak_bytes: int
    partitions: int
    operators: dict[str, int]
    undelegated: dict[str, int]


def check_backend() -> None:
    """Raises ExportError if Keras runs on a backend that cannot convert."""
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"export needs TensorFlow, Keras runs on {keras.backend.backend()}: use the commands"
            " train, gates, prune and finetune here, then KERAS_BACKEND=tensorflow hwkeras export"
        )


def export_run(
    run: RunFolder,
    dataset: Dataset,
    variants: Sequence[str],
    *,
    io: str = "float32",
    limit_drop: float | None = None,
    force: bool = False,
    progress: Progress = quiet,
) -> tuple[Measurement, ...]:
    """Converts, verifies and times the variants of a run's models; writes tflite/ and
    measurements.json, all of it or nothing.

    The slim model gets every variant, the dense one float32 and int8.

    Args:
        run: with a dense model and, if there is one, a slim one.
        dataset: training images calibrate, test images measure.
        variants: of `export.quantize.VARIANTS`.
        io: input and output type of int8.
        limit_drop: points that a variant may lose against its Keras model; None for no limit.
        force: replace an export that exists.
        progress: called with ("export", images done, images in all).

    Raises:
        ExportError: if a model cannot be converted, or a variant fails its check.
    """
    check_backend()
    run.claim("export", force)
    sources = {"dense": run.need("train")}
    slim = run.slimmest()
    if slim:
        sources["slim"] = slim
    chosen = {
        name: [v for v in variants if name == "slim" or v in DENSE_VARIANTS] or ["float32"]
        for name in sources
    }
    calibration = some_images(dataset.train.images, CALIBRATION_IMAGES)
    total, done = sum(map(len, chosen.values())) * len(dataset.test), 0
    contents: dict[str, bytes] = {}
    sidecars: list[Sidecar] = []
    rows: list[Measurement] = []
    for name, source in sources.items():
        model = load_model(source)
        cost = model_cost(model)
        logits = keras_logits(model, dataset.test.images)
        as_float32 = convert(model)
        for variant in chosen[name]:
            key = f"{name}-{variant}"
            content = make_variant(
                as_float32, variant, calibration, io if variant == "int8" else "float32"
            )
            content = with_labels(content, dataset.classes)
            check = verify(
                model,
                content,
                dataset.test.images,
                dataset.test.labels,
                exact=variant == "float32",
                limit_drop=limit_drop,
                logits=logits,
                progress=lambda n, _, done=done: progress("export", done + n, total),
            )
            done += len(dataset.test)
            contents[key] = content
            sidecar = describe(
                key,
                variant,
                content,
                dataset.classes,
                parameters=cost.parameters,
                macs=cost.macs,
                verification=check,
                plan=run.plan() if name == "slim" else None,
            )
            sidecars.append(sidecar)
            rows.append(
                Measurement(
                    model=name,
                    variant=variant,
                    file=f"tflite/{key}.tflite",
                    size_bytes=sidecar.size_bytes,
                    gzip_bytes=sidecar.gzip_bytes,
                    parameters=cost.parameters,
                    macs=cost.macs,
                    accuracy=check.accuracy,
                    images=check.images,
                    agreement=check.agreement,
                    max_difference=check.max_difference,
                    partitions=check.partitions,
                    undelegated=check.undelegated,
                    note="not fine-tuned" if source.name == "pruned.keras" else "",
                )
            )
    latencies = timing.bench(contents, runs=LATENCY_RUNS)
    rows = [
        dataclasses.replace(
            row,
            latency_ms=latency.median_ms,
            latency_p90_ms=latency.p90_ms,
            latency_runs=latency.runs,
            threads=latency.threads,
        )
        for row, latency in zip(rows, latencies.values(), strict=True)
    ]
    fresh = run.path(".tflite-new")
    remove(fresh)  # what a killed export left
    try:
        for sidecar in sidecars:
            write_model(fresh / f"{sidecar.name}.tflite", contents[sidecar.name], sidecar)
        remove(run.path("measurements.json"))
        remove(run.path("tflite"))
        fresh.rename(run.path("tflite"))
    finally:
        remove(fresh)
    content = [dataclasses.asdict(row) for row in rows]
    write_text(run.path("measurements.json"), json.dumps(content, indent=1) + "\n")
    settings = {"variants": list(variants), "io": io, "limit_drop": limit_drop}
    run.finish("export", settings, provenance(dataset))
    return tuple(rows)


def evaluate(
    path: Path, dataset: Dataset, split: str = "test", progress: Progress = quiet
) -> Evaluation:
    """Returns how often a `.keras` or `.tflite` file is right on a split.

    Raises:
        FileError, ModelFileError: if the file is missing, broken or of another kind.
        ExportError: if the data does not fit the model.
    """
    data = dataset.test if split == "test" else dataset.validation
    stage = f"evaluate {path.name}"
    if path.suffix == ".tflite":
        content = runtime.load(path)
        try:
            logits = runtime.predict(
                content, data.images, progress=lambda n, total: progress(stage, n, total)
            )
        except ValueError as error:
            raise ExportError(f"{path}: {error}") from None
    else:
        model = load_model(path)
        if tuple(model.input_shape[1:]) != tuple(dataset.input_shape):
            raise ExportError(
                f"{path}: takes {model.input_shape[1:]}, {dataset.name!r} gives"
                f" {dataset.input_shape}"
            )
        logits = predict_logits(model, data.images)
    if logits.shape[-1] != len(dataset.classes):
        raise ExportError(
            f"{path}: gives {logits.shape[-1]} logits, {dataset.name!r} has"
            f" {len(dataset.classes)} classes"
        )
    return Evaluation(
        str(path), accuracy(logits, data.labels), len(data), split, path.stat().st_size
    )


def bench(
    paths: Sequence[Path], runs: int = LATENCY_RUNS, threads: int = 1, progress: Progress = quiet
) -> tuple[Bench, ...]:
    """Returns what `.tflite` files cost here: timed in turns, loaded in a process of their own."""
    contents = {str(path): runtime.load(path) for path in paths}
    memories = {}
    for done, path in enumerate(contents):
        memories[path] = timing.memory(path)
        progress("bench", done + 1, len(contents) + 1)
    latencies = timing.bench(contents, runs, threads)
    progress("bench", len(contents) + 1, len(contents) + 1)
    rows = []
    for path, content in contents.items():
        graph, latency, memory = runtime.graph(content), latencies[path], memories[path]
        rows.append(
            Bench(
                file=path,
                size_bytes=len(content),
                gzip_bytes=_gzip_bytes(content),
                latency_ms=latency.median_ms,
                latency_p90_ms=latency.p90_ms,
                runs=latency.runs,
                threads=latency.threads,
                load_ms=memory.load_ms,
                first_ms=memory.first_ms,
                peak_bytes=memory.peak_bytes,
                partitions=graph.partitions,
                operators=graph.operators,
                undelegated=graph.undelegated,
            )
        )
    return tuple(rows)


def _gzip_bytes(content: bytes) -> int:
    return len(gzip.compress(content, mtime=0))
