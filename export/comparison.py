"""The result of a report: its headline, and all model files side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from export import formats
from export.measurement import DENSE, SLIM, Measurement, Report
from export.tables import Table

NamedReports = Sequence[tuple[str, Report]]


def named(reports: Sequence[Report]) -> NamedReports:
    """Returns the reports with their titles, which are numbered where several have the same."""
    titles = [report.title for report in reports]
    names = [
        title if titles.count(title) == 1 else f"{title} ({titles[: i + 1].count(title)})"
        for i, title in enumerate(titles)
    ]
    return list(zip(names, reports, strict=True))


def headline(report: Report) -> str:
    """Returns what was reached, in a few short sentences: dense, slim, smallest."""
    dense, slim, smallest = report.find(DENSE), report.find(SLIM), report.smallest
    if smallest is None:
        return "No model file was measured."
    if dense is None:
        files = f"{len(report.measurements)} model file{'s' * (len(report.measurements) > 1)}"
        size = formats.size(smallest.size_bytes)
        return f"{files}, the smallest {size}; no dense float32 file to compare with."
    parts = [f"Dense float32: {formats.size(dense.size_bytes)}."]
    if slim:
        parts.append(f"Slim float32: {_against(dense, slim)}.")
    if smallest not in (dense, slim):
        parts.append(f"Smallest, {smallest.name}: {_against(dense, smallest)}.")
    return " ".join(parts)


def comparison(runs: NamedReports) -> Table:
    """Returns all files of all runs side by side, each against its own run's dense float32."""
    rows = [(name, run.find(DENSE), file) for name, run in runs for file in run.measurements]
    several = len(runs) > 1
    columns = _columns([file for _, _, file in rows])
    cells = [[name, *(cell(file, dense) for _, _, cell in columns)] for name, dense, file in rows]
    heads = [("run", "l"), *((name, align) for name, align, _ in columns)]
    shown = [
        i
        for i in range(0 if several else 1, len(heads))
        if i < 3 or any(row[i] not in ("", formats.UNKNOWN) for row in cells)
    ]
    names = tuple(heads[i][0] for i in shown)
    return Table(
        title="Model files side by side",
        columns=names,
        align="".join(heads[i][1] for i in shown),
        rows=tuple(tuple(row[i] for i in shown) for row in cells),
        keys=2,
        grouped=several,
        caption=_caption([file for _, _, file in rows], names, several),
    )


# A cell's text, from its file and the dense float32 file of its run.
Cell = Callable[[Measurement, Measurement | None], str]


def _columns(files: Sequence[Measurement]) -> list[tuple[str, str, Cell]]:
    """Returns heading, alignment and cell of each column."""
    fastest = min((m.latency_ms for m in files if m.latency_ms), default=1.0)
    digits = 2 if fastest >= 1 else 3
    count, fixed, percent, times = formats.count, formats.fixed, formats.percent, formats.times
    columns: list[tuple[str, str, Cell]] = [
        ("model", "l", lambda m, _: m.model),
        ("variant", "l", lambda m, _: m.variant),
        ("bytes", "r", lambda m, _: count(m.size_bytes)),
        ("MiB", "r", lambda m, _: fixed(m.size_bytes / formats.MIB)),
        ("gzip bytes", "r", lambda m, _: count(m.gzip_bytes)),
        ("times smaller", "r", lambda m, d: times(d and d.size_bytes, m.size_bytes)),
        ("accuracy %", "r", lambda m, _: percent(m.accuracy)),
        ("± 95%", "r", lambda m, _: formats.interval(m.accuracy, m.images)),
        ("points lost", "r", lambda m, d: formats.lost(d and d.accuracy, m.accuracy)),
        ("agreement %", "r", lambda m, _: percent(m.agreement)),
        ("max difference", "r", lambda m, _: formats.power(m.max_difference)),
        ("median ms", "r", lambda m, _: fixed(m.latency_ms, digits)),
        ("p90 ms", "r", lambda m, _: fixed(m.latency_p90_ms, digits)),
        ("times faster", "r", lambda m, d: times(d and d.latency_ms, m.latency_ms)),
        ("partitions", "r", lambda m, _: count(m.partitions)),
    ]
    if len({m.images for m in files if m.accuracy is not None}) > 1:
        columns.append(("images", "r", lambda m, _: count(m.images)))
    if len({(m.latency_runs, m.threads) for m in files if m.latency_ms is not None}) > 1:
        columns.append(("timed runs", "r", lambda m, _: count(m.latency_runs)))
        columns.append(("threads", "r", lambda m, _: count(m.threads)))
    columns.append(("note", "l", lambda m, _: _note(m)))
    return columns


def _caption(files: Sequence[Measurement], columns: Sequence[str], several: bool) -> str:
    rival = "the same run's dense float32" if several else "dense float32"
    parts = [f"1 MiB is {formats.MIB:,} bytes."]
    if "times smaller" in columns:
        parts.append(f"Smaller, lost and faster are against {rival}.")
    if "accuracy %" in columns:
        images = {m.images for m in files if m.accuracy is not None}
        count = f" on {images.pop():,} test images" if len(images) == 1 else " on the test split"
        parts.append(
            f"Accuracy is top-1{count}, through the model file; ± is half the width of its 95%"
            " Wilson interval; a negative loss is a gain."
        )
    if "agreement %" in columns:
        parts.append("Agreement: the file names the same class as its Keras model.")
    if "max difference" in columns:
        parts.append("Max difference: of any logit, as a share of the Keras logits' range.")
    timed = {(m.latency_runs, m.threads) for m in files if m.latency_ms is not None}
    if len(timed) == 1:
        runs, threads = timed.pop()
        parts.append(f"Latency: {runs:,} timed runs, {threads} thread{'s' * (threads != 1)}.")
    if "partitions" in columns:
        parts.append("Partitions: pieces of the graph under the XNNPACK delegate; 1 is best.")
    return " ".join(parts)


def _against(dense: Measurement, m: Measurement) -> str:
    smaller = formats.times(dense.size_bytes, m.size_bytes)
    words = f"{formats.size(m.size_bytes)}, {smaller} times smaller"
    if dense.accuracy is None or m.accuracy is None:
        return words
    lost = formats.points_lost(dense.accuracy, m.accuracy)
    return f"{words}, {abs(lost):.2f} points of accuracy {'gained' if lost < 0 else 'lost'}"


def _note(m: Measurement) -> str:
    outside = ""
    if len(m.undelegated) > 3:  # the report's JSON names them all
        outside = f"{sum(m.undelegated.values()):,} operators outside the delegate"
    elif m.undelegated:
        kinds = ", ".join(f"{count} {name}" for name, count in m.undelegated.items())
        outside = f"outside the delegate: {kinds}"
    return "; ".join(part for part in (outside, m.note) if part)
