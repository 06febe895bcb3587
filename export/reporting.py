"""The report step of a run: from its files to report.json, report.md and report.html."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from export.facts import machine, versions
from export.history import read_history
from export.measurement import Measurement, Report, ReportError, Step, to_json
from export.report import render_html, render_markdown
from export.runfolder import STEPS, RunError, RunFolder, remove
from hwkeras.dataset import Dataset
from hwkeras.files import read_json, write_text

_FILES = ("report.md", "report.html")


def build_report(run: RunFolder) -> Report:
    """Returns what a run's files say.

    Raises:
        RunError: if nothing was exported yet.
    """
    measurements = read_measurements(run)
    record = run.record()
    done = record["steps"]
    exported = done.get("export", {}).get("outcome", {})
    return Report(
        title=_title(record, run),
        created=exported.get("date", ""),
        dataset=exported.get("dataset", {}),
        settings=_settings(done),
        versions=exported.get("versions", {}),
        machine=exported.get("machine", {}),
        stats=run.stats() if run.has("gates") else None,
        plan=run.plan() if run.has("prune") else None,
        history=tuple(read_history(run.path("history.csv"))),
        steps=tuple(
            Step(**step)
            for name in STEPS
            for step in done.get(name, {}).get("outcome", {}).get("steps", ())
        ),
        measurements=measurements,
    )


def read_measurements(run: RunFolder) -> tuple[Measurement, ...]:
    """Returns what the export step measured; raises RunError if that is missing or broken."""
    path = run.need("export")
    try:
        return tuple(Measurement(**row) for row in read_json(path, "a run's measurements"))
    except (TypeError, ReportError) as error:
        raise RunError(f"{path}: broken measurements: {error}") from None


def write_report(
    roots: Sequence[Path], out: Path | None = None, *, force: bool = False
) -> tuple[Report, ...]:
    """Writes report.md, report.html and, for one run, report.json; returns the runs' reports.

    Args:
        roots: run folders; several give one page with all of them side by side.
        out: folder to write to; the run itself if there is one.
        force: replace a report that exists.

    Raises:
        RunError: if a run has nothing to report, or a report exists and `force` is not set.
    """
    runs = [RunFolder.open(root) for root in roots]
    reports = tuple(build_report(run) for run in runs)
    folder = out or runs[0].root
    for name in ("report.json", *_FILES):
        if (folder / name).exists() and not force:
            raise RunError(f"{folder / name} exists; --force replaces it")
    if len(reports) == 1:
        write_text(folder / "report.json", to_json(reports[0]))
    else:
        remove(folder / "report.json")  # of one run
    write_text(folder / "report.md", render_markdown(*reports))
    write_text(folder / "report.html", render_html(*reports))
    return reports


def provenance(dataset: Dataset) -> dict:
    """Returns what a report says about where its figures come from."""
    return {
        "date": datetime.date.today().isoformat(),
        "dataset": {
            "name": dataset.name,
            "classes": list(dataset.classes),
            "input shape": list(dataset.input_shape),
            "training images": len(dataset.train),
            "validation images": len(dataset.validation),
            "test images": len(dataset.test),
            "skipped files": len(dataset.skipped),
            "fingerprint": dataset.fingerprint[:16],
        },
        "versions": versions(),
        "machine": machine(),
        "backend": keras.backend.backend(),
    }


def _title(record: dict, run: RunFolder) -> str:
    settings = record["steps"].get("train", {}).get("settings", {})
    source = Path(record["data"]["source"]).stem if record["data"] else run.root.name
    return f"{settings.get('preset') or settings.get('model', '')} on {source}".strip()


def _settings(done: dict) -> dict:
    """Returns the settings of every step; of a file its name, and of the data nothing."""

    def shown(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: shown(k, v) for k, v in value.items() if k != "source"}
        of_a_file = key in ("value", "latency_table") and isinstance(value, str)
        return Path(value).name if of_a_file else value

    return {
        f"{name}: {key}": shown(key, value)
        for name in STEPS
        for key, value in done.get(name, {}).get("settings", {}).items()
        if value != []  # of no files
    }
