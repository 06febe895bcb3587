"""What the toolkit's own work costs: feeding `fit`, planning and rebuilding, exporting.

    python benchmarks/speed.py DATA.npz -o results/speed.json

1. Epochs of `fit` on images in memory, shuffled and augmented, against the same steps on one
   repeated batch that tf.data holds: the ratio is what the input pipeline costs.
2. Plan and rebuild of the poster's net, and an export of all six variants of the slim net.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import click
from figures import AS_THEY_ARE, write_figures

PAIRS = 5  # interleaved measurements of each side
IMAGES = 8192  # of the training split, in each measurement


def feeding(data: str, preset: str, batch_size: int) -> dict:
    """Returns seconds of epochs fed by `TrainingBatches` and by one repeated batch, interleaved."""
    import tensorflow as tf

    from hwkeras.batches import TrainingBatches
    from hwkeras.data import load_dataset
    from hwkeras.models import PRESETS, highway_net
    from hwkeras.training import TrainConfig, training_view

    dataset = load_dataset(data)
    train = dataset.train.take(slice(0, IMAGES))
    model = highway_net(PRESETS[preset], dataset.input_shape, len(dataset.classes))
    batches = TrainingBatches(train.images, train.labels, batch_size, 0, augment=True)
    view = training_view(model, TrainConfig(batch_size=batch_size), len(batches))
    images, labels = batches[0]
    batches = TrainingBatches(train.images, train.labels, batch_size, 0, augment=True)
    repeated = tf.data.Dataset.from_tensors((images, labels)).repeat(len(batches))

    def seconds(source) -> float:
        started = time.perf_counter()
        view.fit(source, epochs=1, shuffle=False, verbose=0)
        return time.perf_counter() - started

    for source in (batches, repeated):
        seconds(source)  # compilation
    pairs = [(seconds(batches), seconds(repeated)) for _ in range(PAIRS)]
    ratios = [ours / rival for ours, rival in pairs]
    return {
        "what": "an epoch of fit, against the same steps on one repeated batch",
        "preset": preset,
        "batch_size": batch_size,
        "steps": len(batches),
        "seconds": [[round(value, 3) for value in pair] for pair in pairs],
        "ratio_median": round(statistics.median(ratios), 4),
        "images_per_second": round(
            len(batches) * batch_size / statistics.median(ours for ours, _ in pairs), 1
        ),
        "goal": "ratio at most 1.10",
    }


def rebuilding() -> tuple[dict, object]:
    """Returns seconds of plan and rebuild of the poster's net, and the slim net."""
    import numpy as np

    from hwkeras import PRESETS, apply_plan, collect_stats, highway_net, make_plan, recalibrate

    model = highway_net(PRESETS["poster"], (32, 32, 3), 10)
    images = np.random.default_rng(0).integers(0, 256, (512, 32, 32, 3), np.uint8)
    stats = collect_stats(model, images)
    started = time.perf_counter()
    plan = make_plan(stats, parameters=0.15 * stats.cost().parameters, **AS_THEY_ARE)
    planned = time.perf_counter()
    slim = apply_plan(model, plan)
    rebuilt = time.perf_counter()
    recalibrate(slim, images)
    return {
        "what": "plan and rebuild of the poster's net to 15% of its parameters, random weights",
        "plan_seconds": round(planned - started, 3),
        "rebuild_seconds": round(rebuilt - planned, 3),
        "goal": "together under 5 s",
    }, slim


def exporting(slim) -> dict:
    """Returns seconds of converting a model to all six variants."""
    import numpy as np

    from export.quantize import VARIANTS, make_variant
    from export.tflite import convert

    images = np.random.default_rng(1).integers(0, 256, (128, 32, 32, 3), np.uint8)
    started = time.perf_counter()
    content = convert(slim)
    sizes = {name: len(make_variant(content, name, images)) for name in VARIANTS}
    return {
        "what": "export of all six variants of the slim poster net",
        "seconds": round(time.perf_counter() - started, 1),
        "bytes": sizes,
        "goal": "under 90 s",
    }


@click.command()
@click.argument("data")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--preset", default="small", show_default=True)
@click.option("--batch-size", default=128, show_default=True)
def main(data: str, out: Path, preset: str, batch_size: int) -> None:
    """Time the input pipeline on DATA, and planning, rebuilding and exporting the poster's net."""

    rebuild, slim = rebuilding()
    rows = [feeding(data, preset, batch_size), rebuild, exporting(slim)]
    write_figures(out, measurements=rows)
    for row in rows:
        click.echo(f"{row.pop('what')} (goal: {row.pop('goal')})")
        for name, value in row.items():
            click.echo(f"  {name}: {value}")


if __name__ == "__main__":
    main()
