"""Pruning in rounds: the plans of all rounds are one plan of the dense model, and every epoch that
was spent between them is on the record."""

import dataclasses
import json
import shutil
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import randomize

import cli
from export import jobs, pipeline
from export.aims import Aim, prune_for
from export.history import read_phases, write_history
from export.report import render_html
from export.reporting import build_report
from export.runfolder import RunError, RunFolder
from hwkeras import rounds
from hwkeras.dataset import Dataset, Split
from hwkeras.graph import highway_blocks
from hwkeras.latency import BlockLatency, LatencyTable
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.plan import PlanError
from hwkeras.planning import make_plan
from hwkeras.rebuild import apply_plan
from hwkeras.rounds import prune_in_rounds
from hwkeras.saving import save_model
from hwkeras.stats import collect_stats, model_cost
from hwkeras.training import FINETUNE, TrainConfig

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(160, 6)).astype("float32")
IMAGES = RNG.normal(size=(16, 6, 6, 2)).astype("float32")
TRAINING = dataclasses.replace(FINETUNE, epochs=1, batch_size=32)


def dataset_of(images):
    labels = np.arange(len(images), dtype=np.int32) % 3
    split = Split(images, labels)
    return Dataset("noise", split, split, split, tuple("abc"), augment=False)


def table_net():
    return randomize(highway_net(HighwayConfig(6, (8, 10), 2, (1, 1)), (6,), 3))


def small_net():
    return randomize(highway_net(HighwayConfig(6, (8,), 2, (1,)), (6,), 3))


def image_net():
    return randomize(highway_net(HighwayConfig(4, (6, 8), 3, (1, 2)), (6, 6, 2), 3))


@pytest.fixture
def untrained(monkeypatch):
    """No weight changes between the rounds; what training was asked for is kept."""
    asked = []
    monkeypatch.setattr(rounds, "recalibrate", lambda *_, **__: None)

    def finetune(model, dataset, config, *, teacher, on_batch):
        asked.append((config, teacher))
        return [{"epoch": 1}]

    monkeypatch.setattr(rounds, "finetune", finetune)
    return asked


@pytest.mark.parametrize("cut_carried", [0.0, 0.6])
@pytest.mark.parametrize("net, images, share", [(table_net, ROWS, 0.4), (image_net, IMAGES, 0.25)])
def test_the_cuts_of_all_rounds_are_one_cut_of_the_dense_model(
    untrained, net, images, share, cut_carried
):
    """With weights that stay, the slim model is that of the plan to the last bit; also where a
    block disappeared on the way, and where streams are reordered and cut."""
    model = net()
    for name in ("stage1_block2", "stage2_block1"):  # without and with a projection
        bias = highway_blocks(model)[name].gate.bias
        bias.assign(np.full(bias.shape, -20.0))  # shut: it goes first
    stats = collect_stats(model, images)
    seen = []
    slim, plan = prune_in_rounds(
        model, stats, dataset_of(images), 4, "parameters", share * stats.cost().parameters,
        cut_carried=cut_carried, on_round=lambda number, slim, _: seen.append(slim),
    )  # fmt: skip
    whole = apply_plan(model, plan)
    assert slim.get_config() == whole.get_config()
    for one, other in zip(slim.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    # what it is a test of: cuts in every round, blocks that went early, streams that changed
    assert len(seen) == 3 and len(untrained) == 3
    sizes = [net.count_params() for net in (model, *seen, slim)]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 5
    left = highway_blocks(seen[-1])
    assert "stage1_block2" not in left and left["stage2_block1"].active == ()
    assert plan.orders and bool(plan.cut_counts) == bool(cut_carried)
    assert model_cost(slim) == stats.cost(plan.kept_counts, plan.cut_counts)
    assert slim.count_params() <= share * stats.cost().parameters


def test_the_plan_is_the_one_that_the_dense_statistics_give_for_what_stays(untrained):
    model = table_net()
    stats = collect_stats(model, ROWS)
    _, plan = prune_in_rounds(
        model, stats, dataset_of(ROWS), 3, "parameters", 300, by="gate", per="macs",
        normalizer="lamp", cut_carried=0.0,
    )  # fmt: skip
    kept = {block.name: block.kept for block in plan.blocks}
    assert plan.blocks == make_plan(stats, kept=kept).blocks
    assert plan.orders == make_plan(stats, kept=kept).orders
    assert (plan.model, plan.cutoff) == (stats.model, None)
    assert plan.aim == "at most 300 parameters, in 3 rounds"
    assert (plan.by, plan.normalizer, plan.per) == ("gate", "lamp", "macs")
    assert type(plan).from_json(plan.to_json()) == plan


def test_each_round_cuts_by_the_same_factor(untrained):
    """36 channels transform in the table net; an eighth, 4.5, stays: a half a round."""
    model = table_net()
    stats = collect_stats(model, ROWS)
    counts = []

    def count(number, slim, _):
        counts.append(sum(len(block.active) for block in highway_blocks(slim).values()))

    _, plan = prune_in_rounds(model, stats, dataset_of(ROWS), 3, "keep", 0.125, on_round=count)
    assert [36, *counts, sum(plan.kept_counts.values())] == [36, 18, 9, 5]
    assert plan.aim == "12.50% of the channels, in 3 rounds"


def test_a_share_of_the_time_is_a_share_of_the_dense_models(untrained):
    model = table_net()
    stats = collect_stats(model, ROWS)
    shapes = {block.name: block.shape for block in stats.blocks}
    times = [BlockLatency(shape, (0, 10), (0.0, 10.0)) for shape in set(shapes.values())]
    table = LatencyTable("here", "float32", 1, 4.0, 40.0, tuple(times))  # 4 + 36: 1 ms a channel
    found = []
    _, plan = prune_in_rounds(
        model, stats, dataset_of(ROWS), 2, "latency_ratio", 0.25, latency=table,
        on_round=lambda _, slim, __: found.append(
            table.total_ms(shapes, {n: len(b.active) for n, b in highway_blocks(slim).items()})
        ),
    )  # fmt: skip
    assert found == [pytest.approx(20)]
    assert table.total_ms(shapes, plan.kept_counts) == pytest.approx(10)
    assert plan.aim == "at most 25.00% of the latency, in 2 rounds"


def test_rounds_train_as_told_with_the_dense_model_as_teacher(untrained):
    model = table_net()
    stats = collect_stats(model, ROWS)
    training = dataclasses.replace(TRAINING, epochs=4, seed=10)
    prune_in_rounds(model, stats, dataset_of(ROWS), 3, "keep", 0.3, training=training)
    assert [config for config, _ in untrained] == [
        dataclasses.replace(training, seed=11), dataclasses.replace(training, seed=12),
    ]  # fmt: skip
    assert all(teacher is model for _, teacher in untrained)


def test_a_net_of_which_nothing_is_left_needs_no_more_rounds(untrained):
    model = table_net()
    stats = collect_stats(model, ROWS)
    slim, plan = prune_in_rounds(model, stats, dataset_of(ROWS), 3, "keep", 0.0)
    assert not any(plan.kept_counts.values()) and untrained == []
    assert plan.aim == "0.00% of the channels, in 1 round"
    assert slim.get_config() == apply_plan(model, plan).get_config()


@pytest.mark.parametrize(
    "count, aim, value, text",
    [
        (2, "threshold", 0.1, "expected an aim of keep, size_bytes, parameters, macs, latency_"),
        (2, "parameters", 1, "at most 1 parameters: cannot be reached, the least is "),
        (0, "keep", 0.5, "rounds: expected at least 1; found 0"),
    ],
)
def test_what_no_round_can_do_is_refused_before_any_trains(untrained, count, aim, value, text):
    model = table_net()
    stats = collect_stats(model, ROWS)
    with pytest.raises(PlanError) as caught:
        prune_in_rounds(model, stats, dataset_of(ROWS), count, aim, value)
    assert text in str(caught.value)
    assert untrained == []


@pytest.mark.parametrize("aim", [Aim("plan", "plan.json"), Aim("max_drop", 1.0)])
def test_so_is_an_aim_that_is_no_number_to_approach(untrained, aim):
    model, nothing = table_net(), Any
    stats = collect_stats(model, ROWS)
    aim = dataclasses.replace(aim, rounds=2)
    with pytest.raises(PlanError, match=f"^rounds: expected an aim of .*; received '{aim.kind}'$"):
        prune_for(aim, model, stats, dataset_of(ROWS), TRAINING, ROWS, nothing, nothing)


def test_rounds_that_train_give_the_same_again_and_leave_the_dense_model():
    model, dataset = small_net(), dataset_of(ROWS)
    before = model.get_weights()
    stats = collect_stats(model, ROWS)
    results, stages, histories = [], [], []
    for _ in range(2):
        slim, plan = prune_in_rounds(
            model, stats, dataset, 2, "keep", 0.3, training=TRAINING,
            progress=lambda stage, done, total: stages.append((stage, done == total)),
            on_round=lambda number, _, rows: histories.append((number, rows)),
        )  # fmt: skip
        results.append((slim.get_weights(), plan))
    assert [(number, [row["epoch"] for row in rows]) for number, rows in histories] == [
        (1, [1])
    ] * 2
    assert {"loss", "val_accuracy", "mean_gate"} <= set(histories[0][1][0])
    assert results[0][1] == results[1][1]
    for one, other in zip(results[0][0], results[1][0], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    cut = apply_plan(model, results[0][1]).get_weights()
    assert [w.shape for w in results[0][0]] == [w.shape for w in cut]
    assert any(not np.allclose(one, other) for one, other in zip(results[0][0], cut, strict=True))
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert {stage for stage, whole in stages if whole} == {
        "round 1 norms", "round 1", "round 1 gates",
    }  # fmt: skip


def hwkeras(*arguments):
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A run of a small net that was cut in three rounds and fine-tuned, and the net."""
    folder = tmp_path_factory.mktemp("job")
    labels = RNG.integers(0, 3, 200)
    features = (RNG.normal(0, 1, (200, 6)) + labels[:, None] * np.arange(6)).astype(np.float32)
    np.savez(folder / "table.npz", x_train=features[:160], y_train=labels[:160],
             x_test=features[160:], y_test=labels[160:], classes=["a", "b", "c"])  # fmt: skip
    save_model(small_net(), folder / "net.keras")
    result = hwkeras(
        "prune", folder / "net.keras", folder / "table.npz", "-o", folder / "run", "--parameters",
        "40%", "--rounds", 3, "--round-epochs", 2, "--batch-size", 32, "--seed", 5,
        "--cut-carried", 0,  # what a round counts is then what its net has
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "round 2: 8/8" in result.stderr and "round 3" not in result.stderr  # 144 of 32, twice
    return folder / "run"


@pytest.fixture
def run(job, tmp_path):
    """A copy of that run."""
    shutil.copytree(job, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def phases(run):
    return {name: len(rows) for name, rows in read_phases(run.path("history.csv")).items()}


def test_the_epochs_of_the_rounds_are_on_the_record(run):
    assert phases(run) == {"round 1": 2, "round 2": 2}
    done = run.record()["steps"]["prune"]
    steps = done["outcome"]["steps"]
    assert [step["name"] for step in steps] == ["round 1", "round 2", "cut", "recalibrated"]
    assert all(0 <= step["accuracy"] <= 1 for step in steps)
    dense = run.stats().cost().parameters
    for number, step in enumerate(steps[:2], 1):
        left, epochs = step["note"].split(" parameters, ")
        assert epochs == "2 epochs"
        assert int(left.replace(",", "")) <= dense * 0.4 ** (number / 3)
    assert done["outcome"]["parameters"] <= 0.4 * dense
    assert run.plan().aim == f"at most {0.4 * dense:,.0f} parameters, in 3 rounds"
    assert {"rounds": 3, "epochs": 2, "batch_size": 32, "seed": 5}.items() <= done[
        "settings"
    ].items()


def test_fine_tuning_comes_after_the_rounds_and_a_report_shows_both(run):
    assert hwkeras("finetune", run.root, "--epochs", 1).exit_code == 0
    assert phases(run) == {"round 1": 2, "round 2": 2, "finetune": 1}
    run.path("measurements.json").write_text("[]")
    run.finish("export", {}, {})
    report = build_report(run)
    assert [step.name for step in report.steps] == [
        "round 1", "round 2", "cut", "recalibrated", "fine-tuned",
    ]  # fmt: skip
    html = render_html(report)
    assert "in 3 rounds" in html and html.count("round 2") >= 3  # steps, training, the curves


def test_rounds_that_are_done_are_not_done_again_and_not_passed_off_as_others(run):
    aim = Aim("parameters", 0.4, True, cut_carried=0.0, rounds=3, round_epochs=2)
    training = dataclasses.replace(FINETUNE, batch_size=32, seed=5)
    before = [run.path(name).read_bytes() for name in ("plan.json", "pruned.keras")]
    data = run.data().load()
    assert pipeline.prune(run, data, aim, training, resume=True) == run.plan()
    assert [run.path(name).read_bytes() for name in ("plan.json", "pruned.keras")] == before
    for other, config, words in (
        (dataclasses.replace(aim, rounds=2), training, "rounds=3, not 2"),
        (dataclasses.replace(aim, round_epochs=1), training, "round_epochs=2, not 1"),
        (aim, dataclasses.replace(training, seed=6), "seed=5, not 6"),
    ):
        with pytest.raises(RunError, match=f"'prune' was done with {words}"):
            pipeline.prune(run, data, other, config, resume=True)


def test_a_record_from_before_there_were_rounds_is_one_round(run):
    assert hwkeras("prune", run.root, "--keep", 0.5, "--force").exit_code == 0
    record = run.record()
    assert "batch_size" not in record["steps"]["prune"]["settings"]  # nothing was trained
    for name in ("normalizer", "cut_carried", "rounds", "round_epochs"):
        del record["steps"]["prune"]["settings"][name]
    run.path("run.json").write_text(json.dumps(record))
    aim, data = Aim("keep", 0.5), run.data().load()
    assert pipeline.prune(run, data, aim, resume=True) == run.plan()
    with pytest.raises(RunError, match="was done with rounds=1, not 2"):
        pipeline.prune(run, data, dataclasses.replace(aim, rounds=2), resume=True)


def test_another_cut_takes_the_rounds_of_the_last_one_off_the_history(run):
    history = run.path("history.csv")
    write_history(history, {"dense": [{"epoch": 1}], **read_phases(history)})
    assert hwkeras("prune", run.root, "--keep", 0.5, "--force").exit_code == 0
    assert history.read_text() == "phase,epoch\ndense,1\n"
    steps = run.record()["steps"]["prune"]["outcome"]["steps"]
    assert [step["name"] for step in steps] == ["cut", "recalibrated"]


def test_what_stops_in_a_round_leaves_the_run_as_it_was(run, monkeypatch):
    def contents():
        return {p: p.read_bytes() for p in run.root.rglob("*") if p.is_file()}

    before, whole = contents(), rounds.finetune

    def stopped(model, dataset, config, **options):
        if config.seed == 2:  # 1 is done
            raise OSError("power loss")
        return whole(model, dataset, config, **options)

    monkeypatch.setattr(rounds, "finetune", stopped)
    result = hwkeras("prune", run.root, "--keep", 0.5, "--force", "--rounds", 3)
    assert result.exit_code == 1 and "power loss" in result.stderr
    assert contents() == before


@pytest.mark.parametrize("option", ["--threshold=0.1", "--max-drop=1", "--plan=plan.json"])
@pytest.mark.parametrize("command", [["prune", "x"], ["run", "digits", "-o", "x"]])
def test_the_command_refuses_what_rounds_cannot_approach(command, option):
    result = hwkeras(*command, option, "--rounds", 2)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        f"Error: --rounds cannot approach {option.split('=')[0]}; take another aim, or one round"
    )


def test_the_command_hands_the_rounds_over():
    arguments = ["run", "--keep", "0.5", "--rounds", "3", "--round-epochs", "2"]
    context = cli.prune.make_context("prune", arguments)
    assert cli._aim(context.params) == Aim("keep", 0.5, rounds=3, round_epochs=2)
    assert TrainConfig().batch_size == context.params["batch_size"]


def test_the_whole_job_trains_between_rounds_as_it_fine_tunes(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(jobs, "prune", lambda *given, **_: asked.append(given[2:]))
    for step in ("train", "gates", "finetune_slim", "export_run", "write_report"):
        monkeypatch.setattr(jobs, step, lambda *_, **__: [None])
    jobs.run(jobs.DEMO, tmp_path)
    assert asked == [(jobs.DEMO.aim, jobs.DEMO.finetune)]
