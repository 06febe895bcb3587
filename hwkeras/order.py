"""The order of a stream's channels, and the contiguous runs that a set of them forms in it."""

from __future__ import annotations

from collections.abc import Sequence


def contiguous_runs(channels: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Returns the half-open runs `(start, stop)` that sorted channel numbers form.

    >>> contiguous_runs([0, 1, 2, 5])
    ((0, 3), (5, 6))
    """
    runs: list[tuple[int, int]] = []
    for channel in channels:
        if runs and runs[-1][1] == channel:
            runs[-1] = (runs[-1][0], channel + 1)
        else:
            runs.append((channel, channel + 1))
    return tuple(runs)


def order_channels(active: Sequence[Sequence[int]], channels: int) -> tuple[int, ...]:
    """Returns an order of the channels in which equal members of the sets stand together."""
    sets = [frozenset(members) for members in active]
    return tuple(sorted(range(channels), key=lambda c: [c not in s for s in sets]))
