"""`.keras` files: dense and slim models load as they were saved, on every backend, in safe mode."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT, assert_equal_in_range, plan_by_hand, randomize
from keras import layers

from hwkeras.files import FileError
from hwkeras.graph import highway_blocks
from hwkeras.layers import HighwayConv2D, HighwayDense
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.rebuild import apply_plan
from hwkeras.saving import load_model, save_model
from hwkeras.stats import model_digest


def image_net():
    config = HighwayConfig(stem=4, stages=(12, 4), blocks=2, strides=(1, 2))
    return highway_net(config, (7, 6, 3), 5, (120.0, 110.0, 100.0), (60.0, 50.0, 40.0))


def nested_net():
    """Dicts in and out, a model in a model, a shared block, a sequential model.

    Keras cannot load a layer that a model shares with one nested in it, a Dense no more than ours.
    """
    block = HighwayDense(6, name="shared")
    x = keras.Input((6,), name="inner_row")
    y = HighwayDense(6, name="inside")(x)
    inner = keras.Model(x, layers.Dense(6, name="between")(y), name="inner")
    stack = keras.Sequential([keras.Input((6,), name="s"), HighwayDense(4, name="last")], name="st")
    image, row = keras.Input((5, 5, 2), name="image"), keras.Input((6,), name="row")
    y = layers.GlobalAveragePooling2D(name="pool")(HighwayConv2D(6, strides=2, name="c")(image))
    y = block(block(inner(inner(row))) + y)
    return keras.Model({"image": image, "row": row}, {"last": stack(y), "y": y}, name="nested")


def data(model):
    rng = np.random.default_rng(3)
    return keras.tree.map_structure(
        lambda x: rng.normal(100, 50, (6, *x.shape[1:])).astype("float32"), model.input
    )


def slim_of(model):
    """Keeps every second channel, which makes many runs, and empties every third block."""
    kept = {
        name: () if index % 3 == 2 else block.active[::2]
        for index, (name, block) in enumerate(highway_blocks(model).items())
    }
    return apply_plan(model, plan_by_hand(model, kept))


def outputs(model, inputs):
    return [np.asarray(y) for y in keras.tree.flatten(model.predict_on_batch(inputs))]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder of .keras files with their inputs and outputs."""
    folder = tmp_path_factory.mktemp("models")
    for name, build in {"image": image_net, "nested": nested_net}.items():
        dense = randomize(build())
        for kind, model in {"dense": dense, "slim": slim_of(dense)}.items():
            model.save(folder / f"{name}-{kind}.keras")
            inputs = data(model)
            named = inputs if isinstance(inputs, dict) else {"": inputs}
            np.savez(folder / f"{name}-{kind}-in.npz", **named)
            np.savez(folder / f"{name}-{kind}-out.npz", *outputs(model, inputs))
    return folder


def read(path):
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


NAMES = ["image-dense", "image-slim", "nested-dense", "nested-slim"]

CHILD = """
import sys, pathlib
import keras, numpy as np
import hwkeras.layers
folder, backend = pathlib.Path(sys.argv[1]), sys.argv[2]
assert keras.backend.backend() == backend
for path in sorted(folder.glob("*.keras")):
    model = keras.saving.load_model(path)
    with np.load(folder / f"{path.stem}-in.npz") as file:
        inputs = {key: file[key] for key in file.files}
    result = model.predict_on_batch(inputs.get("", inputs))
    made = [np.asarray(y) for y in keras.tree.flatten(result)]
    np.savez(folder / f"{path.stem}-{backend}-out.npz", *made)
    model.save(folder / backend / path.name)
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_every_backend_loads_what_this_one_saved_and_the_other_way_round(saved, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    (saved / backend).mkdir()
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # JAX compiles four times faster
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(saved), backend],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name in NAMES:
        expected = list(read(saved / f"{name}-out.npz").values())
        made = list(read(saved / f"{name}-{backend}-out.npz").values())
        assert_equal_in_range(made, expected, tolerance=1e-4)
        back = keras.saving.load_model(saved / backend / f"{name}.keras")
        assert_equal_in_range(outputs(back, data(back)), expected, tolerance=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_model_is_the_model(saved, name):
    model = keras.saving.load_model(saved / f"{name}.keras")  # safe mode, no custom objects
    expected = list(read(saved / f"{name}-out.npz").values())
    assert_equal_in_range(outputs(model, data(model)), expected, tolerance=1e-6)


def test_a_loaded_slim_model_can_be_pruned_again(saved):
    model = load_model(saved / "nested-slim.keras")
    kept = {name: block.active[:1] for name, block in highway_blocks(model).items()}
    slimmer = apply_plan(model, plan_by_hand(model, kept))
    assert slimmer.count_params() < model.count_params()
    assert all(len(block.active) <= 1 for block in highway_blocks(slimmer).values())


def test_a_plan_still_fits_the_model_that_was_saved(tmp_path):
    model = randomize(image_net())
    plan = plan_by_hand(model, {"stage1_block1": (0, 5)})
    save_model(model, tmp_path / "dense.keras")
    loaded = load_model(tmp_path / "dense.keras")
    assert model_digest(loaded) == plan.model
    one, other = apply_plan(model, plan), apply_plan(loaded, plan)
    assert_equal_in_range(other(data(other)), one(data(one)), tolerance=1e-6)
    assert os.listdir(tmp_path) == ["dense.keras"]


def test_a_model_that_cannot_be_saved_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "dense.keras"
    path.write_bytes(b"old")
    model = image_net()

    def full(self, path, **kwargs):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(type(model), "save", full)
    with pytest.raises(OSError, match="no space left"):
        save_model(model, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["dense.keras"]


def truncated(path):
    randomize(image_net()).save(path)
    path.write_bytes(path.read_bytes()[:-100])


def zipped(path):
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def with_code(path):
    x = keras.Input((2,), name="x")
    y = layers.Lambda(lambda t: t * 2, output_shape=(2,))(x)
    keras.Model(x, HighwayDense(2)(y)).save(path)


def with_unknown_class(path):
    class Unknown(layers.Layer):
        def call(self, inputs):
            return inputs

    x = keras.Input((2,), name="x")
    keras.Model(x, HighwayDense(2)(Unknown()(x))).save(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file; expected a .keras model"),
        (lambda path: path.mkdir(), "is a folder; expected a .keras model"),
        (lambda path: path.write_bytes(b""), "expected a .keras model, found an empty file of 0"),
        (truncated, "expected a .keras model, found a truncated archive of"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n"), "expected a .keras model, found an HDF5"),
        (lambda path: path.write_text("hello"), "expected a .keras model, found something else"),
        (zipped, "broken .keras model: "),
        (with_code, "refused: the model holds code (a Lambda layer)"),
        (with_unknown_class, "refused: Could not locate class 'Unknown'"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path, make, message):
    path = tmp_path / "dense.keras"
    make(path)
    with pytest.raises(FileError) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)
