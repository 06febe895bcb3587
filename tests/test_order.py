"""Runs and orders: examples by hand, and every order of small streams tried out."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwkeras.order import contiguous_runs, count_runs, least_runs, order_channels


@pytest.mark.parametrize(
    ("channels", "runs"),
    [
        ([], ()),
        ([0], ((0, 1),)),
        ([7], ((7, 8),)),
        ([0, 1, 2, 5], ((0, 3), (5, 6))),
        ([1, 3, 5], ((1, 2), (3, 4), (5, 6))),
        (range(256), ((0, 256),)),
    ],
)
def test_runs_of(channels, runs):
    assert contiguous_runs(channels) == runs


@given(st.sets(st.integers(0, 40)))
def test_runs_hold_the_channels_and_never_touch(channels):
    runs = contiguous_runs(sorted(channels))
    assert [c for start, stop in runs for c in range(start, stop)] == sorted(channels)
    assert all(stop < start for (_, stop), (start, _) in itertools.pairwise(runs))


def test_runs_are_counted_in_an_order():
    # In the order 2 0 1 3, block 0 1 stands together, 0 2 too, and 1 2 does not.
    assert count_runs([[0, 1], [0, 2], [1, 2], []], [2, 0, 1, 3]) == 1 + 1 + 2


def test_blocks_that_share_no_channel_get_a_run_each():
    active = [[0, 3, 6], [1, 4], [2, 7]]
    order = order_channels(active, 8)
    assert count_runs(active, range(8)) == 7  # 0 / 3 / 6, 1 / 4, 2 / 7
    assert count_runs(active, order) == least_runs(active, 8) == 3


def test_a_chain_of_blocks_that_overlap_has_a_perfect_order():
    active = [[0, 4, 2], [2, 5], [5, 1, 3], [3]]  # 0 4 2 | 5 | 1 3: each shares with the next
    order = order_channels(active, 6)
    assert count_runs(active, order) == least_runs(active, 6) == 4


def test_three_that_meet_in_one_channel_cannot_all_be_whole():
    # Channel 0 has two neighbours, but three channels want to stand beside it.
    active = [[0, 1], [0, 2], [0, 3]]
    assert least_runs(active, 4) == 4
    assert count_runs(active, order_channels(active, 4)) == 4


def test_weights_say_whose_run_breaks():
    active = [[0, 1], [0, 2], [0, 3]]
    for whole in range(3):
        weights = [10.0 if block == whole else 1.0 for block in range(3)]
        order = order_channels(active, 4, weights=weights)
        assert count_runs([active[whole]], order) == 1


def test_an_order_that_cannot_get_better_is_left_alone():
    assert order_channels([[0, 1], [2, 3]], 5) == (0, 1, 2, 3, 4)
    assert order_channels([], 3) == (0, 1, 2)
    assert order_channels([[], []], 3) == (0, 1, 2)
    assert order_channels([range(4)], 4) == (0, 1, 2, 3)


def test_the_same_sets_give_the_same_order():
    rng = random.Random(0)
    active = [rng.sample(range(30), 12) for _ in range(5)]
    random.seed(1)
    one = order_channels(active, 30)
    random.seed(2)
    assert order_channels([set(block) for block in active], 30) == one


small = st.integers(0, 6).flatmap(
    lambda channels: st.tuples(
        st.lists(st.sets(st.integers(0, channels - 1) if channels else st.nothing()), max_size=5),
        st.just(channels),
    )
)


@settings(max_examples=60)
@given(small)
def test_small_streams_get_the_best_of_all_orders(stream):
    active, channels = stream
    best = min(count_runs(active, order) for order in itertools.permutations(range(channels)))
    order = order_channels(active, channels)
    assert sorted(order) == list(range(channels))
    assert count_runs(active, order) == best
    assert least_runs(active, channels) <= best


@settings(max_examples=10)
@given(st.integers(0, 2**16), st.sampled_from([0.1, 0.3, 0.7]))
def test_large_streams_never_get_worse_nor_below_the_bound(seed, share):
    rng = random.Random(seed)
    active = [[c for c in range(40) if rng.random() < share] for _ in range(5)]
    order = order_channels(active, 40)
    assert sorted(order) == list(range(40))
    assert least_runs(active, 40) <= count_runs(active, order) <= count_runs(active, range(40))


def test_channels_of_the_same_blocks_stand_together_ascending():
    active = [[9, 1, 5], [0, 9, 1, 5, 8], [2, 0]]
    order = order_channels(active, 10)
    assert order[order.index(1) :][:3] == (1, 5, 9)


@pytest.mark.parametrize("channel", [-1, 4])
def test_a_channel_that_does_not_exist_is_refused(channel):
    with pytest.raises(ValueError, match=f"expected channels from 0 to 3. Received: {channel}"):
        order_channels([[0, channel]], 4)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -2.0], [1.0, float("nan")]])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ValueError, match="expected 2 `weights` above 0. Received: "):
        order_channels([[0], [1]], 4, weights=weights)
