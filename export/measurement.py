"""What was measured: one `Measurement` a model file, one `Report` a run; as JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from export.orthogonality import products
from hwkeras.plan import GateStats, PlanError, PruningPlan

REPORT_FORMAT = "hwkeras-report-1"
DENSE, SLIM, FLOAT32 = "dense", "slim", "float32"

# Names and plain values (text, numbers, lists of them); a dictionary because every run has others.
Facts = Mapping[str, Any]


class ReportError(ValueError):
    """A report that cannot be made or read; the message says which field and why."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was measured on one model file. A float that is no number becomes None: unknown.

    Attributes:
        model: "dense", "slim" or another name.
        variant: "float32", "float16", "dynamic", "int8", "int16x8", "int4", ...
        file: path relative to the run folder.
        size_bytes: of the file.
        gzip_bytes: of the file when compressed, as an app store delivers it.
        parameters: weights of the Keras model behind the file.
        macs: multiply-accumulates for one input.
        accuracy: top-1 on the test split, 0 to 1, through the file.
        images: test images behind `accuracy`.
        agreement: share of test images on which file and Keras model name the same class.
        max_difference: largest |difference of logits|, over the range of the Keras logits.
        latency_ms: median of one inference.
        latency_p90_ms: nine of ten inferences are faster.
        latency_runs: inferences timed.
        threads: used for them.
        partitions: of the graph under the XNNPACK delegate.
        undelegated: operators outside the delegate and how many of each there are.
        note: anything a reader must know about this row.
    """

    model: str
    variant: str
    file: str
    size_bytes: int
    gzip_bytes: int | None = None
    parameters: int | None = None
    macs: int | None = None
    accuracy: float | None = None
    images: int = 0
    agreement: float | None = None
    max_difference: float | None = None
    latency_ms: float | None = None
    latency_p90_ms: float | None = None
    latency_runs: int = 0
    threads: int = 1
    partitions: int | None = None
    undelegated: Facts = dataclasses.field(default_factory=dict)
    note: str = ""

    def __post_init__(self):
        _normalize(self)
        where = f"{self.model} {self.variant}"
        if PurePosixPath(self.file).is_absolute():
            raise ReportError(f"{where}: expected a path relative to the run, found {self.file!r}")
        _check_share(f"{where}: accuracy", self.accuracy, self.images)
        _check_share(f"{where}: agreement", self.agreement)

    @property
    def name(self) -> str:
        return f"{self.model} {self.variant}"


@dataclasses.dataclass(frozen=True)
class Step:
    """The Keras model's accuracy after one step of the work: cut, recalibrated, fine-tuned.

    Attributes:
        name: of the step.
        accuracy: top-1, 0 to 1.
        images: behind `accuracy`.
        split: which images: "validation" or "test".
        note: anything a reader must know.
    """

    name: str
    accuracy: float | None
    images: int
    split: str = "validation"
    note: str = ""

    def __post_init__(self):
        _normalize(self)
        _check_share(f"step {self.name!r}: accuracy", self.accuracy, self.images)


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything that is said about one run.

    Attributes:
        title: the run's name.
        created: ISO date.
        dataset: name, classes, input shape, images in each split, fingerprint.
        settings: preset, epochs, seed, penalty strength, backend, ...
        versions: of Python and the packages.
        machine: processor, cores, platform; neither host name nor absolute path.
        stats: what the gates did before the cut.
        plan: which channels stayed.
        history: training, one row an epoch in order: `phase` ("dense", "round 1", ...,
            "finetune"), `epoch`, `val_accuracy`, `mean_gate` and whatever else training recorded.
        steps: in order.
        measurements: in the order in which they are shown.
    """

    title: str
    created: str
    dataset: Facts = dataclasses.field(default_factory=dict)
    settings: Facts = dataclasses.field(default_factory=dict)
    versions: Facts = dataclasses.field(default_factory=dict)
    machine: Facts = dataclasses.field(default_factory=dict)
    stats: GateStats | None = None
    plan: PruningPlan | None = None
    history: tuple[Facts, ...] = ()
    steps: tuple[Step, ...] = ()
    measurements: tuple[Measurement, ...] = ()

    def __post_init__(self):
        _normalize(self)

    def find(self, model: str, variant: str = FLOAT32) -> Measurement | None:
        """Returns the row of one model file, or None."""
        rows = (row for row in self.measurements if (row.model, row.variant) == (model, variant))
        return next(rows, None)

    @property
    def smallest(self) -> Measurement | None:
        return min(self.measurements, key=lambda row: row.size_bytes, default=None)


def to_json(report: Report) -> str:
    """Returns a text that `from_json` reads; the floats of `stats` keep six digits."""
    content: dict[str, Any] = {"format": REPORT_FORMAT}
    for field in dataclasses.fields(Report):
        value = getattr(report, field.name)
        if field.name in ("stats", "plan"):
            value = value and json.loads(value.to_json())
        elif field.name in ("steps", "measurements"):
            value = [dataclasses.asdict(item) for item in value]
        content[field.name] = value
    content["orthogonality"] = [test.facts() for test in products(report.measurements)]
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def from_json(text: str) -> Report:
    """Returns the report that `to_json` wrote.

    Raises:
        ReportError: if the text is no report, or a field is missing, foreign or of a wrong type.
    """
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ReportError(f"expected a report, found broken JSON: {error}") from None
    found = content.pop("format", None) if isinstance(content, dict) else type(content).__name__
    if found != REPORT_FORMAT:
        raise ReportError(f"expected a report of format {REPORT_FORMAT!r}; found {found!r}")
    content.pop("orthogonality", None)  # it follows from the measurements
    fields = _checked(Report, content, "broken report")
    try:
        for name, kind in (("stats", GateStats), ("plan", PruningPlan)):
            if fields.get(name) is not None:
                fields[name] = kind.from_json(json.dumps(fields[name]))
    except PlanError as error:
        raise ReportError(f"broken report: {error}") from None
    for name, kind in (("steps", Step), ("measurements", Measurement)):
        fields[name] = tuple(
            kind(**_checked(kind, item, f"broken report, {name} {number}"))
            for number, item in enumerate(fields.get(name, ()), 1)
        )
    for number, row in enumerate(fields.get("history", ()), 1):
        if not isinstance(row, dict):
            raise ReportError(f"broken report, history {number}: expected an object, found {row!r}")
    return Report(**fields)


# What JSON may hold for a field of a given annotation; anything else is an object or a list.
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "int | None": (int, type(None)),
    "float | None": (float, int, type(None)),
    "Facts": (dict,),
    "GateStats | None": (dict, type(None)),
    "PruningPlan | None": (dict, type(None)),
}


def _checked(kind: type, content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ReportError(f"{where}: expected an object, found {type(content).__name__}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in content:
        if name not in fields:
            raise ReportError(f"{where}: there is no field {name!r}")
    for name, field in fields.items():
        required = dataclasses.MISSING is field.default is field.default_factory
        if name not in content and required:
            raise ReportError(f"{where}: {name!r} is missing")
        allowed = _JSON_TYPES.get(str(field.type), (list,))
        if name in content and type(content[name]) not in allowed:
            wanted = " or ".join("null" if t is type(None) else t.__name__ for t in allowed)
            raise ReportError(f"{where}: {name!r}: expected {wanted}, found {content[name]!r:.80}")
    return content


def _check_share(what: str, value: float | None, images: int = 1) -> None:
    if value is not None and not 0 <= value <= 1:
        raise ReportError(f"{what}: expected 0 to 1, found {value}")
    if value is not None and images < 1:
        raise ReportError(f"{what}: expected at least one image behind it, found {images}")


def _normalize(self) -> None:
    """Makes a new value's fields plain, so that JSON gives back an equal value."""
    for field in dataclasses.fields(self):
        object.__setattr__(self, field.name, _plain(getattr(self, field.name)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    if isinstance(value, str):  # a file name may hold bytes that are no UTF-8
        return value.encode("utf-8", "backslashreplace").decode()
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
