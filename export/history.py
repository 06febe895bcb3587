"""history.csv: one row an epoch, training, rounds of pruning and fine-tuning in one file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwkeras.files import write_text

Row = dict[str, Any]


def write_history(path: Path, phases: Mapping[str, Sequence[Row]]) -> None:
    """Writes the rows of each phase, in order, with the phase's name in the first column."""
    rows = [{"phase": phase} | dict(row) for phase, epochs in phases.items() for row in epochs]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_history(path: Path) -> list[Row]:
    """Returns the rows, numbers as numbers; none if there is no file."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {name: _value(name, text) for name, text in row.items() if text}
            for row in csv.DictReader(file)
        ]


def read_phases(path: Path) -> dict[str, list[Row]]:
    """Returns the rows by phase, in order."""
    phases: dict[str, list[Row]] = {}
    for row in read_history(path):
        phases.setdefault(row["phase"], []).append(row)
    return phases


def _value(name: str, text: str) -> Any:
    if name == "phase":
        return text
    return int(float(text)) if name == "epoch" else float(text)
