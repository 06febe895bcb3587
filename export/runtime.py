"""Running a .tflite as a phone would: load, describe, predict. NumPy and LiteRT only."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from export.silence import silenced

BUILTIN_OPERATORS = frozenset(name for name in vars(schema.BuiltinOperator) if name.isupper())
Images = np.ndarray | Mapping[str, np.ndarray]  # for the one input, or for each by name


class ModelFileError(ValueError):
    """A .tflite that is missing, broken, truncated or foreign; one line."""


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input or output: real value = scale * (stored value - zero_point).

    Attributes:
        name: in the signature.
        shape: batch first.
        dtype: "float32", "int8", "uint8", ...
        scale: None for float32.
        zero_point: None for float32.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    def store(self, values: np.ndarray) -> np.ndarray:
        """Returns real values as the tensor holds them, rounded and clipped to its type."""
        if self.scale is not None and self.zero_point is not None:
            limits = np.iinfo(self.dtype)
            values = np.rint(values / np.float32(self.scale)) + self.zero_point
            values = np.clip(values, limits.min, limits.max)
        return np.ascontiguousarray(values, self.dtype)

    def real(self, stored: np.ndarray) -> np.ndarray:
        """Returns what the tensor holds as float32."""
        if self.scale is None or self.zero_point is None:
            return stored.astype(np.float32)
        return np.float32(self.scale) * (stored.astype(np.float32) - self.zero_point)


@dataclasses.dataclass(frozen=True)
class IoSpec:
    """What goes in and comes out of a model, in the order of its one signature."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclasses.dataclass(frozen=True)
class GraphInfo:
    """What the graph is made of, and how much of it the XNNPACK delegate takes.

    Attributes:
        operators: how many of each operator the file holds.
        partitions: parts that run in the delegate; 1 is best, 0 means none.
        undelegated: operators left outside the delegate.
    """

    operators: dict[str, int]
    partitions: int
    undelegated: dict[str, int]


def load(path: str | Path) -> bytes:
    """Returns the content of a .tflite that the runtime can run.

    Raises:
        ModelFileError: naming the file, if it is missing, broken, truncated or foreign.
    """
    try:
        content = Path(path).read_bytes()
        allocated(content, delegate=False)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such file; expected a .tflite model") from None
    except (OSError, ModelFileError) as error:
        raise ModelFileError(f"{path}: {error}") from None
    return content


def io_spec(content: bytes) -> IoSpec:
    """Returns names, shapes, types and quantization of the inputs and outputs.

    Raises:
        ModelFileError: if the model is broken or has not exactly one signature.
    """
    return _io_spec(allocated(content, delegate=False))[0]


def predict(
    content: bytes,
    images: Images,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Returns the first output, float32 logits `(n, classes)`, of `predict_all`."""
    return next(iter(predict_all(content, images, threads, progress).values()))


def predict_all(
    content: bytes,
    images: Images,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Returns every output by name, float32 `(n, ...)`, one image after the other.

    Args:
        content: of a .tflite.
        images: real values `(n, ...)`, or one such array for each input by name. An int8 or
            uint8 input is given what its scale and zero point make of them.
        threads: of the runtime.
        progress: called with (images done, images in all).

    Raises:
        ModelFileError: if the model is broken or has not exactly one signature.
        ValueError: if the images do not fit the inputs.
    """
    interpreter = allocated(content, threads)
    spec, indices = _io_spec(interpreter)
    given = images if isinstance(images, Mapping) else {spec.inputs[0].name: images}
    expected = ", ".join(tensor.name for tensor in spec.inputs)
    if set(given) != {tensor.name for tensor in spec.inputs}:
        raise ValueError(f"expected images for the inputs {expected}. Received: {', '.join(given)}")
    arrays = {name: np.asarray(array) for name, array in given.items()}
    counts = {len(array) for array in arrays.values()}
    for tensor in spec.inputs:
        if arrays[tensor.name].shape[1:] != tensor.shape[1:] or len(counts) > 1:
            shape, received = ", ".join(map(str, tensor.shape[1:])), arrays[tensor.name].shape
            raise ValueError(f"input {tensor.name!r}: expected (n, {shape}). Received: {received}")
    (count,) = counts
    results = {t.name: np.empty((count, *t.shape[1:]), np.float32) for t in spec.outputs}
    for row in range(count):
        for tensor in spec.inputs:
            image = arrays[tensor.name][row : row + 1].astype(np.float32)
            interpreter.set_tensor(indices[tensor.name], tensor.store(image))
        interpreter.invoke()
        for tensor in spec.outputs:
            results[tensor.name][row] = tensor.real(interpreter.get_tensor(indices[tensor.name]))[0]
        if progress:
            progress(row + 1, count)
    return results


def operators(content: bytes) -> dict[str, int]:
    """Returns how many of each operator the main graph holds, the runtime's or not.

    Raises:
        ModelFileError: if the content is no whole .tflite.
    """
    nodes = _build(content, 1, delegate=False)._get_ops_details()
    return dict(Counter(node["op_name"] for node in nodes).most_common())


def graph(content: bytes) -> GraphInfo:
    """Returns the operators, the delegate's partitions and what is left outside of them.

    Raises:
        ModelFileError: if the model is broken or holds an operator that the runtime lacks.
    """
    interpreter = allocated(content)
    # The list holds replaced operators too; walking back from the outputs meets those that run.
    # Delegates come last, so they win over the operators that they replaced.
    maker = {t: node for node in interpreter._get_ops_details() for t in node["outputs"]}
    waiting, running = [t["index"] for t in interpreter.get_output_details()], {}
    while waiting:
        node = maker.get(waiting.pop())
        if node and node["index"] not in running:
            running[node["index"]] = node["op_name"]
            waiting.extend(node["inputs"])
    counts = Counter(running.values())
    partitions = counts.pop("DELEGATE", 0)
    return GraphInfo(operators(content), partitions, dict(counts.most_common()))


def allocated(
    content: bytes, threads: int = 1, delegate: bool = True, keep_all: bool = False
) -> Interpreter:
    """Returns an interpreter that is ready to run.

    Args:
        content: of a .tflite.
        threads: of the runtime.
        delegate: whether XNNPACK takes part.
        keep_all: whether every tensor can be read after a run, for more memory.

    Raises:
        ModelFileError: if the model is broken or holds an operator that the runtime lacks.
    """
    interpreter = _build(content, threads, delegate, keep_all)
    try:
        with silenced():
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelFileError(f"the runtime refuses the model: {_line(error)}") from None
    return interpreter


def _build(content: bytes, threads: int, delegate: bool, keep_all: bool = False) -> Interpreter:
    if content[4:8] != b"TFL3":
        kind = "an empty file" if not content else f"{len(content):,} bytes of something else"
        raise ModelFileError(f"expected a .tflite model, found {kind}")
    resolver = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        # The runtime verifies every offset in the file, so that a truncated one raises.
        with silenced():
            return Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=resolver,
                experimental_preserve_all_tensors=keep_all,
            )
    except (ValueError, RuntimeError) as error:
        raise ModelFileError(
            f"broken or truncated .tflite model of {len(content):,} bytes: {_line(error)}"
        ) from None


def _io_spec(interpreter: Interpreter) -> tuple[IoSpec, dict[str, int]]:
    """Returns the spec and the tensors' indices by name."""
    names = list(interpreter.get_signature_list())
    if len(names) != 1:
        raise ModelFileError(f"expected a model with one signature, found {len(names)}: {names}")
    runner = interpreter.get_signature_runner(names[0])
    indices, sides = {}, []
    for details in (runner.get_input_details(), runner.get_output_details()):
        sides.append(tuple(_tensor_spec(name, detail) for name, detail in details.items()))
        indices |= {name: detail["index"] for name, detail in details.items()}
    return IoSpec(*sides), indices


def _tensor_spec(name: str, detail: dict) -> TensorSpec:
    shape = tuple(int(side) for side in detail["shape"])
    dtype = np.dtype(detail["dtype"]).name
    quantization = detail["quantization_parameters"]
    if not len(quantization["scales"]):
        return TensorSpec(name, shape, dtype)
    scale, zero_point = quantization["scales"][0], quantization["zero_points"][0]
    return TensorSpec(name, shape, dtype, float(scale), int(zero_point))


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or repr(error)
