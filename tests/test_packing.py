"""A repacked .tflite is the same model in fewer bytes."""

import numpy as np
import pytest
from conftest import randomize

from export import runtime
from export.packing import pack, unpack
from export.quantize import make_variant
from export.tflite import convert, with_labels
from hwkeras.models import HighwayConfig, highway_net

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def float32():
    config = HighwayConfig(stem=16, stages=(16, 32), blocks=2, strides=(1, 2))
    return convert(randomize(highway_net(config, (8, 8, 3), 5)))


@pytest.fixture
def unpacked(float32, monkeypatch):
    """Returns an int8 file as the quantizer writes it."""
    monkeypatch.setattr("export.quantize.unpack", lambda content: content)
    monkeypatch.setattr("export.quantize.pack", lambda content: content)
    return make_variant(float32, "int8", IMAGES)


def test_the_same_answers_in_fewer_bytes(unpacked):
    packed = pack(unpack(unpacked))
    expected = runtime.predict(unpacked, IMAGES)
    np.testing.assert_array_equal(runtime.predict(packed, IMAGES), expected)
    channels = sum(len(tensor.quantization.zeroPoint) for tensor in quantized(unpack(unpacked)))
    assert len(unpacked) - len(packed) > 0.7 * 8 * channels  # a zero point takes 8 bytes
    assert runtime.operators(packed) == runtime.operators(unpacked)


def test_every_tensor_keeps_its_own_values(unpacked):
    def values(content):
        model = unpack(content)
        return [
            (
                t.name, t.shape.tolist(), t.quantization.scale.tolist(),
                t.quantization.zeroPoint.tolist(), bytes(model.buffers[t.buffer].data),
            )
            for t in quantized(model)
            if model.buffers[t.buffer].data is not None
        ]  # fmt: skip

    found = values(pack(unpack(unpacked)))
    assert len(found) > 20 and found == values(unpacked)


def with_kernels_behind(content):
    """Returns the model with its kernels behind the tables, as the quantizer puts larger ones."""
    model = unpack(content)
    for buffer in model.buffers:
        buffer.offset = int(buffer.data is not None and len(buffer.data) > 500)
    return model


def test_constants_behind_the_tables_stay_there_and_aligned(unpacked):
    model = with_kernels_behind(unpacked)
    moved = sum(buffer.offset for buffer in model.buffers)
    content = pack(model)
    offsets = [buffer.offset for buffer in unpack(content).buffers if buffer.offset]
    assert len(offsets) == moved > 5
    assert all(offset % 16 == 0 for offset in offsets)
    assert pack(unpack(content)) == content
    expected = runtime.predict(unpacked, IMAGES)
    np.testing.assert_array_equal(runtime.predict(content, IMAGES), expected)


def test_equal_constants_behind_the_tables_are_written_once(unpacked):
    model, content = with_kernels_behind(unpacked), pack(with_kernels_behind(unpacked))
    one, other = sorted((b for b in model.buffers if b.offset), key=lambda b: len(b.data))[-2:]
    other.data = one.data
    assert len(content) - len(pack(model)) >= len(one.data)


def test_what_make_variant_gives_is_packed(float32):
    for variant in ("float32", "int8", "int4"):
        content = make_variant(float32, variant, IMAGES)
        assert pack(unpack(content)) == content
        labelled = runtime.predict(with_labels(content, list("abcde")), IMAGES)
        np.testing.assert_array_equal(labelled, runtime.predict(content, IMAGES))


def quantized(model):
    tensors = model.subgraphs[0].tensors
    return [t for t in tensors if t.quantization and t.quantization.scale is not None]
