"""Which operators of a quantized file lose most, and leaving them in float."""

import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import plan_by_hand, randomize

import cli
from export.debugging import operator_errors
from export.quantize import make_variant, named_operators
from export.runtime import graph
from export.tflite import ExportError, convert
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.rebuild import apply_plan

CONFIG = HighwayConfig(stem=6, stages=(8,), blocks=2, strides=(1,))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1)).astype("float32")


@pytest.fixture(scope="module")
def net():
    """A net in which one kernel cannot be rounded well: one weight dwarfs the others."""
    model = randomize(highway_net(CONFIG, (8, 8, 1), 10))
    model = apply_plan(model, plan_by_hand(model, {"stage1_block1": (0, 2, 3, 7)}))
    transform = model.get_layer("stage1_block2").transform
    kernel, bias = transform.get_weights()
    kernel[0, 0, 0, :] = 60.0
    transform.set_weights([kernel, bias])
    return model


@pytest.fixture(scope="module")
def float32(net):
    return convert(net)


def test_the_worst_operator_is_the_one_that_cannot_be_rounded(float32, images):
    rows = operator_errors(make_variant(float32, "int8", images), float32, images)
    assert (rows[0].operator, rows[0].kind) == ("stage1_block2/transform", "CONV_2D")
    assert rows[0].added > 1.5 * rows[1].added
    for row in rows:
        assert row.added == pytest.approx(max(row.error**2 - row.inherited**2, 0) ** 0.5)
    assert [row.added for row in rows] == sorted((row.added for row in rows), reverse=True)
    assert not {row.kind for row in rows} & {"STRIDED_SLICE", "CONCATENATION"}


def test_a_float_file_has_no_error(float32, images):
    # litert-quantizer takes 1e-9 for no noise at all, which is more where signals are small.
    assert max(row.error for row in operator_errors(float32, float32, images)) < 1e-3


def test_what_is_kept_in_float_is_float(float32, images):
    name = "stage1_block2/transform"
    plain = make_variant(float32, "int8", images)
    kept = make_variant(float32, "int8", images, keep_float=[name])
    assert graph(kept).operators["QUANTIZE"] == graph(plain).operators["QUANTIZE"] + 1
    before, after = (
        {row.operator: row for row in operator_errors(file, float32, images)}[name].added
        for file in (plain, kept)
    )
    assert after < 0.2 * before


def test_a_block_name_means_all_of_its_operators(float32):
    block = named_operators(float32, "stage1_block2")
    assert {"stage1_block2/transform", "stage1_block2/gate"} < set(block)
    assert all(name.startswith("stage1_block2/") for name in block)


def test_a_name_that_nothing_has(float32, images):
    with pytest.raises(ExportError) as raised:
        make_variant(float32, "int8", images, keep_float=["stage9"])
    assert str(raised.value) == "no operator, layer or block 'stage9' to keep in float"


def test_a_file_of_another_model(float32, images):
    inputs = keras.Input((8, 8, 1), name="image")
    other = convert(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)))
    with pytest.raises(ExportError, match="^the file is not of this model: "):
        operator_errors(other, float32, images)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (np.zeros((16, 9, 8, 1)), "expected (n, 8, 8, 1), found (16, 9, 8, 1)"),
        (np.zeros((3, 8, 8, 1)), "expected at least 8, found 3"),
        (np.full((9, 8, 8, 1), np.nan), "image 0 holds NaN or infinity"),
    ],
)
def test_images_that_do_not_fit(float32, bad, text):
    with pytest.raises(ExportError) as raised:
        operator_errors(float32, float32, bad)
    assert text in str(raised.value)


def test_the_command(tmp_path, net, float32, images):
    net.save(tmp_path / "net.keras")
    (tmp_path / "int8.tflite").write_bytes(make_variant(float32, "int8", images))
    line = ["debug", str(tmp_path / "int8.tflite"), "digits", "--against"]
    found = CliRunner().invoke(cli.main, [*line, str(tmp_path / "net.keras"), "--worst", "3"])
    assert found.exit_code == 0, found.output
    rows = found.stdout.splitlines()
    assert len(rows) == 2 + 3 + 1 and rows[2].startswith("stage1_block2  stage1_block2/transform")
    found = CliRunner().invoke(cli.main, [*line, str(tmp_path / "net.keras"), "--json"])
    assert len(json.loads(found.stdout)) > 10
    found = CliRunner().invoke(cli.main, [*line, str(tmp_path / "none.keras")])
    assert found.exit_code == 1 and "none.keras" in found.stderr
