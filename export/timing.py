"""What .tflite files cost here and now, side by side: time of an inference, memory, loading."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from export.children import Child
from export.worker import Loading, Start

# A model whose turn it is runs first without being timed: it has lost the caches to the others,
# and takes about this many inferences to be as fast as it gets.
_LEAD = 5
_BURST = 5  # inferences of a turn that are timed


@dataclasses.dataclass(frozen=True)
class Latency:
    """Time of one inference, in milliseconds, over `runs` of them on `threads` threads."""

    threads: int
    median_ms: float
    p90_ms: float
    runs: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one file costs: until the first inference, and then on each number of threads."""

    start: Start
    latencies: tuple[Latency, ...]


def all_cores() -> int:
    """Returns how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def bench(
    paths: Sequence[str | Path],
    runs: int = 50,
    threads: Sequence[int] = (1,),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Cost, ...]:
    """Returns the cost of each file, measured in turns, each in processes of its own.

    One process holds one file on one number of threads, so that neither caches of memory nor
    thread pools mix. In a turn it runs a few inferences; each round has an order of its own, so
    that a change of the machine's speed hits all of them alike.

    Args:
        paths: of .tflite files.
        runs: inferences that count, for each file and number of threads.
        threads: of the runtime; the start is measured on the first number.
        seed: of the inputs and of the orders.
        progress: called with (inferences done, inferences in all), over all files.

    Raises:
        ModelFileError: naming the file, if its process fails, dies or hangs.
        ValueError: if there is nothing to run.
    """
    if runs < 1:
        raise ValueError(f"`runs` must be at least 1. Received: {runs}")
    loadings = [Loading(str(path), count, seed=seed) for path in paths for count in threads]
    with contextlib.ExitStack() as stack:
        children, starts = [], []
        for loading in loadings:  # one after the other: loading is timed, too
            children.append(stack.enter_context(start(loading)))
            starts.append(Start(**children[-1].answer()))
        seconds = _take_turns(children, runs, random.Random(seed), progress)
    latencies = []
    for loading, taken in zip(loadings, seconds, strict=True):
        median, high = 1e3 * np.quantile(taken, (0.5, 0.9))
        latencies.append(Latency(loading.threads, float(median), float(high), len(taken)))
    step = len(threads)
    return tuple(
        Cost(starts[first], tuple(latencies[first : first + step]))
        for first in range(0, len(loadings), step)
    )


def start(loading: Loading) -> Child:
    """Returns a process that loads a model and runs it; its first answer is a `Start`."""
    return Child("export.worker", dataclasses.asdict(loading), loading.path)


def _take_turns(
    children: Sequence[Child],
    runs: int,
    shuffle: random.Random,
    progress: Callable[[int, int], None] | None,
) -> list[list[float]]:
    """Returns the seconds of `runs` inferences of each child."""
    seconds: list[list[float]] = [[] for _ in children]
    order, done, total = list(range(len(children))), 0, runs * len(children)
    for before in range(0, runs, _BURST):
        burst = min(_BURST, runs - before)
        shuffle.shuffle(order)
        for index in order:
            seconds[index] += children[index].ask(_LEAD + burst)[_LEAD:]
            done += burst
            if progress:
                progress(done, total)
    return seconds
