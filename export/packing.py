"""A .tflite as an object and back, each array written once.

The tensors of a quantized file each bring their scales and zero points: in a small one a tenth of
the bytes, most of them zeros that other tensors of as many channels have too. A flatbuffer may
point to one array from many places, and every reader follows it.
"""

from __future__ import annotations

import copy

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # bytes, of constants behind the tables, as LiteRT's own writers align them


def unpack(content: bytes) -> schema.ModelT:
    """Returns the model in a .tflite: plain attributes, arrays of numbers as NumPy arrays.

    A constant that lies behind the tables is in its buffer's `data` too; the buffer's `offset` is
    not 0, by which `pack` knows where to put it.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        if buffer.offset:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
    return model


def pack(model: schema.ModelT) -> bytes:
    """Returns the .tflite of a model; equal arrays, and equal constants behind the tables, once."""
    model = copy.copy(model)
    model.buffers = [copy.copy(buffer) for buffer in model.buffers]
    behind = {i: b.data.tobytes() for i, b in enumerate(model.buffers) if b.offset}
    for i in behind:
        model.buffers[i].data = None
        model.buffers[i].offset = model.buffers[i].size = 1  # any, to take up their room
    end = len(_tables(model))
    places: dict[bytes, int] = {}
    for i, data in behind.items():
        if data not in places:
            places[data] = -(-end // _ALIGNMENT) * _ALIGNMENT
            end = places[data] + len(data)
        model.buffers[i].offset, model.buffers[i].size = places[data], len(data)
    content = bytearray(_tables(model)).ljust(end, b"\0")
    for data, place in places.items():
        content[place : place + len(data)] = data
    return bytes(content)


def _tables(model: schema.ModelT) -> bytes:
    builder = _Sharing(1024)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


class _Sharing(flatbuffers.Builder):
    """Writes an array of numbers that it has written before as a reference to that."""

    def __init__(self, size: int):
        super().__init__(size)
        self.written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x):
        key = (x.dtype.str, x.tobytes())
        if key not in self.written:
            self.written[key] = super().CreateNumpyVector(x)
        return self.written[key]
