"""Whether the bytes of pruning and of int8 multiply, by the size of the net.

    python benchmarks/orthogonality.py -o results/orthogonality.json

Bytes follow from the shapes, so nothing is trained: each preset keeps the first quarter of every
block's channels, one run each.
"""

from __future__ import annotations

from pathlib import Path

import click
from figures import write_figures

KEEP = 0.25


def factors(preset: str) -> dict:
    """Returns the bytes of the four files and how they multiply."""
    import numpy as np

    import hwkeras
    from export.measurement import Measurement
    from export.orthogonality import products
    from export.quantize import make_variant
    from export.tflite import convert

    dense = hwkeras.highway_net(hwkeras.PRESETS[preset], (32, 32, 3), 10)
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3))
    stats = hwkeras.collect_stats(dense, images)
    kept = {b.name: range(round(KEEP * len(b.active))) for b in stats.blocks}
    plan = hwkeras.make_plan(stats, kept=kept)
    files = []
    for name, model in (("dense", dense), ("slim", hwkeras.apply_plan(dense, plan))):
        content = convert(model)
        for variant in ("float32", "int8"):
            size = len(make_variant(content, variant, images))
            files.append(Measurement(name, variant, f"{name}-{variant}.tflite", size))
    (test,) = products(files)
    sizes = {f"{file.model} {file.variant}": file.size_bytes for file in files}
    return {"preset": preset, "bytes": sizes, **test.facts()}


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path))
def main(out: Path | None) -> None:
    """Convert each preset dense and slim, as float32 and int8, and compare the factors."""
    from hwkeras.models import PRESETS

    rows = []
    click.echo(f"{'preset':<8} {'cut':>6} {'int8':>6} {'product':>8} {'measured':>8} {'ratio':>6}")
    for preset in sorted(PRESETS, reverse=True):
        rows.append(factors(preset))
        row = rows[-1]
        click.echo(
            f"{preset:<8} {row['cut']:>6.2f} {row['alone']:>6.2f} {row['expected']:>8.2f}"
            f" {row['together']:>8.2f} {row['ratio']:>6.3f}"
        )
    if out:
        write_figures(out, measurements=rows)


if __name__ == "__main__":
    main()
