"""A process that holds one model and runs it on request: `python -P -m export.worker LOADING`.

NumPy and the runtime only, so that all it costs beyond them is the model's. It speaks JSON lines:
first a `Start`, then, for each number it is sent, the seconds of that many inferences.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.environment import Environment
from ai_edge_litert.options import CpuKernelMode, CpuOptions, Options


@dataclasses.dataclass(frozen=True)
class Loading:
    """How a process loads its model.

    Attributes:
        path: of a .tflite.
        threads: of the runtime.
        mapped: the file is mapped, as on a phone; else it is read into memory.
        delegate: XNNPACK takes part.
        weight_cache: file that keeps XNNPACK's packed weights from process to process, or "".
        seed: of the inputs.
    """

    path: str
    threads: int = 1
    mapped: bool = True
    delegate: bool = True
    weight_cache: str = ""
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Start:
    """What a model cost a fresh process before its second inference.

    Memory is resident and over that of the same process before it loaded the model; None where
    the system does not tell.

    Attributes:
        load_ms: from the file, in the page cache, to a model that is ready to run.
        first_ms: the first inference, which is slower than later ones.
        peak_bytes: the most that was ever resident.
        private_bytes: of what is still resident, the process's own: what a system short of memory
            cannot take back.
        file_bytes: of what is still resident, pages of files, which can be read again. The system
            may have mapped more of them than were read.
    """

    load_ms: float
    first_ms: float
    peak_bytes: int
    private_bytes: int | None
    file_bytes: int | None


def answers() -> TextIO:
    """Returns the stream of the answers; what libraries print from now on is no answer.

    An interrupt is left to the parent, which ends this process in its own time.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return stream


def answer(stream: TextIO, content: Any) -> None:
    print(json.dumps(content), file=stream)


class _Model:
    """A loaded model with its buffers."""

    def __init__(self, loading: Loading, environment: Environment):
        kernels = CpuKernelMode.DELEGATE if loading.delegate else CpuKernelMode.BUILTIN
        cpu = CpuOptions(
            num_threads=loading.threads,
            kernel_mode=kernels,
            xnnpack_weight_cache_path=loading.weight_cache,
        )
        settings = {"environment": environment, "options": Options(cpu_options=cpu)}
        if loading.mapped:
            self._model = CompiledModel.from_file(loading.path, **settings)
        else:
            content = Path(loading.path).read_bytes()
            self._model = CompiledModel.from_buffer(content, **settings)
        self._inputs = self._model.create_input_buffers(0)
        self._outputs = self._model.create_output_buffers(0)

    def fill(self, rng: np.random.Generator) -> None:
        signature = self._model.get_signature_by_index(0)
        details = self._model.get_input_tensor_details(signature["key"])
        for buffer, name in zip(self._inputs, signature["inputs"], strict=True):
            pixels = rng.integers(0, 256, details[name]["shape"])
            buffer.write(pixels.astype(details[name]["dtype"]))  # int8 wraps to its whole range

    def seconds(self) -> float:
        """Runs one inference; returns how long it took."""
        start = time.perf_counter()
        self._model.run_by_index(0, self._inputs, self._outputs)
        return time.perf_counter() - start


def _memory() -> dict[str, int]:
    """Returns bytes of this process's memory by their names in Linux."""
    try:  # getrusage would count the peak of the parent, from before exec
        fields = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        return {name[0]: 1024 * int(name[1]) for name in fields if name[-1:] == ["kB"]}
    except FileNotFoundError:
        import resource  # not on Windows

        return {"VmHWM:": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}  # bytes on macOS


def _start(loading: Loading) -> tuple[_Model, Start]:
    environment, rng = Environment.create(), np.random.default_rng(loading.seed)
    before, start = _memory(), time.perf_counter()
    model = _Model(loading, environment)
    loaded = time.perf_counter()
    model.fill(rng)
    first = model.seconds()
    grown = {name: size - before[name] for name, size in _memory().items() if name in before}
    return model, Start(
        load_ms=1e3 * (loaded - start),
        first_ms=1e3 * first,
        peak_bytes=grown["VmHWM:"],
        private_bytes=grown.get("RssAnon:"),
        file_bytes=grown.get("RssFile:"),
    )


def main() -> None:
    stream = answers()
    try:
        model, start = _start(Loading(**json.loads(sys.argv[1])))
    except Exception as error:
        answer(stream, {"error": " ".join(str(error).split()) or repr(error)})
        return
    answer(stream, dataclasses.asdict(start))
    for line in sys.stdin:
        answer(stream, [model.seconds() for _ in range(int(line))])


if __name__ == "__main__":
    main()
