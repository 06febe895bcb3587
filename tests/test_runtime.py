"""Running a .tflite: broken files, numbers by hand, partitions."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT

from export.quantize import make_variant
from export.runtime import (
    IoSpec,
    ModelFileError,
    TensorSpec,
    graph,
    io_spec,
    load,
    operators,
    predict,
)
from export.tflite import convert, with_labels

KERNEL = np.array([[1, 0], [0, -2], [3, 1]], "float32")


@pytest.fixture(scope="session")
def linear():
    """logits = features / 255 @ KERNEL + (0, 1): small enough to compute by hand."""
    inputs = keras.Input((3,), name="features")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.set_weights([KERNEL, np.array([0, 1])])
    return convert(model)


@pytest.fixture(scope="session")
def heavy():
    """Two 3x3 convolutions of 64 channels over 32x32: 76 M multiply-accumulates; 4 MB of weights
    in the classifier."""
    inputs = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Conv2D(64, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(64, 3, padding="same", strides=2)(x)
    return convert(keras.Model(inputs, keras.layers.Dense(61)(keras.layers.Flatten()(x))))


# ---- files


def test_a_good_file_is_returned_whole(linear, tmp_path):
    content = with_labels(linear, ["a", "b"])
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    assert load(path) == content


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelFileError) as raised:
        load(tmp_path / "no.tflite")
    assert str(raised.value) == f"{tmp_path}/no.tflite: no such file; expected a .tflite model"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "expected a .tflite model, found an empty file"),
        (b"TFL3", "expected a .tflite model, found 4 bytes of something else"),
        (b"PK\x03\x04" + bytes(96), "expected a .tflite model, found 100 bytes of something else"),
    ],
)
def test_a_foreign_file_is_refused(content, text, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as raised:
        load(path)
    assert str(raised.value) == f"{path}: {text}"


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_truncated_file_is_refused(linear, share, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(linear[: int(share * len(linear))])
    with pytest.raises(ModelFileError) as raised:
        load(path)
    assert str(raised.value) == (
        f"{path}: broken or truncated .tflite model of {int(share * len(linear)):,} bytes: The"
        " model is not a valid Flatbuffer buffer"
    )


def test_no_damage_ends_the_process(linear):
    """Every run of 60 bytes overwritten once, in a child that must live to the end."""
    code = (
        "import sys\n"
        "from export.runtime import ModelFileError, graph, io_spec, predict\n"
        "content, refused = sys.stdin.buffer.read(), 0\n"
        "for start in range(8, len(content), 60):\n"
        "    damaged = content[:start] + b'\\xa5' * 60 + content[start + 60:]\n"
        "    try: io_spec(damaged), graph(damaged)\n"
        "    except ModelFileError: refused += 1\n"
        "print(refused)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=linear, cwd=ROOT, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) > len(linear) / 60 / 2  # the rest hit weights and names


def test_the_runtime_needs_neither_tensorflow_nor_keras():
    code = (
        "import sys, export.runtime, export.timing\nprint({'tensorflow', 'keras'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


# ---- numbers


def test_real_values_are_stored_by_scale_and_zero_point():
    spec = TensorSpec("x", (1, 5), "int8", scale=0.5, zero_point=3)
    stored = spec.store(np.array([[0, 1.26, -1.26, 1000, -1000]], "float32"))
    # 1.26 / 0.5 = 2.52 -> 3, + 3 = 6; int8 ends at 127 and -128
    np.testing.assert_array_equal(stored, np.array([[3, 6, 0, 127, -128]], "int8"))
    np.testing.assert_array_equal(
        spec.real(stored), np.array([[0, 1.5, -1.5, 62, -65.5]], "float32")
    )


def test_logits_are_those_computed_by_hand(linear):
    rows = np.array([[255, 0, 0], [0, 255, 510], [51, 102, 0]])
    # pixels / 255 = (1, 0, 0), (0, 1, 2), (0.2, 0.4, 0); @ KERNEL + (0, 1)
    expected = [[1, 1], [6, 1], [0.2, 0.2]]
    found = predict(linear, rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_integer_logits_are_within_a_step(linear):
    rows = np.random.default_rng(0).uniform(0, 255, (32, 3))
    content = make_variant(linear, "int8", rows, io="int8")
    step = io_spec(content).outputs[0].scale or 0
    # The steps of input, weights and output add up to less than three steps of the output.
    expected = rows / 255 @ KERNEL + [0, 1]
    assert np.abs(predict(content, rows) - expected).max() <= 3 * step


def test_progress_counts_images(linear):
    seen = []
    predict(linear, np.zeros((3, 3)), progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_no_images_give_no_logits(linear):
    assert predict(linear, np.zeros((0, 3))).shape == (0, 2)


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (np.zeros((2, 4)), "input 'features': expected (n, 3). Received: (2, 4)"),
        ({"image": np.zeros((2, 3))}, "expected images for the inputs features. Received: image"),
    ],
)
def test_images_of_another_shape_are_refused(linear, images, text):
    with pytest.raises(ValueError) as raised:
        predict(linear, images)
    assert str(raised.value) == text


# ---- graphs


def test_the_spec_of_a_float_model(linear):
    assert io_spec(linear) == IoSpec(
        inputs=(TensorSpec("features", (1, 3), "float32"),),
        outputs=(TensorSpec("logits", (1, 2), "float32"),),
    )


def test_one_partition_where_the_delegate_takes_all(heavy):
    info = graph(heavy)
    assert info.operators == {"CONV_2D": 2, "RESHAPE": 1, "FULLY_CONNECTED": 1}
    assert (info.partitions, info.undelegated) == (1, {})


def test_what_the_delegate_leaves_is_counted():
    """A GATHER between convolutions splits the graph in two."""
    inputs = keras.Input((8, 8, 4), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.ops.take(x, [2, 0, 3], axis=-1)
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    info = graph(convert(keras.Model(inputs, x)))
    assert info.operators == {"CONV_2D": 2, "GATHER": 1}
    assert (info.partitions, info.undelegated) == (2, {"GATHER": 1})


def test_no_partition_where_the_delegate_takes_nothing(linear):
    content = make_variant(linear, "int16x8", np.ones((8, 3)))
    info = graph(content)
    assert info.partitions == 0
    assert info.undelegated == info.operators == operators(content)
