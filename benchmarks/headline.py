"""The README's first table: the dense net, the poster's figures, and ours, each with int8 on top.

    python benchmarks/headline.py DENSE RUN... -o results/cifar10/headline.json \\
        --models models/cifar10

All are run folders with exported files, as the frontier leaves them: DENSE is the dense net trained
on for as long as the others were fine-tuned, and points are lost against it. Accuracy and bytes are
those that the exports measured; latency is measured here, all in turns. The runs' files, plans and
histories take the place of those in the folder of models: quantized files first, float32 while
there is room.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from figures import write_figures

VARIANTS = ("float32", "int8", "qat-int8")
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


def keep(runs: list, found: list[list[dict[str, Any]]], folder: Path) -> None:
    """Copies the runs' files, plans and histories, named by their share of parameters, to a folder
    that held others of them."""
    from export.bundle import read_sidecar, sidecar_path, write_model
    from hwkeras.files import write_text

    for old in folder.glob("slim-*"):
        old.unlink()
    for run, rows in zip(runs, found, strict=True):
        name = f"slim-{100 * rows[0]['parameters_share']:.0f}"
        write_text(folder / f"{name}.plan.json", run.path("plan.json").read_text("utf-8"))
        write_text(folder / f"{name}.history.csv", run.path("history.csv").read_text("utf-8"))
    room = ROOM - sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".tflite")
    every = [row for rows in found for row in rows]
    for row in sorted(every, key=lambda row: row["variant"] == "float32"):
        if row["bytes"] + 2**12 > room:  # its sidecar takes some too
            continue
        row["file"] = f"slim-{100 * row['parameters_share']:.0f}-{row['variant']}.tflite"
        sidecar = read_sidecar(sidecar_path(row["path"]))
        write_model(folder / row["file"], row["path"].read_bytes(), sidecar)
        room -= row["bytes"] + 2**12


@click.command()
@click.argument("dense", type=click.Path(path_type=Path))
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--models", type=click.Path(path_type=Path), help="Where the runs' files go.")
@click.option("--times", default=200, show_default=True, help="Inferences to time of each file.")
def main(dense: Path, runs: tuple[Path, ...], out: Path, models: Path | None, times: int) -> None:
    """Gather the files of the runs and time them together."""
    from export import timing
    from export.runfolder import RunFolder

    first = RunFolder.open(dense)
    whole = first.record()["steps"]["finetune"]["outcome"]["parameters"]
    rows: list[dict[str, Any]] = [row | {"model": "dense"} for row in files(first, whole)]
    opened = [RunFolder.open(run) for run in runs]
    found = [files(run, whole) for run in opened]
    if models:
        keep(opened, found, models)
    rows += [row for each in found for row in each]
    costs = timing.bench([str(row.pop("path")) for row in rows], times)
    for row, cost in zip(rows, costs, strict=True):
        row["latency_ms"] = round(cost.latencies[0].median_ms, 4)
        row["lost"] = round(100 * (rows[0]["accuracy"] - row["accuracy"]), 2)
        click.echo(
            f"{row['model']:<6} {row['variant']:<8} {row['bytes']:>11,} B {row['accuracy']:.2%}"
            f" lost {row['lost']:.2f} {row['latency_ms']:.3f} ms"
        )
    write_figures(out, measurements=[*rows, POSTER])


if __name__ == "__main__":
    main()
