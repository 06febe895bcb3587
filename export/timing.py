"""What a .tflite costs here and now: time of an inference, and memory of a fresh process."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export.runtime import ModelFileError, allocated, load
from export.silence import silenced


@dataclasses.dataclass(frozen=True)
class Latency:
    """Time of one inference, in milliseconds, over `runs` of them on `threads` threads."""

    median_ms: float
    p90_ms: float
    runs: int
    threads: int


@dataclasses.dataclass(frozen=True)
class Memory:
    """What a model costs a fresh process.

    Attributes:
        peak_bytes: peak resident memory over that of the process before it loaded the model.
        load_ms: from the file to allocated tensors.
        first_ms: the first inference, which is slower than later ones.
    """

    peak_bytes: int
    load_ms: float
    first_ms: float


def bench(
    models: Mapping[str, bytes],
    runs: int = 50,
    threads: int = 1,
    warmup: int = 5,
    seed: int = 0,
) -> dict[str, Latency]:
    """Returns the latency of each model, timed in turns in this process.

    Each round runs every model once, in an order of its own, so that a change of the machine's
    speed hits all of them alike.

    Args:
        models: contents of .tflite files by name.
        runs: rounds that count.
        threads: of the runtime.
        warmup: rounds before them.
        seed: of the inputs and of the orders.

    Raises:
        ModelFileError: if a model is broken.
        ValueError: if there is nothing to run.
    """
    if runs < 1:
        raise ValueError(f"`runs` must be at least 1. Received: {runs}")
    interpreters = {name: allocated(content, threads) for name, content in models.items()}
    for interpreter in interpreters.values():
        _fill(interpreter, seed)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    order, shuffle = list(models), random.Random(seed)
    for turn in range(warmup + runs):
        shuffle.shuffle(order)
        for name in order:
            start = time.perf_counter()
            interpreters[name].invoke()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    results = {}
    for name, taken in seconds.items():
        median, high = 1e3 * np.quantile(taken, (0.5, 0.9))
        results[name] = Latency(float(median), float(high), runs, threads)
    return results


def memory(path: str | Path) -> Memory:
    """Returns what loading a .tflite and running it once costs a process of its own.

    Raises:
        ModelFileError: naming the file, if it is missing or broken.
    """
    load(path)
    root = Path(__file__).resolve().parents[1]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    child = subprocess.run(
        [sys.executable, "-m", "export.timing", str(path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    if child.returncode:
        reason = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise ModelFileError(f"{path}: the model cannot be run: {reason}")
    return Memory(**json.loads(child.stdout))


def _measure(path: str) -> Memory:
    """Returns the cost of a model in this process, which must be fresh."""
    before, start = _peak_bytes(), time.perf_counter()
    with silenced():
        interpreter = Interpreter(model_path=path, num_threads=1)  # mapped, as a phone does it
        interpreter.allocate_tensors()
    loaded = time.perf_counter()
    _fill(interpreter, seed=0)
    ready = time.perf_counter()
    interpreter.invoke()
    done = time.perf_counter()
    return Memory(_peak_bytes() - before, 1e3 * (loaded - start), 1e3 * (done - ready))


def _fill(interpreter: Interpreter, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for tensor in interpreter.get_input_details():
        pixels = rng.integers(0, 256, tensor["shape"])
        low = np.iinfo(np.int8).min if tensor["dtype"] is np.int8 else 0
        interpreter.set_tensor(tensor["index"], (pixels + low).astype(tensor["dtype"]))


def _peak_bytes() -> int:
    try:  # getrusage would count the peak of the parent, from before exec
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (FileNotFoundError, IndexError):
        import resource  # not on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(_measure(sys.argv[1]))))
