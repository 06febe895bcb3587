"""A latency table is measured on real graphs of a net's own blocks, and plans can aim by it."""

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import randomize

import cli
from export.latency import measure_latencies
from export.tflite import ExportError
from hwkeras.latency import read_latency
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.planning import make_plan
from hwkeras.saving import save_model
from hwkeras.stats import collect_stats

CONFIG = HighwayConfig(stem=4, stages=(6, 9), blocks=2, strides=(1, 2))


@pytest.fixture(scope="module")
def net():
    return randomize(highway_net(CONFIG, (48, 48, 1), 10))  # so large that no block takes no time


@pytest.fixture(scope="module")
def table(net):
    return measure_latencies(net, runs=10)


def test_each_shape_of_block_is_measured_once_from_none_to_all(table):
    # 4 -> 6, 6 -> 6, 6 -> 9 by stride 2, 9 -> 9.
    assert [(b.shape.in_channels, b.shape.channels, b.shape.positions) for b in table.blocks] == [
        (4, 6, 2304), (6, 6, 2304), (6, 9, 576), (9, 9, 576),
    ]  # fmt: skip
    assert [b.kept for b in table.blocks] == [(0, 1, 4, 6)] * 2 + [(0, 1, 4, 8, 9)] * 2
    for block in table.blocks:
        assert block.milliseconds[0] == 0
        assert min(block.milliseconds) >= 0 < max(block.milliseconds)
    assert 0 < table.rest_ms < table.dense_ms


def test_a_plan_can_aim_by_it(net, table):
    images = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 1)).astype("uint8")
    stats = collect_stats(net, images)
    shapes = {block.name: block.shape for block in stats.blocks}
    dense = table.total_ms(shapes, {b.name: len(b.active) for b in stats.blocks})
    least = table.rest_ms / dense
    aim = (1 + least) / 2
    plan = make_plan(stats, latency_ratio=aim, latency=table)
    assert table.total_ms(shapes, plan.kept_counts) <= aim * dense
    assert sum(plan.kept_counts.values()) < 30


def test_integers_are_measured_too(net):
    assert measure_latencies(net, "int8", runs=1).variant == "int8"


def test_an_unknown_variant_is_refused(net):
    with pytest.raises(ExportError, match="no variant 'int4' to measure; there are float32, int8"):
        measure_latencies(net, "int4")


def test_the_command_writes_a_table_and_keeps_one_that_is_there(net, tmp_path):
    save_model(net, tmp_path / "net.keras")
    out = tmp_path / "table.json"
    arguments = ["latency", str(tmp_path / "net.keras"), "-o", str(out), "--runs", "1"]
    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code == 0, done.output
    assert "the dense net takes" in done.stdout
    before = out.read_text()
    assert read_latency(out).threads == 1
    again = CliRunner().invoke(cli.main, arguments)
    assert (again.exit_code, out.read_text()) == (1, before)
    assert "exists; --force replaces it" in again.output


def test_a_penalty_by_latency_needs_its_table(tmp_path):
    done = CliRunner().invoke(
        cli.main, ["train", "digits", "-o", str(tmp_path / "run"), "--penalty-cost", "latency"]
    )
    assert done.exit_code == 2
    assert "--penalty-cost latency and --penalty-table go together" in done.output
