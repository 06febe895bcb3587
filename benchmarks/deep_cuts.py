"""What keeps a deep cut from taking whole blocks: a floor for every block, a narrower stream.

    python benchmarks/deep_cuts.py RUN -o results/cifar10-small/deep_cuts.json

One ranking over all blocks, aimed at 2% of the parameters or 5% of the multiply-accumulates, leaves
some blocks whole and most of them empty (Tanaka 2020, https://arxiv.org/abs/2006.05467, calls it
layer collapse). RUN is a copy of `models/cifar10-small`, whose dense net trained on teaches. Each
setting is cut, recalibrated and fine-tuned as a row of `frontier.py`, and compared on the
validation split; the test split is not read. A setting that is done is not made again.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
from figures import write_figures
from frontier import run_beside, slimmed

AIMS = (("parameters", 0.02), ("macs", 0.05), ("parameters", 0.05))
WAYS = ((0, 0.0), (0, 1.0), (4, 1.0), (8, 1.0), (2, 0.0), (4, 0.0))  # minimum, cut_carried


def measure(run, dataset, config, aim, show) -> dict[str, Any]:
    """Returns what one way to cut comes to."""
    import keras

    from hwkeras.evaluation import accuracy, predict_logits
    from hwkeras.stats import model_cost

    keras.backend.clear_session()
    own, split = run_beside(run, run.path("deep_cuts") / name_of(aim)), dataset.validation
    model, recalibrated = slimmed(own, run, dataset, aim, config, show)
    return {
        "counts": aim.kind,
        "share": aim.value,
        "minimum": aim.minimum,
        "cut_carried": aim.cut_carried,
        "kept": [len(block.kept) for block in own.plan().blocks],
        **dataclasses.asdict(model_cost(model)),
        "recalibrated": recalibrated,
        "validation": accuracy(predict_logits(model, split.images), split.labels),
    }


def name_of(aim) -> str:
    return f"{aim.kind}-{aim.value:g}-{aim.minimum}-{aim.cut_carried:g}"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--epochs", default=6, show_default=True, help="Of fine-tuning.")
@click.option("--batch-size", default=256, show_default=True)
@click.option("--learning-rate", default=0.1, show_default=True)
@click.option("--precision", default="float32", show_default=True)
@click.option("--only", multiple=True, help="Make only settings whose name begins so.")
def main(run: Path, out: Path, only: tuple[str, ...], **settings) -> None:
    """Make the settings that are missing."""
    from export.aims import Aim
    from export.display import progress_display
    from export.runfolder import RunFolder
    from hwkeras.files import read_json
    from hwkeras.plan import PlanError
    from hwkeras.training import FINETUNE

    folder = RunFolder.open(run)
    dataset = folder.data().load()
    config = dataclasses.replace(FINETUNE, **settings)
    for counts, share in AIMS:
        for minimum, cut_carried in WAYS:
            wanted = Aim(counts, share, relative=True, minimum=minimum, cut_carried=cut_carried)
            if only and not name_of(wanted).startswith(only):
                continue
            rows = read_json(out, "deep cuts")["measurements"] if out.exists() else []
            way = {"counts": counts, "share": share, "minimum": minimum, "cut_carried": cut_carried}
            if any(way.items() <= row.items() for row in rows):
                continue
            try:
                with progress_display() as show:
                    row = measure(folder, dataset, config, wanted, show)
            except PlanError as error:  # so many channels in every block are more than allowed
                click.echo(f"{name_of(wanted)}: {error}")
                continue
            rows = read_json(out, "deep cuts")["measurements"] if out.exists() else []
            write_figures(out, settings=settings, measurements=[*rows, row])
            click.echo(f"{name_of(wanted)}: kept {row['kept']}, validation {row['validation']:.2%}")


if __name__ == "__main__":
    main()
