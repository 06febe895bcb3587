"""The order of a stream's channels, and the contiguous runs that sets of them form in it.

Few runs are a short round trip. A channel's signature says which blocks transform it. On a walk
through the stream, from nothing to nothing, a run starts or ends wherever a bit of the signature
changes: the runs are half the length of the tour through the empty signature and all others.

Signatures that share no block make tours of their own. In each, sweeps find the order with one run
a block if there is one; else a Lin-Kernighan search shortens a tour, and 1-trees bound it from
below. Work is bounded by counts, never by the clock: the same sets give the same order everywhere.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

NEAR = 10  # nearest nodes that an exchange of the search looks at
BREADTH = (5, 3, 1, 1, 1, 1, 1, 0)  # tries at a move's first exchange, at its second, ...
STEPS = 200  # times that a tour may be changed, for each of its nodes and 200 more
WINDOW = 50  # positions within which the search disturbs a tour


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


def count_runs(active: Sequence[Collection[int]], order: Sequence[int]) -> int:
    """Returns how many contiguous runs the blocks' active channels form in an order, all told."""
    places = {channel: place for place, channel in enumerate(order)}
    return sum(len(contiguous_runs(sorted(places[c] for c in set(block)))) for block in active)


def least_runs(active: Sequence[Collection[int]], channels: int) -> int:
    """Returns a number of runs that no order goes below; often the least that one reaches."""
    least = 0
    for bits, _ in _tours(active, channels):
        blocks = int(bits.any(axis=0).sum())
        if _perfect_order(bits) is None:
            length = _bound(_distances(bits, np.ones(len(active))))
            blocks = max(blocks + 1, math.ceil(length / 2 - 1e-6))
        least += blocks
    return least


def order_channels(
    active: Sequence[Collection[int]], channels: int, *, weights: Sequence[float] | None = None
) -> tuple[int, ...]:
    """Returns an order of a stream's channels in which the blocks' active ones form few runs.

    Args:
        active: the channels that each block of the stream transforms.
        channels: channels of the stream.
        weights: what a run in each block costs, above 0, to a millionth of the largest; else 1.

    Returns:
        The channel that stands at each position. Channels that the same blocks transform stand
        together, ascending. If no better order than the present one is found, that one.

    Raises:
        ValueError: if a channel does not exist, or there is not one weight above 0 for each block.
    """
    costs = np.ones(len(active), int) if weights is None else _whole(weights, len(active))
    order: list[int] = []
    for bits, members in _tours(active, channels):
        found = _perfect_order(bits) or _search(_distances(bits, costs))
        order += [channel for i in found for channel in members[i]]
    order += sorted(set(range(channels)).difference(order))
    orders = (range(channels), order)  # the first of equals is taken
    return tuple(min(orders, key=lambda o: sum(costs * [count_runs([b], o) for b in active])))


def _whole(weights: Sequence[float], blocks: int) -> np.ndarray:
    """Returns the weights as small integers in the same proportions, so that sums are exact."""
    given = np.asarray(weights, float)
    if given.shape != (blocks,) or not (np.isfinite(given) & (given > 0)).all():
        raise ValueError(f"expected {blocks} `weights` above 0. Received: {weights}")
    whole = np.rint(np.ldexp(given, 20 - np.frexp(given.max(initial=0))[1])).clip(1).astype(int)
    return whole // np.gcd.reduce(whole)


def _tours(
    active: Sequence[Collection[int]], channels: int
) -> Iterator[tuple[np.ndarray, list[list[int]]]]:
    """Yields signatures, 0 or 1 `(n, blocks)`, that share no block with others; their channels."""
    bits = np.zeros((channels, len(active)))  # float: whole numbers, and fast to multiply
    for block, members in enumerate(active):
        if wrong := set(members) - set(range(channels)):
            raise ValueError(f"expected channels from 0 to {channels - 1}. Received: {min(wrong)}")
        bits[list(members), block] = 1
    signatures, numbers = np.unique(bits, axis=0, return_inverse=True)
    linked, left = signatures @ signatures.T > 0, signatures.any(axis=1)
    while left.any():
        tour = linked[np.argmax(left)]
        while (wider := linked[tour].any(axis=0)).sum() > tour.sum():
            tour = wider
        members = [np.flatnonzero(numbers.ravel() == i).tolist() for i in np.flatnonzero(tour)]
        yield signatures[tour], members
        left &= ~tour


def _perfect_order(bits: np.ndarray) -> list[int] | None:
    """Returns the order of the signatures in which each block has one run; None if none has it.

    If there is one, it is any order in which signatures share ever fewer blocks away from each
    other (Kendall 1969, "Incidence matrices, interval graphs and seriation in archaeology"). Fewer
    sweeps than signatures find it (Laurent and Seminaroti 2017, https://arxiv.org/abs/1601.03521).
    """
    blocks = bits.any(axis=0).sum()
    if len(bits) >= 2 * blocks:  # intervals have two ends each
        return None
    alike, order, seen = (bits @ bits.T).tolist(), list(range(len(bits))), []
    while order not in seen:
        if np.abs(np.diff(bits[order], axis=0, prepend=0, append=0)).sum() == 2 * blocks:
            return order
        seen.append(order)
        left, order, keys = order[::-1], [], [[] for _ in order]
        while left:  # the next is most alike to the first taken, then to the second, ...
            order.append(max(left, key=lambda node: keys[node]))
            left.remove(order[-1])
            for node in left:
                keys[node].append(alike[order[-1]][node])
    return None


def _distances(bits: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Returns what a step between signatures costs `(1 + n, 1 + n)`; node 0 is the empty one."""
    bits = np.pad(bits, ((1, 0), (0, 0)))
    sizes = bits @ costs
    return (sizes[:, None] + sizes - 2 * (bits * costs) @ bits.T).astype(int)


def _bound(distances: np.ndarray) -> float:
    """Returns a length that no tour goes below, that of a cheapest 1-tree (Held and Karp 1971).

    A 1-tree is a tree of all nodes but node 0, and two edges there; a tour is one. A price on each
    node adds the same to every tour, and rises where the cheapest 1-tree has more than two edges.
    """
    size, rounds = len(distances), min(200, 20 + 20_000 // len(distances))
    best, prices, pull = 0.0, np.zeros(size), np.zeros(size)
    for turn in range(rounds):
        priced = distances + prices + prices[:, None]
        reach, source, left = priced[1].copy(), np.ones(size, int), np.arange(size) > 1
        while left.any():  # Prim's tree grows from node 1
            node = np.argmin(np.where(left, reach, np.inf))
            left[node] = False
            closer = left & (priced[node] < reach)
            reach[closer], source[closer] = priced[node, closer], node
        starts = np.r_[0, 0, 2:size]
        stops = np.r_[1 + np.argsort(priced[0, 1:], kind="stable")[:2], source[2:]]
        best = max(best, priced[starts, stops].sum() - 2 * prices.sum())
        pull = 0.7 * (np.bincount(np.r_[starts, stops]) - 2) + 0.3 * pull
        prices += 0.1 * best / size * (1 - turn / rounds) ** 2 * pull
    return best


def _search(distances: np.ndarray) -> list[int]:
    """Returns a short order of the nodes but node 0, from it and back to it."""
    walk, chance = _Walk(distances), random.Random(0)
    walk.improve(range(len(distances)))
    best = now = walk.length(), walk.order.copy()
    least = _bound(distances) - 1e-6
    while best[0] - 2 >= least and walk.steps > 0:  # lengths are even
        walk.improve(walk.kick(chance))
        if walk.length() > now[0]:
            walk.put(0, now[1])
        now = walk.length(), walk.order.copy()
        best = min(best, now, key=lambda tour: tour[0])
    return (best[1][1:] - 1).tolist()


class _Walk:
    """A tour that begins with node 0, and moves that shorten it (Lin and Kernighan 1973)."""

    def __init__(self, distances: np.ndarray):
        self.distances, self.cost = distances, distances.tolist()
        self.steps = STEPS * (len(distances) + 200)
        self.near = np.argsort(distances, axis=1, kind="stable")[:, 1 : NEAR + 1].tolist()
        self.order, self.places = np.arange(len(distances)), np.arange(len(distances))
        self.at, self.place = self.order.data, self.places.data  # faster to read one number of

    def put(self, start: int, nodes: np.ndarray) -> None:
        self.order[start : start + len(nodes)] = nodes
        self.places[nodes] = np.arange(start, start + len(nodes))
        self.steps -= 1

    def flip(self, start: int, stop: int) -> tuple[int, int]:
        """Reverses the walk between two places; or the rest, which is the same tour."""
        if not 0 < start <= stop:
            start, stop = stop, start or len(self.order)
        self.put(start, self.order[start:stop][::-1].copy())
        return start, stop

    def length(self) -> int:
        return int(self.distances[self.order, np.roll(self.order, -1)].sum())

    def kick(self, chance: random.Random) -> list[int]:
        """Swaps two short pieces next to each other; returns the nodes at their ends."""
        reach = min(WINDOW, len(self.order))
        start = 1 + int(chance.random() * (len(self.order) - reach + 1))
        a, b, c = sorted(start + int(chance.random() * reach) for _ in range(3))
        self.put(a, np.concatenate((self.order[b:c], self.order[a:b])))
        return [self.at[place % len(self.order)] for p in (a, a + c - b, c) for place in (p - 1, p)]

    def improve(self, nodes: Iterable[int]) -> None:
        """Shortens the tour by moves that begin at these nodes, or at those that a move changed."""
        waiting = dict.fromkeys(nodes)
        while waiting and self.steps > 0:
            node, _ = waiting.popitem()
            for step in (1, -1):
                tip = self.next(node, step)
                waiting |= dict.fromkeys(self.shorten(node, tip, self.cost[node][tip]))

    def next(self, node: int, step: int) -> int:
        return self.at[(self.place[node] + step) % len(self.order)]

    def shorten(self, base: int, tip: int, gain: int, depth: int = 0, last: int = -1) -> list[int]:
        """Exchanges edges, that from base to tip first, if it pays; returns the nodes at them."""
        toward = 1 if self.next(base, 1) == tip else -1
        options = []
        for end in self.near[tip]:
            if (left := gain - self.cost[tip][end]) <= 0:
                break
            drop = self.next(end, -toward)
            if end not in (base, last) and drop != tip:
                options.append((left + self.cost[end][drop], end, drop))
        for gained, end, drop in sorted(options, reverse=True)[: BREADTH[depth]]:
            first, final = (tip, drop)[::toward]
            piece = self.flip(self.place[first], self.place[final] + 1)
            ends = [base, tip, end, drop]
            if gained > self.cost[drop][base]:
                return ends
            if more := self.shorten(base, drop, gained, depth + 1, end):
                return ends + more
            self.flip(*piece)
        return []
