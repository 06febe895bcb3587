"""Everything that `.tflite` files cost on this machine, side by side; LiteRT and NumPy only."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

from export import runtime, timing
from export.profile import Profile, profile
from export.timing import Latency
from export.worker import Start


@dataclasses.dataclass(frozen=True)
class Bench:
    """What one `.tflite` costs on this machine.

    Attributes:
        file: its path, as given.
        size_bytes: of the file.
        gzip_bytes: of the file when compressed, as an app store delivers it.
        latencies: of one inference, for each number of threads.
        start: loading, the first inference and memory.
        partitions: of the graph under the XNNPACK delegate; 1 is best.
        operators: how many of each the file holds.
        undelegated: those outside of the delegate.
        profile: time by operator, if it was asked for.
    """

    file: str
    size_bytes: int
    gzip_bytes: int
    latencies: tuple[Latency, ...]
    start: Start
    partitions: int
    operators: dict[str, int]
    undelegated: dict[str, int]
    profile: Profile | None = None


def bench(
    paths: Sequence[Path],
    runs: int = 50,
    threads: Sequence[int | None] = (1, None),
    operators: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Bench, ...]:
    """Returns what files cost here; `timing.bench` says how that is measured.

    Args:
        paths: of `.tflite` files.
        runs: inferences that count, for each file and number of threads.
        threads: numbers of them; None for one a core.
        operators: time each operator, too, on one thread.
        progress: called with (stage, done, all).

    Raises:
        ModelFileError: naming the file, if one is missing, broken or cannot be run.
    """
    counts = tuple(dict.fromkeys(count or timing.all_cores() for count in threads))
    contents = [runtime.load(path) for path in paths]
    graphs = [runtime.graph(content) for content in contents]
    show = progress or (lambda stage, done, total: None)
    costs = timing.bench(paths, runs, counts, progress=lambda *done: show("bench", *done))
    profiles: list[Profile | None] = [None] * len(paths)
    if operators:
        for number, path in enumerate(paths):
            profiles[number] = profile(path)
            show("operators", number + 1, len(paths))
    return tuple(
        Bench(
            file=str(path),
            size_bytes=len(content),
            gzip_bytes=len(gzip.compress(content, mtime=0)),
            latencies=cost.latencies,
            start=cost.start,
            partitions=graph.partitions,
            operators=graph.operators,
            undelegated=graph.undelegated,
            profile=times,
        )
        for path, content, graph, cost, times in zip(
            paths, contents, graphs, costs, profiles, strict=True
        )
    )
