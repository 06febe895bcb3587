"""Where the time of an inference goes: microseconds of each operator, in the delegate and out."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export import runtime
from export.children import Child

# What XNNPACK runs for an operator of the file. Others it adds on its own, as it likes: a Clamp
# after a Multiply with a fused RELU, a Convert before a dynamically quantized convolution.
_KINDS = {
    "Add": ("ADD",),
    "Convolution": ("CONV_2D", "DEPTHWISE_CONV_2D"),
    "Copy": ("CONCATENATION",),
    "Fully Connected": ("CONV_2D", "FULLY_CONNECTED"),  # a 1x1 convolution is one
    "Mean": ("MEAN",),
    "Multiply": ("MUL",),
    "Sigmoid": ("LOGISTIC",),
    "Static Reshape": ("RESHAPE",),
    "Slice": ("STRIDED_SLICE", "SLICE"),
    "Subtract": ("SUB",),
}
# XNNPACK cuts each of its times to whole microseconds, and a concatenation has one for each input.
# Half of one is what a cut takes on average: without it slices, often under 1 us, would be free.
_CUT_US = 0.5


@dataclasses.dataclass(frozen=True)
class OperatorTime:
    """Time of one operator in one inference.

    Attributes:
        kind: what runs: XNNPACK's word, or the file's, in capitals, outside of the delegate.
        kernel: the whole of XNNPACK's name: types and algorithm; `kind` outside of the delegate.
        tensor: what it writes, by its name in the file, which tells the layer; an operator that
            the delegate added has the tensor of the one before it.
        microseconds: on average; times in the delegate are good to half a microsecond.
    """

    kind: str
    kernel: str
    tensor: str
    microseconds: float


@dataclasses.dataclass(frozen=True)
class Profile:
    """The operators of one inference in the order in which they run.

    Attributes:
        inference_us: a whole inference, with the profiler's own work.
        runs: inferences behind the times: the faster half of those that were made.
        threads: of the runtime.
        operators: in the order of the run.
    """

    inference_us: float
    runs: int
    threads: int
    operators: tuple[OperatorTime, ...]

    def by_kind(self) -> dict[str, tuple[int, float]]:
        """Returns number and microseconds of each kind of operator, the costliest first."""
        kinds: dict[str, tuple[int, float]] = {}
        for operator in self.operators:
            count, total = kinds.get(operator.kind, (0, 0.0))
            kinds[operator.kind] = count + 1, total + operator.microseconds
        return dict(sorted(kinds.items(), key=lambda item: -item[1][1]))


def profile(path: str | Path, runs: int = 100, threads: int = 1, warmup: int = 10) -> Profile:
    """Returns the time of each operator of a .tflite, measured in a process of its own.

    Args:
        path: of the file.
        runs: inferences that are timed; the slower half of them is thrown away.
        threads: of the runtime.
        warmup: inferences before them.

    Raises:
        ModelFileError: naming the file, if it is broken or cannot be profiled.
    """
    nodes = _nodes(runtime.load(path))
    request = {"path": str(path), "threads": threads, "warmup": warmup, "runs": runs}
    with Child("export.profiler", request, path) as child:
        made = child.answer()
    made.sort(key=lambda run: run["inference_us"])
    kept = made[: (runs + 1) // 2]
    events = [event[:3] for event in kept[0]["operators"]]
    times = zip(*([event[3] for event in run["operators"]] for run in kept), strict=True)
    operators = []
    for (kernel, delegated, _), node, taken in zip(
        events, _match(events, nodes), times, strict=True
    ):
        cuts = len(node.inputs) if node.kind == "CONCATENATION" else 1
        operators.append(
            OperatorTime(
                kind=_kind(kernel),
                kernel=kernel,
                tensor=node.tensor,
                microseconds=statistics.mean(taken) + _CUT_US * cuts * delegated,
            )
        )
    whole = statistics.mean(run["inference_us"] for run in kept)
    return Profile(whole, len(kept), threads, tuple(operators))


@dataclasses.dataclass(frozen=True)
class _Node:
    """An operator of the file: its kind, the tensors it reads, the name of the one it writes."""

    kind: str
    inputs: tuple[int, ...]
    tensor: str


def _nodes(content: bytes) -> list[_Node]:
    interpreter = runtime.allocated(content, delegate=False)
    names = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    return [
        _Node(node["op_name"], tuple(node["inputs"]), names[node["outputs"][0]])
        for node in interpreter._get_ops_details()
    ]


def _match(events: Sequence[Any], nodes: Sequence[_Node]) -> list[_Node]:
    """Returns the operator of the file that each event `(kernel, delegated, index)` stands for.

    Outside of the delegate the index tells. A partition of the delegate numbers its own operators,
    but runs them in the file's order: each is the next one of its kind that is still to come. What
    XNNPACK added goes to the operator before it.
    """
    outside = {index for _, delegated, index in events if not delegated}
    left, found, at = set(range(len(nodes))) - outside, [], 0
    for kernel, delegated, index in events:
        if not delegated:
            at = 0  # the next partition may hold what comes before this operator in the file
            found.append(nodes[index])
            continue
        kinds = _KINDS.get(_kind(kernel), ())
        fits = [n for n in left if n >= at and nodes[n].kind in kinds]
        if fits:
            at = min(fits)
            left.remove(at)
        found.append(nodes[at])
    return found


def _kind(kernel: str) -> str:
    """Returns "Slice" for "Slice (ND, X8)"."""
    return kernel.split(" (")[0]
