"""The gradient of a cut block's transform with regard to its kernel, by our layer and by Keras's.

    python benchmarks/kernel_gradient.py -o results/kernel_gradient.json

Each row is a 3x3 convolution of the poster's net, dense or with so many of the channels left: from
the whole stream to what a block keeps. Both sides run in turns in one process.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import click
from figures import write_figures

STREAMS = ((16, 64), (8, 128), (4, 256))  # side and channels
SHARES = (1.0, 0.5, 0.25, 0.1, 0.05)


def gradient_of(layer, images, upstream):
    """Returns a compiled function that computes the kernel's gradient and nothing else."""
    import tensorflow as tf

    layer.build(images.shape)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            answers = layer(images)
        return tape.gradient(answers, layer.kernel.value, upstream)

    return gradient


def seconds(function) -> float:
    started = time.perf_counter()
    function().numpy()
    return time.perf_counter() - started


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path))
@click.option("--batch-size", default=256, show_default=True)
@click.option("--rounds", default=9, show_default=True)
def main(out: Path | None, batch_size: int, rounds: int) -> None:
    """Time both sides."""
    import keras
    import tensorflow as tf

    from hwkeras.conv import FastConv2D

    rows = []
    for side, channels in STREAMS:
        for share in SHARES:
            kept = max(1, round(share * channels))
            images = tf.random.normal((batch_size, side, side, channels))
            upstream = tf.random.normal((batch_size, side, side, kept))
            sides = [
                gradient_of(kind(kept, 3, padding="same"), images, upstream)
                for kind in (FastConv2D, keras.layers.Conv2D)
            ]
            for function in sides:
                seconds(function)  # traces
            timed = [[seconds(function) for function in sides] for _ in range(rounds)]
            ours, theirs = (statistics.median(column) for column in zip(*timed, strict=True))
            rows.append(
                {
                    "side": side,
                    "in_channels": channels,
                    "out_channels": kept,
                    "milliseconds": round(1e3 * ours, 2),
                    "keras_milliseconds": round(1e3 * theirs, 2),
                    "ratio": round(statistics.median(b / a for a, b in timed), 2),
                }
            )
            click.echo(rows[-1])
    if out:
        settings = {"batch_size": batch_size, "rounds": rounds}
        write_figures(out, settings=settings, measurements=rows)


if __name__ == "__main__":
    main()
