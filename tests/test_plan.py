"""Plans from hand-made statistics: every aim, every option, and every text that is refused."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwkeras.cost import BlockShape, Cost
from hwkeras.plan import (
    NORMALIZERS,
    BlockPlan,
    BlockStats,
    GateStats,
    PlanError,
    PruningPlan,
    StreamOrder,
    StreamStats,
)
from hwkeras.planning import make_plan

DENSE = BlockShape(in_channels=4, channels=4, kernel=(), positions=1, projection=False)
CHANGED = BlockShape(in_channels=4, channels=3, kernel=(), positions=1, projection=True)

# Ranked by update: a 0.1 0.2 0.3 0.4, b 0.25 0.35 0.45 and so on; by gate the other way round.
STATS = GateStats(
    model="0123456789abcdef",
    images=100,
    rest=Cost(parameters=50, macs=40),
    blocks=(
        BlockStats(
            name="a",
            shape=DENSE,
            active=(0, 1, 2, 3),
            mean_gate=(0.8, 0.7, 0.6, 0.5),
            max_gate=(0.9, 0.9, 0.9, 0.9),
            mean_update=(0.1, 0.2, 0.3, 0.4),
        ),
        BlockStats(
            name="b",
            shape=CHANGED,
            active=(0, 2),
            mean_gate=(0.65, 0.55),
            max_gate=(1.0, 1.0),
            mean_update=(0.25, 0.35),
        ),
    ),
)
# Dense blocks: norm 4 x 4, transform 4k + k, gate k k + k; the projection of b has 4 x 3 weights.
#   a: k = 4 56   3 46 - 16 = 46   2 32   1 23   0 0          (16 + 6 k + k k for k > 0)
#   b: 12 more: k = 2 44, 1 35, 0 12
A_PARAMETERS = {4: 56, 3: 43, 2: 32, 1: 23, 0: 0}
B_PARAMETERS = {2: 44, 1: 35, 0: 12}
A_MACS = {4: 32, 3: 21, 2: 12, 1: 5, 0: 0}  # 4 k + k k
B_MACS = {2: 24, 1: 17, 0: 12}


def kept(plan):
    return {block.name: block.kept for block in plan.blocks}


def stats_with(updates, actives=None):
    """Returns statistics of dense blocks with these mean updates."""
    blocks = []
    for index, update in enumerate(updates):
        shape = BlockShape(5, max(len(update), 1), (), 1, projection=index % 2 == 1)
        blocks.append(
            BlockStats(
                f"block{index}", shape, tuple(range(len(update))), tuple(update), tuple(update),
                tuple(update),
            )
        )  # fmt: skip
    return GateStats("digest", 10, Cost(7, 5), tuple(blocks))


def test_cost_of_statistics():
    assert STATS.cost() == Cost(50 + 56 + 44, 40 + 32 + 24)
    assert STATS.cost({"a": 3, "b": 1}) == Cost(50 + 43 + 35, 40 + 21 + 17)
    for k, parameters in A_PARAMETERS.items():
        assert DENSE.cost(k) == Cost(parameters, A_MACS[k])
    for k, parameters in B_PARAMETERS.items():
        assert CHANGED.cost(k) == Cost(parameters, B_MACS[k])


def test_threshold_keeps_what_reaches_it():
    plan = make_plan(STATS, threshold=0.25)
    assert kept(plan) == {"a": (2, 3), "b": (0, 2)}  # 0.25 itself stays
    assert plan == PruningPlan(
        model="0123456789abcdef",
        aim="channels with a mean update of at least 0.25",
        by="update",
        normalizer="none",
        per="channel",
        cutoff=0.25,
        blocks=(BlockPlan("a", 4, 4, (2, 3)), BlockPlan("b", 3, 2, (0, 2))),
    )


def test_thresholds_at_either_end():
    assert kept(make_plan(STATS, threshold=0.0)) == {"a": (0, 1, 2, 3), "b": (0, 2)}
    plan = make_plan(STATS, threshold=9.0)
    assert kept(plan) == {"a": (), "b": ()}
    assert plan.cutoff == math.nextafter(0.4, 1)  # nothing reaches it


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (1.0, {"a": (0, 1, 2, 3), "b": (0, 2)}),
        (0.5, {"a": (2, 3), "b": (2,)}),  # 3 of 6: 0.4, 0.35, 0.3
        (0.4, {"a": (2, 3), "b": (2,)}),  # 2.4 of 6 is rounded up
        (1 / 3, {"a": (3,), "b": (2,)}),
        (0.01, {"a": (3,), "b": ()}),
        (0.0, {"a": (), "b": ()}),
    ],
)
def test_keep_keeps_a_share_of_all_channels(share, expected):
    assert kept(make_plan(STATS, keep=share)) == expected


def test_keep_is_not_misled_by_rounding():
    # 0.07 x 100 is 7.000000000000001 in floats: 7 stay, not 8.
    plan = make_plan(stats_with([range(100)]), keep=0.07)
    assert plan.kept_counts == {"block0": 7}


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (150, {"a": 4, "b": 2}),
        (149, {"a": 3, "b": 2}),  # 0.1 goes: 50 + 43 + 44 = 137
        (137, {"a": 3, "b": 2}),
        (136, {"a": 2, "b": 2}),  # 0.2 goes: 126
        (125, {"a": 2, "b": 1}),  # 0.25 goes: 117
        (116, {"a": 1, "b": 1}),  # 0.3 goes: 108
        (107, {"a": 1, "b": 0}),  # 0.35 goes: 85
        (84, {"a": 0, "b": 0}),  # all go: 62, the projection of b included
        (62, {"a": 0, "b": 0}),
    ],
)
def test_sizes_in_parameters_and_bytes(limit, expected):
    rules = {"per": "channel", "normalizer": "none"}
    assert make_plan(STATS, parameters=limit, **rules).kept_counts == expected
    assert make_plan(STATS, size_bytes=4 * limit, **rules).kept_counts == expected
    assert make_plan(STATS, size_bytes=4 * limit + 3, **rules).kept_counts == expected


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (96, {"a": 4, "b": 2}),
        (95, {"a": 3, "b": 2}),  # 40 + 21 + 24 = 85
        (85, {"a": 3, "b": 2}),
        (84, {"a": 2, "b": 2}),  # 76
        (52, {"a": 0, "b": 0}),  # 40 + 12
    ],
)
def test_sizes_in_macs(limit, expected):
    assert make_plan(STATS, macs=limit, per="channel").kept_counts == expected


@pytest.mark.parametrize(
    ("aim", "message"),
    [
        (
            {"parameters": 61},
            "at most 61 parameters: cannot be reached, the least is 62 parameters"
            " with minimum=0, multiple=1, protected blocks: 0",
        ),
        (
            {"size_bytes": 247},
            "at most 247 bytes: cannot be reached, the least is 248 bytes"
            " with minimum=0, multiple=1, protected blocks: 0",
        ),
        (
            {"macs": 51},
            "at most 51 macs: cannot be reached, the least is 52 macs"
            " with minimum=0, multiple=1, protected blocks: 0",
        ),
        (
            # a stays whole, 56; b keeps 1, 35
            {"parameters": 140, "protect": ["a"], "minimum": 1},
            "at most 140 parameters: cannot be reached, the least is 141 parameters"
            " with minimum=1, multiple=1, protected blocks: 1",
        ),
    ],
)
def test_a_size_that_cannot_be_reached_is_refused(aim, message):
    with pytest.raises(PlanError) as caught:
        make_plan(STATS, **aim)
    assert str(caught.value) == message


def test_ranking_by_gate_and_by_update_differ():
    assert kept(make_plan(STATS, keep=0.5, by="update")) == {"a": (2, 3), "b": (2,)}
    by_gate = make_plan(STATS, keep=0.5, by="gate")  # 0.8, 0.7, 0.65
    assert kept(by_gate) == {"a": (0, 1), "b": (0,)}
    assert (by_gate.by, by_gate.cutoff) == ("gate", 0.65)


@pytest.mark.parametrize("aims", [{}, {"keep": 0.5, "threshold": 0.1}, {"kept": {}, "macs": 9}])
def test_exactly_one_aim_is_needed(aims):
    with pytest.raises(PlanError) as caught:
        make_plan(STATS, **aims)
    given = [name for name in ("threshold", "keep", "macs", "kept") if name in aims]
    assert str(caught.value) == (
        "expected exactly one aim of threshold, keep, size_bytes, parameters, macs,"
        f" latency_ratio, kept;"
        f" received {given}"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keep": 1.5}, "keep: expected 0 to 1; found 1.5"),
        ({"keep": -0.1}, "keep: expected 0 to 1; found -0.1"),
        ({"threshold": math.nan}, "threshold: expected >= 0; found nan"),
        ({"threshold": math.inf}, "threshold: expected >= 0; found inf"),
        ({"parameters": -1}, "parameters: expected >= 0; found -1"),
        ({"keep": 0.5, "by": "luck"}, "expected a ranking of update, gate; received 'luck'"),
        (
            {"keep": 0.5, "normalizer": "mean"},
            "expected a normalizer of none, lamp; received 'mean'",
        ),
        (
            {"threshold": 0.5, "normalizer": "lamp"},
            "a threshold counts update as it is; expected no normalizer 'lamp'",
        ),
        ({"keep": 0.5, "multiple": 0}, "expected multiple >= 1, minimum >= 0; received 0, 0"),
        ({"keep": 0.5, "minimum": -1}, "expected multiple >= 1, minimum >= 0; received 1, -1"),
        ({"keep": 0.5, "protect": ["c"]}, "no block is named 'c'; there are a, b"),
        ({"kept": {"c": []}}, "no block is named 'c'; there are a, b"),
        ({"kept": {"b": [1]}}, "block 'b' transforms no channel 1"),
        ({"kept": {"a": [2, 1]}}, "block 'a': kept channels must be ascending, each once"),
        ({"kept": {"a": [1, 1]}}, "block 'a': kept channels must be ascending, each once"),
        ({"kept": {"a": [1.0]}}, "block 'a': channel 1.0 is no whole number"),
        ({"kept": {"a": [True]}}, "block 'a': channel True is no whole number"),
    ],
)
def test_what_cannot_be_planned_is_refused(arguments, message):
    with pytest.raises(PlanError) as caught:
        make_plan(STATS, **arguments)
    assert str(caught.value) == message


def test_lamp_counts_what_a_block_still_does():
    stats = stats_with([[0.02, 0.01, 0.01], [2.0, 1.0, 3.0]])
    assert kept(make_plan(stats, keep=0.5)) == {"block0": (), "block1": (0, 1, 2)}
    # shares of what is no lower: 1, 1/3, 1/4 and 3/3, 2/5, 1/6
    plan = make_plan(stats, keep=0.5, normalizer="lamp")
    assert kept(plan) == {"block0": (0,), "block1": (0, 2)}
    assert (plan.normalizer, plan.cutoff) == ("lamp", pytest.approx(0.4))
    assert kept(make_plan(stats, keep=0.6, normalizer="lamp")) == {
        "block0": (0, 1), "block1": (0, 2),
    }  # fmt: skip
    assert PruningPlan.from_json(plan.to_json()) == plan


def test_a_size_has_defaults_of_its_own():
    """Every block's last channel ties under LAMP; where not all fit, some still stay."""
    stats = stats_with([[0.02, 0.01], [2.0, 1.0], [3.0, 2.0]])
    for aim, normalizer in (("parameters", "lamp"), ("size_bytes", "lamp"), ("macs", "none")):
        plan = make_plan(stats, **{aim: 10**6})
        assert plan.normalizer == normalizer
    assert make_plan(stats, keep=0.5).normalizer == "none"
    least = stats.cost(dict.fromkeys(("block0", "block1", "block2"), 0)).parameters
    for room, count in ((0, 0), (28, 1), (56, 2), (84, 3)):
        plan = make_plan(stats, parameters=least + room, per="channel")
        assert sum(plan.kept_counts.values()) == count
    assert make_plan(STREAMS, keep=0.0).cut_counts == {}
    assert make_plan(STREAMS, macs=60).cut_counts == {"s": 2, "t": 1}


@pytest.mark.parametrize("update", [0.0, 1e-9, 1e-4])
def test_under_lamp_a_block_whose_gates_are_shut_goes(update):
    stats = stats_with([[update, update], [0.5, 0.25]])
    assert kept(make_plan(stats, keep=0.5, normalizer="lamp")) == {"block0": (), "block1": (0, 1)}


def test_a_plan_of_before_there_was_a_normalizer_is_read():
    old = GOLDEN.replace('  "normalizer": "none",\n', "")
    assert "normalizer" not in old
    assert PruningPlan.from_json(old) == PruningPlan.from_json(GOLDEN)


def test_channels_given_by_hand():
    plan = make_plan(STATS, kept={"a": [1, 3]})
    assert kept(plan) == {"a": (1, 3), "b": (0, 2)}  # b is not named: whole
    assert (plan.by, plan.cutoff) == ("hand", None)


def test_channels_given_as_numpy_integers_reach_json():
    plan = make_plan(STATS, kept={"a": list(np.array([1, 3]))})
    assert PruningPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("by", ["update", "gate"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_statistics_that_are_not_numbers_are_refused(by, bad):
    field = "mean_update" if by == "update" else "mean_gate"
    second = dataclasses.replace(STATS.blocks[1], **{field: (0.5, bad)})
    broken = dataclasses.replace(STATS, blocks=(STATS.blocks[0], second))
    with pytest.raises(PlanError) as caught:
        make_plan(broken, keep=0.5, by=by)
    assert str(caught.value) == (
        f"block 'b': the mean {by} of channel 2 is not a number; the model's weights may be NaN"
    )


def test_counts_are_rounded_up_to_a_multiple():
    # By update, 3 of 6 stay: two of a and one of b; rounded up by the best that had to go.
    assert make_plan(STATS, keep=0.5, multiple=2).kept_counts == {"a": 2, "b": 2}
    assert kept(make_plan(STATS, keep=0.2, multiple=2)) == {"a": (2, 3), "b": (0, 2)}
    # 3 is no multiple of 4: a keeps all 4. b cannot have 4: it keeps the 2 it has.
    assert make_plan(STATS, threshold=0.15, multiple=4).kept_counts == {"a": 4, "b": 2}
    assert make_plan(STATS, keep=0.0, multiple=4).kept_counts == {"a": 0, "b": 0}


def test_every_block_keeps_a_minimum():
    assert kept(make_plan(STATS, keep=0.0, minimum=1)) == {"a": (3,), "b": (2,)}
    assert make_plan(STATS, keep=0.0, minimum=3).kept_counts == {"a": 3, "b": 2}
    assert make_plan(STATS, keep=0.0, minimum=1, multiple=2).kept_counts == {"a": 2, "b": 2}


def test_protected_blocks_stay_whole():
    assert make_plan(STATS, keep=0.0, protect=["b"]).kept_counts == {"a": 0, "b": 2}
    # 50 + 44 + 32 = 126: the size is reached with the other block alone
    assert make_plan(STATS, parameters=130, protect=["b"]).kept_counts == {"a": 2, "b": 2}


def test_ties_stay_together():
    stats = stats_with([[0.5, 0.5, 0.5], [0.5, 0.7]])
    # Half of 5 is 3, but the last of them ties with two more: all of the tie stay.
    assert make_plan(stats, keep=0.5).kept_counts == {"block0": 3, "block1": 2}
    assert make_plan(stats, keep=0.2).kept_counts == {"block0": 0, "block1": 1}
    # A tie that a minimum splits: the lowest numbers stay, whatever NumPy's sort does.
    assert kept(make_plan(stats, threshold=1.0, minimum=2)) == {"block0": (0, 1), "block1": (0, 1)}


def test_statistics_without_a_channel():
    empty = GateStats("digest", 10, Cost(30, 30), ())
    assert make_plan(empty, keep=0.5).blocks == ()
    assert make_plan(empty, parameters=30).blocks == ()
    with pytest.raises(PlanError, match="the least is 30 parameters"):
        make_plan(empty, parameters=29)
    assert PruningPlan.from_json(make_plan(empty, keep=0.5).to_json()).blocks == ()


scores = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5, 0.75, 1.0])
updates = st.lists(st.lists(scores, max_size=5), min_size=1, max_size=4)
rules = st.fixed_dictionaries(
    {"multiple": st.sampled_from([1, 2, 4]), "minimum": st.sampled_from([0, 0, 1, 3])}
)


@given(updates, rules, st.floats(0, 1), st.floats(0, 1), st.sampled_from(NORMALIZERS))
def test_a_larger_share_keeps_all_that_a_smaller_one_keeps(updates, rules, one, other, normalizer):
    stats, rules = stats_with(updates), rules | {"normalizer": normalizer}
    small, large = (make_plan(stats, keep=share, **rules) for share in sorted([one, other]))
    for few, many in zip(small.blocks, large.blocks, strict=True):
        assert set(few.kept) <= set(many.kept)
    total = sum(map(len, updates))
    assert sum(large.kept_counts.values()) >= math.ceil(max(one, other) * total - 1e-9)


@given(
    st.lists(st.lists(scores, min_size=1, max_size=5), min_size=1, max_size=4),
    rules,
    st.floats(0, 1),
    st.sampled_from(["parameters", "channel"]),
    st.data(),
)
def test_under_lamp_no_block_is_louder_than_another(updates, rules, share, per, data):
    """Scores of a block may be in any unit; powers of two, so that nothing is rounded."""
    updates = [[0.5, *values] for values in updates]  # no block does next to nothing
    units = [2.0 ** data.draw(st.integers(-1, 1)) for _ in updates]
    other = [[unit * v for v in values] for unit, values in zip(units, updates, strict=True)]
    rules |= {"keep": share, "per": per, "normalizer": "lamp"}
    one, two = make_plan(stats_with(updates), **rules), make_plan(stats_with(other), **rules)
    assert one == two


@given(updates, rules, st.floats(0, 2))
def test_a_threshold_cuts_nothing_that_reaches_it(updates, rules, threshold):
    plan = make_plan(stats_with(updates), threshold=threshold, **rules)
    for block, update in zip(plan.blocks, updates, strict=True):
        wanted = [channel for channel, value in enumerate(update) if value >= threshold]
        assert set(wanted) <= set(block.kept)
        if rules == {"multiple": 1, "minimum": 0}:
            assert list(block.kept) == wanted
        count = len(block.kept)
        assert count == len(update) or count >= rules["minimum"]
        assert count == len(update) or count % rules["multiple"] == 0
        # what stays is never worse than what goes
        gone = [value for channel, value in enumerate(update) if channel not in block.kept]
        assert not gone or not block.kept or max(gone) <= min(update[c] for c in block.kept)


@given(updates, rules, st.sampled_from(["parameters", "macs", "size_bytes"]), st.floats(0, 1))
def test_a_size_is_met_and_no_channel_goes_in_vain(updates, rules, aim, share):
    stats = stats_with(updates)
    attribute, per = ("parameters", 4) if aim == "size_bytes" else (aim, 1)

    def size(plan):
        return per * getattr(stats.cost(plan.kept_counts), attribute)

    # Every plan that a threshold can give, from the largest to the smallest.
    thresholds = sorted({0.0, 2.0, *(value for update in updates for value in update)})
    plans = [make_plan(stats, threshold=value, **rules) for value in thresholds]
    limit = size(plans[-1]) + share * (size(plans[0]) - size(plans[-1]))
    plan = make_plan(stats, **{aim: limit}, per="channel", normalizer="none", **rules)
    assert size(plan) <= limit
    largest = next(other for other in plans if size(other) <= limit)
    assert kept(plan) == kept(largest)


GOLDEN = """\
{
  "format": "hwkeras-plan-1",
  "model": "0123456789abcdef",
  "aim": "50.00% of the channels",
  "by": "update",
  "normalizer": "none",
  "per": "channel",
  "cutoff": 0.3,
  "blocks": [
    {"name": "a", "channels": 4, "active": 4, "kept": [2, 3]},
    {"name": "b", "channels": 3, "active": 2, "kept": [2]}
  ],
  "orders": []
}
"""

GOLDEN_STATS = """\
{
  "format": "hwkeras-gates-1",
  "model": "0123456789abcdef",
  "images": 100,
  "rest": {"parameters": 50, "macs": 40},
  "blocks": [
    {"name": "a", "shape": {"in_channels": 4, "channels": 4, "kernel": [], "positions": 1, \
"projection": false}, "active": [0, 1, 2, 3], "mean_gate": [0.8, 0.7, 0.6, 0.5], \
"max_gate": [0.9, 0.9, 0.9, 0.9], "mean_update": [0.1, 0.2, 0.3, 0.4], "stream": null, \
"reads": null},
    {"name": "b", "shape": {"in_channels": 4, "channels": 3, "kernel": [], "positions": 1, \
"projection": true}, "active": [0, 2], "mean_gate": [0.65, 0.55], \
"max_gate": [1.0, 1.0], "mean_update": [0.25, 0.35], "stream": null, \
"reads": null}
  ],
  "streams": []
}
"""
GOLDEN_STREAMS = """\
  "streams": [
    {"name": "s", "channels": 4, "need": [0.5, 2.0, 1.0, 0.1], \
"rest": {"parameters": 10, "macs": 6}, "pairs": [["t", {"parameters": 2, "macs": 1}]]},
    {"name": "t", "channels": 3, "need": [1.0, 1.0, 1.0], \
"rest": {"parameters": 9, "macs": 5}, "pairs": []}
  ]
}
"""


# The same blocks on streams: a reads and writes s, b reads s and writes t. One channel of s costs
# 10 parameters outside them, one of t 9, 2 of each in a layer that reads s and makes t.
STREAMS = dataclasses.replace(
    STATS,
    blocks=(
        dataclasses.replace(STATS.blocks[0], stream="s", reads="s"),
        dataclasses.replace(STATS.blocks[1], stream="t", reads="s"),
    ),
    streams=(
        StreamStats("s", 4, (0.5, 2.0, 1.0, 0.1), Cost(10, 6), (("t", Cost(2, 1)),)),
        StreamStats("t", 3, (1.0, 1.0, 1.0), Cost(9, 5)),
    ),
)


def test_cost_of_statistics_with_channels_cut():
    assert STREAMS.cost() == STREAMS.cost(cut={}) == STATS.cost()
    # s has 3: a with 2: norm 12, transform 3 x 2 + 2, gate 2 x 2 + 2 = 26, 10 MACs
    #          b with 1: norm 12, transform 3 + 1, gate 1 + 1, projection 3 x 3 = 27, 13 MACs
    assert STREAMS.cost({"a": 2, "b": 1}, {"s": 1}) == Cost(50 - 10 + 26 + 27, 40 - 6 + 10 + 13)
    # and t has 1: the projection 3 x 1 = 3 of 9; two channels of t, less what s took with it
    assert STREAMS.cost({"a": 2, "b": 1}, {"s": 1, "t": 2}) == Cost(
        50 - 10 - 2 * 9 + 2 * 2 + 26 + 21, 40 - 6 - 2 * 5 + 2 * 1 + 10 + 7
    )
    with pytest.raises(PlanError) as caught:
        STREAMS.cost(cut={"u": 1})
    assert str(caught.value) == "the gate statistics know no stream 'u' to cut: collect them again"


def test_the_least_needed_of_what_is_only_carried_is_cut():
    plan = make_plan(STREAMS, kept={"a": [2, 3], "b": [0]}, cut_carried=0.5)
    # of s 0 and 1 are carried, 0 is the less needed; of t 1 and 2, as needed as each other
    assert plan.orders == (StreamOrder("s", (1, 2, 3), (0,)), StreamOrder("t", (0, 2), (1,)))
    assert plan.cut_counts == {"s": 1, "t": 1}
    assert plan.aim == "channels given by hand, 50.00% of what is only carried cut"
    assert '{"stream": "s", "order": [1, 2, 3], "cut": [0]},\n' in plan.to_json()
    whole = make_plan(STREAMS, kept={"a": [2, 3], "b": [0]}, cut_carried=1.0)
    assert whole.cut_counts == {"s": 2, "t": 2}
    # 3 is needed least of all, but a keeps it
    assert make_plan(STREAMS, kept={"a": [3]}, cut_carried=0.34).orders[0].cut == (0,)
    # half of one channel is none
    assert make_plan(STREAMS, kept={"a": [1, 2, 3]}, cut_carried=0.5).cut_counts == {}
    assert make_plan(STREAMS, kept={}, cut_carried=1.0).cut_counts == {"t": 1}  # b never had 1


def test_a_stream_keeps_one_channel():
    plan = make_plan(STREAMS, keep=0.0, cut_carried=1.0)
    assert plan.orders == (StreamOrder("s", (1,), (0, 2, 3)), StreamOrder("t", (2,), (0, 1)))
    assert PruningPlan.from_json(plan.to_json()) == plan


def test_an_aim_counts_what_is_cut():
    # By update go 0.1 0.2 (a) 0.25 (b) 0.3 0.35 0.4. With all of what is carried cut, first t's
    # one that b never had: less 9, and 4 of the projection: 150 - 13.
    assert make_plan(STREAMS, parameters=137, per="channel", cut_carried=1.0).kept_counts == {
        "a": 4, "b": 2,
    }  # fmt: skip
    # Then s loses channel 0: 50 - 9 - 10 + 2 = 33; a with 3 of 3: 12 + 12 + 12 = 36;
    # b: 12 + 3 x 2 + 2 + 6 + projection 6 = 32
    plan = make_plan(STREAMS, parameters=136, per="channel", cut_carried=1.0)
    assert plan.kept_counts == {"a": 3, "b": 2}
    assert STREAMS.cost(plan.kept_counts, plan.cut_counts).parameters == 33 + 36 + 32
    assert make_plan(
        STREAMS, parameters=101, per="channel", cut_carried=1.0
    ) == dataclasses.replace(plan, aim="at most 101 parameters, all of what is only carried cut")
    # s and t of one: 50 - 3 x 10 - 2 x 9 + 2 x 3 x 2 = 14, and b's projection 1 x 1
    with pytest.raises(PlanError, match="the least is 15 parameters"):
        make_plan(STREAMS, parameters=1, cut_carried=1.0)


@pytest.mark.parametrize(
    ("stats", "share", "message"),
    [
        (STREAMS, -0.1, "cut_carried: expected 0 to 1; found -0.1"),
        (STREAMS, 1.5, "cut_carried: expected 0 to 1; found 1.5"),
        (STREAMS, math.nan, "cut_carried: expected 0 to 1; found nan"),
        (
            dataclasses.replace(STREAMS, streams=()), 0.5,
            "the gate statistics do not say how much stream 's' is needed: collect them again",
        ),
        (
            dataclasses.replace(
                STREAMS,
                streams=(dataclasses.replace(STREAMS.streams[0], need=(1.0, math.nan, 1.0, 1.0)),),
            ),
            0.5,
            "stream 's': the need of channel 1 is not a number; the model's weights may be NaN",
        ),
    ],
)  # fmt: skip
def test_a_cut_that_cannot_be_planned_is_refused(stats, share, message):
    with pytest.raises(PlanError) as caught:
        make_plan(stats, keep=0.5, cut_carried=share)
    assert str(caught.value) == message


def test_streams_that_must_keep_their_order_are_not_cut():
    assert make_plan(STATS, keep=0.5, cut_carried=1.0).orders == ()


@given(
    st.lists(st.lists(scores, min_size=5, max_size=5), min_size=1, max_size=4),
    st.lists(st.floats(0, 3), min_size=5, max_size=5),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(["parameters", "macs"]),
)
def test_an_aim_is_met_with_the_least_needed_cut(updates, need, share, limit, aim):
    blocks = tuple(
        dataclasses.replace(block, shape=BlockShape(5, 5, (3, 3), 4, False), stream="s", reads="s")
        for block in stats_with(updates).blocks
    )
    streams = (StreamStats("s", 5, tuple(need), Cost(3, 2)),)
    stats = GateStats("digest", 10, Cost(20, 15), blocks, streams)
    assert GateStats.from_json(stats.to_json()).streams[0].rest == Cost(3, 2)
    least = getattr(stats.cost(dict.fromkeys(kept(make_plan(stats, keep=1.0)), 0),
                               {"s": min(math.floor(share * 5 + 1e-9), 4)}), aim)  # fmt: skip
    most = getattr(stats.cost(), aim)
    plan = make_plan(stats, **{aim: least + limit * (most - least)}, cut_carried=share)
    assert getattr(stats.cost(plan.kept_counts, plan.cut_counts), aim) <= (
        least + limit * (most - least)
    )
    held = set().union(*kept(plan).values())
    free = set(range(5)) - held
    cut = set(plan.orders[0].cut) if plan.orders else set()
    assert len(cut) == min(math.floor(share * len(free) + 1e-9), 4) and cut <= free
    assert max((need[c] for c in cut), default=0) <= min((need[c] for c in free - cut), default=9)
    assert PruningPlan.from_json(plan.to_json()) == plan
    # a channel more for any block would not fit
    for name, count in plan.kept_counts.items():
        if count < 5:
            block = next(block for block in blocks if block.name == name)
            order = np.argsort(-block.scores("update"), kind="stable")
            more = 5 - len(held | {int(order[count])})
            cost = stats.cost(
                plan.kept_counts | {name: count + 1},
                {"s": min(math.floor(share * more + 1e-9), 4)},
            )
            assert getattr(cost, aim) > (least + limit * (most - least)) * (1 - 1e-12)


def test_streams_read_as_json_with_a_stream_a_line():
    assert STREAMS.to_json().endswith(GOLDEN_STREAMS)
    assert GateStats.from_json(STREAMS.to_json()) == STREAMS


def test_statistics_of_before_there_were_streams_are_read():
    old = GOLDEN_STATS.replace(', "reads": null', "").replace(',\n  "streams": []', "")
    assert "streams" not in old and "reads" not in old
    assert GateStats.from_json(old) == STATS


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"name": "t"', '"name": "s"', "{broken} two streams are named 's'"),
        ("[0.5, 2.0, 1.0, 0.1]", "[0.5]", "{broken} expected 4 numbers as need of stream 's'"),
        ("[0.5, 2.0, 1.0, 0.1]", '[0, 0, 0, "x"]', "{broken} expected 4 numbers as need of stream"),
        (
            '"channels": 4, "need": [0.5, 2.0, 1.0, 0.1]', '"channels": 2, "need": [0.5, 2.0]',
            "{broken} stream 's' has 2 channels and 4 at block 'a'",
        ),
        ('"rest": {"parameters": 10, "macs": 6}', '"rest": {"macs": 6}', "{broken} TypeError("),
        ('"parameters": 10', '"parameters": "x"', "{broken} TypeError("),
        ('"parameters": 2,', '"parameters": null,', "{broken} TypeError("),
        ('"reads": "s"', '"reads": "t"', "{broken} stream 't' has 3 channels and 4 at block 'a'"),
        ('"reads": "s"', '"reads": 5', "{broken} block 'a': stream is no name"),
    ],
)  # fmt: skip
def test_broken_streams_are_refused(before, after, message):
    text = STREAMS.to_json()
    assert before in text
    with pytest.raises(PlanError) as caught:
        GateStats.from_json(text.replace(before, after))
    assert str(caught.value).startswith(message.format(broken="broken gate statistics:"))


def test_a_plan_reads_as_json_with_a_block_a_line():
    plan = make_plan(STATS, keep=0.5)
    assert plan.to_json() == GOLDEN
    assert PruningPlan.from_json(GOLDEN) == plan


def test_statistics_read_as_json_with_a_block_a_line():
    assert STATS.to_json() == GOLDEN_STATS
    assert GateStats.from_json(GOLDEN_STATS) == STATS


def test_statistics_are_written_with_six_digits():
    long = dataclasses.replace(STATS.blocks[1], mean_update=(1 / 3, 2e-9 / 3))
    text = dataclasses.replace(STATS, blocks=(long,)).to_json()
    assert '"mean_update": [0.333333, 6.66667e-10]' in text
    assert GateStats.from_json(text).to_json() == text


@given(updates, st.floats(0, 1))
def test_a_plan_survives_json(updates, share):
    plan = make_plan(stats_with(updates), keep=share)
    assert PruningPlan.from_json(plan.to_json()) == plan


def test_a_plan_may_be_edited_by_hand():
    edited = PruningPlan.from_json(GOLDEN.replace('"kept": [2, 3]', '"kept": [0, 3]'))
    assert kept(edited) == {"a": (0, 3), "b": (2,)}
    assert edited.kept_counts == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"name": "b"', '"name": "a"', "the plan names block 'a' twice"),
        ("[2, 3]", "[3, 2]", "block 'a': kept channels must be ascending, each once"),
        ("[2, 3]", "[2, 2]", "block 'a': kept channels must be ascending, each once"),
        ("[2, 3]", "[2, 4]", "block 'a' transforms no channel 4"),
        ("[2, 3]", "[-1, 3]", "block 'a' transforms no channel -1"),
        ("[2, 3]", '["2", 3]', "block 'a': channel '2' is no whole number"),
        ("[2, 3]", "[2.0, 3]", "block 'a': channel 2.0 is no whole number"),
        ("[2, 3]", "[true, 3]", "block 'a': channel True is no whole number"),
        ("[2, 3]", "5", "broken pruning plan: TypeError(\"'int' object is not iterable\")"),
        (', "kept": [2, 3]', "", "broken pruning plan: KeyError('kept')"),
        ('"active": 4', '"active": "x"', "broken pruning plan: ValueError("),
        ('"active": 4', '"active": 1e999', "broken pruning plan: OverflowError("),
        ('"cutoff": 0.3,', "", "broken pruning plan: KeyError('cutoff')"),
        ("plan-1", "plan-2", "expected a pruning plan of format 'hwkeras-plan-1'; found 'hwkeras-"),
        ('"model"', "model", "expected a pruning plan, found broken JSON: Expecting property name"),
    ],
)
def test_a_broken_plan_is_refused(before, after, message):
    assert before in GOLDEN
    with pytest.raises(PlanError) as caught:
        PruningPlan.from_json(GOLDEN.replace(before, after))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_huge_channel_count_takes_no_memory():
    text = GOLDEN.replace('"channels": 4', f'"channels": {10**15}')
    assert PruningPlan.from_json(text).blocks[0].channels == 10**15


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a {what}, found broken JSON: Expecting value"),
        ("[]", "expected a {what} of format '{form}'; found 'list'"),
        ("7", "expected a {what} of format '{form}'; found 'int'"),
        ("{}", "expected a {what} of format '{form}'; found None"),
        ('{"format": "keras"}', "expected a {what} of format '{form}'; found 'keras'"),
    ],
)
@pytest.mark.parametrize(
    ("kind", "what", "form"),
    [
        (PruningPlan, "pruning plan", "hwkeras-plan-1"),
        (GateStats, "gate statistics", "hwkeras-gates-1"),
    ],
)
def test_foreign_json_is_refused(kind, what, form, text, message):
    with pytest.raises(PlanError) as caught:
        kind.from_json(text)
    assert str(caught.value).startswith(message.format(what=what, form=form))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"name": "b"', '"name": "a"', "the gate statistics name block 'a' twice"),
        ("[0.8, 0.7, 0.6, 0.5]", "[0.8]", "{broken} expected 4 numbers as mean_gate of block 'a'"),
        ("[0.25, 0.35]", '["x", 1]', "{broken} expected 2 numbers as mean_update of block 'b'"),
        ('"active": [0, 2]', '"active": [0, 3]', "block 'b' transforms no channel 3"),
        ('"active": [0, 2]', '"active": [[], 2]', "block 'b': channel [] is no whole number"),
        ('"positions": 1', '"positions": "x"', "{broken} TypeError("),
        ('"projection": true', '"projected": true', "{broken} TypeError("),
        ('"macs": 40', '"macs": null', "{broken} TypeError("),
        ('"images": 100', '"images": "many"', "{broken} ValueError("),
        ('"rest": {"parameters": 50, "macs": 40},', "", "{broken} KeyError('rest')"),
    ],
)
def test_broken_statistics_are_refused(before, after, message):
    assert before in GOLDEN_STATS
    with pytest.raises(PlanError) as caught:
        GateStats.from_json(GOLDEN_STATS.replace(before, after))
    assert str(caught.value).startswith(message.format(broken="broken gate statistics:"))


def test_statistics_are_no_plan_and_a_plan_no_statistics():
    with pytest.raises(PlanError, match="expected a pruning plan .* found 'hwkeras-gates-1'"):
        PruningPlan.from_json(GOLDEN_STATS)
    with pytest.raises(PlanError, match="expected a gate statistics .* found 'hwkeras-plan-1'"):
        GateStats.from_json(GOLDEN)


@given(st.data())
def test_a_truncated_file_is_refused(data):
    kind, text = data.draw(st.sampled_from([(PruningPlan, GOLDEN), (GateStats, GOLDEN_STATS)]))
    cut = data.draw(st.integers(0, len(text) - 3))
    with pytest.raises(PlanError, match="found broken JSON"):
        kind.from_json(text[:cut])


@pytest.mark.parametrize("positions", [math.inf, 0.5])
def test_statistics_cost_whole_numbers(positions):
    content = json.loads(GOLDEN_STATS)
    content["blocks"][0]["shape"]["positions"] = positions
    with pytest.raises(PlanError, match="broken gate statistics: expected whole costs; found"):
        GateStats.from_json(json.dumps(content))


def places(value, path=()):
    """Returns the path of every value inside a JSON value."""
    items = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    return [path] + [found for key, inner in items for found in places(inner, (*path, key))]


junk = st.sampled_from([None, True, -1, 0, 2, 10**15, 0.5, math.inf, "", "a", [], [None], {}, "x"])


@pytest.mark.filterwarnings("error")
@settings(max_examples=500)
@given(st.data())
def test_any_value_replaced_is_read_or_refused_but_never_crashes(data):
    whole = [
        (PruningPlan, GOLDEN),
        (PruningPlan, make_plan(STREAMS, keep=0.5, cut_carried=0.5).to_json()),
        (GateStats, GOLDEN_STATS),
        (GateStats, STREAMS.to_json()),
    ]
    kind, text = data.draw(st.sampled_from(whole))
    content = json.loads(text)
    *path, last = data.draw(st.sampled_from(places(content)[1:]))
    place = content
    for key in path:
        place = place[key]
    if data.draw(st.booleans()):
        place[last] = data.draw(junk)
    else:
        del place[last]
    try:
        value = kind.from_json(json.dumps(content))
        if kind is GateStats:
            make_plan(value, keep=0.5)
            make_plan(value, macs=10**30)
            make_plan(value, macs=10**30, cut_carried=0.5)
    except PlanError:
        return
    assert isinstance(value, kind)
