"""The `hwkeras` command: parses, calls, prints. Everything heavy is imported inside a command."""

from __future__ import annotations

import dataclasses
import json as jsonlib
import math
import os
import re
from pathlib import Path

import click

PRESETS = ("poster", "small", "tiny")
VARIANTS = ("float32", "float16", "dynamic", "int8", "int16x8", "int4")
TRAINED = ("qat-int8", "clustered", "clustered-qat", "sparse24")
AIMS = (
    "threshold", "keep", "size", "parameters", "macs", "latency_ratio", "max_drop", "plan",
)  # fmt: skip
SEED = click.IntRange(0, 2**32 - 1)  # what every generator takes
UNITS = {"": 1, "b": 1, "k": 1e3, "m": 1e6, "g": 1e9, "kb": 1e3, "mb": 1e6, "gb": 1e9,
         "kib": 2**10, "mib": 2**20, "gib": 2**30}  # fmt: skip


class Commands(click.Group):
    """Turns what the library raises into one clear line and exit code 1."""

    def invoke(self, ctx):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if os.environ.get("HWKERAS_DEBUG"):
                raise
            ours = type(error).__module__.split(".")[0] in ("hwkeras", "export")
            text = " ".join(str(error).split()) or type(error).__name__
            if not ours and not isinstance(error, OSError):
                text = f"unexpected {type(error).__name__}: {text[:300]}"
                text += " (HWKERAS_DEBUG=1 shows the traceback)"
            raise click.ClickException(text) from error


class Quantity(click.ParamType):
    """A number with an optional unit, or a share in percent: `(value, relative)`."""

    name = "size"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-zA-Z%]*)\s*", value)
        unit = found and found[2].lower()
        try:
            number = float(found[1]) if found else -1.0
        except ValueError:
            number = -1.0
        if number < 0 or not (unit == "%" or unit in UNITS):
            self.fail(f"{value!r} is no size: expected 5.2MB, 5MiB, 1.36M or 15%", param, ctx)
        return (number / 100, True) if unit == "%" else (number * UNITS[unit], False)


class Number(click.FloatRange):
    """A number in a range, and none that is no number."""

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number

    def _describe_range(self):
        return super()._describe_range() if (self.min, self.max) != (None, None) else ""


class Threads(click.ParamType):
    """Numbers of threads, `1,4,all`, as a tuple; `all` is None."""

    name = "counts"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        if not re.fullmatch(r"(all|[1-9][0-9]*)(,(all|[1-9][0-9]*))*", value):
            self.fail(f"{value!r}: expected numbers of threads or `all`, as in 1,all", param, ctx)
        return tuple(None if count == "all" else int(count) for count in value.split(","))


def options(*decorators):
    """Returns a decorator that adds several options, in the order given."""

    def decorate(command):
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


as_json = click.option("--json", "json_", is_flag=True, help="Print the result as JSON.")
force = click.option("--force", is_flag=True, help="Replace an output that exists.")
resume = click.option("--resume", is_flag=True, help="Go on where an earlier call stopped.")
target = click.argument("target", metavar="RUN|MODEL")
data_optional = click.argument("data", required=False)
out = click.option("-o", "--out", metavar="RUN", type=click.Path(path_type=Path),
                   help="Run folder to make; needed with a MODEL.")  # fmt: skip
data_options = options(
    click.option("--validation", type=Number(0, 1, min_open=True, max_open=True),
                 default=0.1, show_default=True,
                 help="Share of the training images that choices are made on."),
    click.option("--split-seed", type=SEED, default=0, show_default=True,
                 help="Seed of that split."),
    click.option("--image-size", type=click.IntRange(1),
                 help="Resize a folder's images to this side."),
    click.option("--max-bad", type=click.IntRange(0), default=0, show_default=True,
                 help="Unreadable images to skip before giving up."),
)  # fmt: skip
train_options = options(
    click.option("--preset", type=click.Choice(PRESETS), default="small", show_default=True),
    click.option("--epochs", type=click.IntRange(1), default=30, show_default=True),
    click.option("--learning-rate", type=Number(0, min_open=True), default=0.1,
                 show_default=True, help="Peak of the schedule; raise it with the batch."),
    click.option("--penalty", type=Number(0), default=1.0, show_default=True,
                 help="Strength of the gate penalty; 0 for none."),
    click.option("--penalty-cost", type=click.Choice(["parameters", "macs", "latency"]),
                 default="parameters", show_default=True, help="What the penalty counts."),
    click.option("--penalty-table", type=click.Path(),
                 help="Made by `hwkeras latency`; for --penalty-cost latency."),
)  # fmt: skip
fit_options = options(
    click.option("--augment/--no-augment", default=None,
                 help="Flips and crops; by default as the run was trained, which is where the data"
                 " allows it."),
    click.option("--batch-size", type=click.IntRange(1), default=128, show_default=True),
    click.option("--precision", default="float32", show_default=True,
                 type=click.Choice(["float32", "mixed_bfloat16", "mixed_float16"])),
    click.option("--optimizer", default="sgd", show_default=True,
                 type=click.Choice(["sgd", "muon"]), help="Muon: for an epoch or two."),
    click.option("--seed", type=SEED, default=0, show_default=True,
                 help="Of weights and shuffling."),
)  # fmt: skip
aim_options = options(
    click.option("--threshold", type=Number(), help="Cut channels whose score is lower."),
    click.option("--keep", type=Number(0, 1), help="Share of channels to keep."),
    click.option("--size", type=Quantity(), help="Size of the float32 weights: 5.2MB, 15%."),
    click.option("--parameters", type=Quantity(), help="Number of parameters: 1.36M, 15%."),
    click.option("--macs", type=Quantity(), help="Multiply-accumulates an image: 50M, 20%."),
    click.option("--latency-ratio", type=Number(0, 1),
                 help="Share of the dense time, by --latency-table."),
    click.option("--max-drop", type=Number(0, 100),
                 help="Points of validation accuracy that the cut may cost at once."),
    click.option("--plan", type=click.Path(), help="A plan.json, made or edited by hand."),
    click.option("--by", type=click.Choice(["update", "gate"]), default="update",
                 show_default=True, help="Rank by mean |t(h - c)|, or by mean gate."),
    click.option("--normalizer", type=click.Choice(["none", "lamp"]),
                 help="Compare scores as they are, or as shares of what their blocks still do."
                 " Default: lamp for --size and --parameters."),
    click.option("--per", type=click.Choice(["channel", "parameters", "macs", "latency"]),
                 help="Divide scores by what a channel costs. Default: what the aim counts; nothing"
                 " for --threshold and --keep."),
    click.option("--latency-table", type=click.Path(), help="Made by `hwkeras latency`."),
    click.option("--multiple", type=click.IntRange(1), default=1, show_default=True,
                 help="Round kept counts up to a multiple."),
    click.option("--minimum", type=click.IntRange(0), default=0, show_default=True,
                 help="Channels that every block keeps."),
    click.option("--protect", multiple=True, metavar="BLOCK", help="Leave a block whole."),
    click.option("--cut-carried", type=Number(0, 1), metavar="SHARE",
                 help="Share of the channels that no block keeps to cut out of the streams."
                 " Default: 1 for --size, --parameters and --macs, else 0."),
    click.option("--rounds", type=click.IntRange(1), default=1, show_default=True,
                 help="Cut in so many rounds, training on between them; not for --threshold,"
                 " --max-drop and --plan."),
    click.option("--round-epochs", type=click.IntRange(1), default=1, show_default=True,
                 help="Passes over the data between two rounds."),
)  # fmt: skip
export_options = options(
    click.option("--variant", "variants", multiple=True, default=("all",), show_default=True,
                 type=click.Choice([*VARIANTS, *TRAINED, "all"])),
    click.option("--train", "train_", is_flag=True,
                 help="Let `all` take in the variants that need training on."),
    click.option("--train-steps", type=click.IntRange(1), default=800, show_default=True,
                 help="Batches that each of those learns from."),
    click.option("--train-seed", type=SEED, default=0, show_default=True,
                 help="Of that training."),
    click.option("--clusters", type=click.IntRange(2, 255), default=16, show_default=True,
                 help="Values that a clustered kernel's weights share."),
    click.option("--dense-all", is_flag=True,
                 help="Give the dense model every variant too, not only float32 and int8."),
    click.option("--io", type=click.Choice(["float32", "int8", "uint8"]), default="float32",
                 show_default=True, help="Input and output type of what computes in int8."),
    click.option("--keep-float", multiple=True, metavar="NAME",
                 help="Leave an operator, layer or block in float; `debug` names them."),
    click.option("--limit-drop", type=Number(-100, 100), metavar="PP",
                 help="Fail if a variant loses more points against Keras."),
)  # fmt: skip


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hwkeras")
def main():
    """Train highway nets in Keras, cut what their gates do without, ship them as .tflite.

    DATA is `digits`, `cifar10`, a folder train/<class>/*.png (with optional test/), or an .npz
    with x_train, y_train, x_test and y_test. A RUN is a folder that the commands fill.
    """


@main.command()
@click.option("-o", "--out", type=click.Path(path_type=Path), default="hwkeras-demo",
              show_default=True)  # fmt: skip
@as_json
@force
def demo(out, json_, force):
    """The whole job on embedded digits, in about two minutes."""
    with _work() as show:
        from export import jobs

        report = jobs.demo(out, force=force, progress=show)
    _print_reports([report], out, json_)


@main.command()
@click.argument("data")
@click.option("-o", "--out", metavar="RUN", type=click.Path(path_type=Path), required=True)
@data_options
@train_options
@fit_options
@click.option("--tensorboard", is_flag=True, help="Log to RUN/tensorboard.")
@resume
@force
@as_json
def train(data, out, json_, resume, force, tensorboard, preset, **settings):
    """Train a highway net on DATA with the gate penalty."""
    with _work() as show:
        from export import pipeline
        from export.runfolder import RunFolder

        config = _data_config(data, settings)
        outcome = pipeline.train(
            RunFolder(out), config, config.load(), preset, _train_config(settings),
            resume=resume, force=force, tensorboard=tensorboard, progress=show,
        )  # fmt: skip
    _print_outcome(out / "dense.keras", outcome, json_)


@main.command()
@target
@data_optional
@out
@force
@as_json
def gates(target, data, out, json_, force):
    """Collect what the gates do: the table and the histogram."""
    with _work() as show:
        from export import pipeline, text

        run, dataset = _open(target, data, out, force)
        stats = pipeline.gates(run, dataset, resume=data is None, force=force, progress=show)
    click.echo(stats.to_json() if json_ else text.gates(stats))


@main.command()
@target
@data_optional
@out
@aim_options
@fit_options
@force
@as_json
def prune(target, data, out, json_, force, **aims):
    """Plan what to cut, cut it, and recalibrate the batch norms.

    Augmentation, batch size, precision, optimizer and seed are of the training between --rounds.
    """
    _require_one_aim(aims)
    with _work() as show:
        import dataclasses

        from export import pipeline, text
        from hwkeras.training import FINETUNE

        run, dataset = _open(target, data, out, force)
        pipeline.gates(run, dataset, resume=True, progress=show)
        names = ("augment", "batch_size", "precision", "optimizer", "seed")
        training = dataclasses.replace(FINETUNE, **{name: aims[name] for name in names})
        plan = pipeline.prune(run, dataset, _aim(aims), training, force=force, progress=show)
        stats = run.stats()
    click.echo(plan.to_json() if json_ else text.plan(plan, stats))


@main.command()
@click.argument("target", metavar="RUN")
@data_optional
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option("--learning-rate", type=Number(0, min_open=True), default=0.05,
              show_default=True)  # fmt: skip
@click.option("--distill", type=Number(0, 1), default=0.5, show_default=True,
              help="Weight of the teacher's answers against the labels.")  # fmt: skip
@click.option("--start", metavar="MODEL", type=click.Path(path_type=Path),
              help="A .keras model to go on from: the pruned one as an earlier fine-tuning left"
                   " it.")  # fmt: skip
@click.option("--teacher", metavar="MODEL", type=click.Path(path_type=Path),
              help="A .keras model to learn from that gives logits of the same classes; the dense"
                   " model by default.")  # fmt: skip
@fit_options
@resume
@force
@as_json
def finetune(target, data, json_, start, teacher, resume, force, **settings):
    """Train a RUN's pruned model on, with the dense one, or a better one, as its teacher."""
    if Path(target).is_file():
        raise click.UsageError(
            f"{target} is a file, and a RUN that was pruned is needed; make one with"
            f" `hwkeras prune {target} DATA -o RUN`"
        )
    with _work() as show:
        import dataclasses

        from export import pipeline
        from hwkeras.training import FINETUNE

        run, dataset = _open(target, data)
        outcome = pipeline.finetune_slim(
            run, dataset, dataclasses.replace(FINETUNE, **settings),
            start=start, teacher=teacher, resume=resume, force=force, progress=show,
        )  # fmt: skip
    _print_outcome(run.path("slim.keras"), outcome, json_)


@main.command()
@target
@data_optional
@out
@export_options
@force
@as_json
def export(target, data, out, json_, force, **settings):
    """Convert, verify and measure .tflite variants."""
    with _work() as show:
        from export import shipping, text

        run, dataset = _open(target, data, out, force)
        rows = shipping.export_run(
            run, dataset, _export_config(settings), force=force, progress=show
        )
    _print_rows(rows, json_, text.measurements)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("data")
@data_options
@click.option("--split", type=click.Choice(["test", "validation"]), default="test",
              show_default=True)  # fmt: skip
@as_json
def evaluate(files, data, json_, split, **settings):
    """Measure the accuracy of .keras and .tflite files."""
    with _work() as show:
        from export import measuring, text

        dataset = _data_config(data, settings).load()
        rows = [measuring.evaluate(file, dataset, split, progress=show) for file in files]
    _print_rows(rows, json_, text.evaluations)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True,
              help="Inferences to time, for each file and number of threads.")  # fmt: skip
@click.option("--threads", type=Threads(), default="1,all", show_default=True,
              help="Numbers of threads; `all` is one a core.")  # fmt: skip
@click.option("--operators", is_flag=True, help="Time each operator, too.")
@as_json
def bench(files, json_, runs, threads, operators):
    """Measure latency, partitions and memory side by side."""
    from export.display import progress_display

    with progress_display() as show:
        from export import text
        from export.bench import bench as bench_files

        rows = bench_files(files, runs, threads, operators, show)
    _print_rows(rows, json_, text.benches)
    if operators and not json_:
        click.echo(f"\n{text.operator_times(rows)}")


@main.command()
@target
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), required=True)
@click.option("--variant", type=click.Choice(["float32", "int8"]), default="float32",
              show_default=True)  # fmt: skip
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=100, show_default=True)
@force
@as_json
def latency(target, out, json_, variant, threads, runs, force):
    """Measure what each shape of block costs here, for --latency-ratio."""
    with _work() as show:
        from export import text
        from export.latency import write_latencies

        table = write_latencies(
            Path(target), out, variant, threads, runs, force=force, progress=show
        )
    click.echo(table.to_json() if json_ else text.latencies(table))


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", metavar="DIR", type=click.Path(path_type=Path), required=True)
@click.option("--samples", multiple=True, metavar="DATA|IMAGE",
              help="Pictures to try: an image, a folder of them, or of classes, or a data set by"
              " name; the first of each class. Repeatable.")  # fmt: skip
@force
@as_json
def bundle(files, out, json_, force, samples):
    """Gather .tflite files, and pictures to try them on, in a folder for the apps.

    Each FILE needs its JSON beside it, and all need the same labels. The first is what the apps
    compare the others with.
    """
    from export import bundlefolder

    index = bundlefolder.gather(files, out, samples, force=force)
    if json_:
        click.echo(jsonlib.dumps(index))
    else:
        click.echo(f"{out}: {', '.join(index['models'])}; pictures: {len(index['samples'])}")


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("--against", metavar="MODEL", required=True, type=click.Path(path_type=Path),
              help="The .keras model that the file was made of.")  # fmt: skip
@data_options
@click.option("--images", type=click.IntRange(8), default=32, show_default=True,
              help="Validation images to compare on.")  # fmt: skip
@click.option("--worst", type=click.IntRange(1), default=10, show_default=True,
              help="Operators to show; --json shows all.")  # fmt: skip
@click.option("--variant", type=click.Choice(VARIANTS),
              help="Which the file is; by default what the JSON beside it says.")  # fmt: skip
@as_json
def debug(file, data, json_, against, images, worst, variant, **settings):
    """Show which operators of a quantized .tflite lose most."""
    with _work():
        from export import debugging, text

        dataset = _data_config(data, settings).load()
        rows = debugging.debug(file, against, dataset, images, variant)
    _print_rows(rows if json_ else rows[:worst], json_, text.operator_errors)


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path),
              help="Folder of the report; the run itself if there is one.")  # fmt: skip
@force
@as_json
def report(runs, out, json_, force):
    """Write the report of one run, or of several in one."""
    if len(runs) > 1 and out is None:
        raise click.UsageError("several runs need -o FOLDER for their report")
    with _work():
        from export import reporting

        reports = reporting.write_report(runs, out, force=force)
    _print_reports(reports, out or runs[0], json_)


@main.command("run")
@click.argument("data")
@click.option("-o", "--out", metavar="RUN", type=click.Path(path_type=Path), required=True)
@data_options
@train_options
@fit_options
@click.option("--finetune-epochs", type=click.IntRange(1), default=10, show_default=True)
@aim_options
@export_options
@resume
@force
@as_json
def run_(data, out, json_, resume, force, preset, finetune_epochs, **rest):
    """All of it, from DATA to the report.

    Trains, prunes (to 15% of the size unless told otherwise), fine-tunes, exports, reports.
    """
    if all(rest[name] is None for name in AIMS):
        rest["size"] = (0.15, True)
    _require_one_aim(rest)
    with _work() as show:
        from export import jobs

        config = _train_config(rest)
        job = jobs.Job(
            data=_data_config(data, rest), preset=preset, train=config, aim=_aim(rest),
            finetune=jobs.finetuning(config, finetune_epochs), export=_export_config(rest),
        )  # fmt: skip
        result = jobs.run(job, out, resume=resume, force=force, progress=show)
    _print_reports([result], out, json_)


def _work():
    """Returns the context that heavy work runs in: progress on stderr, no chatter."""
    import contextlib
    import logging
    import warnings

    from export.display import progress_display
    from export.silence import silenced

    @contextlib.contextmanager
    def work():
        with silenced():
            import keras  # noqa: F401  (about four seconds, and native libraries that talk)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        with progress_display() as show, warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: click.echo(f"Warning: {message}", err=True)
            yield show

    return work()


def _data_config(data: str, settings: dict):
    from export.runfolder import DataConfig

    return DataConfig(
        data, settings["validation"], settings["split_seed"], settings["image_size"],
        settings["max_bad"], settings.get("augment"),
    )  # fmt: skip


def _open(target: str, data: str | None, out: Path | None = None, force: bool = False):
    """Returns the run folder and the data that a command works on."""
    from export import pipeline

    if not Path(target).is_file():
        if out is not None and not Path(target).exists():
            raise click.UsageError(f"{target}: no such file; expected a .keras MODEL")
        if out is not None:
            raise click.UsageError(f"{target} is a run, which is worked on where it is; -o is for a"
                                   " MODEL")  # fmt: skip
        return pipeline.open_run(Path(target), data)
    if out is None or data is None:
        raise click.UsageError("a MODEL needs DATA and -o RUN, the folder to work in")
    return pipeline.adopt(Path(target), data, out, force)


def _train_config(settings: dict):
    from hwkeras.regularizers import GatePenalty
    from hwkeras.training import TrainConfig

    if (settings["penalty_cost"] == "latency") != (settings["penalty_table"] is not None):
        raise click.UsageError("--penalty-cost latency and --penalty-table go together")
    penalty = GatePenalty(
        settings["penalty"], settings["penalty_cost"], latency_table=settings["penalty_table"]
    )
    return TrainConfig(
        epochs=settings["epochs"], batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"], precision=settings["precision"],
        optimizer=settings["optimizer"],
        seed=settings["seed"],
        penalty=penalty if penalty.strength else None,
    )  # fmt: skip


def _require_one_aim(settings: dict) -> str:
    """Returns the name of the one aim among a command's options; another number is wrong usage."""
    given = [name for name in AIMS if settings[name] is not None]
    if len(given) != 1:
        flags = ", ".join("--" + name.replace("_", "-") for name in AIMS)
        raise click.UsageError(f"expected exactly one aim of {flags}; received {len(given)}")
    timed = given[0] == "latency_ratio" or settings["per"] == "latency"
    if timed != (settings["latency_table"] is not None):
        raise click.UsageError(
            "--latency-table goes with --latency-ratio or --per latency, and they need it"
        )
    if settings["rounds"] > 1 and given[0] in ("threshold", "max_drop", "plan"):
        flag = "--" + given[0].replace("_", "-")
        raise click.UsageError(f"--rounds cannot approach {flag}; take another aim, or one round")
    return given[0]


def _aim(settings: dict):
    from export.aims import Aim

    kind = _require_one_aim(settings)
    value, relative = settings[kind], False
    if isinstance(value, tuple):
        value, relative = value
    names = (field.name for field in dataclasses.fields(Aim)[3:])
    return Aim(kind, value, relative, **{name: settings[name] for name in names})


def _export_config(settings: dict):
    from export.shipping import ExportConfig
    from export.tfmot import Retraining

    chosen = settings["variants"]
    if "all" in chosen:
        chosen = (*VARIANTS, *(TRAINED if settings["train_"] else ()), *chosen)
    return ExportConfig(
        variants=tuple(v for v in dict.fromkeys(chosen) if v != "all"),
        io=settings["io"], limit_drop=settings["limit_drop"],
        keep_float=settings["keep_float"], dense_all=settings["dense_all"],
        retraining=Retraining(
            steps=settings["train_steps"], clusters=settings["clusters"],
            seed=settings["train_seed"],
        ),
    )  # fmt: skip


def _print_outcome(path: Path, outcome: dict, json_: bool) -> None:
    if json_:
        click.echo(jsonlib.dumps({"file": str(path), **outcome}))
        return
    last = outcome["steps"][-1]
    click.echo(
        f"{path}: {outcome['parameters']:,} parameters, validation accuracy"
        f" {last['accuracy']:.2%} on {last['images']:,} images, {outcome['seconds']:.0f} s"
    )


def _print_rows(rows, json_: bool, table) -> None:
    import dataclasses

    click.echo(jsonlib.dumps([dataclasses.asdict(r) for r in rows]) if json_ else table(rows))


def _print_reports(reports, folder: Path, json_: bool) -> None:
    from export import text
    from export.report import to_json

    if json_:
        each = [to_json(report) for report in reports]
        click.echo(each[0] if len(each) == 1 else f"[{','.join(each)}]")
        return
    click.echo(text.summary(reports))
    click.echo(f"report: {folder / 'report.html'}")


if __name__ == "__main__":
    main()
