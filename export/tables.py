"""What a run did, as tables of text: the steps, the cut, the blocks, the training, the facts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from export import formats
from export.measurement import DENSE, SLIM, Facts, Report, Step
from export.orthogonality import products


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as text, ready to print.

    Attributes:
        title: heading above.
        columns: headings of the columns.
        align: "l" or "r" for each column.
        rows: one cell for each column.
        keys: columns that name the row.
        grouped: whether the first column, before the keys, names a group of rows.
        caption: what a reader must know to check the numbers.
    """

    title: str
    columns: tuple[str, ...]
    align: str
    rows: tuple[tuple[str, ...], ...]
    keys: int = 1
    grouped: bool = False
    caption: str = ""


def select(table: Table, columns: Sequence[str]) -> Table:
    """Returns a table with only these columns, in the order given; unknown ones are left out."""
    places = [table.columns.index(name) for name in columns if name in table.columns]
    return dataclasses.replace(
        table,
        columns=tuple(table.columns[i] for i in places),
        align="".join(table.align[i] for i in places),
        rows=tuple(tuple(row[i] for i in places) for row in table.rows),
    )


def step_table(steps: Sequence[Step]) -> Table:
    """Returns what each step cost, against the step before and the first on the same images."""
    rows, before = [], {}
    for step in steps:
        earlier = before.setdefault((step.split, step.images), [])
        rows.append(
            (
                step.name,
                formats.percent(step.accuracy),
                formats.interval(step.accuracy, step.images),
                formats.lost(earlier[-1] if earlier else None, step.accuracy),
                formats.lost(earlier[0] if earlier else None, step.accuracy),
                f"{step.images:,} {step.split}",
                step.note,
            )
        )
        earlier.append(step.accuracy)
    columns = ("step", "accuracy %", "± 95%", "points lost", "in all", "images", "note")
    shown = slice(None) if any(step.note for step in steps) else slice(-1)
    return Table(
        title="What each step cost",
        columns=columns[shown],
        align="lrrrrll"[shown],
        rows=tuple(row[shown] for row in rows),
        caption="Accuracy of the Keras model. Points lost: against the step before, in all: against"
        " the first step on the same images; negative is a gain. ± is half the width of the 95%"
        " Wilson interval.",
    )


def cut_table(report: Report) -> Table:
    """Returns parameters and MACs of each model, against the dense one."""
    models = {m.model: m for m in reversed(report.measurements)}
    dense = models.get(DENSE)
    rows = [
        (
            m.model,
            formats.count(m.parameters),
            formats.times(dense and dense.parameters, m.parameters),
            formats.count(m.macs),
            formats.times(dense and dense.macs, m.macs),
        )
        for m in reversed(models.values())
        if m.parameters is not None or m.macs is not None
    ]
    return Table(
        title="What was cut",
        columns=("model", "parameters", "times fewer", "MACs", "times fewer"),
        align="lrrrr",
        rows=tuple(rows),
        caption="MACs: multiply-accumulates of convolutions and dense layers for one input.",
    )


def together_table(report: Report) -> Table:
    """Returns the variants of the dense and of the slim model, beside each other."""
    variants = dict.fromkeys(row.variant for row in report.measurements)
    rows = []
    for variant in variants if products(report.measurements) else ():
        cells = [variant]
        for model in (DENSE, SLIM):
            row = report.find(model, variant)
            cells += [
                formats.count(row and row.size_bytes),
                formats.count(row and row.gzip_bytes),
                formats.percent(row and row.accuracy),
                formats.fixed(row and row.latency_ms, 3),
            ]
        rows.append(tuple(cells))
    quantities = ("bytes", "gzip bytes", "accuracy %", "ms")
    return Table(
        title="Pruning and compression together",
        columns=("variant", *(f"{model} {q}" for model in (DENSE, SLIM) for q in quantities)),
        align="lrrrrrrrr",
        rows=tuple(rows),
        caption="gzip bytes: what a store delivers. Shared and cut weights (clustered, sparse) take"
        " as many bytes in a file as any others; only its compressed size shows what they save.",
    )


def product_table(report: Report) -> Table:
    """Returns what pruning and each variant save alone and together, against their product."""
    return Table(
        title="Are they orthogonal?",
        columns=("of", "variant", "variant alone", "cut alone", "product", "measured", "ratio"),
        align="llrrrrr",
        rows=tuple(
            (
                test.quantity,
                test.variant,
                formats.times(test.alone, 1),
                formats.times(test.cut, 1),
                formats.times(test.expected, 1),
                formats.times(test.together, 1),
                formats.fixed(test.ratio),
            )
            for test in products(report.measurements)
        ),
        grouped=True,
        caption="Times less than the dense float32 file: the variant of the dense model, the slim"
        " model in float32, the product of the two, and the variant of the slim model. A ratio of 1"
        " says that neither takes from the other. What does not shrink, such as the graph and the"
        " scales, weighs more the smaller the file.",
    )


def block_table(report: Report) -> Table:
    """Returns what the plan keeps of each block, and its parameters where they are known."""
    blocks = report.plan.blocks if report.plan else ()
    measured = {block.name: block for block in report.stats.blocks} if report.stats else {}
    known = all(block.name in measured for block in blocks)
    rows, totals = [], [0, 0, 0, 0]
    for block in blocks:
        counts = [block.active, len(block.kept)]
        if report.plan and known:
            dense = measured[block.name]
            slim = dense.shape_without(report.plan.cut_counts)
            counts += [
                shape.cost(active).parameters
                for shape, active in zip((dense.shape, slim), counts, strict=True)
            ]
        totals = [total + value for total, value in zip(totals, counts, strict=False)]
        rows.append(_block_row(block.name, counts))
    if rows:
        rows.append(_block_row("all blocks", totals))
    columns = ("block", "channels", "kept", "kept %", "parameters", "after the cut")
    return Table(
        title="What stays of each block",
        columns=columns if known else columns[:4],
        align="lrrrrr" if known else "lrrr",
        rows=tuple(rows),
        caption=_plan_words(report),
    )


def _block_row(name: str, counts: Sequence[int]) -> tuple[str, ...]:
    channels, kept, *parameters = counts
    share = formats.percent(kept / channels if channels else None, 1)
    return name, f"{channels:,}", f"{kept:,}", share, *(f"{value:,}" for value in parameters)


def _plan_words(report: Report) -> str:
    if report.plan is None:
        return ""
    plan, words = report.plan, [f"Asked for: {report.plan.aim}."]
    if plan.by != "hand":
        words.append(f"Channels ranked by {plan.ranking}, over all blocks at once.")
    if plan.cutoff is not None:
        words.append(f"Cutoff: {plan.cutoff:.4g}.")
    if report.stats is not None:
        words.append(f"The gates were watched on {report.stats.images:,} images.")
    return " ".join([*words, f"Model digest: {plan.model[:16]}."])


def training_table(history: Sequence[Facts]) -> Table:
    """Returns the last epoch of each phase, and its best validation accuracy."""
    phases: dict[str, list[Facts]] = {}
    for row in history:
        phases.setdefault(str(row.get("phase", "training")), []).append(row)
    number, rows = formats.number, []
    for phase, epochs in phases.items():
        best = [value for row in epochs if (value := number(row.get("val_accuracy"))) is not None]
        last = epochs[-1]
        rows.append(
            (
                phase,
                f"{len(epochs):,}",
                formats.fixed(number(last.get("loss")), 4),
                formats.percent(number(last.get("accuracy"))),
                formats.percent(number(last.get("val_accuracy"))),
                formats.percent(max(best, default=None)),
                formats.fixed(number(last.get("mean_gate")), 4),
                formats.percent(number(last.get("share_shut")), 1),
            )
        )
    return Table(
        title="Training",
        columns=("phase", "epochs", "loss", "accuracy %", "validation %", "best validation %",
                 "mean gate", "gates shut %"),
        align="lrrrrrrr",
        rows=tuple(rows),
        caption="The last epoch of each phase; accuracy on training and on validation images.",
    )  # fmt: skip


def fact_tables(report: Report) -> list[Table]:
    """Returns dataset, settings, versions and machine."""
    facts = {
        "Dataset": report.dataset,
        "Settings": report.settings,
        "Versions": report.versions,
        "Machine": report.machine,
    }
    return [
        Table(
            title=title,
            columns=("name", "value"),
            align="ll",
            rows=tuple((k.replace("_", " "), formats.fact(k, v)) for k, v in values.items()),
        )
        for title, values in facts.items()
    ]
