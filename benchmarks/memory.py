"""Where the memory of an inference goes, dense and slim, and what brings it down.

    python benchmarks/memory.py -o results/memory.json

The poster's net with random weights, whole and cut to shares of its parameters, in several types.
Each is loaded in fresh processes in four ways: mapped, as a phone does it; read into memory;
without the XNNPACK delegate; and with the delegate's weight cache, which an earlier process wrote.
Where other jobs share the cores, `chrt -f 1 python ...` keeps them from disturbing the times.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import click
from figures import AS_THEY_ARE, write_figures

SHARES = (0.15, 0.05)  # of the parameters, in the slim nets
VARIANTS = ("float32", "float16", "int8")
PROCESSES = 5  # for each way of loading
TIMED = 20  # inferences in each
WAYS = ("mapped", "read", "no delegate", "cached")
MIB, PAGE = 2**20, 4096


def models(folder: Path) -> list[Path]:
    """Returns .tflite files of the dense and slim nets, and of a net of one operator."""
    import keras
    import numpy as np

    from export.quantize import make_variant
    from export.tflite import convert
    from hwkeras import PRESETS, apply_plan, collect_stats, highway_net, make_plan

    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    dense = highway_net(PRESETS["poster"], (32, 32, 3), 10)
    stats = collect_stats(dense, images)
    nets = {"dense": dense}
    for share in SHARES:
        plan = make_plan(stats, parameters=share * stats.cost().parameters, **AS_THEY_ARE)
        nets[f"slim {share:.0%}"] = apply_plan(dense, plan)
    paths = []
    for name, net in nets.items():
        content = convert(net)
        for variant in VARIANTS:
            paths.append(folder / f"{name} {variant}.tflite")
            write(paths[-1], make_variant(content, variant, images))
    inputs = keras.Input((1,), name="input")
    paths.append(folder / "one operator.tflite")
    write(paths[-1], convert(keras.Model(inputs, keras.layers.Dense(1)(inputs))))
    return paths


def write(path: Path, content: bytes) -> None:
    """Writes a file in pieces of a page, so that it is cached, and mapped, in such pieces.

    A file that was written at once may be mapped in pieces of 2 MiB, all of which then count as
    resident although nobody reads them; few phones do that.
    """
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(content), PAGE):
            file.write(content[start : start + PAGE])


def cost(path: Path, way: str) -> dict[str, float]:
    """Returns medians, over fresh processes, of what a way of loading costs."""
    from export.timing import start
    from export.worker import Loading

    found = []
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder) / "weights") if way == "cached" else ""
        how = Loading(
            str(path), mapped=way != "read", delegate=way != "no delegate", weight_cache=cache
        )
        if cache:
            with start(how) as child:
                child.answer()
        for _ in range(PROCESSES):
            with start(how) as child:
                answer = child.answer()
                answer["latency_ms"] = 1e3 * statistics.median(child.ask(2 * TIMED)[TIMED:])
                found.append(answer)
    return {name: statistics.median(answer[name] for answer in found) for name in found[0]}


def parts(ways: dict[str, dict], runtime: dict[str, dict]) -> dict[str, float]:
    """Returns where the bytes of the mapped way go, told apart by what the other ways save."""
    mapped, read, cached = (ways[way] for way in ("mapped", "read", "cached"))
    own = mapped["private_bytes"]
    return {
        "file": mapped["file_bytes"] - read["file_bytes"],
        "packed": own - cached["private_bytes"],
        "runtime": runtime["mapped"]["peak_bytes"],
        "activations": cached["private_bytes"] - runtime["mapped"]["private_bytes"],
    }


@click.command()
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
def main(out: Path) -> None:
    """Measure the memory of dense and slim nets, and what changes it."""
    from export.silence import silenced
    from export.tables import Table
    from export.text import render

    with tempfile.TemporaryDirectory() as folder:
        with silenced():
            paths = models(Path(folder))
        sizes = {path.stem: path.stat().st_size for path in paths}
        found = {path.stem: {way: cost(path, way) for way in WAYS} for path in paths}
    runtime = found[paths[-1].stem]
    rows = [
        {
            "model": name,
            "size_bytes": sizes[name],
            "ways": ways,
            "parts_bytes": parts(ways, runtime),
        }
        for name, ways in found.items()
    ]
    what = f"medians over {PROCESSES} processes, one thread; memory over an empty process"
    write_figures(out, what=what, models=rows)

    def mib(value: float) -> str:
        return f"{value / MIB:.1f}"

    cells = tuple(
        (
            row["model"], way, mib(row["size_bytes"]), mib(cost["peak_bytes"]),
            mib(cost["private_bytes"]), mib(cost["file_bytes"]), f"{cost['load_ms']:.1f}",
            f"{cost['first_ms']:.2f}", f"{cost['latency_ms']:.2f}",
        )
        for row in rows
        for way, cost in row["ways"].items()
    )  # fmt: skip
    columns = (
        "model", "loaded", "file MiB", "peak MiB", "own", "pages of files", "load ms", "first ms",
        "ms",
    )  # fmt: skip
    click.echo(render(Table("Memory", columns, "llrrrrrrr", cells)))
    cells = tuple(
        (row["model"], *(mib(row["parts_bytes"][part]) for part in row["parts_bytes"]))
        for row in rows[:-1]
    )
    columns = ("MiB, mapped", "file", "packed copy", "runtime itself", "activations, graph")
    click.echo("\n" + render(Table("Parts", columns, "lrrrr", cells)))


if __name__ == "__main__":
    main()
