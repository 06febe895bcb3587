"""Size against accuracy: nets cut by their gates, and what else one could do at the same size.

    python benchmarks/frontier.py RUN -o results/cifar10 --epochs 5 --learning-rate 0.1

RUN holds a trained net and its gates (`hwkeras train`, `hwkeras gates`). "dense" is that net, made
first: trained on with itself as its teacher. Every other row is the net in RUN, cut, recalibrated,
and fine-tuned for the same epochs with the same settings, with "dense" as its teacher, so that a
loss counts against a net trained as long. "default" is cut as `hwkeras prune` cuts unless told
otherwise; "gates" compares the scores of all blocks as they are and leaves the streams whole;
"narrow" is a net narrower throughout, trained from nothing for the epochs of training and
fine-tuning together; "taylor", "l1" and "random" choose the channels otherwise (`rivals.py`);
"rounds" is cut as "gates", but in two rounds that share the epochs of fine-tuning; "early" is cut
as "gates" from a net that was trained for half as long, which leaves the other half to fine-tuning.
A row's test accuracy is read once, when it is done.

A row that is done is written and not made again, so the command can be stopped and repeated; an
unfinished one goes on at its last epoch. Several may run at once, each with --only rows of its own.
Each cut net stays as a run of its own in RUN/frontier, to be exported or reported like any other.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import click
from figures import AS_THEY_ARE, write_figures

# Of the dense net's parameters, the most telling first.
SHARES = (0.15, 0.05, 0.02, 0.1, 0.04, 0.01, 0.3, 0.5)
MAC_SHARES = (0.2, 0.1, 0.05)
SEEDED = (0.15, 0.05, 0.02)  # the shares that are run with three seeds
METHODS = ("default", "gates", "narrow", "taylor", "l1", "random")
IN_ROUNDS = (0.05, 0.02)  # the shares that are also cut in rounds
ROUNDS, ROUND_EPOCHS = 2, 2
EARLY = (0.02, 0.05)  # the shares that are also cut from a net trained for half as long


@dataclasses.dataclass(frozen=True)
class Case:
    """One row: how channels are chosen, what is counted, how much of it stays, the seed."""

    method: str
    counts: str = "parameters"
    share: float = 1.0
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.method}-{self.counts}-{self.share:g}-{self.seed}"


# What runs and figures were made with that do not name an optimizer.
UNNAMED = {"optimizer": "sgd"}
DENSE = Case("dense")  # trained on, and then the teacher of all others


def cases() -> list[Case]:
    """Returns all rows, the most telling first: a stopped run shows a whole picture."""
    rows = [DENSE]
    rows += [Case(m, "parameters", share) for share in SHARES for m in METHODS[:2]]
    rows += [Case("rounds", "parameters", share) for share in IN_ROUNDS]
    rows += [Case("early", "parameters", share) for share in EARLY]
    rows += [Case(m, "macs", share) for share in MAC_SHARES for m in METHODS[:2]]
    for share in (*SEEDED, *(share for share in SHARES if share not in SEEDED)):
        rows += [Case(method, "parameters", share) for method in METHODS[2:]]
    rows += [Case(method, "macs", share) for share in MAC_SHARES for method in METHODS[2:]]
    for seed in (1, 2):
        rows += [Case(m, "parameters", share, seed) for share in SEEDED for m in METHODS]
    return rows


def measure(case: Case, run, dataset, config, show) -> dict[str, Any]:
    """Makes one net and returns its row."""
    import keras

    from export.facts import machine
    from hwkeras.evaluation import accuracy, predict_logits
    from hwkeras.stats import model_cost

    def right(split) -> float:
        return accuracy(predict_logits(model, split.images), split.labels)

    keras.backend.clear_session()
    row: dict[str, Any] = dataclasses.asdict(case)
    config = dataclasses.replace(config, seed=case.seed)
    make = trained_narrow if case.method == "narrow" else cut
    model, facts = make(case, run, dataset, config, show)
    return row | {
        **dataclasses.asdict(model_cost(model)),
        **facts,
        "validation": right(dataset.validation),
        "test": right(dataset.test),
        "test_images": len(dataset.test),
        "processor": machine()["processor"],  # rows may be made on several machines
    }


def cut(case: Case, run, dataset, config, show):
    """Returns a pruned and fine-tuned net, made in a run folder of its own, and facts of it."""
    import rivals

    from export.aims import Aim
    from hwkeras import load_model
    from hwkeras.files import write_text

    source = run
    if case.method == "early":
        source = trained_half(run, dataset, show)
        spared = trained_with(run)["epochs"] - trained_with(source)["epochs"]
        config = dataclasses.replace(config, epochs=config.epochs + spared)
    own = run_beside(source, run.path("frontier") / case.name)
    stats = source.stats()
    most = case.share * getattr(stats.cost(), case.counts)
    if case == DENSE:
        aim = Aim("keep", 1.0)
    elif case.method == "default":
        aim = Aim(case.counts, case.share, relative=True)
    elif case.method in ("gates", "early"):
        aim = Aim(case.counts, case.share, relative=True, **AS_THEY_ARE)
    elif case.method == "rounds":
        aim = Aim(
            case.counts, case.share, relative=True, rounds=ROUNDS, round_epochs=ROUND_EPOCHS,
            **AS_THEY_ARE,
        )  # fmt: skip
    else:
        dense = load_model(run.need("train"))
        if case.method == "random":
            plan = rivals.random_plan(stats, case.counts, most, case.seed)
        elif case.method == "l1":
            plan = rivals.l1_plan(dense, stats, case.counts, most)
        else:
            plan = rivals.taylor_plan(dense, stats, dataset.train, case.counts, most)
        write_text(own.path("chosen.json"), plan.to_json())
        aim = Aim("plan", str(own.path("chosen.json")))
    model, recalibrated = slimmed(own, run, dataset, aim, config, show)
    return model, {"recalibrated": recalibrated, "epochs": config.epochs}


def slimmed(own, run, dataset, aim, config, show):
    """Cuts a run for an aim, recalibrates and fine-tunes it for the epochs that rounds leave.

    The dense net of RUN that was trained on teaches, but not itself. Returns the slim net and the
    accuracy that it had when recalibrated.
    """
    from export import pipeline
    from hwkeras import load_model

    def named(stage, done, total):
        show(f"{own.root.name} {stage}", done, total)

    teacher = teacher_of(run)
    pipeline.prune(own, dataset, aim, config, resume=True, progress=named)
    left = config.epochs - (aim.rounds - 1) * aim.round_epochs
    pipeline.finetune_slim(
        own, dataset, dataclasses.replace(config, epochs=left),
        teacher=None if teacher.parent == own.root else teacher,
        answers=run.path("frontier") / "answers", resume=True, progress=named,
    )  # fmt: skip
    steps = own.record()["steps"]["prune"]["outcome"]["steps"]
    return load_model(own.path("slim.keras")), steps[-1]["accuracy"]


def run_beside(source, folder: Path):
    """Returns a run of the same trained net and gates as another's, to be cut in its own way."""
    from export.runfolder import RunFolder

    own = RunFolder(folder)
    if not own.has("gates"):
        own.root.mkdir(parents=True, exist_ok=True)
        for name in ("dense.keras", "history.csv", "gates.json"):
            own.path(name).unlink(missing_ok=True)
            os.link(source.path(name), own.path(name))
        record = source.record()
        steps = {name: record["steps"][name] for name in ("train", "gates")}
        own.note(data=record["data"], steps=steps)
    return own


def trained_half(run, dataset, show):
    """Returns a run as another in RUN/frontier, trained for half as many epochs, with its gates."""
    from export import pipeline
    from export.runfolder import RunFolder
    from hwkeras.regularizers import GatePenalty
    from hwkeras.training import TrainConfig

    settings = trained_with(run)
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    settings["penalty"] = settings["penalty"] and GatePenalty(**settings["penalty"])
    settings["epochs"] //= 2
    config = TrainConfig(**{name: settings[name] for name in names})
    half = RunFolder(run.path("frontier") / "half")
    options = {"resume": True, "progress": show}
    pipeline.train(half, run.data(), dataset, settings["preset"], config, **options)
    pipeline.gates(half, dataset, **options)
    return half


def trained_narrow(case: Case, run, dataset, config, show):
    """Returns a net that is narrow throughout, trained for all epochs together, and facts of it."""
    import keras
    import rivals

    from hwkeras import PRESETS, fit
    from hwkeras.saving import save_model

    training = trained_with(run)
    most = case.share * getattr(run.stats().cost(), case.counts)
    keras.utils.set_random_seed(case.seed)
    build = rivals.for_images(dataset)
    model = rivals.narrow_net(PRESETS[training["preset"]], case.counts, most, build)
    names = ("learning_rate", "batch_size", "precision", "warmup", "optimizer")
    epochs = training["epochs"] + config.epochs
    scratch = {"epochs": epochs, "distill": 0.0} | {name: training[name] for name in names}
    folder = run.path("frontier") / case.name
    fit(
        model, dataset, dataclasses.replace(config, **scratch), resume=True,
        checkpoint=folder / "checkpoint",
        on_batch=lambda done, total: show(case.name, done, total),
    )  # fmt: skip
    save_model(model, folder / "slim.keras")
    return model, {"epochs": epochs}


def teacher_of(run) -> Path:
    """Returns where the dense net that was trained on lies."""
    return run.path("frontier") / DENSE.name / "slim.keras"


def trained_with(run) -> dict[str, Any]:
    """Returns the settings of a run's training."""
    return UNNAMED | run.record()["steps"]["train"]["settings"]


def picture(rows: list[dict], counts: str) -> str:
    """Returns rows and published nets as an SVG: cost on a log axis against test accuracy."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from export.drawing import MARKERS, PALE, SERIES, canvas, label_points, style, svg

    published = json.loads((Path(__file__).parent / "published.json").read_text("utf-8"))
    unit = {"parameters": "parameters, millions", "macs": "multiply-accumulates, millions"}
    with style():
        figure, (axes,) = canvas(4.6)
        marks = [p for p in published if counts in p]
        axes.plot(
            [p[counts] / 1e6 for p in marks], [100 * p["accuracy"] for p in marks], "x",
            color=PALE, label="published",
        )  # fmt: skip
        # gates' nets share a color
        marked = {"default": (SERIES[0], "*", 8)}
        marked |= {m: (SERIES[i], MARKERS[i], 4) for i, m in enumerate((*METHODS[1:], "dense"))}
        marked |= {"rounds": (SERIES[0], "h", 5), "early": (SERIES[0], "X", 5)}
        for method, (color, marker, size) in marked.items():
            found = [r for r in rows if r["method"] == method]
            found = sorted(found, key=lambda row: row[counts])
            if not found:
                continue
            # a line joins what was aimed at the same cost
            first = [r for r in found if (r["seed"], r["counts"]) == (0, counts)]
            axes.plot(
                [r[counts] / 1e6 for r in found], [100 * r["test"] for r in found],
                marker, color=color, markersize=size, label=method,
            )  # fmt: skip
            axes.plot(
                [r[counts] / 1e6 for r in first], [100 * r["test"] for r in first], color=color,
                linewidth=1,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        lowest = min(100 * r["test"] for r in rows)
        axes.set_ylim(lowest - 1, 97)
        axes.set_xlabel(f"{unit[counts]} (log scale)")
        axes.set_ylabel("accuracy on the test split, %")
        axes.legend(loc="lower right", fontsize=8)
        names = [(p[counts] / 1e6, 100 * p["accuracy"], p["name"].split(",")[0]) for p in marks]
        label_points(figure, axes, [(*name, SERIES[-1]) for name in names])
        return svg(figure, f"{unit[counts]} against accuracy")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--epochs", default=5, show_default=True, help="Of fine-tuning.")
@click.option("--batch-size", default=256, show_default=True)
@click.option("--learning-rate", default=0.1, show_default=True)
@click.option("--precision", default="mixed_bfloat16", show_default=True)
@click.option("--optimizer", default="sgd", show_default=True)
@click.option("--rows", default=0, help="Stop after so many new rows; 0 makes all.")
@click.option("--only", multiple=True, help="Make only rows whose name begins so.")
def main(run: Path, out: Path, rows: int, only: tuple[str, ...], **settings) -> None:
    """Make the rows that are missing, and the picture of all."""
    from export.display import progress_display
    from export.runfolder import RunFolder
    from hwkeras.files import read_json, write_text
    from hwkeras.training import FINETUNE

    folder = RunFolder.open(run)
    path = out / "frontier.json"
    content: dict[str, Any] = {"measurements": []}
    if path.exists():
        content = read_json(path, "a frontier")
    if content["measurements"] and UNNAMED | content["settings"] != settings:
        raise click.UsageError(
            f"{path} was made with {content['settings']}; take a copy of the run, and another -o"
        )
    names = ("preset", "epochs", "seed", "precision", "optimizer")
    trained = {name: trained_with(folder)[name] for name in names}
    if content["measurements"] and UNNAMED | content["training"] != trained:
        raise click.UsageError(f"{path} is of a net trained with {content['training']}")
    made_so_far = content["measurements"]
    done = {row_case(row) for row in made_so_far}
    wanted = [c for c in cases() if c not in done and (not only or c.name.startswith(only))]
    if DENSE not in done and DENSE not in wanted:
        raise click.UsageError(f"{DENSE.name} teaches the others; make it first")
    if wanted and DENSE in done and not teacher_of(folder).exists():
        raise click.UsageError(
            f"{path} has rows of a run that is not {run}: {teacher_of(folder)} taught them;"
            " name another folder with -o"
        )
    dataset = folder.data().load()
    config = dataclasses.replace(FINETUNE, **settings)
    for case in wanted[: rows or None]:
        with progress_display() as show:
            row = measure(case, folder, dataset, config, show)
        if path.exists():  # another process may have added rows meanwhile
            made_so_far = read_json(path, "a frontier")["measurements"]
        made_so_far = [*made_so_far, row]
        write_figures(path, settings=settings, training=trained, measurements=made_so_far)
        for counts in ("parameters", "macs"):
            made = picture(made_so_far, counts)
            write_text(out / f"frontier-{counts}.svg", made)
        click.echo(f"{case.name}: {row['parameters']:,} parameters, test {row['test']:.2%}")


def row_case(row: dict) -> Case:
    return Case(*(row[field.name] for field in dataclasses.fields(Case)))


if __name__ == "__main__":
    main()
