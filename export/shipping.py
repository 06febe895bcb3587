"""The export step of a run: models in, verified and measured `.tflite` files out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from export import timing
from export.bundle import Sidecar, describe, write_model
from export.lowering import Target, target_of
from export.measurement import Measurement
from export.pipeline import Progress, quiet, some_images
from export.quantize import make_variant
from export.reporting import provenance, read_measurements
from export.runfolder import RunFolder, remove
from export.tflite import ExportError, convert, with_labels
from export.verify import keras_logits, verify
from hwkeras.dataset import Dataset
from hwkeras.files import write_text
from hwkeras.plan import PruningPlan
from hwkeras.saving import load_model
from hwkeras.stats import model_cost

DENSE_VARIANTS = ("float32", "int8")  # enough to show what pruning and quantization do together
CALIBRATION_IMAGES = 256
LATENCY_RUNS = 50


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
    resume: bool = False,
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
        resume: return what was measured before, if it was with these settings.
        force: replace an export that exists.
        progress: called with ("export", images done, images in all).

    Raises:
        ExportError: if a model cannot be converted, or a variant fails its check.
    """
    check_backend()
    settings = {"variants": list(variants), "io": io, "limit_drop": limit_drop}
    sources = {"dense": run.need("train")}
    if not run.is_due("export", settings, resume=resume, force=force):
        return read_measurements(run)
    slim = run.slimmest()
    if slim:
        sources["slim"] = slim
    chosen = {
        name: [v for v in variants if name == "slim" or v in DENSE_VARIANTS] or ["float32"]
        for name in sources
    }
    total, made = sum(map(len, chosen.values())) * len(dataset.test), []
    for name, source in sources.items():
        made += _export_model(
            name,
            source,
            chosen[name],
            dataset,
            run.plan() if name == "slim" else None,
            io,
            limit_drop,
            lambda n, before=len(made): progress("export", before * len(dataset.test) + n, total),
        )
    fresh = run.path(".tflite-new")
    remove(fresh)  # what a killed export left
    try:
        paths = [fresh / f"{file.sidecar.name}.tflite" for file in made]
        for path, file in zip(paths, made, strict=True):
            write_model(path, file.content, file.sidecar)
        rows = tuple(
            dataclasses.replace(
                file.row,
                latency_ms=cost.latencies[0].median_ms,
                latency_p90_ms=cost.latencies[0].p90_ms,
                latency_runs=cost.latencies[0].runs,
            )
            for file, cost in zip(made, timing.bench(paths, LATENCY_RUNS), strict=True)
        )
        run.forget("export")
        remove(run.path("measurements.json"))
        remove(run.path("tflite"))
        fresh.rename(run.path("tflite"))
    finally:
        remove(fresh)
    content = [dataclasses.asdict(row) for row in rows]
    write_text(run.path("measurements.json"), json.dumps(content, indent=1) + "\n")
    run.finish("export", settings, provenance(dataset))
    return rows


@dataclasses.dataclass(frozen=True)
class _File:
    """A verified `.tflite`, not written yet."""

    content: bytes
    sidecar: Sidecar
    row: Measurement


def _export_model(
    name: str,
    source: Path,
    variants: Sequence[str],
    dataset: Dataset,
    plan: PruningPlan | None,
    io: str,
    limit_drop: float | None,
    progress: Callable[[int], None],
) -> list[_File]:
    """Returns the verified variants of one model."""
    model = load_model(source)
    cost = model_cost(model)
    test = dataset.test
    logits = keras_logits(model, test.images)
    graphs: dict[Target, bytes] = {}
    calibration = some_images(dataset.train.images, CALIBRATION_IMAGES)
    files = []
    for variant in variants:
        key = f"{name}-{variant}"
        target = target_of(variant)
        if target not in graphs:
            graphs[target] = convert(model, variant)
        content = make_variant(
            graphs[target], variant, calibration, io if variant == "int8" else "float32"
        )
        content = with_labels(content, dataset.classes)
        check = verify(
            model,
            content,
            test.images,
            test.labels,
            exact=variant == "float32",
            limit_drop=limit_drop,
            logits=logits,
            progress=lambda n, _, before=len(files): progress(before * len(test) + n),
        )
        sidecar = describe(
            key,
            variant,
            content,
            dataset.classes,
            parameters=cost.parameters,
            macs=cost.macs,
            verification=check,
            plan=plan,
        )
        row = Measurement(
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
        files.append(_File(content, sidecar, row))
    return files
