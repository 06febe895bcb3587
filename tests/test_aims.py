"""From what a user says to a plan: the option that cuts streams reaches it, and no further."""

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
from conftest import plan_by_hand, randomize

import cli
from export.aims import Aim, plan_for
from hwkeras import search
from hwkeras.dataset import Dataset, Split
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.plan import PlanError, StreamOrder
from hwkeras.rebuild import apply_plan
from hwkeras.stats import collect_stats

ROWS = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
NO_DATA: Any = None


def net():
    return randomize(highway_net(HighwayConfig(5, (6, 8), 2, (1, 1)), (3,), 4))


def test_the_option_reaches_the_plan():
    model = net()
    stats = collect_stats(model, ROWS)
    aim = Aim("parameters", 0.4, relative=True, cut_carried=0.5)
    plan = plan_for(aim, model, stats, NO_DATA)
    assert plan.cut_counts
    cost = stats.cost(plan.kept_counts, plan.cut_counts)
    assert cost.parameters <= 0.4 * stats.cost().parameters
    assert apply_plan(model, plan).count_params() == cost.parameters
    uncut = plan_for(dataclasses.replace(aim, cut_carried=0.0), model, stats, NO_DATA)
    assert uncut.cut_counts == {}


def test_the_command_hands_it_over():
    context = cli.prune.make_context("prune", ["run", "--keep", "0.5", "--cut-carried", "0.25"])
    assert cli._aim(context.params) == Aim("keep", 0.5, cut_carried=0.25)
    context = cli.prune.make_context("prune", ["run", "--keep", "0.5"])
    assert cli._aim(context.params) == Aim("keep", 0.5)


def test_a_plan_that_cuts_needs_statistics_that_can_count_it(tmp_path):
    model = net()
    stats = collect_stats(model, ROWS)
    kept = dict.fromkeys(("stage1_block1", "stage1_block2"), (0, 1))
    orders = (StreamOrder("stage1_block1", (0, 1, 2, 3, 4), (5,)),)
    plan = dataclasses.replace(plan_by_hand(model, kept), orders=orders)
    (tmp_path / "plan.json").write_text(plan.to_json())
    aim = Aim("plan", str(tmp_path / "plan.json"))
    assert plan_for(aim, model, stats, NO_DATA) == plan
    with pytest.raises(PlanError) as caught:
        plan_for(aim, model, dataclasses.replace(stats, streams=()), NO_DATA)
    assert str(caught.value) == (
        "the gate statistics know no stream 'stage1_block1' to cut: collect them again"
    )


@pytest.mark.parametrize("right", range(50, 143))
def test_a_search_takes_what_loses_just_as_much_as_it_may(monkeypatch, right):
    model = net()
    split = Split(ROWS, np.arange(8, dtype=np.int32) % 4)
    dataset = Dataset("rows", split, split, split, tuple("abcd"), augment=False)
    answers = iter([right / 143] + [(right - 7) / 143] * search._STEPS)
    monkeypatch.setattr(search, "accuracy", lambda *_: next(answers))
    monkeypatch.setattr(search, "predict_logits", lambda *_: None)
    monkeypatch.setattr(search, "recalibrate", lambda *_: None)
    plan = search.search_plan(model, collect_stats(model, ROWS), dataset, 100 * 7 / 143)
    assert any(len(block.kept) < block.active for block in plan.blocks)


@pytest.mark.parametrize("good", [True, False])
def test_a_search_cuts_nothing_that_was_not_measured(monkeypatch, good):
    """A net that was pruned before carries channels already: where no smaller net is good enough,
    they all stay."""
    model = net()
    pruned = apply_plan(model, plan_by_hand(model, {"stage1_block1": (1,), "stage1_block2": ()}))
    labels = np.arange(8, dtype=np.int32) % 4
    split = Split(ROWS, labels)
    dataset = Dataset("rows", split, split, split, tuple("abcd"), augment=False)
    answers = iter([1.0] + [float(good)] * search._STEPS)
    monkeypatch.setattr(search, "accuracy", lambda *_: next(answers))
    stats = collect_stats(pruned, ROWS)
    plan = search.search_plan(pruned, stats, dataset, 0.0, cut_carried=0.5)
    assert bool(plan.cut_counts) == good
    assert isinstance(apply_plan(pruned, plan), keras.Model)


def test_an_aim_says_how_it_ranks():
    """A run's record holds what was done, not that nothing was asked for."""
    rules = {
        kind: (aim.normalizer, aim.cut_carried)
        for kind in ("size", "parameters", "macs", "keep", "threshold", "latency_ratio", "max_drop")
        for aim in [Aim(kind, 0.5)]
    }
    assert rules == {
        "size": ("lamp", 1.0), "parameters": ("lamp", 1.0), "macs": ("none", 1.0),
        "keep": ("none", 0.0), "threshold": ("none", 0.0), "latency_ratio": ("none", 0.0),
        "max_drop": ("none", 0.0),
    }  # fmt: skip
    asked = Aim("size", 0.5, normalizer="none", cut_carried=0.25)
    assert (asked.normalizer, asked.cut_carried) == ("none", 0.25)
