"""The poster's net has the poster's size; its family builds; wrong sizes are refused."""

import dataclasses

import keras
import numpy as np
import pytest

from hwkeras.graph import highway_blocks
from hwkeras.layers import HighwayConv2D, HighwayDense
from hwkeras.models import PRESETS, HighwayConfig, highway_net
from hwkeras.stats import model_cost

POSTER = PRESETS["poster"]
NARROW = dataclasses.replace(POSTER, stem=2, stages=(2, 3, 4))


def block_parameters(before, channels):
    """Parameters of a fresh block: norm, transform, gate, projection where channels change."""
    norm, transform = 4 * before, 9 * before * channels + channels
    gate = 9 * channels * channels + channels
    return norm + transform + gate + (before * channels if before != channels else 0)


def test_the_posters_net_has_exactly_its_parameters():
    model = highway_net(POSTER, (32, 32, 3), 10)
    # stem 9 x 3 x 16 + 16 = 448; stages 417,856 and 1,708,288 and 6,824,448;
    # last norm 4 x 256 = 1,024; logits 256 x 10 + 10 = 2,570
    stages = [(16, 64), (64, 128), (128, 256)]
    assert [block_parameters(a, b) + 5 * block_parameters(b, b) for a, b in stages] == [
        417_856, 1_708_288, 6_824_448,
    ]  # fmt: skip
    assert 448 + 417_856 + 1_708_288 + 6_824_448 + 1_024 + 2_570 == 8_954_634
    assert model.count_params() == 8_954_634
    assert model_cost(model).parameters == 8_954_634
    # Multiply-accumulates: stem 432 x 32 x 32; then 16x16, 8x8 and 4x4 positions.
    macs = [9 * a * b + a * b + 9 * b * b + 5 * 18 * b * b for a, b in stages]
    total = 432 * 1024 + macs[0] * 256 + macs[1] * 64 + macs[2] * 16 + 2560
    assert model_cost(model).macs == total


def test_the_posters_net_has_its_shape():
    model = highway_net(NARROW, (32, 32, 3), 10)
    blocks = highway_blocks(model)
    assert list(blocks) == [f"stage{s}_block{b}" for s in (1, 2, 3) for b in range(1, 7)]
    assert [block.channels for block in blocks.values()] == [2] * 6 + [3] * 6 + [4] * 6
    sides = [block.output.shape[1:3] for block in blocks.values()]
    assert sides == [(16, 16)] * 6 + [(8, 8)] * 6 + [(4, 4)] * 6
    strided = [name for name, block in blocks.items() if block.strides == (2, 2)]
    assert strided == ["stage1_block1", "stage2_block1", "stage3_block1"]
    assert all(isinstance(block, HighwayConv2D) for block in blocks.values())
    assert [layer.name for layer in model.layers if layer.name not in blocks] == [
        "image", "normalization", "stem", "norm", "relu", "pool", "logits",
    ]  # fmt: skip
    assert model.output.shape == (None, 10)


@pytest.mark.parametrize("preset", ["small", "tiny"])
def test_smaller_presets_build(preset):
    config = PRESETS[preset]
    model = highway_net(config, (16, 16, 1), 3)
    assert model(np.zeros((2, 16, 16, 1))).shape == (2, 3)
    before, total = config.stem, 9 * config.stem + config.stem
    for channels in config.stages:
        total += block_parameters(before, channels) + 2 * block_parameters(channels, channels)
        before = channels
    # stem 9 x 1 x 16 + 16; three blocks a stage; last norm 4 C; logits 3 C + 3
    assert model.count_params() == total + 4 * before + 3 * before + 3


def test_a_table_gets_dense_blocks():
    model = highway_net(NARROW, (7,), 3)
    blocks = highway_blocks(model)
    assert len(blocks) == 18
    assert all(isinstance(block, HighwayDense) for block in blocks.values())
    assert model.layers[0].name == "features"
    assert model(np.zeros((2, 7))).shape == (2, 3)


@pytest.mark.parametrize("shape", [(8, 8, 1), (7,)])
def test_the_gate_bias_reaches_every_block(shape):
    model = highway_net(dataclasses.replace(NARROW, gate_bias=-3.0), shape, 2)
    for block in highway_blocks(model).values():
        np.testing.assert_array_equal(block.gate.bias, [-3.0] * block.channels)


@pytest.mark.parametrize("shape", [(2, 1, 3), (3,)])
def test_pixels_are_normalised_inside_the_graph(shape):
    model = highway_net(NARROW, shape, 2, mean=(10, 20, 30), deviation=(1, 2, 5))
    normalised = keras.Model(model.input, model.get_layer("normalization").output)
    pixels = np.broadcast_to([13.0, 16.0, 30.0], (1, *shape))
    expected = np.broadcast_to([3.0, -2.0, 0.0], (1, *shape))  # (x - mean) / deviation
    np.testing.assert_allclose(normalised(pixels), expected, atol=1e-5)


def test_pixels_are_0_to_1_by_default():
    model = highway_net(NARROW, (1, 1, 1), 2)
    normalised = keras.Model(model.input, model.get_layer("normalization").output)
    assert float(normalised(np.full((1, 1, 1, 1), 255.0))[0, 0, 0, 0]) == pytest.approx(1.0)


def test_the_logits_are_not_squashed():
    model = highway_net(NARROW, (8, 8, 1), 2)
    assert model.get_layer("logits").activation is keras.activations.linear


@pytest.mark.parametrize("shape", [(), (32, 32), (1, 32, 32, 3)])
def test_a_wrong_input_shape_is_refused(shape):
    with pytest.raises(ValueError) as caught:
        highway_net(NARROW, shape, 10)
    assert str(caught.value) == (
        f"`input_shape` must be (height, width, channels) or (features,). Received: {shape}"
    )


def test_a_config_needs_a_stride_for_each_stage():
    with pytest.raises(ValueError) as caught:
        HighwayConfig(stages=(4, 8))
    assert str(caught.value) == (
        "`strides` must hold one stride for each stage. Received: stages=(4, 8), strides=(2, 2, 2)"
    )


@pytest.mark.parametrize(
    "sizes",
    [{"stem": 0}, {"blocks": 0}, {"stages": (4, 0, 8)}, {"strides": (1, 1, -1)}],
)
def test_a_config_needs_positive_sizes(sizes):
    with pytest.raises(ValueError, match=r"^sizes must be positive. Received: HighwayConfig\("):
        HighwayConfig(**sizes)


def test_a_config_needs_a_stage():
    with pytest.raises(ValueError, match="one stride for each stage"):
        HighwayConfig(stages=(), strides=())
