"""The whole job in one call: images to report, on one run folder, resumable at any step."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from export.aims import Aim
from export.measurement import Report
from export.pipeline import Progress, finetune_slim, gates, prune, quiet, train
from export.reporting import write_report
from export.runfolder import DataConfig, RunFolder, remove
from export.shipping import ExportConfig, check_backend, export_run
from hwkeras.training import FINETUNE, TrainConfig


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything the whole job needs to know.

    Attributes:
        data: what to train on.
        preset: which net, a name of `hwkeras.PRESETS`.
        train: how to train it.
        aim: how far to cut it, and in how many rounds.
        finetune: how to train what is left; but for the epochs, also between rounds.
        export: what to make of the models.
    """

    data: DataConfig
    preset: str
    train: TrainConfig
    aim: Aim
    finetune: TrainConfig
    export: ExportConfig = ExportConfig()


def finetuning(config: TrainConfig, epochs: int) -> TrainConfig:
    """Returns the default fine-tuning with a training's batch size, precision, optimizer, seed."""
    return dataclasses.replace(
        FINETUNE,
        epochs=epochs,
        batch_size=config.batch_size,
        precision=config.precision,
        optimizer=config.optimizer,
        seed=config.seed,
    )


def run(
    job: Job,
    root: Path,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress = quiet,
) -> Report:
    """Does every step that is not done yet and returns the report.

    Raises:
        RunError: if the folder holds a run and neither `resume` nor `force` is given, or the run
            was made with other settings.
    """
    check_backend()
    folder, dataset = RunFolder(root), job.data.load()
    options = {"force": force, "progress": progress}
    train(folder, job.data, dataset, job.preset, job.train, resume=resume, **options)
    gates(folder, dataset, resume=resume, **options)
    prune(folder, dataset, job.aim, job.finetune, resume=resume, **options)
    finetune_slim(folder, dataset, job.finetune, resume=resume, **options)
    export_run(folder, dataset, job.export, resume=resume, **options)
    (report,) = write_report([root], force=force or resume)
    return report


DEMO = Job(
    data=DataConfig("digits"),
    preset="tiny",
    train=TrainConfig(epochs=16, batch_size=64),
    aim=Aim("size", 0.08, relative=True),
    finetune=dataclasses.replace(FINETUNE, epochs=8, batch_size=64),
)


def demo(root: Path, *, force: bool = False, progress: Progress = quiet) -> Report:
    """Does the whole job on scikit-learn's digits; a demo's own folder is replaced."""
    folder = RunFolder(root)
    record = folder.record()
    is_demo = "demo" in record["settings"] and (not record["data"] or folder.data() == DEMO.data)
    force = force or is_demo
    if force:
        for unfinished in ("checkpoint", "checkpoint-finetune"):
            remove(folder.path(unfinished))
    folder.claim("train", force)
    folder.note(settings={"demo": True})
    return run(DEMO, root, force=force, progress=progress)
