"""Training steps with TensorFlow's oneDNN kernels, and with the ones it takes by default.

    python benchmarks/onednn.py -o results/onednn.json

TensorFlow switches oneDNN on by itself where a processor has instructions for products of small
integers (AVX512_VNNI, AVX_VNNI, AMX), and leaves it off on all other processors. The two sides are
processes that differ in TF_ENABLE_ONEDNN_OPTS only and train the same nets on the same random
images, as `memory_kept.py` does: dense, and cut by chance to a share of the channels.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
from figures import write_figures
from turns import in_turns, middle_ratio, second_epoch

SIDES = {"oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "1"}, "without": {"TF_ENABLE_ONEDNN_OPTS": "0"}}


def seconds_a_step(preset: str, share: float, batch_size: int, steps: int) -> float:
    """Returns what a step of the second epoch takes; runs in its process."""
    import numpy as np
    import rivals

    from hwkeras import PRESETS, apply_plan, collect_stats, highway_net

    net = highway_net(PRESETS[preset], (32, 32, 3), 10)
    if share < 1:
        images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
        stats = collect_stats(net, images)
        most = share * stats.cost().parameters
        net = apply_plan(net, rivals.random_plan(stats, "parameters", most, seed=0))
    return second_epoch(net, batch_size, steps)


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path))
@click.option("--batch-size", default=256, show_default=True)
@click.option("--steps", default=10, show_default=True, help="In an epoch.")
@click.option("--rounds", default=3, show_default=True, help="Processes of each side.")
@click.option("--preset", default="small", show_default=True)
@click.option("--share", default=1.0, show_default=True, help="Of the parameters, left by chance.")
@click.option("--here", type=click.Choice(list(SIDES)), hidden=True)
def main(out, rounds, here, **settings) -> None:
    """Time both sides, and add the row to the figures."""
    if here:
        click.echo(json.dumps(seconds_a_step(**settings)))
        return

    rows = in_turns(__file__, SIDES, settings, rounds)
    ratio = round(middle_ratio(rows["without"], rows["oneDNN"]), 3)
    click.echo(f"seconds a step {rows}; ratio {ratio:.2f}")
    if out:
        made = json.loads(out.read_text("utf-8"))["measurements"] if out.exists() else []
        seconds = {f"seconds_a_step_{side}": found for side, found in rows.items()}
        write_figures(out, measurements=[*made, settings | seconds | {"ratio": ratio}])


if __name__ == "__main__":
    main()
