"""Training steps with freed memory kept by malloc, and with what TensorFlow tells it.

    python benchmarks/memory_kept.py -o results/memory_kept.json

Each side is a process of its own, in turns, that trains the same net on the same random images by
`fit` of the training view, as `hwkeras train` does. An epoch is timed after one for the tracing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import click
from figures import write_figures


def seconds_a_step(kept: bool, preset: str, batch_size: int, steps: int) -> float:
    """Returns what a step of the second epoch takes; runs in its process."""
    import numpy as np

    from hwkeras import PRESETS, TrainConfig, batches, highway_net
    from hwkeras.training import training_view

    if not kept:
        batches.keep_freed_memory = lambda: False
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size * steps, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, batch_size * steps)
    fed = batches.TrainingBatches(images, labels, batch_size, 0, augment=True)
    view = training_view(highway_net(PRESETS[preset], (32, 32, 3), 10), TrainConfig(), steps)
    spent = 0.0
    for _ in range(2):
        started = time.perf_counter()
        view.fit(fed, shuffle=False, verbose=0)
        spent = time.perf_counter() - started
    return spent / steps


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path))
@click.option("--preset", default="small", show_default=True)
@click.option("--batch-size", default=256, show_default=True)
@click.option("--steps", default=10, show_default=True, help="In an epoch.")
@click.option("--rounds", default=3, show_default=True, help="Processes of each side.")
@click.option("--here", type=click.Choice(["kept", "given back"]), hidden=True)
def main(out, rounds, here, **settings) -> None:
    """Time both sides."""
    if here:
        click.echo(json.dumps(seconds_a_step(here == "kept", **settings)))
        return

    numbers = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    rows = {"kept": [], "given back": []}
    for _ in range(rounds):
        for side, found in rows.items():
            command = [sys.executable, __file__, "--here", side, *numbers]
            text = subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE, text=True
            ).stdout
            found.append(round(json.loads(text.strip().splitlines()[-1]), 3))
    ratio = statistics.median(b / a for a, b in zip(rows["kept"], rows["given back"], strict=True))
    click.echo(f"seconds a step {rows}; ratio {ratio:.2f}")
    if out:
        measured = [{"memory": side, "seconds_a_step": found} for side, found in rows.items()]
        write_figures(out, settings=settings, measurements=measured, ratio=round(ratio, 3))


if __name__ == "__main__":
    main()
