"""Training steps with freed memory kept by malloc, and with what TensorFlow tells it.

    python benchmarks/memory_kept.py -o results/memory_kept.json

Each side is a process of its own, in turns, that trains the same net on the same random images by
`fit` of the training view, as `hwkeras train` does. An epoch is timed after one for the tracing.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
from figures import write_figures
from turns import in_turns, middle_ratio, second_epoch


def seconds_a_step(kept: bool, preset: str, batch_size: int, steps: int) -> float:
    """Returns what a step of the second epoch takes; runs in its process."""
    from hwkeras import PRESETS, batches, highway_net

    if not kept:
        batches.keep_freed_memory = lambda: False
    return second_epoch(highway_net(PRESETS[preset], (32, 32, 3), 10), batch_size, steps)


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

    rows = in_turns(__file__, {"kept": {}, "given back": {}}, settings, rounds)
    ratio = middle_ratio(rows["given back"], rows["kept"])
    click.echo(f"seconds a step {rows}; ratio {ratio:.2f}")
    if out:
        measured = [{"memory": side, "seconds_a_step": found} for side, found in rows.items()]
        write_figures(out, settings=settings, measurements=measured, ratio=round(ratio, 3))


if __name__ == "__main__":
    main()
