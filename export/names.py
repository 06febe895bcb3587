"""What the tensors of a .tflite are called: after the layers that they come from, and briefly.

The converter calls them "highway_net_1/stem_1/BiasAdd;highway_net_1/stem_1/convolution;...": a
tenth of a small file, and hard to read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

from ai_edge_litert.tools.flatbuffer_utils import opcode_to_name

from export.packing import pack, unpack

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def name_tensors(content: bytes, layers: Collection[str]) -> bytes:
    """Returns a .tflite whose tensors have short names, each its own.

    "stem" is what the convolution of the layer `stem` gives out, "stem:1" its kernel, "stem:2" its
    bias; "stage1_block1/logistic" is what that operator of the block gives out. Inputs and outputs
    have their names in the signature.

    Args:
        content: what the TFLite converter gave.
        layers: names of the layers, of their parts, and of nested models.
    """
    model = unpack(content)
    (graph,) = model.subgraphs
    names: dict[int, str] = {}
    for signature in model.signatureDefs:
        for entry in (*signature.inputs, *signature.outputs):
            names[entry.tensorIndex] = entry.name.decode()
    taken = Counter(names.values())

    def name(index: int, wanted: str) -> None:
        if index not in names:
            taken[wanted] += 1
            names[index] = wanted if taken[wanted] == 1 else f"{wanted}~{taken[wanted]}"

    for operator in graph.operators:
        kind = opcode_to_name(model, operator.opcodeIndex) or "custom"
        for index in operator.outputs:
            path = _path(graph.tensors[index].name.decode(), layers)
            name(index, path if path and kind in WEIGHTED else f"{path}/{kind.lower()}".lstrip("/"))
        for number, index in enumerate(operator.inputs):
            if index >= 0:  # an operator that goes without its bias has -1
                name(index, f"{names[operator.outputs[0]]}:{number}")
    for index, wanted in names.items():
        graph.tensors[index].name = wanted.encode()
    return pack(model)


def belongs(operator: str, name: str) -> bool:
    """Returns whether an operator is the one of that name, or one of a layer of that name."""
    return re.fullmatch(re.escape(name) + r"([/~].*)?", operator) is not None


def _path(name: str, layers: Collection[str]) -> str:
    """Returns the layers of a scope: "block/gate" of "net_1/block_1/gate_1/BiasAdd;..."."""
    found: Sequence[str] = [
        part if part in layers else re.sub(r"_\d+$", "", part)
        for part in name.split(";")[0].split("/")
    ]
    return "/".join(part for part in found if part in layers)
