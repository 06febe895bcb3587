"""What an optimizer learns in a short training, at several peaks of the learning rate.

    python benchmarks/optimizers.py DATA -o results/cifar10/optimizers.json
    python benchmarks/optimizers.py DATA --run RUN -o results/cifar10/optimizers-cut.json

Each row trains the same net on the same batches and is watched on the validation split: a fresh
net, or the net of a RUN (`hwkeras train`, `hwkeras gates`) cut to a share of its parameters and
recalibrated, with the uncut one as its teacher. Seconds are of the last epoch and its validation.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
from figures import AS_THEY_ARE, write_figures

FRESH = (("muon", 0.15), ("sgd", 0.15), ("muon", 0.05), ("sgd", 0.45))
CUT = (("muon", 0.05), ("sgd", 0.05), ("muon", 0.1), ("sgd", 0.1))


@click.command()
@click.argument("data")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--run", type=click.Path(path_type=Path), help="Fine-tune a cut of its net.")
@click.option("--share", default=0.05, show_default=True, help="Of its parameters that stay.")
@click.option("--preset", default="small", show_default=True, help="Which net without a run.")
@click.option("--steps", default=60, show_default=True, help="In an epoch.")
@click.option("--epochs", default=2, show_default=True)
@click.option("--batch-size", default=256, show_default=True)
@click.option("--precision", default="float32", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(data, out, run, share, preset, steps, **settings) -> None:
    """Train one net a row and write what became of it."""
    from short import fresh_net, short_training

    from export.runfolder import RunFolder
    from hwkeras import FINETUNE, TrainConfig, apply_plan, load_dataset, load_model, make_plan
    from hwkeras.batchnorm import recalibrate

    dataset = load_dataset(data)
    teacher = plan = None
    if run:
        folder = RunFolder.open(run)
        teacher, stats = load_model(folder.need("train")), folder.stats()
        plan = make_plan(stats, parameters=share * stats.cost().parameters, **AS_THEY_ARE)
    facts = {"share_of_run": share} if run else {"preset": preset}
    facts |= {"steps": steps, "validation_images": len(dataset.validation)}
    made = []
    for optimizer, rate in CUT if run else FRESH:
        config = dataclasses.replace(
            FINETUNE if run else TrainConfig(), optimizer=optimizer, learning_rate=rate, **settings
        )
        if teacher is None or plan is None:
            model = fresh_net(dataset, preset, settings["seed"])
        else:
            model = apply_plan(teacher, plan)
            recalibrate(model, dataset.train.images[:10_000])
        last = short_training(model, dataset, steps, config, teacher)
        made.append(
            {
                "optimizer": optimizer, "learning_rate": rate, "loss": last["loss"],
                "accuracy": last["accuracy"], "validation": last["val_accuracy"],
                "seconds_of_last_epoch": last["seconds"],
            }
        )  # fmt: skip
        click.echo(
            f"{optimizer} {rate}: loss {last['loss']:.3f}, validation {last['val_accuracy']:.1%},"
            f" {last['seconds']:.0f} s"
        )
        write_figures(out, settings=settings | facts, measurements=made)


if __name__ == "__main__":
    main()
