"""The cost of a block against sums by hand, and against what Keras really allocates."""

import keras
from hypothesis import given, settings
from hypothesis import strategies as st

from hwkeras.cost import BlockShape, Cost
from hwkeras.layers import HighwayConv2D, HighwayDense

SAME = BlockShape(in_channels=4, channels=4, kernel=(3, 3), positions=10, projection=False)
CHANGED = BlockShape(in_channels=2, channels=4, kernel=(3, 3), positions=10, projection=True)


def test_cost_of_a_whole_block():
    # norm 4 x 4 = 16; transform 9 x 4 x 4 = 144 and 4 biases; gate the same.
    # Multiply-accumulates: (144 + 144) weights at 10 positions.
    assert SAME.cost(4) == Cost(parameters=16 + 148 + 148, macs=2880)


def test_cost_of_a_pruned_block():
    # norm still reads all 4; transform 9 x 4 x 3 = 108 + 3; gate 9 x 3 x 3 = 81 + 3.
    assert SAME.cost(3) == Cost(parameters=16 + 111 + 84, macs=(108 + 81) * 10)


def test_cost_of_a_block_with_a_projection():
    # norm 4 x 2 = 8; transform 9 x 2 x 4 = 72 + 4; gate 144 + 4; projection 2 x 4 = 8.
    assert CHANGED.cost(4) == Cost(parameters=8 + 76 + 148 + 8, macs=(72 + 144 + 8) * 10)


def test_an_empty_block_costs_its_projection_only():
    assert SAME.cost(0) == Cost(0, 0)
    assert CHANGED.cost(0) == Cost(parameters=8, macs=80)


def test_a_dense_block_costs_its_multiplications_at_every_position():
    block = HighwayDense(5)
    block(keras.Input((4, 7, 3)))
    assert block.block_shape().positions == 4 * 7
    # transform 15, gate 25, projection 15
    assert block.block_shape().cost(5).macs == 28 * 55
    unknown = HighwayDense(5)
    unknown(keras.Input((None, 7, 3)))
    assert unknown.block_shape().positions == 7


def test_costs_add_and_subtract():
    assert Cost(5, 70) + Cost(1, 2) == Cost(6, 72)
    assert Cost(5, 70) - Cost(1, 2) == Cost(4, 68)


def test_a_parameter_takes_four_bytes():
    # The poster's net: 8,954,634 parameters are its "34 Mb", 34.16 MiB.
    assert Cost(8_954_634, 0).size_bytes == 35_818_536
    assert round(35_818_536 / 2**20, 2) == 34.16


@settings(max_examples=25)
@given(
    in_channels=st.integers(1, 5),
    active=st.sets(st.integers(0, 4)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.sampled_from([(1, 1), (2, 2), (1, 2)]),
    sides=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
def test_cost_is_what_a_convolutional_block_allocates(in_channels, active, kernel, strides, sides):
    block = HighwayConv2D(5, kernel_size=kernel, strides=strides, active=sorted(active))
    block(keras.Input((*sides, in_channels)))
    assert block.block_shape().cost(len(active)).parameters == block.count_params()
    assert block.block_shape().positions == -(-sides[0] // strides[0]) * -(-sides[1] // strides[1])


@settings(max_examples=15)
@given(in_channels=st.integers(1, 5), active=st.sets(st.integers(0, 4)))
def test_cost_is_what_a_dense_block_allocates(in_channels, active):
    block = HighwayDense(5, active=sorted(active))
    block(keras.Input((in_channels,)))
    assert block.block_shape().cost(len(active)).parameters == block.count_params()
