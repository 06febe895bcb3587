"""A run is a folder: which files a run has, and the record of how they came to be."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from export.aims import read_plan
from hwkeras.data import load_dataset
from hwkeras.dataset import Dataset
from hwkeras.files import read_json, write_text
from hwkeras.plan import GateStats, PlanError, PruningPlan

FORMAT = "hwkeras-run-1"

# What each step leaves behind, in the order of the steps; a step makes those after it stale.
OUTPUTS = {
    "train": ("dense.keras", "history.csv", "checkpoint"),
    "gates": ("gates.json",),
    "prune": ("plan.json", "pruned.keras"),
    "finetune": ("slim.keras", "checkpoint-finetune"),
    "export": ("measurements.json", "tflite"),
    "report": ("report.json", "report.md", "report.html"),
}
STEPS = tuple(OUTPUTS)
# Settings that older records do not have, and what was done then; what is not here was None.
_BEFORE = {
    "train": {"optimizer": "sgd", "files": []},
    "prune": {
        "normalizer": "none",
        "cut_carried": 0.0,
        "rounds": 1,
        "round_epochs": 1,
        "files": [],
    },
    "finetune": {"optimizer": "sgd"},
}


class RunError(RuntimeError):
    """A step that cannot be done in this run folder; the message says what to do first."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which data a run uses and how it is split, as `load_dataset` takes them, and whether to flip
    and crop it in every training; None where the data allows it."""

    source: str
    validation: float = 0.1
    seed: int = 0
    image_size: int | None = None
    max_bad: int = 0
    augment: bool | None = None

    def load(self) -> Dataset:
        options = dataclasses.asdict(self)
        augment = options.pop("augment")
        dataset = load_dataset(options.pop("source"), **options)
        return dataset if augment is None else dataclasses.replace(dataset, augment=augment)


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The files of one run. `run.json` is the record; every other file is a step's output."""

    root: Path

    @classmethod
    def open(cls, root: str | Path) -> RunFolder:
        """Raises RunError if the folder holds no run."""
        run = cls(Path(root))
        if not run.path("run.json").is_file():
            raise RunError(
                f"{root}: expected a run folder, with run.json; `hwkeras train` makes one"
            )
        return run

    def path(self, name: str) -> Path:
        return self.root / name

    def record(self) -> dict[str, Any]:
        """Returns `{"format", "data", "settings", "steps"}`."""
        if not self.path("run.json").exists():
            return {"format": FORMAT, "data": None, "settings": {}, "steps": {}}
        content = read_json(self.path("run.json"), "a run's record")
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise RunError(f"{self.path('run.json')}: expected a run's record of format {FORMAT!r}")
        return content

    def note(self, step: str | None = None, outcome: Any = None, **fields: Any) -> None:
        """Adds to the record: a step's settings and outcome, or whole fields."""
        content = self.record()
        content.update(fields)
        if step is not None:
            content["steps"][step] = outcome
        write_text(self.path("run.json"), json.dumps(content, indent=1) + "\n")

    def data(self) -> DataConfig:
        config = self.record()["data"]
        if config is None:
            raise RunError(f"{self.root}: the run does not know its data; name DATA")
        return DataConfig(**config)

    def note_data(self, config: DataConfig, dataset: Dataset) -> None:
        """Adds to the record which data the run is of."""
        facts = {"fingerprint": dataset.fingerprint, "classes": list(dataset.classes)}
        self.note(data=dataclasses.asdict(config), **facts)

    def check_data(self, dataset: Dataset, other: bool = False) -> None:
        """Raises RunError if data is not what the run was made with.

        Args:
            dataset: that was loaded now.
            other: allow other rows, named by the user, but no other classes.
        """
        record = self.record()  # older ones do not say
        classes = record.get("classes", list(dataset.classes))
        if classes != list(dataset.classes):
            raise RunError(
                f"{dataset.name!r} has the classes {', '.join(dataset.classes)}; {self.root} was"
                f" made with {', '.join(classes)}"
            )
        if not other and record.get("fingerprint", dataset.fingerprint) != dataset.fingerprint:
            raise RunError(
                f"{record['data']['source']} is not what it was when {self.root} was made with it,"
                " so training and test rows may have changed places: train anew with --force, or"
                " name the data with the command if that is meant"
            )

    def finish(self, step: str, settings: Any, outcome: Any) -> None:
        """Records a step that is done, and removes what later steps made of an older one."""
        self.settle(step)
        self.note(step, {"settings": plain(settings), "outcome": outcome})

    def has(self, step: str) -> bool:
        """Returns whether a step is done: it is recorded, which comes last, and its output there.

        Output without a record is what a killed command left.
        """
        return step in self.record()["steps"] and self.path(OUTPUTS[step][0]).exists()

    def is_due(
        self, step: str, settings: Any, *, resume: bool = False, force: bool = False
    ) -> bool:
        """Returns True if a step is to be done now, and False if a resumed run did it already.

        Raises:
            RunError: if there is output and neither `force` nor a run to `resume`, or the step was
                done with other settings.
        """
        training = self.path("checkpoint") / "checkpoint.json"  # there is no record before its end
        begun = self.path("run.json").exists() or training.exists()
        self.claim(step, force or (resume and begun), resumable=step in ("train", "finetune"))
        if resume and not force and self.has(step):
            recorded = _BEFORE.get(step, {}) | self.record()["steps"][step]["settings"]
            for name, value in plain(settings).items():
                if _stated(recorded.get(name)) != _stated(value):
                    raise RunError(
                        f"{self.root}: step {step!r} was done with {name}={recorded.get(name)!r},"
                        f" not {value!r}; use the same settings, or --force to do it again"
                    )
            return False
        return True

    def forget(self, step: str) -> None:
        """Takes a step, and those after it, off the record: called before its output is replaced,
        so that whatever happens then, the record tells of nothing that is not there."""
        content = self.record()
        done = [name for name in STEPS[STEPS.index(step) :] if name in content["steps"]]
        for name in done:
            del content["steps"][name]
        if done:
            write_text(self.path("run.json"), json.dumps(content, indent=1) + "\n")

    def claim(self, step: str, force: bool, resumable: bool = False) -> None:
        """Raises RunError if there is output of a step that may not be replaced, or, in a folder
        that holds no run yet, anything that a run would replace."""
        if self.root.exists() and not self.root.is_dir():
            raise RunError(f"{self.root} is a file; expected a run folder, or a name for a new one")
        ours = self.path("run.json").exists()
        names = OUTPUTS[step] if ours else [name for step in STEPS for name in OUTPUTS[step]]
        found = next((self.path(name) for name in names if self.path(name).exists()), None)
        if found and not force:
            go_on = "--resume goes on from it, " if ours and resumable else ""
            raise RunError(f"{found} exists; {go_on}--force replaces it and what was made of it")

    def settle(self, step: str) -> None:
        """Removes what later steps made of an older output of this one."""
        for later in STEPS[STEPS.index(step) + 1 :]:
            for name in OUTPUTS[later]:
                remove(self.path(name))

    def need(self, step: str) -> Path:
        """Returns a step's first output, or raises RunError naming the command that makes it."""
        path = self.path(OUTPUTS[step][0])
        if not self.has(step):
            there = "is left of an unfinished step" if path.exists() else "is not there yet"
            call = {"train": "train DATA -o RUN", "prune": "prune RUN --size 15%"}.get(step)
            call = (call or f"{step} RUN").replace("RUN", str(self.root))
            raise RunError(f"{path} {there}; run `hwkeras {call}` first")
        return path

    def slimmest(self) -> Path | None:
        """Returns the fine-tuned slim model, else the pruned one, else None."""
        for step, name in (("finetune", "slim.keras"), ("prune", "pruned.keras")):
            if self.has(step):
                return self.path(name)
        return None

    def stats(self) -> GateStats:
        path = self.need("gates")
        try:
            return GateStats.from_json(path.read_text(encoding="utf-8", errors="replace"))
        except PlanError as error:
            raise RunError(f"{path}: {error}") from None

    def plan(self) -> PruningPlan:
        return read_plan(self.need("prune"))


def named_all(*files: Any) -> list[dict[str, str]]:
    """Returns `named` of those that are there; who reads the others will refuse them."""
    return [named(file) for file in files if file and Path(file).is_file()]


def named(file: str | Path) -> dict[str, str]:
    """Returns what a run's record says of a file that a setting names: its name and its digest."""
    return {"file": Path(file).name, "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}


def _stated(setting: Any) -> Any:
    """Returns a recorded setting without fields that are None, as are those it does not have."""
    if isinstance(setting, dict):
        return {name: value for name, value in setting.items() if value is not None}
    return setting


def plain(settings: Any) -> Any:
    """Returns settings as JSON gives them back."""
    return json.loads(json.dumps(settings, default=dataclasses.asdict))


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
