"""The export step of a run: models in, verified and measured `.tflite` files out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras

from export import timing
from export.bundle import Sidecar, describe, write_model
from export.lowering import Target, target_of
from export.measurement import Measurement
from export.pipeline import Progress, quiet, some_images
from export.quantize import VARIANTS, make_variant, named_operators
from export.reporting import provenance, read_measurements
from export.runfolder import RunFolder, plain, remove
from export.tflite import ExportError, convert, with_labels
from export.tfmot import CLUSTERED, TRAINED, Retraining, train_on
from export.verify import keras_logits, verify
from hwkeras.dataset import Dataset
from hwkeras.files import write_text
from hwkeras.plan import PruningPlan
from hwkeras.saving import load_model
from hwkeras.stats import model_cost

CALIBRATION_IMAGES = 256
LATENCY_RUNS = 50


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What to make of a run's models.

    Attributes:
        variants: of `export.quantize.VARIANTS` and `export.tfmot.TRAINED`, for the slim model, or
            for the dense one where there is no other.
        io: input and output type of what computes in int8.
        limit_drop: points that a variant may lose against its Keras model; None for no limit.
        keep_float: names of operators, layers or blocks that no variant quantizes.
        dense_all: whether a dense model beside a slim one gets them too, and not only float32, to
            compare with, and int8.
        retraining: how the variants of `export.tfmot.TRAINED` are trained.
    """

    variants: tuple[str, ...] = VARIANTS
    io: str = "float32"
    limit_drop: float | None = None
    keep_float: tuple[str, ...] = ()
    dense_all: bool = False
    retraining: Retraining = Retraining()

    def settings(self) -> dict[str, Any]:
        """Returns what a run records: all that made a difference."""
        settings = plain(vars(self))
        if not set(self.variants) & set(TRAINED):
            del settings["retraining"]
        return settings

    def variants_of(self, models: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Returns what to make of each model: what was asked for; but of a dense one beside a slim
        one float32, which reports compare with, and of the rest only int8, unless all are asked
        for."""
        made = dict.fromkeys(models, self.variants)
        if "slim" in made:
            rest = self.variants if self.dense_all else set(self.variants) & {"int8"}
            made["dense"] = tuple(dict.fromkeys(("float32", *rest)))
        return made


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
    config: ExportConfig = ExportConfig(),
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress = quiet,
) -> tuple[Measurement, ...]:
    """Converts, verifies and times the variants of a run's models; writes tflite/ and
    measurements.json, all of it or nothing.

    Args:
        run: with a dense model and, if there is one, a slim one.
        dataset: training images calibrate and train on, test images measure.
        config: what to make.
        resume: return what was measured before, if it was with these settings.
        force: replace an export that exists.
        progress: called with ("export", images done, images in all), and for each variant that is
            trained or takes long to round with ("slim-qat-int8", steps done, steps in all).

    Raises:
        ExportError: if a model cannot be converted or trained on, or a variant fails its check.
    """
    check_backend()
    settings = config.settings()
    sources = {"dense": run.need("train")}
    if not run.is_due("export", settings, resume=resume, force=force):
        return read_measurements(run)
    slim = run.slimmest()
    if slim:
        sources["slim"] = slim
    _check_names(config.keep_float, list(sources.values()))
    variants = config.variants_of(sources)
    total, made = sum(map(len, variants.values())) * len(dataset.test), []
    for name, source in sources.items():
        made += _export_model(
            name,
            source,
            variants[name],
            dataset,
            run.plan() if name == "slim" else None,
            config,
            progress,
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


def _check_names(names: Sequence[str], sources: Sequence[Path]) -> None:
    """Raises ExportError if nothing in any of the models has a name."""
    contents = [convert(load_model(source)) for source in sources] if names else []
    for name in names:
        if not any(named_operators(content, name) for content in contents):
            raise ExportError(f"no operator, layer or block {name!r} to keep in float")


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
    config: ExportConfig,
    progress: Progress,
    on_images: Callable[[int], None],
) -> list[_File]:
    """Returns the verified variants of one model."""
    model = load_model(source)
    cost = model_cost(model)
    test = dataset.test
    logits = keras_logits(model, test.images)
    graphs: dict[Target, bytes] = {}

    def graph(variant: str) -> bytes:
        target = target_of(variant)
        if target not in graphs:
            graphs[target] = convert(model, variant)
        return graphs[target]

    calibration = some_images(dataset.train.images, CALIBRATION_IMAGES)
    files = []
    for variant in variants:
        key = f"{name}-{variant}"
        notes = ["not fine-tuned"] * (source.name == "pruned.keras")
        if variant in TRAINED:
            trained = load_model(source)
            outcome = train_on(
                trained, variant, dataset, config.retraining,
                lambda done, steps, key=key: progress(key, done, steps),
            )  # fmt: skip
            content = convert(trained, variant)
            notes.append(f"trained on for {outcome['steps']} steps")
        else:
            content = graph(variant)
        kept = [wanted for wanted in config.keep_float if named_operators(content, wanted)]
        int8 = variant == "int8" or variant in TRAINED
        content = make_variant(
            content,
            "int8" if int8 else variant,
            calibration,
            config.io if int8 else "float32",
            keep_float=kept,
            one_scale=variant in CLUSTERED,
            progress=lambda done, steps, key=key: progress(key, done, steps),
        )
        content = with_labels(content, dataset.classes)
        try:
            check = verify(
                model,
                content,
                test.images,
                test.labels,
                exact=variant == "float32",
                limit_drop=config.limit_drop,
                logits=logits,
                progress=lambda n, _, before=len(files): on_images(before * len(test) + n),
            )
        except ExportError as error:
            raise ExportError(f"{key}: {error}; nothing was written") from None
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
            note="; ".join(notes),
        )
        files.append(_File(content, sidecar, row))
    return files
