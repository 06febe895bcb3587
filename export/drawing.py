"""Matplotlib figures as SVG that follows the page: its text colour, its light or dark theme."""

from __future__ import annotations

import contextlib
import hashlib
import html
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

# Okabe and Ito's colours, darkened where they are too pale on white; the page's style sheet
# lightens them for dark mode through the CSS variables `--series-0`, ...
SERIES = ("#0072b2", "#d55e00", "#007f5f", "#aa4499", "#8a6d00", "#5a5f66")
MARKERS = "os^DvP"
INK, GRID, PALE = "#1f2328", "#d8dce1", "#b9c0c8"
_VARIABLES = {
    **{color: f"var(--series-{i}, {color})" for i, color in enumerate(SERIES)},
    INK: "currentColor",
    GRID: f"var(--grid, {GRID})",
    PALE: f"var(--pale, {PALE})",
}
WIDTH = 4.7  # inches; 338 units of the SVG, the width of a phone: text stays readable there
RINGS, TURNS = (5, 11, 18, 27, 38), 16  # where a point's name may stand: points off it, directions


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Makes matplotlib draw the same whatever the user's own settings are."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "hwkeras",
                "text.parse_math": False,
                "font.size": 10,
                "axes.titlesize": 10,
                "text.color": INK,
                "axes.labelcolor": INK,
                "axes.edgecolor": INK,
                "axes.linewidth": 0.6,
                "axes.axisbelow": True,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": True,
                "grid.color": GRID,
                "grid.linewidth": 0.6,
                "xtick.color": INK,
                "ytick.color": INK,
                "legend.frameon": False,
            }
        )
        yield


def canvas(height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Returns a figure of `height` inches with panels above each other."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(panels, 1, squeeze=False, sharex=True)
    return figure, list(axes[:, 0])


def svg(figure: Figure, label: str) -> str:
    """Returns the figure as an SVG element for an HTML page; `label` is read to the blind."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="svg",
        transparent=True,
        metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
    )
    text = buffer.getvalue().decode()
    box = re.search(r'viewBox="([^"]*)"', text)
    body = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    body = body[body.index(">") + 1 :]
    # Several pictures share a page, so their ids must differ.
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    body = re.sub(r'\bid="', f'id="p{digest}-', body)
    body = re.sub(r'(xlink:href="|url\()#', rf"\1#p{digest}-", body)
    body = re.sub(
        r"((?:fill|stroke): )(#[0-9a-f]{6})",
        lambda match: match[1] + _VARIABLES.get(match[2], match[2]),
        body,
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        f' viewBox="{box[1] if box else "0 0 338 288"}" role="img"'
        f' aria-label="{html.escape(label)}">{body.strip()}\n'
    )


def short(name: str, longest: int = 20) -> str:
    """Returns the name, without its middle where it is too long for a picture."""
    name = " ".join(name.split())
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


def label_points(
    figure: Figure, axes: Axes, points: Sequence[tuple[float, float, str, str]]
) -> None:
    """Writes a name beside each point `(x, y, name, color)`, where it covers nothing.

    Names are placed one after another, each at the nearest free place around its point; one
    that ends up farther off gets a thin line to its point.
    """
    agg = FigureCanvasAgg(figure)  # measures text
    figure.draw_without_rendering()  # settles the layout that the places are measured in
    area = axes.get_window_extent(agg.get_renderer())
    unit = figure.dpi / 72  # pixels in a point
    centers = [tuple(axes.transData.transform((x, y))) for x, y, _, _ in points]
    taken = [Bbox.from_bounds(x - 4 * unit, y - 4 * unit, 8 * unit, 8 * unit) for x, y in centers]
    for center, (x, y, name, color) in zip(centers, points, strict=True):
        text = axes.annotate(
            name, (x, y), (0, 0), textcoords="offset points", ha="center", va="center",
            color=color, fontsize=8.5,
        )  # fmt: skip
        box = text.get_window_extent(agg.get_renderer())
        places = [
            (ring, _place(box, center, ring * unit, 2 * math.pi * turn / TURNS))
            for ring in RINGS
            for turn in range(TURNS)
        ]
        costs = [_overlap(place, taken, area) + ring * unit for ring, place in places]
        ring, place = places[costs.index(min(costs))]
        taken.append(place)
        offset = (
            ((place.x0 + place.x1) / 2 - center[0]) / unit,
            ((place.y0 + place.y1) / 2 - center[1]) / unit,
        )
        text.set_position(offset)
        if ring > RINGS[1]:
            axes.annotate(
                "", (x, y), offset, textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "alpha": 0.7,
                            "shrinkA": 4, "shrinkB": 3},
            )  # fmt: skip


def _place(box: Bbox, center: Sequence[float], ring: float, angle: float) -> Bbox:
    """Returns a box of the same size beside a center, `ring` pixels off it."""
    width, height = box.width + 2, box.height
    x = center[0] + (width / 2 + ring) * math.cos(angle)
    y = center[1] + (height / 2 + ring) * math.sin(angle)
    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)


def _overlap(box: Bbox, taken: Sequence[Bbox], area: Bbox) -> float:
    """Returns the pixels of a box that are covered or outside the area, times ten."""
    inside = Bbox.intersection(box, area)
    bad = box.width * box.height - (inside.width * inside.height if inside else 0)
    for other in taken:
        shared = Bbox.intersection(box, other)
        bad += shared.width * shared.height if shared else 0
    return 10 * bad
