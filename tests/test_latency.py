"""Plans that weigh a channel by what it costs, and the latency tables they may weigh by."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hwkeras.cost import BlockShape, Cost
from hwkeras.latency import BlockLatency, LatencyError, LatencyTable
from hwkeras.plan import BlockStats, GateStats, PlanError, PruningPlan, StreamStats
from hwkeras.planning import make_plan

# 3x3 kernels on 4 channels. Early: 16 positions, 16 MACs for each of a late block's one.
EARLY = BlockShape(in_channels=4, channels=4, kernel=(3, 3), positions=16, projection=False)
LATE = BlockShape(in_channels=4, channels=4, kernel=(3, 3), positions=1, projection=False)


def block(name, shape, update):
    update = tuple(update)
    return BlockStats(name, shape, tuple(range(len(update))), update, update, update)


STATS = GateStats(
    "digest",
    1,
    Cost(0, 0),
    (block("early", EARLY, (0.9, 0.8, 0.7, 0.6)), block("late", LATE, (0.4, 0.3, 0.2, 0.1))),
)
# One or two channels take as long as each other, three as long as four: as a kernel's tiles do.
STAIRS = (0.0, 5.0, 5.0, 9.0, 9.0)
TABLE = LatencyTable(
    "a phone",
    "float32",
    1,
    rest_ms=2.0,
    dense_ms=20.0,
    blocks=(
        BlockLatency(EARLY, (0, 1, 2, 3, 4), STAIRS),
        BlockLatency(LATE, (0, 4), (0.0, 4.0)),
    ),
)


def test_per_channel_cuts_where_the_scores_are_low():
    # Half of the MACs: all of the late block goes first, and it has only 1/17 of them.
    plan = make_plan(STATS, macs=STATS.cost().macs / 2, per="channel")
    assert plan.kept_counts == {"early": 2, "late": 0}
    assert plan.per == "channel"


def test_macs_are_spent_where_a_mac_does_most():
    # Late channels do 0.1 to 0.4 for a sixteenth of the price: they stay, early ones pay.
    # 9 k (4 + k) MACs a position: early 2 -> 1728, late 4 -> 288, together 2016 of 4896.
    plan = make_plan(STATS, macs=2016)
    assert plan.kept_counts == {"early": 2, "late": 4}
    assert (plan.by, plan.per) == ("update", "macs")
    # The next worst bargain: 0.8 for 1008 MACs (early), before 0.1 for 99 (late).
    assert make_plan(STATS, macs=2015).kept_counts == {"early": 1, "late": 4}


def test_parameters_weigh_by_default_what_they_cost():
    # With k channels 9 k (4 + k) + 16 + 2 k, 312 of 624 wanted. The fourth early channel does 0.6
    # for 101, the first late one 0.4 for 63: that is the better bargain.
    plan = make_plan(STATS, parameters=312, normalizer="none")
    assert plan.per == "parameters"
    assert plan.kept_counts == {"early": 3, "late": 1}
    assert make_plan(STATS, size_bytes=4 * 312, normalizer="none").kept_counts == plan.kept_counts


def test_latency_drops_whole_steps_and_keeps_what_is_free():
    # Dense: 2 + 9 + 4 = 15 ms. A late channel takes 1 ms for 0.4, 0.3, 0.2, 0.1; a pair of early
    # ones 4 ms for 1.3 (0.325 each) and 5 ms for 1.7 (0.34). Late ones go until 0.3, then a pair;
    # the room that a pair leaves is used again.
    assert make_plan(STATS, latency_ratio=12 / 15, latency=TABLE).kept_counts == {
        "early": 4, "late": 1,
    }  # fmt: skip
    plan = make_plan(STATS, latency_ratio=11 / 15, latency=TABLE)
    assert plan.kept_counts == {"early": 2, "late": 4}
    assert plan.per == "latency"
    assert plan.aim == "at most 73.33% of the latency"


def test_a_plan_that_keeps_only_what_is_free_has_no_cutoff():
    free = dataclasses.replace(TABLE, blocks=(
        BlockLatency(EARLY, (0, 1, 2, 3, 4), (0.0, 0.0, 0.0, 0.0, 5.0)), TABLE.blocks[1],
    ))  # fmt: skip
    plan = make_plan(STATS, latency_ratio=0.2, latency=free)
    assert plan.kept_counts == {"early": 3, "late": 0}
    assert plan.cutoff is None and PruningPlan.from_json(plan.to_json()) == plan


def test_keep_counts_channels_whatever_they_are_weighed_by():
    plan = make_plan(STATS, keep=0.5, per="macs")
    assert sum(plan.kept_counts.values()) == 4
    # Out go 0.6 and 0.7 for 1584 and 1296 MACs, 0.8 for 1008, and the late 0.1 for 99.
    assert plan.kept_counts == {"early": 1, "late": 3}


def test_a_time_counts_blocks_at_the_width_that_was_measured():
    blocks = tuple(dataclasses.replace(b, stream=b.name, reads=b.name) for b in STATS.blocks)
    streams = tuple(StreamStats(b.name, 4, (1.0,) * 4, Cost(1, 1)) for b in blocks)
    stats = dataclasses.replace(STATS, blocks=blocks, streams=streams)
    aim = {"latency_ratio": 11 / 15, "latency": TABLE}
    plan = make_plan(stats, **aim, cut_carried=1.0)
    assert plan.kept_counts == make_plan(STATS, **aim).kept_counts == {"early": 2, "late": 4}
    assert plan.cut_counts == {"early": 2}


costs = st.sampled_from(["parameters", "macs", "latency"])


@given(
    st.lists(st.lists(st.floats(0.01, 1), min_size=1, max_size=6), min_size=1, max_size=4),
    costs,
    st.floats(0, 1),
    st.sampled_from([1, 2]),
)
def test_an_aim_is_met_and_nothing_more_would_fit(updates, per, share, multiple):
    shapes = [
        BlockShape(5, len(update), (3, 3), 4**index, projection=False)
        for index, update in enumerate(updates)
    ]
    stats = GateStats(
        "digest", 1, Cost(7, 5),
        tuple(block(f"b{i}", s, u) for i, (s, u) in enumerate(zip(shapes, updates, strict=True))),
    )  # fmt: skip
    latencies = tuple(
        BlockLatency(shape, (0, len(u)), (0.0, 1.0 + i))
        for i, (shape, u) in enumerate(zip(shapes, updates, strict=True))
    )
    assume(len(set(shapes)) == len(shapes))
    table = LatencyTable("", "int8", 1, 0.5, 1.0, latencies)

    def cost(counts):
        if per == "latency":
            return table.total_ms({b.name: b.shape for b in stats.blocks}, counts)
        return getattr(stats.cost(counts), per)

    whole = {b.name: len(b.active) for b in stats.blocks}
    least = cost(dict.fromkeys(whole, 0))
    limit = least + share * (cost(whole) - least)
    aim = {"latency_ratio": limit / cost(whole)} if per == "latency" else {per: limit}
    plan = make_plan(stats, **aim, latency=table, multiple=multiple)
    counts = plan.kept_counts
    assert cost(counts) <= limit * (1 + 1e-12)
    for name, size in whole.items():
        more = min(counts[name] + multiple, size)
        assert more == counts[name] or cost(counts | {name: more}) > limit * (1 - 1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": 0.5, "per": "byte"}, "expected per one of channel, parameters, macs, latency;"),
        ({"threshold": 0.5, "per": "macs"}, "a threshold counts update per channel, not per macs"),
        ({"latency_ratio": 0.5}, "counting latency needs a latency table: hwkeras latency"),
        ({"keep": 0.5, "per": "latency"}, "counting latency needs a latency table"),
        ({"latency_ratio": 0.1, "latency": TABLE}, "at most 10.00% of the latency: cannot be"),
    ],
)
def test_bad_measures_are_refused(arguments, message):
    with pytest.raises(PlanError) as caught:
        make_plan(STATS, **arguments)
    assert message in str(caught.value)


def test_a_block_that_was_not_measured_is_named():
    short = dataclasses.replace(TABLE, blocks=TABLE.blocks[:1])
    with pytest.raises(LatencyError) as caught:
        make_plan(STATS, latency_ratio=0.5, latency=short)
    assert str(caught.value) == (
        "the latency table has no block of 4 channels on 1 positions that reads 4; measure this"
        " model: hwkeras latency"
    )


def test_between_measurements_time_is_on_a_line():
    assert TABLE.milliseconds(LATE, 1) == 1.0
    np.testing.assert_allclose(TABLE.milliseconds(EARLY, np.arange(5)), STAIRS)
    shapes = {"early": EARLY, "late": LATE}
    assert TABLE.total_ms(shapes, {"early": 4, "late": 4}) == 15.0


EMPTY = dataclasses.replace(TABLE, blocks=(BlockLatency(LATE, (0, 4), (0.0, 0.0)),))


def test_a_table_comes_back_from_its_json():
    text = TABLE.to_json()
    assert LatencyTable.from_json(text) == TABLE
    assert json.loads(text)["format"] == "hwkeras-latency-1"
    assert len([line for line in text.splitlines() if '"milliseconds"' in line]) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected a latency table, found broken JSON"),
        ("[]", "expected a latency table of format 'hwkeras-latency-1'; found 'list'"),
        (TABLE.to_json().replace('"rest_ms": 2.0', '"rest_ms": NaN'), "a time is not finite"),
        (TABLE.to_json().replace('"kept": [0, 4]', '"kept": [4, 0]'), "counts must be ascending"),
        (TABLE.to_json().replace('"kept": [0, 4]', '"kept": [0]'), "one time for each kept"),
        (TABLE.to_json().replace('"kept": [0, 4]', '"kept": [[0], [4]]'), "must be ascending"),
        (TABLE.to_json().replace('"kept": [0, 4]', '"kept": ["0", "4"]'), "must be ascending"),
        (TABLE.to_json().replace('"kept": [0, 4]', '"kept": "04"'), "must be ascending"),
        (TABLE.to_json().replace('"kept": [0, 4]', '"kept": []'), "go from 0 to at most 4"),
        (TABLE.to_json().replace('"kept": [0, 4]', '"kept": [1, 4]'), "go from 0 to at most 4"),
        (TABLE.to_json().replace('"kept": [0, 4]', f'"kept": [0, {10**400}]'), "at most 4"),
        (TABLE.to_json().replace("[0.0, 4.0]", '["0", "4"]'), "'0' is no time"),
        (TABLE.to_json().replace("[0.0, 4.0]", "[0.0, -4.0]"), "a time is below 0"),
        (TABLE.to_json().replace("[0.0, 4.0]", f"[0.0, {10**400}]"), "broken latency table"),
        (TABLE.to_json().replace("[0.0, 4.0]", f"[0.0, {'9' * 5000}]"), "expected a latency table"),
        (EMPTY.to_json(), "no block takes any time"),
        (TABLE.to_json().replace('"channels": 4', '"channels": "4"'), "no whole numbers"),
        (TABLE.to_json().replace('"dense_ms": 20.0', '"dense_ms": -1'), "a time is below 0"),
        (TABLE.to_json().replace('"device"', '"gadget"'), "broken latency table: TypeError"),
        (TABLE.to_json().replace('"rest_ms": 2.0', '"rest_ms": "x"'), "broken latency table"),
    ],
)
def test_broken_tables_are_refused(text, message):
    with pytest.raises(LatencyError) as caught:
        LatencyTable.from_json(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)
