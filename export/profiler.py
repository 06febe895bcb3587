"""A process that times each operator of a model: `python -P -m export.profiler REQUEST`.

The runtime's profiler sees the operators inside the XNNPACK delegate, and only the C API reaches
it (litert/c/litert_profiler.h), in the library that the wheel brings along. The answer is one JSON
line: for each run, microseconds of the whole inference and the events of its operators.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
from ctypes import byref, c_char_p, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from export.worker import answer, answers

_CPU = 1  # kLiteRtHwAcceleratorCpu
_GENERAL, _OPERATOR, _DELEGATED = 1, 2, 8  # LiteRtProfilerEventType


class _TensorType(ctypes.Structure):
    """LiteRtRankedTensorType, with its LiteRtLayout."""

    _fields_ = [
        ("element_type", c_int),
        ("rank_and_has_strides", c_uint32),
        ("dimensions", c_int32 * 8),
        ("strides", c_uint32 * 8),
    ]


class _Event(ctypes.Structure):
    """ProfiledEventData."""

    _fields_ = [
        ("tag", c_char_p),
        ("type", c_int),
        ("start_us", c_uint64),
        ("elapsed_us", c_uint64),
        ("memory", c_size_t * 6),
        ("index", c_uint64),
        ("metadata", c_uint64),
        ("source", c_int),
    ]


def _library() -> ctypes.CDLL:
    package = importlib.util.find_spec("ai_edge_litert")
    folder = Path(package.origin or "").parent if package else Path()
    for name in ("libLiteRt.so", "libLiteRt.dylib", "LiteRt.dll"):
        if (folder / name).is_file():
            return ctypes.CDLL(str(folder / name))
    raise OSError("this LiteRT wheel brings no C library along, which profiling needs")


class _Profiler:
    """A compiled model with its profiler. Nothing is freed: the process ends with it."""

    def __init__(self, path: str, threads: int):
        self._library = _library()
        self._environment = self._make("LiteRtCreateEnvironment", c_int(0), None)
        model = self._make("LiteRtCreateModelFromFile", self._environment, path.encode())
        options = self._make("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, c_int(_CPU))
        # Options travel as TOML under the names that litert/c/options/ gives them.
        self._payloads = {
            b"runtime_options_string": ctypes.create_string_buffer(b"enable_profiling = true\n"),
            b"xnnpack": ctypes.create_string_buffer(b"num_threads = %d\n" % threads),
        }
        self._keep = ctypes.CFUNCTYPE(None, c_void_p)(lambda payload: None)
        for name, payload in self._payloads.items():
            opaque = self._make("LiteRtCreateOpaqueOptions", name, payload, self._keep)
            self._call("LiteRtAddOpaqueOptions", options, opaque)
        self._model = self._make("LiteRtCreateCompiledModel", self._environment, model, options)
        self._profiler = self._make("LiteRtCompiledModelGetProfiler", self._model)
        signature = self._make("LiteRtGetModelSignature", model, c_size_t(0))
        self._inputs = self._buffers(signature, "Input")
        self._outputs = self._buffers(signature, "Output")

    def run(self) -> None:
        self._call(
            "LiteRtRunCompiledModel", self._model, c_size_t(0),
            c_size_t(len(self._inputs)), self._inputs, c_size_t(len(self._outputs)), self._outputs,
        )  # fmt: skip

    def profile(self) -> dict[str, Any]:
        """Returns what one run took, as a whole and by operator in the order of the run."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        self.run()
        self._call("LiteRtStopProfiler", self._profiler)
        count = c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, byref(count))
        events = (_Event * count.value)()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        (whole,) = (e.elapsed_us for e in events if (e.tag, e.type) == (b"Invoke", _GENERAL))
        operators = [
            (e.tag.decode(), e.type == _DELEGATED, e.index, e.elapsed_us)
            for e in events
            if e.type in (_OPERATOR, _DELEGATED)
        ]
        return {"inference_us": whole, "operators": operators}

    def _buffers(self, signature: c_void_p, side: str) -> ctypes.Array:
        """Returns the buffers of the signature's "Input" or "Output" tensors, all zeros."""
        count = c_size_t()
        self._call(f"LiteRtGetNumSignature{side}s", signature, byref(count))
        buffers = (c_void_p * count.value)()
        for number in range(count.value):
            index, kind = c_size_t(number), _TensorType()
            tensor = self._make(f"LiteRtGetSignature{side}TensorByIndex", signature, index)
            self._call("LiteRtGetRankedTensorType", tensor, byref(kind))
            name = f"LiteRtGetCompiledModel{side}BufferRequirements"
            needs = self._make(name, self._model, c_size_t(0), index)
            name = "LiteRtCreateManagedTensorBufferFromRequirements"
            buffer = self._make(name, self._environment, byref(kind), needs)
            self._call("LiteRtClearTensorBuffer", buffer)
            buffers[number] = buffer.value
        return buffers

    def _make(self, function: str, *arguments: Any) -> c_void_p:
        """Returns the handle that a function writes to its last argument."""
        handle = c_void_p()
        self._call(function, *arguments, byref(handle))
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise RuntimeError(f"{function} returned status {status}")


def main() -> None:
    stream = answers()
    request = json.loads(sys.argv[1])
    try:
        profiler = _Profiler(request["path"], request["threads"])
        for _ in range(request["warmup"]):
            profiler.run()
        answer(stream, [profiler.profile() for _ in range(request["runs"])])
    except (OSError, RuntimeError) as error:
        answer(stream, {"error": str(error)})


if __name__ == "__main__":
    main()
