"""What commands print: golden text for a plan and for gates."""

import dataclasses

from export import text
from hwkeras.cost import BlockShape, Cost
from hwkeras.plan import BlockStats, GateStats, StreamStats
from hwkeras.planning import make_plan

SHAPE = BlockShape(in_channels=6, channels=6, kernel=(), positions=1, projection=False)


def block(name, gates):
    return BlockStats(name, SHAPE, tuple(range(6)), gates, gates, gates, stream="a")


STATS = GateStats(
    model="0",
    images=10,
    rest=Cost(10, 5),
    blocks=(
        block("a", (0.6, 0.001, 0.6, 0.001, 0.6, 0.001)),
        block("b", (0.001, 0.001, 0.001, 0.001, 0.3, 0.6)),
    ),
)


def test_a_plan():
    # dense block: norm 4*6, kernels 6*(6+6), biases 2*6 = 108 parameters, 72 MACs
    # a keeps 0 2 4: 24 + 3*9 + 6 = 57, 27 MACs; b keeps 4 5: 24 + 2*8 + 4 = 44, 16 MACs
    plan = make_plan(STATS, threshold=0.1)
    assert (
        text.plan(plan, STATS)
        == """\
block  active  kept  share
-----  ------  ----  -----
a           6     3    50%
b           6     2    33%
channels with a mean update of at least 0.1, ranked by mean update: parameters 226 -> 111 \
(2.04 times fewer), MACs 149 -> 48 (3.10 times fewer)
runs of channels 4 -> 2 by their order, at least 2"""
    )


def test_a_plan_that_cuts_the_stream():
    # channels 1 and 3 are only carried, 3 is needed less: the stream has 5, which outside cost 2
    # parameters and 1 MAC each; 4 fewer of each block's norm; a reads 1 fewer for 3, b for 2
    blocks = tuple(dataclasses.replace(block, reads="a") for block in STATS.blocks)
    streams = (StreamStats("a", 6, (1.0, 0.9, 1.0, 0.2, 1.0, 1.0), Cost(2, 1)),)
    stats = dataclasses.replace(STATS, blocks=blocks, streams=streams)
    lines = text.plan(make_plan(stats, threshold=0.1, cut_carried=0.5), stats).splitlines()
    assert lines[4:] == [
        "channels with a mean update of at least 0.1, 50.00% of what is only carried cut, ranked by"
        " mean update: parameters 226 -> 96 (2.35 times fewer), MACs 149 -> 42 (3.55 times fewer)",
        "runs of channels 4 -> 2 by their order, at least 2",
        "channels cut out of the streams: 1 in all, a 6 -> 5",
    ]


def test_gates():
    assert (
        text.gates(STATS)
        == """\
block  active  mean gate  max gate  mean update  under 0.05  histogram
-----  ------  ---------  --------  -----------  ----------  ------------
a         6/6     0.3005    0.6000       0.3005         50%  |█       █ |
b         6/6     0.1507    0.6000       0.1507         67%  |█      ▂▂ |
10 images; histogram of mean gates, bins 0 0.005 0.01 0.02 0.05 0.1 0.2 0.3 0.5 0.7 1."""
    )


def test_what_a_plan_ranked_by_reads_as_words():
    plan = make_plan(STATS, parameters=150, cut_carried=0.0)
    assert plan.ranking == "mean update as a share of what its block still does per parameter"
    assert make_plan(STATS, macs=100, by="gate", cut_carried=0.0).ranking == (
        "mean gate per multiply-accumulate"
    )
    assert make_plan(STATS, kept={}).ranking == "hand"
