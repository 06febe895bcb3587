"""The README's first table: the dense net, the poster's figures, and ours, each quantized on top.

    python benchmarks/headline.py RUN... --dense DENSE -o results/cifar10/headline.json \\
        --models models/cifar10

All are run folders of the preset `poster` with exported files. DENSE is the dense net trained on,
for no less than any other was trained in all: points are lost against it. The files of each RUN,
its plan and its history join the folder of models, quantized files first, float32 while there is
room. Without --dense the rows that `-o` holds stay beside those of the RUNs, as far as their plans
are in that folder.

Accuracy and bytes are those that the exports measured. Latency is measured here, all in turns; a
row that has no file any more is timed by the same net with random weights: it has the same graph.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import click
from figures import write_figures

VARIANTS = ("float32", "dynamic", "int8", "qat-int8", "int4")
ROOM = 9 * 2**20  # bytes, of all copied models together
# Tomar's poster, CIFAR-10; its text gives sizes in "Mb" and no accuracy of the dense net.
POSTER = {
    "model": "poster, published",
    "variant": "float32",
    "parameters_share": 0.15,
    "lost": 1.72,
}


def files(run, dense_parameters: int) -> list[dict[str, Any]]:
    """Returns the rows of one run's slim model, without what is measured here."""
    from export.reporting import read_measurements

    found = {m.variant: m for m in read_measurements(run) if m.model == "slim"}
    outcome = run.record()["steps"]["finetune"]["outcome"]
    return [
        {
            "model": "ours", "variant": variant, "path": run.path(found[variant].file),
            "parameters": outcome["parameters"], "macs": outcome["macs"],
            "parameters_share": outcome["parameters"] / dense_parameters,
            "bytes": found[variant].size_bytes, "gzip_bytes": found[variant].gzip_bytes,
            "accuracy": found[variant].accuracy, "images": found[variant].images,
        }
        for variant in VARIANTS
        if variant in found
    ]  # fmt: skip


def name_of(row: dict[str, Any]) -> str:
    """Returns what the files of a row's net are named by: its share of the parameters."""
    return f"slim-{100 * row['parameters_share']:.0f}"


def plan_of(row: dict[str, Any], models: Path) -> Path:
    """Returns where the plan of a row's net lies."""
    return models / f"{name_of(row)}.plan.json"


def keep(run, rows: list[dict[str, Any]], folder: Path) -> None:
    """Copies a run's plan, its history and what there is room for of its files to a folder."""
    from export.bundle import read_sidecar, sidecar_path, write_model
    from hwkeras.files import write_text

    name = name_of(rows[0])
    for old in (*folder.glob(f"{name}-*"), *folder.glob(f"{name}.*")):
        old.unlink()
    write_text(plan_of(rows[0], folder), run.path("plan.json").read_text("utf-8"))
    write_text(folder / f"{name}.history.csv", run.path("history.csv").read_text("utf-8"))
    room = ROOM - sum(path.stat().st_size for path in folder.iterdir())
    for row in sorted(rows, key=lambda row: row["variant"] == "float32"):
        if row["bytes"] + 2**12 > room:  # its sidecar takes some too
            continue
        row["file"] = f"{name}-{row['variant']}.tflite"
        sidecar = read_sidecar(sidecar_path(row["path"]))
        write_model(folder / row["file"], row["path"].read_bytes(), sidecar)
        room -= row["bytes"] + 2**12


def of_random_weights(row: dict[str, Any], models: Path) -> bytes:
    """Returns a file of the net that a row is of, as it is before it has learnt anything."""
    import numpy as np

    from export.quantize import make_variant
    from export.tflite import convert
    from export.tfmot import TRAINED
    from hwkeras import PRESETS, apply_plan, highway_net
    from hwkeras.plan import PruningPlan
    from hwkeras.stats import model_cost, model_digest

    net = highway_net(PRESETS["poster"], (32, 32, 3), 10)
    if row["model"] != "dense":
        plan = PruningPlan.from_json(plan_of(row, models).read_text("utf-8"))
        net = apply_plan(net, dataclasses.replace(plan, model=model_digest(net)))
    if model_cost(net).parameters != row["parameters"]:
        raise click.ClickException(f"the plan of {name_of(row)} does not make the net of its row")
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), np.uint8)
    variant = "int8" if row["variant"] in TRAINED else row["variant"]
    return make_variant(convert(net, variant), variant, images)


def time_together(rows: list[dict[str, Any]], models: Path, times: int) -> None:
    """Adds each row's latency; the rows lose their paths."""
    from export import timing

    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for index, row in enumerate(rows):
            path = row.pop("path", models / row.get("file", "no file"))
            if not path.is_file():
                path = Path(folder) / f"{index}.tflite"
                path.write_bytes(of_random_weights(row, models))
            paths.append(str(path))
        costs = timing.bench(paths, times)
    for row, cost in zip(rows, costs, strict=True):
        row["latency_ms"] = round(cost.latencies[0].median_ms, 4)


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--models", type=click.Path(path_type=Path), required=True, help="Where files go.")
@click.option("--dense", type=click.Path(path_type=Path), help="The dense net's run.")
@click.option("--times", default=200, show_default=True, help="Inferences to time of each file.")
def main(runs: tuple[Path, ...], out: Path, models: Path, dense: Path | None, times: int) -> None:
    """Gather the files of the runs and time them together."""
    from export.runfolder import RunFolder

    if dense:
        first = RunFolder.open(dense)
        whole = first.record()["steps"]["finetune"]["outcome"]["parameters"]
        rows: list[dict[str, Any]] = [row | {"model": "dense"} for row in files(first, whole)]
    elif out.exists():
        rows = json.loads(out.read_text("utf-8"))["measurements"]
        rows = [row for row in rows if row["model"] == "dense" or plan_of(row, models).exists()]
        rows = [row for row in rows if "bytes" in row]  # the poster's has been measured elsewhere
        for row in rows:
            if not (models / row.get("file", "")).is_file():  # taken out to make room
                row.pop("file", None)
        whole = rows[0]["parameters"]
    else:
        raise click.UsageError(f"there is no {out} yet: name the dense net's run with --dense")
    for run in map(RunFolder.open, runs):
        found = files(run, whole)
        keep(run, found, models)
        rows = [row for row in rows if name_of(row) != name_of(found[0])] + found
    rows.sort(key=lambda row: -row["parameters"])
    time_together(rows, models, times)
    for row in rows:
        row["lost"] = round(100 * (rows[0]["accuracy"] - row["accuracy"]), 2)
        click.echo(
            f"{row['model']:<6} {row['variant']:<8} {row['bytes']:>11,} B {row['accuracy']:.2%}"
            f" lost {row['lost']:.2f} {row['latency_ms']:.3f} ms"
        )
    write_figures(out, measurements=[*rows, POSTER])


if __name__ == "__main__":
    main()
