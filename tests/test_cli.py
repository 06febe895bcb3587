"""The command as a user meets it: help, usage, one clear line for failed work, whole files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import cli
from export.aims import Aim
from export.pipeline import open_run, prune
from export.runfolder import RunError, RunFolder, named, remove
from hwkeras.evaluation import predict_logits
from hwkeras.files import replacing
from hwkeras.saving import load_model, save_model

ROOT = Path(__file__).parent.parent
COMMANDS = sorted(cli.main.commands)


def hwkeras(*arguments):
    """Runs a command in this process; returns its result."""
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def fails(result, text, code=1):
    """The command ended with one line that holds the text, and with no traceback."""
    assert result.exit_code == code, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert text in last, last
    assert "Traceback" not in result.output


def test_help_of_every_command_loads_nothing_heavy():
    program = (
        "import sys, cli\n"
        "from click.testing import CliRunner\n"
        f"for command in [[], *([name] for name in {COMMANDS})]:\n"
        "    result = CliRunner().invoke(cli.main, [*command, '--help'])\n"
        "    assert result.exit_code == 0 and 'Usage' in result.output, command\n"
        "heavy = {'keras', 'tensorflow', 'numpy', 'jax', 'matplotlib', 'hwkeras', 'export'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_commands_are_those_of_the_design():
    assert COMMANDS == [
        "bench", "bundle", "debug", "demo", "evaluate", "export", "finetune", "gates", "latency",
        "prune", "report", "run", "train",
    ]  # fmt: skip


def test_the_choices_are_those_of_the_library():
    from export.quantize import VARIANTS
    from export.tfmot import TRAINED
    from hwkeras.models import PRESETS

    assert tuple(cli.TRAINED) == tuple(TRAINED)
    assert set(cli.PRESETS) == set(PRESETS)
    assert tuple(cli.VARIANTS) == tuple(VARIANTS)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("5.2MB", (5.2e6, False)),
        ("5MiB", (5 * 2**20, False)),
        ("1.36M", (1.36e6, False)),
        ("1363000", (1363000, False)),
        ("15%", (0.15, True)),
    ],
)
def test_sizes(text, expected):
    value, relative = cli.Quantity().convert(text, None, None)
    assert (pytest.approx(value), relative) == expected


@pytest.mark.parametrize("text", ["", "big", "-5MB", "5 parsecs", "1..2M"])
def test_no_size(text):
    with pytest.raises(click.BadParameter, match="expected 5.2MB, 5MiB, 1.36M or 15%"):
        cli.Quantity().convert(text, None, None)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["train", "digits"], "Missing option '-o'"),
        (["train", "digits", "-o", "x", "--preset", "huge"], "'huge' is not one of"),
        (["prune", "x"], "expected exactly one aim"),
        (["prune", "x", "--keep", "0.5", "--size", "5MB"], "expected exactly one aim"),
        (["prune", "x", "--keep", "1.5"], "1.5 is not in the range"),
        (["export", "x", "--variant", "int3"], "'int3' is not one of 'float32'"),
        (["export", "x", "--clusters", "1"], "1 is not in the range"),
        (["debug", "x.tflite", "digits"], "Missing option '--against'"),
        (["report", "a", "b"], "several runs need -o"),
        (["prune", "x", "--threshold", "nan"], "'nan' is not a finite number"),
        (["prune", "x", "--latency-ratio", "0.5"], "--latency-table goes with --latency-ratio"),
        (["prune", "x", "--macs", "5%", "--latency-table", "t"], "--latency-table goes with"),
        (["prune", "x", "-o", "y", "--keep", "0.5"], "x: no such file; expected a .keras MODEL"),
        (["prune", ".", "-o", "y", "--keep", "0.5"], ". is a run, which is worked on where it is"),
        (["finetune", __file__], "is a file, and a RUN that was pruned is needed"),
        (["finetune", "x", "--learning-rate", "-1"], "-1.0 is not in the range"),
        (["train", "digits", "-o", "x", "--seed", "-1"], "-1 is not in the range"),
        (["train", "digits", "-o", "x", "--split-seed", "-1"], "-1 is not in the range"),
        (["train", "digits", "-o", "x", "--max-bad", "-1"], "-1 is not in the range"),
        (["train", "digits", "-o", "x", "--validation", "1"], "1.0 is not in the range"),
        (["export", "x", "--limit-drop", "nan"], "'nan' is not a finite number"),
        (["export", "x", "--train-seed", "-1"], "-1 is not in the range"),
        (["bench"], "Missing argument"),
        (["bundle", "a.tflite"], "Missing option '-o'"),
        (["bundle", "-o", "x"], "Missing argument"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, text):
    fails(hwkeras(*arguments), text, code=2)


def test_an_unknown_source_names_the_forms():
    fails(hwkeras("train", "nowhere", "-o", "unused"), "nowhere: no such data; expected digits")
    assert not Path("unused").exists()


def test_a_run_named_like_a_file_that_is_there(tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    fails(hwkeras("train", "digits", "-o", taken, "--force"), "taken is a file; expected a run")
    assert taken.read_text() == "mine"


def test_help_shows_only_ranges_that_there_are():
    text = hwkeras("prune", "--help").stdout
    assert "0<=x<=1" in text and "None]" not in text


def test_a_folder_that_is_no_run(tmp_path):
    fails(hwkeras("gates", tmp_path), "expected a run folder, with run.json")


def test_a_model_needs_a_run_to_work_in(tmp_path):
    model = tmp_path / "m.keras"
    model.write_bytes(b"")
    fails(hwkeras("gates", model), "a MODEL needs DATA and -o RUN", code=2)


@pytest.fixture
def own(tmp_path):
    """A user's own net of 24x24 pictures, and photographs of two sizes."""
    from hwkeras.models import HighwayConfig, highway_net

    rng = np.random.default_rng(0)
    for i, name in enumerate(["cat", "dog"] * 8):
        file = tmp_path / "photos" / name / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (30 + i % 3, 40, 3), np.uint8)
        Image.fromarray(pixels).save(file)
    net = highway_net(HighwayConfig(4, (8,), 1, (2,)), (24, 24, 3), 2)
    save_model(net, tmp_path / "own.keras")
    return net, tmp_path


def test_a_folders_pictures_are_resized_to_what_a_users_model_takes(own):
    _, folder = own
    made = hwkeras(
        "prune", folder / "own.keras", folder / "photos", "-o", folder / "run", "--keep", 0.5
    )
    assert made.exit_code == 0, made.output
    assert load_model(folder / "run" / "pruned.keras").input_shape == (None, 24, 24, 3)
    again = hwkeras("gates", folder / "run", "--force")  # the record knows the size
    assert again.exit_code == 0, again.output


def test_a_users_model_that_does_not_fit_is_refused_before_anything_is_written(own):
    net, folder = own
    arguments = (folder / "own.keras", "digits", "-o", folder / "run")
    fails(hwkeras("gates", *arguments), "the model gives (None, 2); expected one output of 10")
    shares = keras.Model(net.input, keras.layers.Softmax(name="shares")(net.output))
    save_model(shares, folder / "own.keras")
    arguments = (folder / "own.keras", folder / "photos", "-o", folder / "run")
    fails(hwkeras("prune", *arguments, "--keep", 0.5), "the model ends in 'shares'")
    assert not (folder / "run").exists()


@pytest.mark.parametrize(
    "content, text",
    [
        (b"", "expected a .keras model, found an empty file"),
        (b"PK\x03\x04 cut off", "found a truncated archive"),
        (b"\x89HDF\r\n\x1a\n more", "found an HDF5 file"),
        (b"something else", "found something else"),
    ],
)
def test_a_file_that_is_no_model(tmp_path, content, text):
    model = tmp_path / "m.keras"
    model.write_bytes(content)
    fails(hwkeras("gates", model, "digits", "-o", tmp_path / "run"), text)
    assert not (tmp_path / "run").exists()


def test_a_truncated_model(tmp_path):
    import keras

    inputs = keras.Input((2,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "m.keras")
    whole = (tmp_path / "m.keras").read_bytes()
    (tmp_path / "m.keras").write_bytes(whole[: len(whole) // 2])
    result = hwkeras("gates", tmp_path / "m.keras", "digits", "-o", tmp_path / "run")
    fails(result, "m.keras: expected a .keras model, found a truncated archive")


def test_a_model_with_code_in_it_is_refused(tmp_path):
    import keras

    inputs = keras.Input((2,), name="features")
    keras.Model(inputs, keras.layers.Lambda(lambda x: x + 1)(inputs)).save(tmp_path / "m.keras")
    result = hwkeras("gates", tmp_path / "m.keras", "digits", "-o", tmp_path / "run")
    fails(result, "m.keras: refused: the model holds code (a Lambda layer)")


def test_a_model_of_an_unknown_class_is_refused(tmp_path):
    import keras

    class Homemade(keras.layers.Layer):
        def call(self, x):
            return x

    inputs = keras.Input((2,), name="features")
    keras.Model(inputs, Homemade()(inputs)).save(tmp_path / "m.keras")
    result = hwkeras("gates", tmp_path / "m.keras", "digits", "-o", tmp_path / "run")
    fails(result, "m.keras: refused: Could not locate class 'Homemade'")


def test_a_model_without_highway_blocks_is_refused(tmp_path):
    import keras

    inputs = keras.Input((64,), name="features")
    keras.Model(inputs, keras.layers.Dense(10)(inputs)).save(tmp_path / "m.keras")
    result = hwkeras("gates", tmp_path / "m.keras", "digits", "-o", tmp_path / "run")
    fails(result, "has no highway block: expected HighwayConv2D or HighwayDense")
    assert not (tmp_path / "run").exists()


def test_an_unexpected_error_is_one_line_and_says_how_to_see_more(monkeypatch):
    from hwkeras import data

    def broken(*_, **__):
        raise KeyError("oops")

    monkeypatch.setattr(data, "load_dataset", broken)
    monkeypatch.setattr("export.runfolder.load_dataset", broken)
    result = hwkeras("train", "digits", "-o", "unused")
    fails(result, "unexpected KeyError: 'oops' (HWKERAS_DEBUG=1 shows the traceback)")


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """/dev/full stands for the disk: every write to it fails with ENOSPC."""
    path = tmp_path / "plan.json"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left on device"):
        with replacing(path) as temporary:
            with open("/dev/full", "w") as full:
                full.write("new" * 10_000)
            temporary.write_text("never")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["plan.json"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run on 300 tables of two features, through the command."""
    folder = tmp_path_factory.mktemp("job")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    features = rng.normal(0, 1, (300, 6)) + labels[:, None] * np.arange(6)
    features = features.astype(np.float32)
    np.savez(
        folder / "table.npz", x_train=features[:240], y_train=labels[:240],
        x_test=features[240:], y_test=labels[240:], classes=["low", "middle", "high"],
    )  # fmt: skip
    arguments = [
        "run", folder / "table.npz", "-o", folder / "run", "--preset", "tiny", "--epochs", 4,
        "--finetune-epochs", 2, "--batch-size", 32, "--parameters", "40%",
        "--variant", "float32", "--variant", "int8", "--json",
    ]  # fmt: skip
    return folder, arguments, hwkeras(*arguments)


def test_the_whole_job_reports_as_json_on_stdout(finished):
    folder, _, result = finished
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    rows = {(row["model"], row["variant"]): row for row in report["measurements"]}
    assert set(rows) == {
        ("dense", "float32"), ("dense", "int8"), ("slim", "float32"), ("slim", "int8"),
    }  # fmt: skip
    dense, slim = rows["dense", "float32"], rows["slim", "float32"]
    assert slim["parameters"] <= 0.4 * dense["parameters"]
    assert slim["size_bytes"] < dense["size_bytes"]
    assert dense["size_bytes"] == (folder / "run" / dense["file"]).stat().st_size
    assert dense["accuracy"] > 0.8 and dense["images"] == 60
    assert str(folder) not in result.stdout


def test_the_whole_job_leaves_the_files_of_the_design(finished):
    run = finished[0] / "run"
    names = {path.name for path in run.iterdir()}
    assert names == {
        "run.json", "dense.keras", "history.csv", "gates.json", "plan.json", "pruned.keras",
        "slim.keras", "measurements.json", "tflite", "report.json", "report.md", "report.html",
    }  # fmt: skip
    assert {path.name for path in (run / "tflite").iterdir()} == {
        f"{model}-{variant}.{ending}"
        for model in ("dense", "slim")
        for variant in ("float32", "int8")
        for ending in ("tflite", "json")
    }


def test_a_run_that_exists_is_refused_and_untouched(finished):
    folder, arguments, _ = finished
    before = {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()}
    fails(hwkeras(*arguments), "dense.keras exists; --resume goes on from it, --force replaces it")
    after = {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()}
    assert after == before


def test_resuming_a_finished_run_does_nothing_again(finished):
    folder, arguments, _ = finished

    def times():
        files = (path for path in (folder / "run").rglob("*") if not path.name.startswith("report"))
        return {path: path.stat().st_mtime_ns for path in files if path.is_file()}

    before = times()
    assert hwkeras(*arguments, "--resume").exit_code == 0
    assert times() == before


def test_files_of_the_users_in_a_folder_that_is_no_run_are_left_alone(tmp_path):
    for name in ("plan.json", "tflite/mine.tflite", "report.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
        fails(hwkeras("train", "digits", "-o", tmp_path), "exists; --force replaces it")
        fails(hwkeras("train", "digits", "-o", tmp_path, "--resume"), "exists; --force replaces it")
        assert (tmp_path / name).read_text() == "mine"
        remove(tmp_path / name.split("/")[0])


@pytest.fixture
def copied(finished, tmp_path):
    """A finished run of one's own, with data of its own."""
    shutil.copytree(finished[0] / "run", tmp_path / "run")
    shutil.copy(finished[0] / "table.npz", tmp_path / "table.npz")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["data"]["source"] = str(tmp_path / "table.npz")
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    return tmp_path / "run"


def test_data_that_changed_under_a_run_is_refused(copied):
    table = copied.parent / "table.npz"
    arrays = dict(np.load(table))
    other = {name: values[::-1] for name, values in arrays.items()}
    np.savez(table, **other | {"classes": arrays["classes"]})
    fails(hwkeras("gates", copied, "--force"), f"{table} is not what it was when {copied} was made")
    named = hwkeras("export", copied, table, "--variant", "float32", "--force")
    assert named.exit_code == 0, named.output  # the user says so
    np.savez(table, **other)
    fails(hwkeras("gates", copied, table, "--force"), "was made with low, middle, high")


def test_what_an_unfinished_step_left_is_not_taken_for_its_output(copied):
    """A kill after a file was replaced and before the record was: the rest is of the old one."""
    record = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(record | {"steps": {}}))
    fails(hwkeras("export", copied, "--force"), "dense.keras is left of an unfinished step; run")
    kept = {name: record["steps"][name] for name in ("train", "gates", "prune")}
    (copied / "run.json").write_text(json.dumps(record | {"steps": kept}))
    result = hwkeras("export", copied, "--variant", "int4", "--force", "--json")
    rows = {(row["model"], row["variant"]): row["note"] for row in json.loads(result.stdout)}
    assert rows["slim", "int4"].startswith("not fine-tuned")  # not the old slim.keras
    assert ("dense", "float32") in rows  # what the report compares with


@pytest.mark.parametrize(
    "step, missing", [("train", None), ("prune", "pruned.keras"), ("export", "tflite")]
)
def test_a_step_that_was_killed_before_its_record_is_done_again(finished, tmp_path, step, missing):
    """Output without a record, or half of it: what a kill -9 between two files leaves."""
    _, arguments, _ = finished
    run = tmp_path / "run"
    shutil.copytree(finished[0] / "run", run)
    record = json.loads((run / "run.json").read_text())
    for name in list(record["steps"])[list(record["steps"]).index(step) :]:
        del record["steps"][name]
    (run / "run.json").write_text(json.dumps(record))
    if missing:
        remove(run / missing)
    again = [run if argument == finished[0] / "run" else argument for argument in arguments]
    result = hwkeras(*again, "--resume")
    assert result.exit_code == 0, result.output
    steps = json.loads((run / "run.json").read_text())["steps"]
    assert list(steps) == ["train", "gates", "prune", "finetune", "export"]
    assert (run / "pruned.keras").exists() and (run / "tflite" / "slim-int8.tflite").exists()


def test_a_run_that_an_older_version_recorded_goes_on(finished, tmp_path):
    _, arguments, _ = finished
    run = tmp_path / "run"
    shutil.copytree(finished[0] / "run", run)
    record = json.loads((run / "run.json").read_text())
    settings = {step: record["steps"][step]["settings"] for step in ("train", "finetune", "prune")}
    del settings["train"]["optimizer"], settings["finetune"]["optimizer"]
    del settings["train"]["files"], settings["prune"]["files"]
    del settings["train"]["data"]["augment"], settings["train"]["penalty"]["latency_table"]
    (run / "run.json").write_text(json.dumps(record))
    before = (run / "slim.keras").stat().st_mtime_ns
    again = [run if argument == finished[0] / "run" else argument for argument in arguments]
    assert hwkeras(*again, "--resume").exit_code == 0
    assert (run / "slim.keras").stat().st_mtime_ns == before
    fails(hwkeras(*again, "--resume", "--optimizer", "muon"), "was done with optimizer='sgd', not")


def test_a_run_that_was_not_to_be_augmented_never_is(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    labels = np.arange(40) % 2
    np.savez(tmp_path / "p.npz", x_train=pictures, y_train=labels, x_test=pictures, y_test=labels)
    for flag, augmented in (((), True), (("--no-augment",), False)):
        run = tmp_path / f"run{augmented}"
        train = ("train", tmp_path / "p.npz", "-o", run, "--preset", "tiny", "--epochs", 1)
        assert hwkeras(*train, *flag).exit_code == 0
        assert open_run(run)[1].augment is augmented
    fails(hwkeras(*train, "--resume"), "step 'train' was done with data=")


def test_the_reports_of_several_runs_are_all_printed(finished, tmp_path):
    run, both = finished[0] / "run", tmp_path / "both"
    both.mkdir()
    (both / "report.json").write_text("of one run")
    result = hwkeras("report", run, run, "-o", both, "--json", "--force")
    assert [report["title"] for report in json.loads(result.stdout)] == ["tiny on table"] * 2
    assert sorted(path.name for path in both.iterdir()) == ["report.html", "report.md"]
    shown = hwkeras("report", run, run, "-o", both, "--force").stdout
    assert shown.count("tiny on table (2)  slim ") == 2  # its float32 and its int8
    assert "tiny on table (2): Dense float32: " in shown


def test_a_dense_model_that_is_alone_gets_what_was_asked_for(finished, tmp_path):
    folder, _, _ = finished
    model, run = folder / "run" / "dense.keras", tmp_path / "alone"
    result = hwkeras(
        "export", model, folder / "table.npz", "-o", run, "--variant", "int4", "--json"
    )
    rows = [(row["model"], row["variant"]) for row in json.loads(result.stdout)]
    assert rows == [("dense", "int4")]
    shown = hwkeras("report", run).stdout
    assert "no dense float32 file to compare with" in shown and "are against" not in shown


def test_a_variant_that_trains_on_for_both_models(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0] / "run", run)
    result = hwkeras(
        "export", run, "--variant", "float32", "--variant", "qat-int8", "--train-steps", 3,
        "--dense-all", "--keep-float", "logits", "--force", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = {(row["model"], row["variant"]): row for row in json.loads(result.stdout)}
    assert set(rows) == {
        (model, variant) for model in ("dense", "slim") for variant in ("float32", "qat-int8")
    }
    for (_, variant), row in rows.items():
        assert row["partitions"] == 1 and row["gzip_bytes"] > 0
        assert row["note"].startswith("trained on for") is (variant == "qat-int8")
        sidecar = json.loads((run / row["file"]).with_suffix(".json").read_text())
        assert (sidecar["variant"], sidecar["accuracy"]) == (variant, row["accuracy"])
    settings = json.loads((run / "run.json").read_text())["steps"]["export"]["settings"]
    assert settings["retraining"]["steps"] == 3 and settings["keep_float"] == ["logits"]
    assert "slim-qat-int8: 3/3" in result.stderr
    fails(hwkeras("export", run, "--keep-float", "nothing", "--force"), "block 'nothing' to keep")
    lossy = hwkeras("export", run, "--variant", "float32", "--limit-drop", "-100", "--force")
    fails(lossy, "dense-float32: the .tflite loses 0.00 points of accuracy")
    assert "the limit is -100; nothing was written" in lossy.output
    assert (run / "tflite" / "slim-qat-int8.tflite").exists()


def test_fine_tuning_with_a_teacher_of_the_users(finished, tmp_path):
    """The teacher is told to be sure of one class: who learns from it alone says the same."""
    run = tmp_path / "run"
    shutil.copytree(finished[0] / "run", run)
    model = load_model(run / "dense.keras")
    logits = model.layers[-1]
    logits.set_weights([logits.get_weights()[0] * 0, np.array([0, 9, 0])])
    save_model(model, tmp_path / "stubborn.keras")
    taught = ["finetune", run, "--teacher", tmp_path / "stubborn.keras", "--distill", 1]
    result = hwkeras(*taught, "--epochs", 4, "--force")
    assert result.exit_code == 0, result.output
    images = np.load(finished[0] / "table.npz")["x_test"]
    answers = predict_logits(load_model(run / "slim.keras"), images).argmax(1)
    assert (answers == 1).mean() > 0.9
    settings = json.loads((run / "run.json").read_text())["steps"]["finetune"]["settings"]
    assert settings["teacher"]["file"] == "stubborn.keras"
    assert hwkeras(*taught, "--epochs", 4, "--resume").exit_code == 0
    before = (run / "slim.keras").read_bytes()
    fails(hwkeras("finetune", run, "--distill", 1, "--epochs", 4, "--resume"), "with teacher=")
    fails(
        hwkeras("finetune", run, "--teacher", tmp_path / "no.keras", "--force"),
        "no.keras: no such file; expected a .keras model",
    )
    assert (run / "slim.keras").read_bytes() == before


def test_fine_tuning_goes_on_from_an_earlier_one(finished, tmp_path):
    """With next to no learning rate, the outcome is what it started from."""
    run = tmp_path / "run"
    shutil.copytree(finished[0] / "run", run)
    start, still = tmp_path / "start.keras", ["--epochs", 1, "--learning-rate", 1e-12]
    shutil.copyfile(run / "slim.keras", start)
    result = hwkeras("finetune", run, "--start", start, *still, "--force")
    assert result.exit_code == 0, result.output
    kernels = [load_model(path).layers[-1].get_weights()[0] for path in (start, run / "slim.keras")]
    np.testing.assert_allclose(*kernels, rtol=1e-6)
    assert not np.allclose(load_model(run / "pruned.keras").layers[-1].get_weights()[0], kernels[0])
    settings = json.loads((run / "run.json").read_text())["steps"]["finetune"]["settings"]
    assert settings["start"]["file"] == "start.keras"
    fails(hwkeras("finetune", run, *still, "--resume"), "with start=")
    own = hwkeras("finetune", run, "--start", run / "slim.keras", "--force")
    fails(own, "slim.keras is what this step replaces: start from a copy of it")
    before = (run / "slim.keras").read_bytes()
    fails(
        hwkeras("finetune", run, "--start", run / "dense.keras", "--force"),
        "pruned.keras with other weights",
    )
    assert (run / "slim.keras").read_bytes() == before


def test_all_takes_in_what_trains_if_asked():
    settings = {
        "variants": ("all",), "train_": True, "io": "float32", "limit_drop": None,
        "keep_float": (), "dense_all": False, "train_steps": 1, "train_seed": 0, "clusters": 32,
    }  # fmt: skip
    assert cli._export_config(settings).variants == (*cli.VARIANTS, *cli.TRAINED)
    assert cli._export_config(settings).retraining.clusters == 32
    assert cli._export_config({**settings, "train_": False}).variants == cli.VARIANTS


def test_a_plan_that_is_refused_leaves_the_record(finished, tmp_path):
    run = finished[0] / "run"
    before = (run / "run.json").read_bytes()
    fails(hwkeras("prune", run, "--plan", tmp_path / "none.json", "--force"), "cannot be read")
    assert (run / "run.json").read_bytes() == before


def test_resuming_with_other_settings_is_refused(finished):
    _, arguments, _ = finished
    other = ["5" if argument == 4 else argument for argument in arguments]
    fails(hwkeras(*other, "--resume"), "step 'train' was done with epochs=4, not 5")


def test_evaluate_takes_keras_and_tflite_alike(finished):
    folder, _, result = finished
    files = [folder / "run" / "slim.keras", folder / "run" / "tflite" / "slim-float32.tflite"]
    rows = json.loads(hwkeras("evaluate", *files, folder / "table.npz", "--json").stdout)
    assert rows[0]["accuracy"] == rows[1]["accuracy"]
    reported = json.loads(result.stdout)["measurements"]
    (slim,) = [r for r in reported if (r["model"], r["variant"]) == ("slim", "float32")]
    assert rows[1]["accuracy"] == slim["accuracy"]


def test_bench_shows_files_side_by_side(finished):
    folder, _, _ = finished
    files = sorted((folder / "run" / "tflite").glob("*.tflite"))
    result = hwkeras("bench", *files, "--runs", "5", "--threads", "1", "--json")
    rows = json.loads(result.stdout)
    assert [row["size_bytes"] for row in rows] == [path.stat().st_size for path in files]
    assert all(row["latencies"][0]["runs"] == 5 for row in rows)


def test_gates_of_a_run_that_has_them_are_shown_and_nothing_is_done_again(finished):
    run = finished[0] / "run"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    result = hwkeras("gates", run)
    assert result.exit_code == 0 and "histogram" in result.stdout, result.output
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_gates_prints_a_table_with_histograms(finished):
    result = hwkeras("gates", finished[0] / "run", "--force")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("|") == 2 * 6  # six blocks
    # what was made of the older gates is gone: it no longer belongs to them
    assert not (finished[0] / "run" / "plan.json").exists()
    run = finished[0] / "run"
    remedy = f"plan.json is not there yet; run `hwkeras prune {run} --size 15%` first"
    fails(hwkeras("finetune", run), remedy)


def test_a_plan_edited_by_hand_is_applied_and_a_foreign_one_refused(finished):
    run = finished[0] / "run"
    made = hwkeras("prune", run, "--keep", "0.5", "--json", "--force")
    assert made.exit_code == 0, made.output
    plan = json.loads(made.stdout)
    plan["blocks"][0]["kept"] = plan["blocks"][0]["kept"][:1]
    edited = finished[0] / "edited.json"
    edited.write_text(json.dumps(plan))
    assert hwkeras("prune", run, "--plan", edited, "--force").exit_code == 0
    assert (
        json.loads((run / "plan.json").read_text())["blocks"][0]["kept"]
        == plan["blocks"][0]["kept"]
    )
    recorded = json.loads((run / "run.json").read_text())["steps"]["prune"]["settings"]["files"]
    assert recorded == [named(edited)]
    plan["blocks"][0]["name"] = "elsewhere"
    edited.write_text(json.dumps(plan))
    with pytest.raises(RunError, match="step 'prune' was done with files="):
        prune(RunFolder(run), open_run(run)[1], Aim("plan", str(edited)), resume=True)
    before = (run / "plan.json").read_bytes()
    fails(hwkeras("prune", run, "--plan", edited, "--force"), "no block here is named 'elsewhere'")
    assert (run / "plan.json").read_bytes() == before
    edited.write_text("{")
    fails(
        hwkeras("prune", run, "--plan", edited, "--force"), "edited.json: expected a pruning plan"
    )


def test_max_drop_searches_on_the_validation_split(finished):
    result = hwkeras("prune", finished[0] / "run", "--max-drop", "50", "--json", "--force")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert plan["aim"] == "at most 50 points of accuracy lost at once"
    assert sum(len(b["kept"]) for b in plan["blocks"]) < sum(b["active"] for b in plan["blocks"])
