"""Images a second of `hwkeras train`, against the same net written by hand in the same framework.

    python benchmarks/train_throughput.py -o results/train_throughput.json

Every backend of Keras that is installed gets a process of its own, where the steps of both are
timed in turns on the same random images. Ours is all that `hwkeras train` does in an
epoch: shuffled and augmented batches, penalty, schedule, metrics. The plain net gets its batches
ready made. Both train with SGD. Peak is a product of two large matrices on the same backend in the
same precision: what share of it training reaches counts 6 operations for each multiply-accumulate
of the net and image.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import click
from figures import write_figures

BACKENDS = ("tensorflow", "jax", "torch")
SIDE = 4096  # of the matrices
GOAL = 0.9


def timed(preset: str, precision: str, batch_size: int, steps: int, rounds: int) -> dict:
    """Returns what one backend reaches; runs in its process."""
    import keras
    import numpy as np

    from hwkeras.batches import TrainingBatches
    from hwkeras.models import PRESETS, highway_net
    from hwkeras.stats import model_cost
    from hwkeras.training import TrainConfig, computing_in, training_view

    backend = keras.backend.backend()
    plain = importlib.import_module(f"plain.on_{backend}")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size * steps, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, batch_size * steps).astype(np.int32)
    model = highway_net(PRESETS[preset], (32, 32, 3), 10)
    macs = model_cost(model).macs
    config = TrainConfig(batch_size=batch_size, precision=precision, optimizer="sgd")
    dtype = precision.removeprefix("mixed_")
    step = plain.stepper(PRESETS[preset], dtype)
    product = plain.matmul(SIDE, dtype)

    def ours():
        batches = TrainingBatches(images, labels, batch_size, 0, augment=True)
        view.fit(batches, epochs=1, shuffle=False, verbose=0)

    def rival():
        for i in range(0, len(images), batch_size):
            step(images[i : i + batch_size], labels[i : i + batch_size])

    def seconds(what) -> float:
        started = time.perf_counter()
        what()
        return time.perf_counter() - started

    with computing_in(model, config.precision):
        view = training_view(model, config, steps)
        for what in (ours, rival, product):
            what()  # compilation
        pairs = [(seconds(ours), seconds(rival)) for _ in range(rounds)]
        fastest = min(seconds(product) for _ in range(5))
    peak = 2 * SIDE**3 / fastest
    rates = [len(images) / statistics.median(side) for side in zip(*pairs, strict=True)]
    return {
        "backend": backend,
        "seconds": [[round(value, 3) for value in pair] for pair in pairs],
        "images_per_second": round(rates[0], 1),
        "plain_images_per_second": round(rates[1], 1),
        "ratio": round(statistics.median(b / a for a, b in pairs), 3),
        "goal": GOAL,
        "peak_gflops": round(peak / 1e9, 1),
        "share_of_peak": round(6 * macs * rates[0] / peak, 3),
        "plain_share_of_peak": round(6 * macs * rates[1] / peak, 3),
    }


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path))
@click.option("--preset", default="poster", show_default=True)
@click.option("--precision", type=click.Choice(["mixed_bfloat16", "float32"]),
              default="mixed_bfloat16", show_default=True)  # fmt: skip
@click.option("--batch-size", default=256, show_default=True)
@click.option("--steps", default=8, show_default=True, help="In each timing.")
@click.option("--rounds", default=5, show_default=True, help="Timings of each side.")
@click.option("--backend", type=click.Choice(BACKENDS), multiple=True, help="Only these.")
@click.option("--here", is_flag=True, hidden=True)
def main(out, preset, precision, batch_size, steps, rounds, backend, here) -> None:
    """Time training on every backend that is installed."""
    if here:
        click.echo(json.dumps(timed(preset, precision, batch_size, steps, rounds)))
        return

    rows = []
    for name in backend or [b for b in BACKENDS if importlib.util.find_spec(b)]:
        command = [
            sys.executable, __file__, "--here", "--preset", preset, "--precision", precision,
            "--batch-size", str(batch_size), "--steps", str(steps), "--rounds", str(rounds),
        ]  # fmt: skip
        environment = {**os.environ, "KERAS_BACKEND": name, "TF_CPP_MIN_LOG_LEVEL": "3"}
        text = subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        rows.append(json.loads(text.strip().splitlines()[-1]))
        row = rows[-1]
        click.echo(
            f"{name}: {row['images_per_second']:,.0f} images/s, by hand"
            f" {row['plain_images_per_second']:,.0f}, ratio {row['ratio']:.2f}; of the peak"
            f" {row['share_of_peak']:.1%} and {row['plain_share_of_peak']:.1%}"
        )
    if out:
        settings = {
            "preset": preset, "precision": precision, "batch_size": batch_size, "steps": steps,
            "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
        }  # fmt: skip
        write_figures(out, settings=settings, measurements=rows)


if __name__ == "__main__":
    main()
