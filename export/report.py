"""Reports as Markdown and as one self-contained HTML page; one run, or several side by side.

The data are in `measurement.py`, the tables in `comparison.py` and `tables.py`, the pictures in
`pictures.py`. Nothing here reads a file or a clock.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import jinja2

from export import pictures
from export.comparison import comparison, headline, named
from export.measurement import (
    Measurement,
    Report,
    ReportError,
    Step,
    from_json,
    to_json,
)
from export.orthogonality import products
from export.tables import (
    Table,
    block_table,
    cut_table,
    fact_tables,
    product_table,
    step_table,
    together_table,
    training_table,
)

__all__ = [
    "Measurement",
    "Report",
    "ReportError",
    "Step",
    "from_json",
    "render_html",
    "render_markdown",
    "to_json",
]

_TEMPLATE = jinja2.Environment(
    loader=jinja2.PackageLoader("export"), autoescape=True, trim_blocks=True, lstrip_blocks=True
).get_template("report.html.j2")
LONG_TABLE = 8  # rows; a longer one is folded under its pictures


@dataclasses.dataclass(frozen=True)
class _Part:
    """One heading of a run: its table, and the pictures that show the same."""

    table: Table
    draw: tuple[Callable[[], str], ...] = ()

    @property
    def figures(self) -> list[str]:
        return [draw() for draw in self.draw]

    @property
    def folded(self) -> bool:
        return bool(self.draw) and len(self.table.rows) > LONG_TABLE


@dataclasses.dataclass(frozen=True)
class _Run:
    """A report under a name that no other report on the page has."""

    name: str
    report: Report

    @property
    def headline(self) -> str:
        return headline(self.report)

    @property
    def parts(self) -> list[_Part]:
        stats, plan, history = self.report.stats, self.report.plan, self.report.history
        blocks: list[Callable[[], str]] = []
        if stats and stats.blocks:
            blocks.append(lambda: pictures.gates(stats, plan))
        if plan and plan.blocks:
            blocks.append(lambda: pictures.kept_channels(plan))
        curves = (lambda: pictures.curves(history),) if history else ()
        tests = products(self.report.measurements)
        factors = (lambda: pictures.factors(tests),) if tests else ()
        parts = [
            _Part(together_table(self.report)),
            _Part(product_table(self.report), factors),
            _Part(step_table(self.report.steps)),
            _Part(cut_table(self.report)),
            _Part(block_table(self.report), tuple(blocks)),
            _Part(training_table(history), curves),
        ]
        return [part for part in parts if part.table.rows or part.draw]

    @property
    def facts(self) -> list[Table]:
        return [table for table in fact_tables(self.report) if table.rows]


def render_markdown(*reports: Report) -> str:
    """Returns one or several reports as GitHub Markdown, without pictures.

    Raises:
        ReportError: if there is no report.
    """
    runs = _runs(reports)
    several = len(runs) > 1
    lines = [f"# {_escape(_title(runs))}", ""]
    for run in runs:
        lead = f"**{_escape(run.name)}** ({_escape(run.report.created)}): " if several else ""
        lines += [lead + _escape(run.headline), ""]
    lines += _markdown_section(comparison([(run.name, run.report) for run in runs]), "##")
    for run in runs:
        if several:
            lines += [f"## {_escape(run.name)}", ""]
        for table in [*(part.table for part in run.parts), *run.facts]:
            lines += _markdown_section(table, "###" if several else "##")
    if not several:
        lines.append(f"Created {_escape(runs[0].report.created)}.")
    return "\n".join(lines).rstrip() + "\n"


def render_html(*reports: Report) -> str:
    """Returns one or several reports as one HTML page that needs no other file and no script.

    Raises:
        ReportError: if there is no report.
    """
    runs = _runs(reports)
    series = _series(runs)
    files = [file for files in series.values() for file in files]
    figures = []
    if any(file.accuracy is not None for file in files):
        figures.append(pictures.size_accuracy(series))
    if any(file.latency_ms is not None for file in files):
        figures.append(pictures.latency(series))
    return _TEMPLATE.render(
        title=_title(runs),
        runs=runs,
        comparison=comparison([(run.name, run.report) for run in runs]),
        figures=figures,
    )


def _runs(reports: Sequence[Report]) -> list[_Run]:
    if not reports:
        raise ReportError("expected at least one report, received none")
    return [_Run(name, report) for name, report in named(reports)]


def _title(runs: Sequence[_Run]) -> str:
    return " vs ".join(run.name for run in runs)


def _series(runs: Sequence[_Run]) -> dict[str, list[Measurement]]:
    """Returns the files by what has a color of its own in the pictures."""
    series: dict[str, list[Measurement]] = {}
    for run in runs:
        for file in run.report.measurements:
            name = f"{run.name}: {file.model}" if len(runs) > 1 else file.model
            series.setdefault(name, []).append(file)
    return series


def _markdown_section(table: Table, heading: str) -> list[str]:
    if not table.rows:
        return []
    caption = [_escape(table.caption), ""] if table.caption else []
    return [f"{heading} {_escape(table.title)}", "", *markdown_table(table), "", *caption]


def markdown_table(table: Table) -> list[str]:
    """Returns the lines of a table as GitHub Markdown, without title and caption."""
    cells = [[_escape(cell) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(table.columns))]
    lines = [
        "| "
        + " | ".join(
            cell.rjust(width) if align == "r" else cell.ljust(width)
            for cell, width, align in zip(row, widths, table.align, strict=True)
        )
        + " |"
        for row in cells
    ]
    rule = [
        "-" * (width - 1) + (":" if align == "r" else "-")
        for width, align in zip(widths, table.align, strict=True)
    ]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    return lines


def _escape(text: str) -> str:
    """Returns text that Markdown prints as it is, on one line."""
    text = re.sub(r"([\\`*\[\]|])", r"\\\1", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
