"""Which operators of a quantized file lose most, and leaving them in float."""

import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import plan_by_hand, randomize

import cli
from export.bundle import describe, write_model
from export.debugging import debug, operator_errors
from export.quantize import make_variant, named_operators
from export.runtime import graph
from export.tflite import ExportError, convert
from hwkeras.data import load_dataset
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
def digits():
    return load_dataset("digits")


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


def test_a_float_file_has_no_error_however_small_its_signals(net, float32, images):
    assert max(row.error for row in operator_errors(float32, float32, images)) == 0
    quiet = keras.models.clone_model(net)
    quiet.set_weights(net.get_weights())
    kernel, bias = quiet.layers[-1].get_weights()
    quiet.layers[-1].set_weights([kernel * 1e-6, bias * 1e-6])
    content = convert(quiet)
    assert max(row.error for row in operator_errors(content, content, images)) == 0
    loud, still = (
        operator_errors(make_variant(file, "dynamic"), file, images) for file in (float32, content)
    )
    errors = [{row.operator: row.error for row in rows} for rows in (loud, still)]
    assert errors[1] == pytest.approx(errors[0], rel=0.01)


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
    with pytest.raises(ExportError, match="^the file was not made from this model: "):
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


def sidecar(variant, content):
    return describe("net", variant, content, list("0123456789"), parameters=1, macs=1)


def shipped(folder, net, variant, images):
    """Writes what `hwkeras export` does of a net, and the net; returns both paths."""
    content = make_variant(convert(net, variant), variant, images)
    path = folder / f"{variant}.tflite"
    write_model(path, content, sidecar(variant, content))
    net.save(folder / "net.keras")
    return path, folder / "net.keras"


@pytest.mark.parametrize("variant", ["float32", "float16", "int8", "int16x8", "int4"])
def test_a_file_is_compared_with_the_graph_that_its_variant_is_made_of(
    tmp_path, net, digits, images, variant
):
    rows = debug(*shipped(tmp_path, net, variant, images), digits, 8)
    assert len(rows) > 8 and all(np.isfinite(row.error) for row in rows)
    errors = {row.operator: row.error for row in rows}
    assert "stage1_block1/gate" in {name.rsplit(";")[0] for name in errors}
    limit = {"float32": 0.0, "float16": 0.05, "int16x8": 1.0}.get(variant, 3.0)
    assert max(errors.values()) <= limit


def test_which_variant_a_file_is_must_be_known(tmp_path, net, digits, images):
    path, model = shipped(tmp_path, net, "int8", images)
    found = debug(path, model, digits, 8)
    path.with_suffix(".json").unlink()
    with pytest.raises(ExportError, match="no int8.json beside it .* name it with --variant"):
        debug(path, model, digits, 8)
    assert debug(path, model, digits, 8, variant="int8") == found


def test_what_was_trained_on_has_no_model_to_compare_with(tmp_path, net, digits, images):
    path, model = shipped(tmp_path, net, "int8", images)
    content = path.read_bytes()
    write_model(path, content, sidecar("qat-int8", content))
    with pytest.raises(ExportError, match="qat-int8 trained on after net.keras was saved"):
        debug(path, model, digits, 8)


def test_the_command(tmp_path, net, float32, images):
    net.save(tmp_path / "net.keras")
    (tmp_path / "int8.tflite").write_bytes(make_variant(float32, "int8", images))
    line = ["debug", str(tmp_path / "int8.tflite"), "digits", "--variant", "float32", "--against"]
    found = CliRunner().invoke(cli.main, [*line, str(tmp_path / "net.keras"), "--worst", "3"])
    assert found.exit_code == 0, found.output
    rows = found.stdout.splitlines()
    assert len(rows) == 2 + 3 + 1 and rows[2].startswith("stage1_block2  stage1_block2/transform")
    found = CliRunner().invoke(cli.main, [*line, str(tmp_path / "net.keras"), "--json"])
    assert len(json.loads(found.stdout)) > 10
    found = CliRunner().invoke(cli.main, [*line, str(tmp_path / "none.keras")])
    assert found.exit_code == 1 and "none.keras" in found.stderr
