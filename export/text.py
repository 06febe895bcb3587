"""What a command prints: tables of plain text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export import formats
from export.comparison import comparison, headline
from export.measurement import Measurement, Report
from export.measuring import Bench, Evaluation
from export.tables import Table
from hwkeras.order import contiguous_runs, count_runs, least_runs
from hwkeras.plan import GateStats, PruningPlan

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
        f"{made.aim}, ranked by {made.by}:"
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


def measurements(rows: Sequence[Measurement]) -> str:
    """Returns model files side by side."""
    return render(comparison([("", Report("", "", measurements=tuple(rows)))]))


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
    cells = tuple(
        (
            row.file,
            formats.count(row.size_bytes),
            formats.count(row.gzip_bytes),
            formats.fixed(row.latency_ms, 3),
            formats.fixed(row.latency_p90_ms, 3),
            formats.times(rows[0].latency_ms, row.latency_ms),
            formats.fixed(row.load_ms, 1),
            formats.fixed(row.first_ms, 2),
            formats.fixed(row.peak_bytes / formats.MIB),
            str(row.partitions),
            ", ".join(f"{count} {name}" for name, count in row.undelegated.items()) or "none",
        )
        for row in rows
    )
    columns = (
        "file", "bytes", "gzip bytes", "median ms", "p90 ms", "times faster", "load ms",
        "first ms", "peak MiB", "partitions", "outside the delegate",
    )  # fmt: skip
    caption = (
        f"{rows[0].runs} timed runs in turns, threads: {rows[0].threads}; faster: than the first"
        " file; peak: memory over an empty process."
    )
    return render(Table("Bench", columns, "lrrrrrrrrrl", cells, caption=caption))


def summary(report: Report) -> str:
    """Returns a report's headline and its table."""
    return f"{measurements(report.measurements)}\n{headline(report)}"
