"""Runs and orders: examples by hand, and every order of small streams tried out."""

import itertools
import random
import time

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


# Each two share a channel that the third has not: one of them is torn in any order.
TRIANGLE = [{0, 1}, {1, 2}, {0, 2}]


@st.composite
def streams(draw, channels=6, blocks=6):
    """Draws the active sets of a stream's blocks, and its channels."""
    count = draw(st.integers(1, channels))
    sets = st.lists(st.sets(st.integers(0, count - 1)), max_size=blocks)
    return draw(sets), count


def random_stream(channels, blocks, share, seed=0):
    chance = random.Random(seed)
    return [{c for c in range(channels) if chance.random() < share} for _ in range(blocks)]


def weighted_runs(active, order, weights):
    return sum(
        weight * count_runs([block], order) for weight, block in zip(weights, active, strict=True)
    )


@pytest.mark.parametrize(
    ("active", "channels", "least"),
    [
        ([], 0, 0),
        ([[]], 3, 0),
        ([[0, 2], [1, 2]], 3, 2),
        (TRIANGLE, 3, 4),
        ([*TRIANGLE, *({c + 3 for c in block} for block in TRIANGLE)], 6, 8),
        # A star: channel 0 has only two neighbours, the third pair is torn.
        ([{0, 1}, {0, 2}, {0, 3}], 4, 4),
        # Any two of five channels are a pair: 4 pairs of neighbours are whole, 6 are torn.
        ([*map(set, itertools.combinations(range(5), 2))], 5, 16),
    ],
)
def test_least_runs_are_reached(active, channels, least):
    assert least_runs(active, channels) == least
    assert count_runs(active, order_channels(active, channels)) == least


@given(st.data())
@settings(max_examples=100)
def test_small_streams_reach_the_cheapest_of_all_orders(data):
    active, channels = data.draw(streams(channels=5, blocks=5))
    weight = st.floats(0.01, 100)
    weights = data.draw(st.lists(weight, min_size=len(active), max_size=len(active)))
    costs = [weighted_runs(active, o, weights) for o in itertools.permutations(range(channels))]
    found = weighted_runs(active, order_channels(active, channels, weights=weights), weights)
    assert found == pytest.approx(min(costs), rel=1e-4)


def test_scaling_the_weights_changes_nothing():
    active, weights = random_stream(40, 8, 0.3), [3, 1, 4, 1, 5, 9, 2, 6]
    order = order_channels(active, 40, weights=weights)
    assert order == order_channels(active, 40, weights=[weight * 2**-40 for weight in weights])


@given(st.data(), st.integers(1, 120), st.integers(0, 2**32))
@settings(max_examples=150)
def test_shuffled_intervals_get_one_run_each(data, channels, seed):
    ends = st.tuples(st.integers(0, channels), st.integers(0, channels))
    intervals = data.draw(st.lists(ends, max_size=30))
    shuffled = random.Random(seed).sample(range(channels), channels)
    active = [shuffled[min(pair) : max(pair)] for pair in intervals]
    order = order_channels(active, channels)
    assert sorted(order) == list(range(channels))
    assert count_runs(active, order) == sum(map(bool, active)) == least_runs(active, channels)


def test_fifty_intervals_of_a_wide_stream_get_one_run_each():
    chance = random.Random(0)
    shuffled = chance.sample(range(2048), 2048)
    ends = [sorted(chance.sample(range(2048), 2)) for _ in range(50)]
    active = [shuffled[start:stop] for start, stop in ends]
    assert count_runs(active, order_channels(active, 2048)) == 50


@given(streams(channels=60, blocks=8))
@settings(max_examples=50)
def test_orders_hold_every_channel_and_keep_like_channels_together(stream):
    active, channels = stream
    order = order_channels(active, channels)
    assert sorted(order) == list(range(channels))
    assert all(type(channel) is int for channel in order)
    assert least_runs(active, channels) <= count_runs(active, order)
    assert count_runs(active, order) <= count_runs(active, range(channels))
    if order != tuple(range(channels)):
        groups = itertools.groupby(order, lambda channel: [channel in block for block in active])
        alike = [(signature, list(group)) for signature, group in groups]
        assert all(group == sorted(group) for _, group in alike)
        assert not any(one[0] == other[0] for one, other in itertools.combinations(alike, 2))


def test_the_posters_streams_take_less_than_five_seconds():
    started = time.process_time()
    for channels in (64, 128, 256):
        active = random_stream(channels, 6, 0.3, seed=channels)
        runs = count_runs(active, order_channels(active, channels))
        assert runs <= least_runs(active, channels) + 1
    assert time.process_time() - started < 5


def test_a_wide_stream_comes_within_two_percent_of_the_bound():
    active = random_stream(512, 24, 0.25)
    least = least_runs(active, 512)
    assert least <= count_runs(active, order_channels(active, 512)) <= 1.02 * least
