"""The whole job, images to report, as a sequence of steps over a run folder.

Each step reads files and writes files; none needs another's memory, so a run can be left and
continued anywhere.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from export.aims import Aim, prune_for
from export.history import read_phases, write_history
from export.runfolder import DataConfig, RunError, RunFolder, named, named_all, remove
from hwkeras.batchnorm import recalibrate
from hwkeras.dataset import Dataset
from hwkeras.evaluation import accuracy, check_fits, predict_logits, require_logits
from hwkeras.files import replacing, write_text
from hwkeras.graph import require_blocks
from hwkeras.models import PRESETS, highway_net
from hwkeras.plan import GateStats, PruningPlan
from hwkeras.saving import load_model, save_model
from hwkeras.stats import collect_stats, model_cost
from hwkeras.training import FINETUNE, TrainConfig, finetune, fit

Progress = Callable[[str, int, int], None]  # what is being done, how much of it, out of how much

_STATS_IMAGES = 10_000  # more change no ranking and cost time


def quiet(stage: str, done: int, total: int) -> None:
    """Shows no progress."""


def open_run(root: Path, source: str | None = None) -> tuple[RunFolder, Dataset]:
    """Returns a run folder and its data, or other data that its model takes.

    Raises:
        RunError, DataError: if there is no run or no data, the run's data has changed, or other
            data has other classes or is nothing that the model takes.
    """
    run = RunFolder.open(root)
    config = run.data() if source is None else dataclasses.replace(run.data(), source=source)
    dataset = config.load()
    run.check_data(dataset, other=source is not None)
    if source is not None and run.has("train"):
        check_fits(load_model(run.need("train")), dataset)
    return run, dataset


def adopt(model: Path, source: str, root: Path, force: bool) -> tuple[RunFolder, Dataset]:
    """Makes a run folder around a user's own `.keras` model and returns it with the data.

    A folder's pictures are resized to what the model takes.

    Raises:
        GraphError, DataError: if the model has no highway block or ends in no logits, or takes no
            such data; then nothing is written.
    """
    run = RunFolder(root)
    run.claim("train", force)
    net = load_model(model)
    require_blocks(net)
    require_logits(net)
    data = DataConfig(source, image_size=_side(net) if Path(source).is_dir() else None)
    dataset = data.load()
    check_fits(net, dataset)
    run.forget("train")
    with replacing(run.path("dense.keras")) as copy:
        shutil.copyfile(model, copy)
    remove(run.path("history.csv"))  # of another model
    run.note_data(data, dataset)
    run.finish("train", {"model": model.name}, {})
    return run, dataset


def _side(model: keras.Model) -> int | None:
    """Returns the side of the square pictures that a model takes, or None."""
    shape = model.input_shape
    return shape[1] if isinstance(shape, tuple) and len(shape) == 4 else None


def train(
    run: RunFolder,
    data: DataConfig,
    dataset: Dataset,
    preset: str,
    config: TrainConfig,
    *,
    resume: bool = False,
    force: bool = False,
    tensorboard: bool = False,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Trains a preset's highway net with the gate penalty; writes dense.keras and history.csv."""
    table = config.penalty and config.penalty.latency_table
    settings = {"preset": preset, "data": data, **vars(config), "files": named_all(table)}
    checkpoint = _checkpoint(run, "checkpoint", resume, force)
    if not run.is_due("train", settings, resume=resume, force=force):
        run.check_data(dataset)
        return run.record()["steps"]["train"]["outcome"]
    keras.utils.set_random_seed(config.seed)
    model = highway_net(
        PRESETS[preset],
        dataset.input_shape,
        len(dataset.classes),
        dataset.channel_mean,
        dataset.channel_deviation,
    )

    def record(rows):
        run.forget("train")
        write_history(run.path("history.csv"), {"dense": rows})

    rows = fit(
        model,
        dataset,
        config,
        checkpoint=checkpoint,
        resume=resume,
        on_batch=lambda done, total: progress("train", done, total),
        on_epoch=record,
        tensorboard=run.path("tensorboard") if tensorboard else None,
    )
    record(rows)
    save_model(model, run.path("dense.keras"))
    outcome = {
        **_cost(model),
        "steps": [_step("trained", model, dataset, _epochs(rows))],
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }
    run.note_data(data, dataset)
    run.finish("train", settings, outcome)
    remove(checkpoint)
    return outcome


def gates(
    run: RunFolder,
    dataset: Dataset,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress = quiet,
) -> GateStats:
    """Collects what the dense model's gates do on training images; writes gates.json.

    With `resume`, what was collected before is returned as it is.
    """
    if not run.is_due("gates", {}, resume=resume, force=force):
        return run.stats()
    model = load_model(run.need("train"))
    images = some_images(dataset.train.images, _STATS_IMAGES)
    stats = collect_stats(
        model, images, progress=lambda done, total: progress("gates", done, total)
    )
    run.forget("gates")
    write_text(run.path("gates.json"), stats.to_json())
    run.finish("gates", {}, {"images": stats.images})
    return stats


def prune(
    run: RunFolder,
    dataset: Dataset,
    aim: Aim,
    training: TrainConfig = FINETUNE,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress = quiet,
) -> PruningPlan:
    """Plans, cuts and recalibrates; writes plan.json and pruned.keras.

    An aim in several rounds trains on between them: as `training` says, but for the epochs, which
    the aim says. Nothing is written before the last round; history.csv then gets their epochs.
    """
    training = dataclasses.replace(training, epochs=aim.round_epochs)
    files = named_all(aim.value if aim.kind == "plan" else None, aim.latency_table)
    settings = {**vars(aim), "files": files, **(vars(training) if aim.rounds > 1 else {})}
    if not run.is_due("prune", settings, resume=resume, force=force):
        return run.plan()
    model, stats = load_model(run.need("train")), run.stats()
    images = some_images(dataset.train.images, _STATS_IMAGES)
    steps, rounds = [], {}

    def record(number, slim, rows):
        rounds[f"round {number}"] = rows
        note = f"{slim.count_params():,} parameters, {_epochs(rows)}"
        steps.append(_step(f"round {number}", slim, dataset, note))

    slim, plan = prune_for(aim, model, stats, dataset, training, images, progress, record)
    steps.append(_step("cut", slim, dataset, "nothing else done"))
    recalibrate(slim, images, progress=lambda done, total: progress("batch norm", done, total))
    steps.append(_step("recalibrated", slim, dataset, "batch norm statistics only"))
    run.forget("prune")
    write_text(run.path("plan.json"), plan.to_json())
    save_model(slim, run.path("pruned.keras"))
    phases = read_phases(run.path("history.csv"))
    dense = phases.pop("dense", [])
    if rounds or phases:  # of an older cut
        write_history(run.path("history.csv"), {"dense": dense, **rounds})
    run.finish("prune", settings, {**_cost(slim), "steps": steps})
    return plan


def finetune_slim(
    run: RunFolder,
    dataset: Dataset,
    config: TrainConfig,
    *,
    start: Path | None = None,
    teacher: Path | None = None,
    answers: Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Trains the pruned model on, with the dense model as its teacher; writes slim.keras.

    `start` is a `.keras` model to go on from, the pruned one with other weights, such as it has
    after an earlier fine-tuning. `teacher` is one to learn from instead of the dense one; `answers`
    is a folder in which the teacher's are kept for the next model that learns from it.
    """
    settings = {**vars(config), "start": None, "teacher": None}
    if start is not None:
        if start.resolve() == run.path("slim.keras").resolve():
            raise RunError(f"{start} is what this step replaces: start from a copy of it")
        begins = load_model(start)  # refused before its bytes are read as a whole
        settings["start"] = named(start)
    if teacher is not None:
        teaches = load_model(teacher)
        settings["teacher"] = named(teacher)
    else:
        teaches = load_model(run.need("train"))
    if not run.is_due("finetune", settings, resume=resume, force=force):
        return run.record()["steps"]["finetune"]["outcome"]
    run.need("prune")
    model = load_model(run.path("pruned.keras"))
    if start is not None:
        if begins.get_config() != model.get_config():
            raise RunError(f"{start} is not {run.path('pruned.keras')} with other weights")
        model = begins
    checkpoint = _checkpoint(run, "checkpoint-finetune", resume, force)
    before = read_phases(run.path("history.csv"))
    before.pop("finetune", None)

    def record(rows):
        run.forget("finetune")
        write_history(run.path("history.csv"), {**before, "finetune": rows})

    rows = finetune(
        model,
        dataset,
        config,
        teacher=teaches if config.distill else None,
        answers=answers,
        origin=settings["start"]["sha256"] if start else "",
        checkpoint=checkpoint,
        resume=resume,
        on_batch=lambda done, total: progress("fine-tune", done, total),
        on_epoch=record,
    )
    record(rows)
    save_model(model, run.path("slim.keras"))
    outcome = {
        **_cost(model),
        "steps": [_step("fine-tuned", model, dataset, _epochs(rows))],
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }
    run.finish("finetune", settings, outcome)
    remove(checkpoint)
    return outcome


def _checkpoint(run: RunFolder, name: str, resume: bool, force: bool) -> Path:
    """Returns the folder of a training's checkpoint, emptied unless the training goes on."""
    path = run.path(name)
    if path.exists() and not resume:
        if not force:
            raise RunError(f"{path} holds an unfinished training; --resume or --force")
        remove(path)
    return path


def _step(name: str, model: keras.Model, dataset: Dataset, note: str) -> dict[str, Any]:
    split = dataset.validation
    share = accuracy(predict_logits(model, split.images), split.labels)
    return {"name": name, "accuracy": share, "images": len(split), "note": note}


def _epochs(rows: list) -> str:
    return f"{len(rows)} epoch{'s' * (len(rows) != 1)}"


def _cost(model: keras.Model) -> dict[str, int]:
    return dataclasses.asdict(model_cost(model))


def some_images(images: np.ndarray, count: int) -> np.ndarray:
    """Returns at most `count` images, the same ones every time, in random order."""
    order = np.random.default_rng(0).permutation(len(images))[:count]
    return images[order]
