"""The README's first table: the dense net, the poster's figures, and ours, each with int8 on top.

    python benchmarks/headline.py DENSE RUN... -o results/cifar10/headline.json

All are run folders with exported float32 and int8 files, as the frontier leaves them: DENSE is the
dense net trained on for as long as the others were fine-tuned, and points are lost against it.
Accuracy and bytes are those that the exports measured; latency is measured here, all in turns.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

VARIANTS = ("float32", "int8")
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
    parameters = run.record()["steps"]["finetune"]["outcome"]["parameters"]
    return [
        {
            "model": "ours", "variant": variant, "file": str(run.path(file.file)),
            "parameters": parameters, "parameters_share": parameters / dense_parameters,
            "bytes": file.size_bytes, "gzip_bytes": file.gzip_bytes, "accuracy": file.accuracy,
            "images": file.images,
        }
        for variant, file in ((variant, found[variant]) for variant in VARIANTS)
    ]  # fmt: skip


@click.command()
@click.argument("dense", type=click.Path(path_type=Path))
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--times", default=200, show_default=True, help="Inferences to time of each file.")
def main(dense: Path, runs: tuple[Path, ...], out: Path, times: int) -> None:
    """Gather the files of the runs and time them together."""
    from export import timing
    from export.facts import machine, versions
    from export.runfolder import RunFolder
    from hwkeras.files import write_text

    first = RunFolder.open(dense)
    whole = first.record()["steps"]["finetune"]["outcome"]["parameters"]
    rows: list[dict[str, Any]] = [row | {"model": "dense"} for row in files(first, whole)]
    for run in runs:
        rows += files(RunFolder.open(run), whole)
    costs = timing.bench([row.pop("file") for row in rows], times)
    for row, cost in zip(rows, costs, strict=True):
        row["latency_ms"] = round(cost.latencies[0].median_ms, 4)
        row["lost"] = round(100 * (rows[0]["accuracy"] - row["accuracy"]), 2)
        click.echo(
            f"{row['model']:<6} {row['variant']:<8} {row['bytes']:>11,} B {row['accuracy']:.2%}"
            f" lost {row['lost']:.2f} {row['latency_ms']:.3f} ms"
        )
    result = {"machine": machine(), "versions": versions(), "measurements": [*rows, POSTER]}
    write_text(out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
