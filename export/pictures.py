"""A report's pictures. Each function returns one SVG element; the same input, the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from export.drawing import INK, MARKERS, PALE, SERIES, canvas, label_points, short, style, svg
from export.formats import MIB, number, wilson_interval
from export.measurement import Facts, Measurement
from export.orthogonality import Product
from hwkeras.plan import GateStats, PruningPlan

# Model files by series: "dense" and "slim", or one series a run and model.
Series = Mapping[str, Sequence[Measurement]]
BINS = 40


def size_accuracy(series: Series) -> str:
    """Returns the picture of every file's size (log axis) against its accuracy."""
    with style():
        figure, (axes,) = canvas(3.8 + 0.2 * len(series))
        points = []
        for i, (name, files) in enumerate(series.items()):
            color, known = SERIES[i % len(SERIES)], [m for m in files if m.accuracy is not None]
            x = [m.size_bytes / MIB for m in known]
            y = [100 * (m.accuracy or 0) for m in known]
            ends = [wilson_interval(m.accuracy or 0, m.images) for m in known]
            spread = [  # not as far to either side; at 100% rounding may leave less than nothing
                [max(at - 100 * low, 0) for at, (low, _) in zip(y, ends, strict=True)],
                [max(100 * high - at, 0) for at, (_, high) in zip(y, ends, strict=True)],
            ]
            axes.errorbar(
                x, y, spread, fmt="none", ecolor=color, elinewidth=1, alpha=0.25, zorder=1
            )
            axes.plot(
                x, y, MARKERS[i % len(MARKERS)], color=color, markersize=6, label=short(name, 40)
            )
            points += [(*xy, short(m.variant), color) for *xy, m in zip(x, y, known, strict=True)]
        axes.set_xscale("log")
        axes.margins(0.12, 0.1)
        _plain_log_ticks(axes)
        axes.set_xlabel("size of the file, MiB (log scale)")
        axes.set_ylabel("accuracy on the test split, %")
        _legend_above(axes)
        label_points(figure, axes, points)
        return svg(figure, "Size of every model file against its accuracy")


def latency(series: Series) -> str:
    """Returns the picture of the median latencies as bars, with a whisker up to the p90."""
    variants = {m.variant: None for files in series.values() for m in files}
    bars = [
        (variant, i, m)
        for variant in variants
        for i, files in enumerate(series.values())
        for m in files
        if m.variant == variant and m.latency_ms is not None
    ]
    with style():
        figure, (axes,) = canvas(0.7 + 0.2 * (len(bars) + len(series)) + 0.1 * len(variants))
        y, ticks = 0.0, {}
        for variant in variants:
            rows = [(i, m) for name, i, m in bars if name == variant]
            if rows:
                ticks[short(variant)] = y + (len(rows) - 1) / 2
            for i, m in rows:
                median = m.latency_ms or 0.0
                p90 = max(m.latency_p90_ms or median, median)
                axes.barh(y, median, 0.82, color=SERIES[i % len(SERIES)])
                axes.plot([median, p90], [y, y], color=INK, linewidth=1)
                axes.plot([p90], [y], "|", color=INK, markersize=5)
                axes.annotate(
                    f"{median:.2f}" if median >= 1 else f"{median:.3f}", (p90, y), (5, 0),
                    textcoords="offset points", va="center", fontsize=8,
                )  # fmt: skip
                y += 1
            y += 0.5
        axes.set_yticks(list(ticks.values()), list(ticks))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.invert_yaxis()
        axes.margins(x=0.12, y=0.02)
        axes.set_xlim(left=0)
        axes.set_xlabel("milliseconds: median, whisker to the 90th percentile")
        handles = [
            Patch(color=SERIES[i % len(SERIES)], label=short(name, 40))
            for i, name in enumerate(series)
            if any(j == i for _, j, _ in bars)
        ]
        _legend_above(axes, handles)
        return svg(figure, "Latency of every model file")


def factors(tests: Sequence[Product]) -> str:
    """Returns the picture of what each variant and the cut save, end to end on a log axis, with a
    mark where the two together ended up."""
    panels: dict[str, list[Product]] = {}
    for test in tests:
        if test.quantity in ("bytes", "gzip bytes"):
            panels.setdefault(test.quantity, []).append(test)
    rows = max(map(len, panels.values()))
    with style():
        figure, every = canvas(0.9 + 0.32 * rows * len(panels) + 0.3 * len(panels), len(panels))
        for axes, (quantity, shown) in zip(every, panels.items(), strict=True):
            for row, test in enumerate(shown):
                axes.barh(row, test.cut - 1, 0.6, left=1, color=SERIES[0])
                axes.barh(row, test.expected - test.cut, 0.6, left=test.cut, color=SERIES[1])
                axes.plot([test.together] * 2, [row - 0.42, row + 0.42], color=INK, linewidth=2)
            axes.set_yticks(range(len(shown)), [short(test.variant) for test in shown])
            axes.tick_params(axis="y", length=0)
            axes.grid(visible=False, axis="y")
            axes.invert_yaxis()
            axes.set_xscale("log")
            axes.set_ylabel(quantity)
        _plain_log_ticks(every[-1])
        drawn = (test for shown in panels.values() for test in shown)
        least = min(min(test.cut, test.expected, test.together) for test in drawn)
        every[-1].set_xlim(left=min(1, 0.95 * least))  # below 1 a file has grown
        every[-1].set_xlabel("times smaller than the dense float32 file (log scale)")
        names = ((SERIES[0], "cut alone"), (SERIES[1], "variant alone"), (INK, "measured"))
        _legend_above(every[0], [Patch(color=color, label=name) for color, name in names])
        return svg(figure, "What pruning and compression save alone and together")


def gates(stats: GateStats, plan: PruningPlan | None = None) -> str:
    """Returns the picture of the channels' scores, one histogram a block.

    The score is the one that the plan ranked by, the mean update without one. Channels that stay
    stand on those that go; a line marks the plan's cutoff where that is such a score.
    """
    by = plan.by if plan and plan.by != "hand" else "update"
    kept = {block.name: block.kept for block in plan.blocks} if plan else {}
    scores = [np.nan_to_num(block.scores(by)) for block in stats.blocks]
    every = np.concatenate([[0.0], *scores])
    positive = every[every > 0]
    top = float(positive.max()) if len(positive) else 1.0
    low = max(float(positive.min()), top * 1e-6) if len(positive) else 0.0
    log = low > 0 and top / low > 30
    edges = np.geomspace(low, top, BINS + 1) if log else np.linspace(0, top, BINS + 1)
    with style():
        figure, (axes,) = canvas(1.1 + 0.27 * len(scores))
        for row, (block, values) in enumerate(zip(stats.blocks, scores, strict=True)):
            stays = np.isin(block.active, kept.get(block.name, block.active))
            values = np.clip(values, edges[0], edges[-1])
            staying, going = (np.histogram(values[s], edges)[0] for s in (stays, ~stays))
            scale = 0.86 / max(1, (staying + going).max())
            foot = len(scores) - 1 - row
            for counts, base, color in ((going, 0 * going, PALE), (staying, going, SERIES[0])):
                axes.stairs(
                    foot + (base + counts) * scale, edges, baseline=foot + base * scale,
                    fill=True, color=color, linewidth=0,
                )  # fmt: skip
            axes.axhline(foot, color=INK, linewidth=0.5)
        legend: list[Artist] = [*_kept_and_cut()] if plan else []
        scale = (plan.normalizer, plan.per) if plan else ()
        if plan and plan.cutoff is not None and scale == ("none", "channel"):
            place = min(max(plan.cutoff, edges[0]), edges[-1])
            line = axes.axvline(place, color=SERIES[1], linewidth=1.2, linestyle="--")
            line.set_label(f"cutoff {plan.cutoff:.3g}")
            legend.append(line)
        _legend_above(axes, legend)
        axes.set_xscale("log" if log else "linear")
        axes.set_xlim(edges[0], edges[-1])
        if log:
            _plain_log_ticks(axes)
        _block_axis(axes, [block.name for block in stats.blocks], lift=0.35)
        axes.set_ylim(-0.1, len(scores))
        words = {"update": "mean update |t (h - c)|", "gate": "mean gate t"}[by]
        axes.set_xlabel(f"{words} of a channel" + (" (log scale)" if log else ""))
        return svg(figure, f"Distribution of the channels' mean {by} in each block")


def kept_channels(plan: PruningPlan) -> str:
    """Returns the picture of the channels that each block keeps, as bars over all it had."""
    with style():
        figure, (axes,) = canvas(1.1 + 0.27 * len(plan.blocks))
        for row, block in enumerate(reversed(plan.blocks)):
            axes.barh(row, block.active, 0.66, color=PALE)
            axes.barh(row, len(block.kept), 0.66, color=SERIES[0])
            axes.annotate(
                f"{len(block.kept)} of {block.active}", (1, row), (4, 0),
                xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
                fontsize=8.5,
            )  # fmt: skip
        _legend_above(axes, _kept_and_cut())
        _block_axis(axes, [block.name for block in plan.blocks])
        axes.set_ylim(-0.6, len(plan.blocks) - 0.4)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.margins(x=0)
        axes.set_xlabel("channels that the block transforms")
        return svg(figure, "Channels kept in each block")


def curves(history: Sequence[Facts]) -> str:
    """Returns the picture of validation accuracy and mean gate over the epochs."""
    panels = [("validation accuracy, %", "val_accuracy", 100), ("mean gate", "mean_gate", 1)]
    shown = [p for p in panels if any(number(row.get(p[1])) is not None for row in history)]
    phases = [str(row.get("phase", "training")) for row in history]
    with style():
        figure, every = canvas(0.7 + 1.7 * max(1, len(shown)), max(1, len(shown)))
        for axes, (title, key, scale) in zip(every, shown, strict=False):
            for i, phase in enumerate(dict.fromkeys(phases)):
                color = SERIES[i % len(SERIES)]
                drawn = [
                    (epoch, value * scale)
                    for epoch, row in enumerate(history, 1)
                    if phases[epoch - 1] == phase and (value := number(row.get(key))) is not None
                ]
                if drawn:
                    epochs, values = zip(*drawn, strict=True)
                    form = ".-" if len(drawn) < 30 else "-"
                    axes.plot(epochs, values, form, color=color, label=short(phase))
            axes.set_ylabel(title)
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        _legend_above(every[0])
        every[-1].set_xlabel("epoch")
        return svg(figure, "Training: validation accuracy and mean gate over the epochs")


def _kept_and_cut() -> list[Artist]:
    return [Patch(color=SERIES[0], label="stays"), Patch(color=PALE, label="goes")]


def _block_axis(axes: Axes, names: Sequence[str], lift: float = 0.0) -> None:
    """Names the rows of an axis, the first block on top."""
    places = [row + lift for row in reversed(range(len(names)))]
    axes.set_yticks(places, [short(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _plain_log_ticks(axes: Axes) -> None:
    """Labels a log axis 0.5, 1, 2, ... in place of powers of ten."""
    low, high = axes.get_xlim()
    subs = (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend_above(axes: Axes, handles: Sequence[Artist] | None = None) -> None:
    handles = handles if handles is not None else axes.get_legend_handles_labels()[0]
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    if handles:
        axes.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1), borderaxespad=0.2,
            ncols=3 if longest < 15 else 2 if longest < 22 else 1, handlelength=1.2,
            handletextpad=0.5, columnspacing=1.2,
        )  # fmt: skip
