"""What a command prints: tables of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export import formats
from export.comparison import comparison, headline, named
from export.measurement import Measurement, Report
from export.tables import Table
from hwkeras.latency import LatencyTable
from hwkeras.order import contiguous_runs, count_runs, least_runs
from hwkeras.plan import GateStats, PruningPlan

if TYPE_CHECKING:  # heavy, and nothing of them is needed to print
    from export.bench import Bench
    from export.debugging import OperatorError
    from export.measuring import Evaluation

_REST, _WHOLE = "between operators", "inference"
_BARS = " ▁▂▃▄▅▆▇█"
_EDGES = np.array([0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0])


def render(table: Table) -> str:
    """Returns a table as aligned text, its caption below."""
    rows = [table.columns, *table.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if align == "r" else cell.ljust(width)
            for cell, width, align in zip(row, widths, table.align, strict=True)
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, *([table.caption] if table.caption else [])])


def gates(stats: GateStats) -> str:
    """Returns each block's mean gates as a row with a histogram."""
    rows = []
    for block in stats.blocks:
        mean = np.array(block.mean_gate)
        rows.append(
            (
                block.name,
                f"{len(block.active)}/{block.shape.channels}",
                f"{mean.mean():.4f}",
                f"{max(block.max_gate):.4f}",
                f"{np.mean(block.mean_update):.4g}",
                f"{np.mean(mean < 0.05):.0%}",
                _histogram(mean),
            )
        )
    edges = " ".join(f"{edge:g}" for edge in _EDGES)
    return render(
        Table(
            "Gates",
            ("block", "active", "mean gate", "max gate", "mean update", "under 0.05", "histogram"),
            "lrrrrrl",
            tuple(rows),
            caption=f"{stats.images:,} images; histogram of mean gates, bins {edges}.",
        )
    )


def _histogram(values: np.ndarray) -> str:
    counts, _ = np.histogram(values, _EDGES)
    heights = np.ceil(counts / max(counts.max(), 1) * (len(_BARS) - 1)).astype(int)
    return "|" + "".join(_BARS[height] for height in heights) + "|"


def plan(made: PruningPlan, stats: GateStats) -> str:
    """Returns what a plan keeps of each block and what that costs."""
    rows = tuple(
        (block.name, str(block.active), str(len(block.kept)), _share(block.kept, block.active))
        for block in made.blocks
    )
    before, after = stats.cost(), stats.cost(made.kept_counts, made.cut_counts)
    caption = (
        f"{made.aim}, ranked by {made.ranking}:"
        f" parameters {before.parameters:,} -> {after.parameters:,}"
        f" ({formats.times(before.parameters, after.parameters)} times fewer),"
        f" MACs {before.macs:,} -> {after.macs:,}"
        f" ({formats.times(before.macs, after.macs)} times fewer)"
        f"\n{_runs(made, stats)}{_cuts(made)}"
    )
    return render(
        Table("Plan", ("block", "active", "kept", "share"), "lrrr", rows, caption=caption)
    )


def _runs(made: PruningPlan, stats: GateStats) -> str:
    """Returns in how many runs of neighbouring channels the blocks read and write."""
    streams: dict[str | None, list[tuple[int, ...]]] = {}
    widths = {block.stream: block.shape.channels for block in stats.blocks}
    kept = {block.name: block.kept for block in made.blocks}
    for block in stats.blocks:
        streams.setdefault(block.stream, []).append(kept[block.name])
    orders = {order.stream: order.order for order in made.orders}
    before = after = least = 0
    for stream, sets in streams.items():
        given = sum(len(contiguous_runs(channels)) for channels in sets)
        movable = stream is not None
        before += given
        after += count_runs(sets, orders[stream]) if movable and stream in orders else given
        least += least_runs(sets, widths[stream]) if movable else given
    return f"runs of channels {before} -> {after} by their order, at least {least}"


def _cuts(made: PruningPlan) -> str:
    """Returns a line on how many channels left the streams; nothing if none did."""
    cut = [
        f"{order.stream} {order.channels} -> {len(order.order)}"
        for order in made.orders
        if order.cut
    ]
    total = sum(made.cut_counts.values())
    return f"\nchannels cut out of the streams: {total} in all, {', '.join(cut)}" if cut else ""


def _share(kept: Sequence[int], active: int) -> str:
    return f"{len(kept) / active:.0%}" if active else formats.UNKNOWN


def latencies(table: LatencyTable) -> str:
    """Returns what blocks cost by how many channels they transform."""
    rows = tuple(
        (
            " x ".join(map(str, (*block.shape.kernel, block.shape.in_channels))),
            str(block.shape.channels),
            str(block.shape.positions),
            str(kept),
            f"{1e3 * time:.1f}",
        )
        for block in table.blocks
        for kept, time in zip(block.kept, block.milliseconds, strict=True)
    )
    caption = (
        f"{table.variant}, {table.threads} thread(s), {table.device}: the dense net takes"
        f" {table.dense_ms:.3f} ms, all but its blocks {table.rest_ms:.3f} ms"
    )
    columns = ("reads", "channels", "positions", "kept", "microseconds")
    return render(Table("Latency", columns, "lrrrr", rows, caption=caption))


def measurements(rows: Sequence[Measurement]) -> str:
    """Returns model files side by side."""
    return render(comparison([("", Report("", "", measurements=tuple(rows)))]))


def operator_errors(rows: Sequence[OperatorError]) -> str:
    """Returns operators of a quantized file, with what they lose against float."""
    cells = tuple(
        (
            row.operator.split("/")[0],
            row.operator,
            row.kind,
            formats.percent(row.added),
            formats.percent(row.inherited),
            formats.percent(row.error),
        )
        for row in rows
    )
    columns = ("block", "operator", "kind", "added %", "inherited %", "error %")
    caption = (
        "Error: root of noise power over signal power against float, inherited from the inputs and"
        " added here. `hwkeras export --keep-float OPERATOR` leaves one in float."
    )
    return render(Table("Operators", columns, "lllrrr", cells, caption=caption))


def evaluations(rows: Sequence[Evaluation]) -> str:
    """Returns the accuracy of files side by side."""
    cells = tuple(
        (
            row.file,
            formats.count(row.size_bytes),
            formats.percent(row.accuracy),
            formats.interval(row.accuracy, row.images),
            f"{row.images:,} {row.split}",
        )
        for row in rows
    )
    columns = ("file", "bytes", "accuracy %", "± 95%", "images")
    return render(Table("Accuracy", columns, "lrrrl", cells))


def benches(rows: Sequence[Bench]) -> str:
    """Returns what files cost on this machine, side by side."""
    cells, first = [], rows[0]
    for row in rows:
        times = (
            cell
            for ours, rival in zip(row.latencies, first.latencies, strict=True)
            for cell in (
                formats.fixed(ours.median_ms, 3),
                formats.fixed(ours.p90_ms, 3),
                formats.times(rival.median_ms, ours.median_ms),
            )
        )
        cells.append(
            (
                row.file,
                formats.count(row.size_bytes),
                formats.count(row.gzip_bytes),
                *times,
                formats.fixed(row.start.load_ms, 1),
                formats.fixed(row.start.first_ms, 2),
                _mebibytes(row.start.peak_bytes),
                _mebibytes(row.start.private_bytes),
                str(sum(row.operators.values())),
                str(row.partitions),
                ", ".join(f"{count} {name}" for name, count in row.undelegated.items()) or "none",
            )
        )
    threads = [f"{x.threads} thread{'s' * (x.threads > 1)}" for x in first.latencies]
    columns = (
        "file", "bytes", "gzip bytes",
        *(name for count in threads for name in (f"{count}: ms", "p90 ms", "times faster")),
        "load ms", "first ms", "peak MiB", "own MiB", "operators", "partitions",
        "outside the delegate",
    )  # fmt: skip
    caption = (
        f"Medians of {first.latencies[0].runs} inferences in turns, a process for each model;"
        " faster: than the first file; peak: memory over an empty process; own: what of it is no"
        " page of a file."
    )
    align = "l" + "r" * (len(columns) - 2) + "l"
    return render(Table("Bench", columns, align, tuple(cells), caption=caption))


def operator_times(rows: Sequence[Bench]) -> str:
    """Returns where the time of an inference goes, by kind of operator, files side by side."""
    named = [(Path(row.file).stem, row.profile) for row in rows if row.profile]
    by_kind = [profile.by_kind() for _, profile in named]
    kinds = list(dict.fromkeys(kind for found in by_kind for kind in found))
    columns, cells = ["operator"], [[kind] for kind in [*kinds, _REST, _WHOLE]]
    for (name, profile), found in zip(named, by_kind, strict=True):
        columns += [f"{name}: number", "us", "%"]
        whole, count = profile.inference_us, len(profile.operators)
        rest = whole - sum(microseconds for _, microseconds in found.values())
        found = {**found, _REST: (None, rest), _WHOLE: (count, whole)}
        for cell in cells:
            number, microseconds = found.get(cell[0], (None, None))
            share = None if microseconds is None else microseconds / whole
            cell += [
                formats.count(number),
                formats.fixed(microseconds, 1),
                formats.percent(share, 1),
            ]
    caption = (
        "One thread, by the runtime's profiler, which takes time of its own; words are XNNPACK's,"
        " in capitals what runs outside of it."
    )
    align = "l" + "r" * (len(columns) - 1)
    table = Table("Operators", tuple(columns), align, tuple(map(tuple, cells)), caption=caption)
    return render(table)


def _mebibytes(size: int | None) -> str:
    return formats.UNKNOWN if size is None else formats.fixed(size / formats.MIB)


def summary(reports: Sequence[Report]) -> str:
    """Returns the table and the headline of one report, or of several in one table."""
    if len(reports) == 1:
        return f"{measurements(reports[0].measurements)}\n{headline(reports[0])}"
    lines = [f"{name}: {headline(report)}" for name, report in named(reports)]
    return "\n".join([render(comparison(named(reports))), *lines])
