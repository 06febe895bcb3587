"""The rivals of the frontier benchmark: as large as the gates' nets, chosen otherwise."""

import json
import sys
import xml.etree.ElementTree as ElementTree

import keras
import numpy as np
import pytest
from conftest import ROOT

import hwkeras
from hwkeras.dataset import Split
from hwkeras.graph import highway_blocks
from hwkeras.stats import model_cost

sys.path.insert(0, str(ROOT / "benchmarks"))
import frontier
import rivals
import scores

CONFIG = hwkeras.HighwayConfig(stem=4, stages=(8, 16), blocks=2, strides=(1, 2))


def build(config):
    return hwkeras.highway_net(config, (8, 8, 3), 4)


@pytest.fixture(scope="module")
def dense():
    keras.utils.set_random_seed(0)
    model = build(CONFIG)
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3))
    return model, hwkeras.collect_stats(model, images)


def shares(plan):
    return [len(block.kept) / block.active for block in plan.blocks]


@pytest.mark.parametrize("counts", ["parameters", "macs"])
@pytest.mark.parametrize("share", [0.6, 0.3])
def test_rivals_keep_one_share_of_every_block_within_the_cost(dense, counts, share):
    model, stats = dense
    most = share * getattr(stats.cost(), counts)
    for plan in (
        rivals.random_plan(stats, counts, most, 0),
        rivals.l1_plan(model, stats, counts, most),
    ):
        kept = shares(plan)
        assert max(kept) - min(kept) < 1 / 8  # a channel of the narrower blocks
        found = getattr(model_cost(hwkeras.apply_plan(model, plan)), counts)
        assert 0.7 * most < found <= most


def test_random_channels_differ_by_seed_and_largest_kernels_are_kept(dense):
    model, stats = dense
    most = 0.5 * stats.cost().parameters
    first, again, other = (rivals.random_plan(stats, "parameters", most, s) for s in (0, 0, 1))
    assert first == again != other
    plan = rivals.l1_plan(model, stats, "parameters", most)
    for block in plan.blocks:
        kernel = np.abs(model.get_layer(block.name).transform.kernel.numpy())
        norms = kernel.sum(axis=(0, 1, 2))
        gone = sorted(set(range(block.channels)) - set(block.kept))
        assert norms[list(block.kept)].min() >= norms[gone].max()


def test_the_change_of_the_loss_is_its_slope_along_an_update(dense):
    """Oracle: two losses of the rest of the net, an update a little larger and a little smaller."""
    model, _ = dense
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (1, 8, 8, 3)), np.array([2])
    name, block = list(highway_blocks(model).items())[1]
    found = scores.moments(model, images, labels)[name]["change"]
    x = keras.Model(model.input, block.input)(images)
    update = np.asarray(block(x) - x)
    rest = keras.Model(block.output, model.output)
    for channel in (0, 5):
        nudge = np.zeros_like(update)
        nudge[..., channel] = 0.05 * update[..., channel]
        more, less = (
            float(scores.losses(rest(np.asarray(block(x)) + sign * nudge), labels)[0])
            for sign in (1, -1)
        )
        np.testing.assert_allclose(found[channel], abs(more - less) / 0.1, rtol=0.02)


def test_a_cut_by_the_change_of_the_loss_keeps_what_changes_it_most(dense):
    model, stats = dense
    rng = np.random.default_rng(1)
    split = Split(rng.integers(0, 256, (8, 8, 8, 3)), rng.integers(0, 4, 8))
    most = 0.4 * stats.cost().macs
    plan = rivals.taylor_plan(model, stats, split, "macs", most)
    found = scores.moments(model, split.images, split.labels)
    for block in plan.blocks:
        changes = found[block.name]["change"]
        gone = sorted(set(range(block.channels)) - set(block.kept))
        assert changes[list(block.kept)].min(initial=np.inf) >= changes[gone].max(initial=0)
    assert 0.7 * most < model_cost(hwkeras.apply_plan(model, plan)).macs <= most


def test_a_narrow_net_is_the_widest_that_fits(dense):
    most = 0.4 * model_cost(dense[0]).parameters
    found = rivals.narrow_net(CONFIG, "parameters", most, build)
    assert 0.75 * most < model_cost(found).parameters <= most
    assert len(found.layers) == len(dense[0].layers)
    with pytest.raises(hwkeras.PlanError, match="cannot be reached"):
        rivals.narrow_net(CONFIG, "parameters", 10, build)


def test_rows_are_what_the_frontier_promises():
    cases = frontier.cases()
    assert len(set(cases)) == len(cases) == len({case.name for case in cases})
    gates = [c for c in cases if c.method == "gates" and not c.seed]
    assert len({c.share for c in gates if c.counts == "parameters"}) >= 6
    assert len({c.share for c in gates if c.counts == "macs"}) == 3
    for method in frontier.METHODS:
        for share in frontier.SEEDED:
            seeds = {c.seed for c in cases if (c.method, c.share) == (method, share)}
            assert seeds == {0, 1, 2}


def test_published_points_name_their_source_and_stand_in_the_picture():
    published = json.loads((ROOT / "benchmarks" / "published.json").read_text("utf-8"))
    assert all(point["source"] and 0.9 < point["accuracy"] < 1 for point in published)
    cost = {"parameters": 9_000_000, "macs": 340_000_000}
    row = {"counts": "parameters", "seed": 0, "test": 0.9, **cost}
    rows = [row | {"method": method} for method in ("dense", "rounds", "early", *frontier.METHODS)]
    for counts in ("parameters", "macs"):
        text = "".join(ElementTree.fromstring(frontier.picture(rows, counts)).itertext())
        for point in published:
            assert (point["name"].split(",")[0] in text) == (counts in point)
