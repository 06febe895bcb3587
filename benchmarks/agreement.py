"""How `hwkeras bench` agrees with the runtime's own `litert-benchmark`.

    python benchmarks/agreement.py FILE.tflite... -o results/agreement.json

The two take turns: litert-benchmark on each file alone, then `hwkeras bench` on all of them side by
side, as a user calls it. What counts is the ratio of the medians in each pair of turns.
Where other jobs share the cores, `chrt -f 1 python ...` keeps them from cutting inferences of
milliseconds in two.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from figures import write_figures

RIVAL = "ai_edge_litert.tools.benchmark_litert_model"  # what `litert-benchmark` runs


def theirs(path: Path, runs: int, threads: int) -> float:
    """Returns the median milliseconds that litert-benchmark finds; it rounds to hundredths."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        subprocess.run(
            [
                sys.executable, "-m", RIVAL, f"--model={path}", f"--num_runs={runs}",
                "--warmup_runs=20", f"--num_threads={threads}", f"--result_json={result}",
            ],
            check=True, capture_output=True,
        )  # fmt: skip
        return json.loads(result.read_text())["latency"]["median_ms"]


def agreement(paths: tuple[Path, ...], runs: int, threads: int, pairs: int) -> list[dict]:
    """Returns medians and their ratios for each file."""
    from export.timing import bench

    found = [[] for _ in paths]
    for _ in range(pairs):
        rivals = [theirs(path, runs, threads) for path in paths]
        for pair, rival, cost in zip(found, rivals, bench(paths, runs, (threads,)), strict=True):
            pair.append((cost.latencies[0].median_ms, rival))
    return [
        {
            "file": path.name,
            "threads": threads,
            "pairs_ms": [[round(ours, 4), rival] for ours, rival in pair],
            "ours_ms": round(statistics.median(ours for ours, _ in pair), 4),
            "litert_benchmark_ms": statistics.median(rival for _, rival in pair),
            "ratio": round(statistics.median(ours / rival for ours, rival in pair), 4),
        }
        for path, pair in zip(paths, found, strict=True)
    ]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--runs", default=200, show_default=True, help="Inferences behind each median.")
@click.option("--threads", default=1, show_default=True)
@click.option("--pairs", default=7, show_default=True, help="Turns of each side.")
def main(files: tuple[Path, ...], out: Path, runs: int, threads: int, pairs: int) -> None:
    """Compare `hwkeras bench` with litert-benchmark on FILES."""
    from export.tables import Table
    from export.text import render

    rows = agreement(files, runs, threads, pairs)
    what = f"medians of {runs} inferences in {pairs} turns of each side"
    write_figures(out, what=what, goal="ratio within 10% of 1", files=rows)
    cells = tuple(
        (
            row["file"], f"{row['ours_ms']:.3f}", f"{row['litert_benchmark_ms']:.2f}",
            f"{row['ratio']:.3f}",
        )
        for row in rows
    )  # fmt: skip
    columns = ("file", "hwkeras bench ms", "litert-benchmark ms", "ratio")
    click.echo(render(Table("Agreement", columns, "lrrr", cells)))


if __name__ == "__main__":
    main()
