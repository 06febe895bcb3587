"""Whether a plan that aims at a share of the latency reaches it: foretold and measured.

    python benchmarks/latency_aim.py RUN -o results/latency_aim.json

For each type a latency table is measured, a plan made for each aim, and the slim nets timed in
turns with the dense one. Beside them stand plans of as many parameters and as many
multiply-accumulates, ranked by those: what the same net costs when time does not count.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from figures import AS_THEY_ARE, write_figures

AIMS = (0.7, 0.5, 0.3)
TYPES = ("float32", "int8")


def plans(stats, table, aim: float) -> dict:
    """Returns plans by what they count; all keep as much of it as the plan for latency does."""
    from hwkeras.planning import make_plan

    timed = make_plan(stats, latency_ratio=aim, latency=table)
    cost = stats.cost(timed.kept_counts)
    return {
        "latency": timed,
        "macs": make_plan(stats, macs=cost.macs, **AS_THEY_ARE),
        "parameters": make_plan(stats, parameters=cost.parameters, **AS_THEY_ARE),
    }


def measure(model, stats, kind: str, runs: int):
    """Yields a row for each aim and plan."""
    import numpy as np

    from export.latency import measure_latencies
    from export.quantize import make_variant
    from export.tflite import convert
    from export.timing import bench
    from hwkeras.rebuild import apply_plan

    table = measure_latencies(model, kind, runs=runs)
    shapes = {block.name: block.shape for block in stats.blocks}
    whole = table.total_ms(shapes, {block.name: len(block.active) for block in stats.blocks})
    images = np.random.default_rng(0).uniform(0, 255, (64, *model.input.shape[1:]))

    def content(net):
        return make_variant(convert(net, kind), kind, images.astype(np.float32))

    for aim in AIMS:
        made = plans(stats, table, aim)
        with tempfile.TemporaryDirectory() as folder:
            paths = {name: Path(folder, f"{name}.tflite") for name in ("dense", *made)}
            for name, path in paths.items():
                net = model if name == "dense" else apply_plan(model, made[name])
                path.write_bytes(content(net))
            costs = bench(list(paths.values()), runs=runs)
        times = {n: c.latencies[0].median_ms for n, c in zip(paths, costs, strict=True)}
        for name, plan in made.items():
            cost = stats.cost(plan.kept_counts)
            yield {
                "type": kind, "aim": aim, "counts": name,
                "foretold": round(table.total_ms(shapes, plan.kept_counts) / whole, 3),
                "measured": round(times[name] / times["dense"], 3),
                "parameters": cost.parameters, "macs": cost.macs,
                "kept": list(plan.kept_counts.values()),
            }  # fmt: skip


@click.command()
@click.argument("run")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--runs", default=200, show_default=True, help="Inferences behind each median.")
def main(run: str, out: Path, runs: int) -> None:
    """Aim at latency with the trained net of RUN."""
    from export.runfolder import RunFolder
    from hwkeras.saving import load_model

    folder = RunFolder.open(run)
    model, stats = load_model(folder.need("train")), folder.stats()
    rows = []
    click.echo("type      aim  counts      foretold  measured  parameters        MACs")
    for kind in TYPES:
        for row in measure(model, stats, kind, runs):
            rows.append(row)
            click.echo(
                f"{row['type']:<8} {row['aim']:.0%}  {row['counts']:<10} {row['foretold']:>9.0%}"
                f" {row['measured']:>9.0%} {row['parameters']:>11,} {row['macs']:>11,}"
            )
    write_figures(out, runs=runs, measurements=rows)


if __name__ == "__main__":
    main()
