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

AIMS = (
    *(("parameters", share) for share in (0.02, 0.05, 0.1, 0.15, 0.04)),
    *(("macs", share) for share in (0.05, 0.1, 0.2)),
)
WAYS = (  # minimum, cut_carried, normalizer
    (0, 0.0, "none"), (0, 1.0, "none"), (0, 1.0, "lamp"), (0, 0.0, "lamp"), (4, 1.0, "lamp"),
    (4, 1.0, "none"), (8, 1.0, "none"), (12, 1.0, "none"), (16, 1.0, "none"),
    (2, 0.0, "none"), (4, 0.0, "none"),
)  # fmt: skip
# What rows do not name that were made before there was a choice.
UNNAMED = {"normalizer": "none"}


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
        "normalizer": aim.normalizer,
        "kept": [len(block.kept) for block in own.plan().blocks],
        **dataclasses.asdict(model_cost(model)),
        "recalibrated": recalibrated,
        "validation": accuracy(predict_logits(model, split.images), split.labels),
    }


def name_of(aim) -> str:
    name = f"{aim.kind}-{aim.value:g}-{aim.minimum}-{aim.cut_carried:g}"
    return name if aim.normalizer == "none" else f"{name}-{aim.normalizer}"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--epochs", default=6, show_default=True, help="Of fine-tuning.")
@click.option("--batch-size", default=256, show_default=True)
@click.option("--learning-rate", default=0.1, show_default=True)
@click.option("--precision", default="float32", show_default=True)
@click.option("--only", multiple=True, help="Make only settings of such names.")
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
        for minimum, cut_carried, normalizer in WAYS:
            way = {"minimum": minimum, "cut_carried": cut_carried, "normalizer": normalizer}
            wanted = Aim(counts, share, relative=True, **way)
            if only and name_of(wanted) not in only:
                continue
            rows = read_json(out, "deep cuts")["measurements"] if out.exists() else []
            way |= {"counts": counts, "share": share}
            if any(way.items() <= (UNNAMED | row).items() for row in rows):
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
