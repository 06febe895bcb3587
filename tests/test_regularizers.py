import numpy as np
import pytest

from hwkeras.cost import BlockShape
from hwkeras.latency import BlockLatency, LatencyTable
from hwkeras.regularizers import GatePenalty, share_shut, weighted_mean_gate

WIDE = BlockShape(in_channels=4, channels=4, kernel=(3, 3), positions=4, projection=False)
NARROW = BlockShape(in_channels=2, channels=2, kernel=(3, 3), positions=64, projection=False)


def test_shares_are_the_removable_cost():
    # parameters: norm 4*in + kernels 9*k*(in+k) + biases 2*k
    #   wide: 16 + 9*4*8 + 8 = 312; narrow: 8 + 9*2*4 + 4 = 84; together 396
    shares = GatePenalty().shares({"wide": (WIDE, 4), "narrow": (NARROW, 2)})
    assert shares == {"wide": pytest.approx(312 / 396), "narrow": pytest.approx(84 / 396)}


def test_shares_by_macs_turn_to_the_early_stage():
    # macs: 9*k*(in+k)*positions; wide 288*4 = 1152, narrow 72*64 = 4608
    shares = GatePenalty(cost="macs").shares({"wide": (WIDE, 4), "narrow": (NARROW, 2)})
    assert shares == {"wide": pytest.approx(0.2), "narrow": pytest.approx(0.8)}


def test_shares_of_a_pruned_block_count_what_is_left():
    # one channel left of the wide block: 16 + 9*1*5 + 2 = 63 against narrow's 84
    shares = GatePenalty().shares({"wide": (WIDE, 1), "narrow": (NARROW, 2)})
    assert shares["wide"] == pytest.approx(63 / 147)


def test_shares_by_latency_follow_the_table(tmp_path):
    table = LatencyTable(
        "here", "float32", 1, 1.0, 5.0,
        (BlockLatency(WIDE, (0, 4), (0.0, 1.0)), BlockLatency(NARROW, (0, 2), (0.0, 3.0))),
    )  # fmt: skip
    path = tmp_path / "table.json"
    path.write_text(table.to_json())
    penalty = GatePenalty(cost="latency", latency_table=str(path))
    assert penalty.shares({"wide": (WIDE, 4), "narrow": (NARROW, 2)}) == {
        "wide": 0.25, "narrow": 0.75,
    }  # fmt: skip


def test_latency_needs_its_table():
    for fields in ({"cost": "latency"}, {"cost": "macs", "latency_table": "table.json"}):
        with pytest.raises(ValueError, match='"latency" goes with a `latency_table`'):
            GatePenalty(**fields)


@pytest.mark.parametrize("progress, expected", [(0, 0), (0.25, 1.5), (0.5, 3), (1, 3)])
def test_strength_ramps_up_over_the_first_half(progress, expected):
    assert float(GatePenalty(3.0).scale(np.float32(progress))) == pytest.approx(expected)


def test_no_ramp_means_full_strength_at_once():
    assert GatePenalty(3.0, ramp=0).scale(0.0) == 3.0


def test_weighted_mean_gate_averages_calls_of_a_shared_block():
    gates = {
        "a": [{"mean_gate": np.array([[0.2, 0.4]])}, {"mean_gate": np.array([[0.6, 0.8]])}],
        "b": [{"mean_gate": np.array([[1.0], [0.0]])}],
    }
    # a: mean of 0.3 and 0.7; b: 0.5
    value = float(weighted_mean_gate(gates, {"a": 0.25, "b": 0.75}))
    assert value == pytest.approx(0.25 * 0.5 + 0.75 * 0.5)


def test_share_shut_counts_channels_by_their_mean_over_the_batch():
    gates = {"a": [{"mean_gate": np.array([[0.01, 0.2, 0.0], [0.03, 0.0, 0.2]])}]}
    # means 0.02, 0.1, 0.1
    assert float(share_shut(gates, 0.05)) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"strength": -1}, "strength >= 0"),
        ({"ramp": 2}, "ramp in \\[0, 1\\]"),
        ({"cost": "flops"}, "`cost` must be one of"),
    ],
)
def test_bad_values_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GatePenalty(**options)
