"""What ordering a stream's channels costs, and how few runs it reaches.

    python benchmarks/order.py [GATES.npz] -o results/order.json

1. Random sets: a quarter of the channels in each block, nothing to find; growth with the number
   of channels and of blocks.
2. Nested sets, each block's within the last one's, in shuffled channels: one run a block exists.
3. Real gates, if given: the poster's net, cut to shares of its parameters. GATES.npz holds, for
   blocks 1 to 18, `blockN/mean_update` `(channels,)` and the weights.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import click
from figures import AS_THEY_ARE, write_figures

SIZES = (
    (64, 6), (128, 6), (256, 6), (512, 6), (1024, 6), (2048, 6),
    (256, 12), (256, 25), (256, 50),
    (512, 12), (512, 25), (512, 50), (1024, 25), (1024, 50), (2048, 12), (2048, 25), (2048, 50),
)  # fmt: skip
CUTS = (0.50, 0.71, 0.85, 0.95, 0.98)  # of the parameters
ACTIVE = 0.25  # of the channels, in random sets


def ordering(sets: str, active: list, channels: int) -> dict:
    """Returns the runs of a stream before and after, a bound on them, and seconds for both."""
    from hwkeras.order import count_runs, least_runs, order_channels

    started = time.perf_counter()
    order = order_channels(active, channels)
    ordered = time.perf_counter()
    least = least_runs(active, channels)
    bounded = time.perf_counter()
    return {
        "sets": sets,
        "channels": channels,
        "blocks": len(active),
        "runs_before": count_runs(active, range(channels)),
        "runs": count_runs(active, order),
        "least_runs": least,
        "order_seconds": round(ordered - started, 3),
        "bound_seconds": round(bounded - ordered, 3),
    }


def random_sets(channels: int, blocks: int) -> list:
    import numpy as np

    member = np.random.default_rng(0).random((blocks, channels)) < ACTIVE
    return [np.flatnonzero(row).tolist() for row in member]


def nested_sets(channels: int, blocks: int) -> list:
    import numpy as np

    rng = np.random.default_rng(0)
    shuffled = rng.permutation(channels)
    sizes = np.sort(rng.integers(1, channels + 1, blocks))[::-1]
    return [sorted(shuffled[:size].tolist()) for size in sizes]


def gate_stats(path: str):
    """Returns the gate statistics of the poster's net that a file of arrays holds."""
    import numpy as np

    from hwkeras.cost import BlockShape, Cost
    from hwkeras.plan import BlockStats, GateStats

    with np.load(path) as arrays:
        entries = []
        for number in range(1, 19):
            update = arrays[f"block{number}/mean_update"]
            inputs, channels = len(arrays[f"block{number}/norm/gamma"]), len(update)
            # the parameters do not depend on the positions
            shape = BlockShape(inputs, channels, (3, 3), 1, projection=inputs != channels)
            everyone, scores = tuple(range(channels)), tuple(update.tolist())
            entries.append(BlockStats(f"block{number}", shape, everyone, scores, scores, scores))
        weights = [name for name in arrays.files if "/mean_" not in name]
        rest = Cost(sum(arrays[name].size for name in weights), 0)
    for entry in entries:
        rest = rest - entry.shape.cost(len(entry.active))
    return GateStats("gates", 1, rest, tuple(entries))


def gates(path: str):
    """Yields the rows of each stage of a net with real gates, cut to shares of its parameters."""
    from hwkeras.planning import make_plan

    stats = gate_stats(path)
    for cut in CUTS:
        plan = make_plan(stats, parameters=(1 - cut) * stats.cost().parameters, **AS_THEY_ARE)
        for channels, blocks in itertools.groupby(plan.blocks, lambda block: block.channels):
            yield ordering(f"gates, -{cut:.0%}", [block.kept for block in blocks], channels)


@click.command()
@click.argument("gate_file", metavar="[GATES.npz]", required=False)
@click.option("-o", "--out", type=click.Path(path_type=Path))
def main(gate_file: str | None, out: Path | None) -> None:
    """Order streams of random sets, of nested sets and of the poster's net with real gates."""

    ordering("", random_sets(64, 6), 64)  # the first call loads more code
    rows = []
    click.echo(f"{'sets':<12} channels blocks  before    runs   least  order s  bound s")
    for row in itertools.chain(
        (ordering("random", random_sets(*size), size[0]) for size in SIZES),
        (ordering("nested", nested_sets(*size), size[0]) for size in SIZES),
        gates(gate_file) if gate_file else (),
    ):
        rows.append(row)
        click.echo(
            f"{row['sets']:<12} {row['channels']:>8} {row['blocks']:>6} {row['runs_before']:>7}"
            f" {row['runs']:>7} {row['least_runs']:>7} {row['order_seconds']:>8.3f}"
            f" {row['bound_seconds']:>8.3f}"
        )
    if out:
        write_figures(out, measurements=rows)


if __name__ == "__main__":
    main()
