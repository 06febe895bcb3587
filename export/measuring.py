"""Measuring files of any run side by side: accuracy on a split, cost on this machine."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Sequence
from pathlib import Path

from export import runtime, timing
from export.pipeline import Progress, quiet
from export.tflite import ExportError
from hwkeras.dataset import Dataset
from hwkeras.evaluation import accuracy, predict_logits
from hwkeras.saving import load_model


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
    paths: Sequence[Path], runs: int = 50, threads: int = 1, progress: Progress = quiet
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
                gzip_bytes=len(gzip.compress(content, mtime=0)),
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
