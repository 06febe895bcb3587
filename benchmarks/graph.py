"""How fast and how large slim graphs are, in our form and in two others, and where the time goes.

    python benchmarks/graph.py [--gates GATES.npz] [--run RUN] -o results/graph.json

The poster's net with random weights, cut to shares of its parameters by real gates, and a net that
was trained here. Three ways to take the active channels out of a stream and to put them back, on
the same weights and kept channels: GATHER; a 1x1 convolution of zeros and ones; and ours: runs of
ordered channels, copied or multiplied, whichever is cheaper for the block. All three fold norms
alike; "as trained" is our runs without that. One thread, all files of a cut in turns.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import click
from figures import AS_THEY_ARE, write_figures

CUTS = (0.50, 0.70, 0.85, 0.95, 0.98)  # of the parameters
TYPES = ("float32", "int8")
GATHER = "gather"
PROFILED = 0.98


def add_gather() -> None:
    """Gives the lowering a form it never chooses."""
    from keras import ops

    from export import lowering

    def take(block, carry):
        return ops.take(carry, list(block.active), axis=-1)

    def put(block, carry, carried, update):
        # Channel j comes from the carry, or from behind it if it is active.
        places = list(range(block.channels))
        for position, channel in enumerate(block.active):
            places[channel] = block.channels + position
        both = ops.concatenate([carry, carried + update], axis=-1)
        return ops.take(both, places, axis=-1)

    lowering.TAKES[GATHER], lowering.PUTS[GATHER] = take, put


def poster_net(path: str):
    """Returns the poster's net with random weights and lively norms, and the gates of a file."""
    import numpy as np
    from order import gate_stats

    import hwkeras
    from hwkeras.stats import collect_stats

    model = hwkeras.highway_net(
        hwkeras.PRESETS["poster"], (32, 32, 3), 10, (125.0, 123.0, 114.0), (63.0, 62.0, 67.0)
    )
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if layer.name == "norm":  # fresh ones would be folded away to nothing
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    own = collect_stats(model, rng.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8))
    blocks = tuple(
        dataclasses.replace(block, mean_update=real.mean_update)
        for block, real in zip(own.blocks, gate_stats(path).blocks, strict=True)
    )
    return model, dataclasses.replace(own, blocks=blocks)


def trained_net(run: str):
    from export.runfolder import RunFolder
    from hwkeras.saving import load_model

    folder = RunFolder.open(run)
    return load_model(folder.need("train")), folder.stats()


def files(model, stats, cut: float) -> tuple[dict, dict]:
    """Returns the contents by (form, type) of a net cut by parameters, and what it should cost."""
    import numpy as np

    from export.forms import CONVOLUTION, Form
    from export.lowering import lower, target_of
    from export.quantize import make_variant
    from export.tflite import convert_as_it_is
    from hwkeras.planning import make_plan
    from hwkeras.rebuild import apply_plan

    whole = stats.cost()
    # Ranked channel by channel: the sets that the forms were first compared on.
    plan = make_plan(stats, parameters=(1 - cut) * whole.parameters, per="channel", **AS_THEY_ARE)
    slim = stats.cost(plan.kept_counts)
    ordered, as_kept = (apply_plan(model, p) for p in (plan, dataclasses.replace(plan, orders=())))
    images = np.random.default_rng(0).integers(0, 256, (64, *model.input.shape[1:]))
    contents = {}
    for kind in TYPES:
        target = target_of(kind)
        for form, graph in {
            "ours": lower(ordered, target),
            "as trained": ordered,
            "one-hot": lower(as_kept, target, Form(CONVOLUTION, CONVOLUTION)),
            "gather": lower(as_kept, target, Form(GATHER, GATHER)),
            "dense": lower(model, target),
        }.items():
            content = convert_as_it_is(graph)
            contents[form, kind] = make_variant(content, kind, images.astype(np.float32))
    return contents, {
        "parameters": slim.parameters,
        "weight_bytes": slim.size_bytes,
        "mac_ratio": round(whole.macs / slim.macs, 3),
    }


def measure(name: str, model, stats, runs: int):
    """Yields a row for each cut, type and form; and the profiles of the largest cut in int8."""
    from export.runtime import graph
    from export.timing import bench

    for cut in CUTS:
        contents, cost = files(model, stats, cut)
        with tempfile.TemporaryDirectory() as folder:
            paths = {key: Path(folder, f"{'-'.join(key)}.tflite") for key in contents}
            for key, path in paths.items():
                path.write_bytes(contents[key])
            costs = dict(zip(paths, bench(list(paths.values()), runs=runs), strict=True))
            for (form, kind), content in contents.items():
                taken = costs[form, kind].latencies[0].median_ms
                info = graph(content)
                row = {
                    "net": name, "cut": cut, "type": kind, "form": form, **cost,
                    "latency_ms": round(taken, 4),
                    "speed_up": round(costs["dense", kind].latencies[0].median_ms / taken, 3),
                    "bytes": len(content), "partitions": info.partitions,
                    "undelegated": info.undelegated, "operators": sum(info.operators.values()),
                }  # fmt: skip
                if cut == PROFILED and kind == "int8" and form in ("ours", "as trained"):
                    row["microseconds"] = profiled(paths[form, kind])
                yield row


def profiled(path: Path) -> dict:
    """Returns number and microseconds of each kind of operator."""
    from export.profile import profile

    kinds = profile(path, runs=400).by_kind()
    return {kind: [count, round(time, 1)] for kind, (count, time) in kinds.items()}


@click.command()
@click.option("--gates", metavar="GATES.npz", help="As for benchmarks/order.py.")
@click.option("--run", metavar="RUN", help="A run folder with a trained net.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--runs", default=200, show_default=True, help="Inferences behind each median.")
def main(gates: str | None, run: str | None, out: Path, runs: int) -> None:
    """Compare three forms of slim graphs on real gates."""

    add_gather()
    nets = []
    if gates:
        nets.append(("poster, prototype's gates", *poster_net(gates)))
    if run:
        nets.append((f"{Path(run).name}, trained here", *trained_net(run)))
    if not nets:
        raise click.UsageError("give --gates, --run or both")
    rows = []
    head = f"{'net':<26} cut   type    form        MACs/   speed-up  of MACs      bytes  partitions"
    click.echo(head)
    for name, model, stats in nets:
        for row in measure(name, model, stats, runs):
            rows.append(row)
            click.echo(
                f"{row['net']:<26} {row['cut']:.0%}  {row['type']:<7} {row['form']:<10}"
                f" {row['mac_ratio']:>6.2f} {row['speed_up']:>9.2f}"
                f" {row['speed_up'] / row['mac_ratio']:>9.2f} {row['bytes']:>10,}"
                f" {row['partitions']:>6}"
            )
            if "microseconds" in row:
                for kind, (count, time) in row["microseconds"].items():
                    click.echo(f"{'':<40}{kind:<18} {count:>4} {time:>8.1f} us")
    write_figures(out, runs=runs, measurements=rows)


if __name__ == "__main__":
    main()
