"""Measuring a latency table: what each shape of block costs on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from export import facts
from export.pipeline import Progress, quiet
from export.quantize import make_variant
from export.runfolder import RunError, RunFolder
from export.tflite import ExportError, convert
from export.timing import bench
from hwkeras.cost import BlockShape
from hwkeras.files import write_text
from hwkeras.graph import require_blocks
from hwkeras.latency import BlockLatency, LatencyTable
from hwkeras.layers import HighwayBlock
from hwkeras.plan import BlockPlan, PruningPlan
from hwkeras.rebuild import apply_plan
from hwkeras.saving import load_model
from hwkeras.stats import model_digest

VARIANTS = ("float32", "int8")

# Kernels work on tiles of channels, so time rises right behind a multiple of the tile's width.
_KEPT = (0, 1, 4, 8, 9, 16, 17, 24, 32, 33, 48, 64, 65, 96, 128, 129, 192, 256, 384, 512, 768)
_CALIBRATION = 8  # images; only the time of the result counts


def write_latencies(
    target: Path,
    out: Path,
    variant: str = "float32",
    threads: int = 1,
    runs: int = 100,
    *,
    force: bool = False,
    progress: Progress = quiet,
) -> LatencyTable:
    """Writes the latency table of a run's dense model, or of a `.keras` file, and returns it.

    Raises:
        RunError: if there is no such run, or the table exists and `force` is not set.
        FileError: if there is no such model.
    """
    if out.exists() and not force:
        raise RunError(f"{out} exists; --force replaces it")
    source = target if target.is_file() else RunFolder.open(target).need("train")
    table = measure_latencies(load_model(source), variant, threads, runs, progress)
    write_text(out, table.to_json())
    return table


def measure_latencies(
    model: keras.Model,
    variant: str = "float32",
    threads: int = 1,
    runs: int = 100,
    progress: Progress = quiet,
) -> LatencyTable:
    """Returns what the blocks of a model cost here, alone, for several numbers of channels.

    Args:
        model: dense, with highway blocks; untouched.
        variant: type to measure in, one of `VARIANTS`.
        threads: of the runtime.
        runs: inferences of each graph that count.
        progress: called with ("latency", graphs measured, graphs in all).

    Raises:
        ExportError: if the model cannot be converted, or there is no such variant.
        GraphError: if the model has no highway block.
    """
    if variant not in VARIANTS:
        raise ExportError(f"no variant {variant!r} to measure; there are {', '.join(VARIANTS)}")
    shapes: dict[BlockShape, HighwayBlock] = {}
    for block in require_blocks(model).values():
        shapes.setdefault(block.block_shape(), block)
    counts = {
        shape: sorted({*(k for k in _KEPT if k < shape.channels), shape.channels})
        for shape in shapes
    }
    done, total = 0, sum(map(len, counts.values())) + 2

    def measured(graphs: Sequence[keras.Model]) -> list[float]:
        nonlocal done
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for graph in graphs:
                paths.append(Path(folder, f"{len(paths)}.tflite"))
                paths[-1].write_bytes(_file(graph, variant))
                done += 1
                progress("latency", done, total)
            costs = bench(paths, runs=runs, threads=(threads,))
        return [cost.latencies[0].median_ms for cost in costs]

    blocks = []
    for shape, block in shapes.items():
        empty, *times = measured([_alone(block, count) for count in counts[shape]])
        over = (0.0, *(round(max(time - empty, 0.0), 6) for time in times))
        blocks.append(BlockLatency(shape, tuple(counts[shape]), over))
    rest, dense = measured([_emptied(model), model])
    device = ", ".join(f"{key} {value}" for key, value in facts.machine().items())
    return LatencyTable(device, variant, threads, round(rest, 6), round(dense, 6), tuple(blocks))


def _file(graph: keras.Model, variant: str) -> bytes:
    """Returns a graph as integers or floats throughout, so that nothing is timed but its work."""
    content = convert(graph, variant)
    if variant == "float32":
        return content
    rng = np.random.default_rng(0)
    images = {
        tensor.name: rng.uniform(0, 255, (_CALIBRATION, *tensor.shape[1:])).astype(np.float32)
        for tensor in graph.inputs
    }
    return make_variant(content, variant, images, io="int8")


def _alone(block: HighwayBlock, count: int) -> keras.Model:
    """Returns a graph of one operation and a block that transforms so many channels in a row."""
    first = (block.channels - count) // 2
    config = {**block.get_config(), "active": list(range(first, first + count))}
    copy = type(block).from_config({**config, "dtype": "float32"})
    inputs = keras.Input(block.input.shape[1:], name="stream")
    outputs = copy(inputs * 0.5)
    rng = np.random.default_rng(0)
    if copy.norm is not None:  # of a trained net, or the converter would leave parts of it out
        copy.norm.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in copy.norm.weights])
    return keras.Model(inputs, outputs)


def _emptied(model: keras.Model) -> keras.Model:
    """Returns a model whose blocks transform nothing."""
    blocks = tuple(
        BlockPlan(name, block.channels, len(block.active), ())
        for name, block in require_blocks(model).items()
        if block.active
    )
    plan = PruningPlan(
        model_digest(model), "nothing stays", "hand", "none", "channel", None, blocks
    )
    return apply_plan(model, plan)
