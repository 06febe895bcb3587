"""The post-training variants of a float32 .tflite, made with litert-quantizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from export import names
from export.calibration import samples_of, tensor_ranges
from export.compensation import compensated
from export.packing import pack, unpack
from export.runtime import Images, allocated
from export.silence import silenced
from export.tflite import ExportError

VARIANTS = ("float32", "float16", "dynamic", "int8", "int16x8", "int4")
IO_TYPES = ("float32", "int8", "uint8")

# Share of the calibration images whose values a tensor's range covers. In 8 bits, room for the
# last image costs all others precision, most of all in a cut net; in 16 there is enough for all.
_COVERED = {"int8": 0.95, "int16x8": 1.0}

# int4 keeps the first, the last and the smallest kernels, together this share of the weights, at 8
# bits: kernels of few channels suffer most and weigh least.
_SHARE_AT_8_BITS = 0.04


def make_variant(
    content: bytes,
    variant: str,
    calibration: Images | None = None,
    io: str = "float32",
    keep_float: Sequence[str] = (),
    one_scale: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bytes:
    """Returns a variant of a float32 .tflite.

    Args:
        content: what `export.tflite.convert` gave, without labels.
        variant: one of `VARIANTS`. "float16", "dynamic" and "int4" store weights in fewer bits;
            "int8" and "int16x8" store and compute activations in integers as well.
        calibration: real inputs `(n, ...)` as the model takes them, n >= 8, or one such array for
            each input by name; needed for "int8" and "int16x8". With them "int4" rounds its
            weights together, else each to the nearest value. Unused otherwise.
        io: type of the inputs and outputs; other than "float32" for "int8" only.
        keep_float: names of operators, layers or blocks that stay in float.
        one_scale: in "int8", a kernel's channels share one scale, so that equal weights stay equal.
        progress: called with (steps done, steps in all) by "int4", which takes its time.

    Raises:
        ExportError: if there is no such variant, `io` does not go with it, nothing has a name of
            `keep_float`, or the calibration images are missing, too few, of another shape or not
            finite.
    """
    if variant not in VARIANTS:
        raise ExportError(f"no variant {variant!r}; there are {', '.join(VARIANTS)}")
    if io not in IO_TYPES:
        raise ExportError(f"no input and output type {io!r}; there are {', '.join(IO_TYPES)}")
    if io != "float32" and variant != "int8":
        raise ExportError(f"{variant} takes and gives float32; {io} goes with the variant int8")
    if variant == "float32":
        return content
    uses_images = variant in _COVERED or (variant == "int4" and calibration is not None)
    samples = samples_of(content, calibration) if uses_images else []
    kept: list[str] = []
    for name in keep_float:
        kept += named_operators(content, name)
        if not named_operators(content, name):
            raise ExportError(f"no operator, layer or block {name!r} to keep in float")
    kernels = _kernels(content) if variant == "int4" else []
    at_8_bits = _at_8_bits(kernels)
    if samples and kernels:
        at_4_bits = {name for _, name in kernels} - {*at_8_bits, *kept}
        content = compensated(content, samples, dict.fromkeys(at_4_bits, 4), progress)
    recipe = _recipe(variant, io, kept, one_scale, at_8_bits)
    with silenced():
        return _quantize(content, variant, recipe, samples)


def named_operators(content: bytes, name: str) -> list[str]:
    """Returns the names of the operators that an operator's, a layer's or a block's name means."""
    interpreter = allocated(content, delegate=False)
    tensors = {tensor["index"]: tensor["name"] for tensor in interpreter.get_tensor_details()}
    outputs = [tensors[node["outputs"][0]] for node in interpreter._get_ops_details()]
    return [output for output in outputs if names.belongs(output, name)]


def _quantize(content, variant, recipe, samples) -> bytes:
    from litert_quantizer import quantizer

    covered = _COVERED.get(variant)
    ranges = tensor_ranges(content, samples, recipe, covered) if covered else None
    result = quantizer.Quantizer(content, recipe).quantize(
        ranges, enable_progress_bar=False, enable_progress_report=False
    )
    return pack(unpack(bytes(result.quantized_model or b"")))


def _recipe(
    variant: str, io: str, in_float: Sequence[str], one_scale: bool, at_8_bits: Sequence[str]
) -> list[dict[str, Any]]:
    from litert_quantizer import qtyping
    from litert_quantizer.algorithm_manager import AlgorithmName
    from litert_quantizer.recipe_manager import RecipeManager

    operation, manager = qtyping.TFLOperationName, RecipeManager()
    everything = operation.ALL_SUPPORTED
    if variant == "float16":
        manager.add_weight_only_config(
            ".*", everything, 16, algorithm_key=AlgorithmName.FLOAT_CASTING
        )
    elif variant == "dynamic":
        manager.add_dynamic_config(".*", everything, 8)
    elif variant == "int4":
        # Dynamic, not weight-only: the answers are as good and it is faster. XNNPACK
        # takes int4 in dense layers only; convolutions run in the runtime's own kernels.
        manager.add_dynamic_config(".*", everything, 4)
        manager.add_dynamic_config(_any_of(at_8_bits), everything, 8)
    else:
        bits, granularity = 16 if variant == "int16x8" else 8, qtyping.QuantGranularity
        scales = granularity.TENSORWISE if one_scale else granularity.CHANNELWISE
        manager.add_static_config(".*", everything, bits, 8, scales)
        for edge in (operation.INPUT, operation.OUTPUT):
            if io == "float32":
                manager.add_quantization_config(".*", edge, None, AlgorithmName.NO_QUANTIZE)
            elif io == "uint8":
                unsigned = qtyping.TensorQuantizationConfig(
                    8, symmetric=False, dtype=qtyping.TensorDataType.UINT
                )
                config = qtyping.OpQuantizationConfig(
                    activation_tensor_config=unsigned,
                    weight_tensor_config=qtyping.TensorQuantizationConfig(8),
                    compute_precision=qtyping.ComputePrecision.INTEGER,
                )
                manager.add_quantization_config(".*", edge, config)
    if in_float:
        manager.add_quantization_config(
            _any_of(in_float), everything, None, AlgorithmName.NO_QUANTIZE
        )
    return manager.get_quantization_recipe()


def _any_of(outputs: Sequence[str]) -> str:
    """Returns the pattern of operators by the names of their outputs, as a recipe wants it."""
    return f"^({'|'.join(map(re.escape, outputs))});?$"


def _at_8_bits(kernels: Sequence[tuple[int, str]]) -> list[str]:
    """Returns which of the kernels that `_kernels` found int4 keeps at 8 bits."""
    kept = [kernels[0][1], kernels[-1][1]] if kernels else []
    budget = _SHARE_AT_8_BITS * sum(size for size, _ in kernels)
    for size, name in sorted(kernels):
        budget -= size
        if budget < 0:
            break
        kept.append(name)
    return kept


def _kernels(content: bytes) -> list[tuple[int, str]]:
    """Returns how many weights each kernel has, and the name of what is computed with it."""
    interpreter = allocated(content, delegate=False)
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    return [
        (int(np.prod(tensors[node["inputs"][1]]["shape"])), tensors[node["outputs"][0]]["name"])
        for node in interpreter._get_ops_details()
        if node["op_name"] in names.WEIGHTED
    ]
