"""Contiguous runs: examples, and the two properties that define them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwkeras.order import contiguous_runs


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
