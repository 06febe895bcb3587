"""Models as stock layers: Keras 2, in a process of its own, computes the same logits from them."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT, assert_equal_in_range, plan_by_hand, randomize

from export.stock import as_stock_layers
from export.tflite import ExportError
from hwkeras.layers import HighwayConv2D, HighwayDense
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.rebuild import apply_plan

layers = keras.layers
CONFIG = HighwayConfig(stem=6, stages=(8, 12), blocks=2, strides=(1, 2))
CUTS = {
    "whole": {},
    "several runs": {
        "stage1_block1": (0, 2, 3, 7),
        "stage1_block2": (1, 4, 6),
        "stage2_block2": (0, 11),
    },
    "an empty block without projection": {"stage1_block2": ()},
    "an empty block with projection": {"stage2_block1": (), "stage1_block1": ()},
}


def net(kept, input_shape=(8, 8, 1)):
    model = randomize(highway_net(CONFIG, input_shape, 5))
    return apply_plan(model, plan_by_hand(model, kept)) if kept else model


def between_blocks():
    """Known layers of every sort between blocks, nested models, a layer that is called twice."""
    inputs = keras.Input((12, 12, 3), name="image")
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(100, 50, (20, 12, 12, 3)))
    x = normalization(inputs)
    x = layers.Conv2D(6, (3, 2), strides=2, padding="same", activation="relu")(x)
    x = HighwayConv2D(8)(layers.LeakyReLU(0.2)(layers.BatchNormalization(epsilon=0.1)(x)))
    x = layers.SpatialDropout2D(0.5)(layers.MaxPooling2D(2, padding="same")(x))
    x = keras.Sequential([HighwayConv2D(8), layers.Activation("tanh")], name="nested")(x)
    shared = layers.Conv2D(8, 1, groups=2, name="shared")
    x = layers.Add()([shared(x), shared(layers.ELU(0.5)(x))])
    x = layers.Concatenate()([x, layers.Maximum()([x, shared(x)])])
    x = layers.Multiply()([x, layers.Average()([x, layers.Subtract()([x, layers.ReLU(1.0)(x)])])])
    x = HighwayConv2D(10, strides=2)(layers.ZeroPadding2D(1)(layers.UpSampling2D(2)(x)))
    x = layers.Flatten()(layers.AveragePooling2D(2)(layers.Cropping2D(((0, 1), (1, 0)))(x)))
    x = layers.Dropout(0.5)(HighwayDense(7)(layers.Dense(7, activation="sigmoid")(x)))
    return randomize(keras.Model(inputs, layers.Dense(4, name="logits")(x)))


def named_output():
    """A layer of a name that the last node might have, and numbers for each channel."""
    inputs = keras.Input((6,), name="table")
    scale, offset = 1 / np.arange(50.0, 56.0), np.linspace(-1, 1, 6)
    x = HighwayDense(6)(layers.Rescaling(scale, offset)(inputs))
    return randomize(keras.Model(inputs, layers.Dense(6, name="output")(x)))


MODELS = {
    **{name: lambda kept=kept: net(kept) for name, kept in CUTS.items()},
    "a table": lambda: net({"stage1_block1": (0, 3, 4), "stage2_block2": ()}, (9,)),
    "known layers between blocks": between_blocks,
    "a layer named output": named_output,
}
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from export.retrain.network import Network

for folder in map(Path, sys.argv[1:]):
    stock = json.loads((folder / "model.json").read_text())
    network = Network(stock, dict(np.load(folder / "weights.npz")))
    kept = network.weights(lambda layer, values: values)
    np.savez(folder / "weights-again.npz", **kept)
    np.save(folder / "logits.npy", network.model.predict(np.load(folder / "images.npy"), verbose=0))
"""


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """What Keras 2 computes of each model, and what Keras 3 does: one process for all of them."""
    root, expected = tmp_path_factory.mktemp("stock"), {}
    for number, (name, make) in enumerate(MODELS.items()):
        model, folder = make(), root / str(number)
        folder.mkdir()
        stock = as_stock_layers(model)
        images = np.random.default_rng(1).uniform(0, 255, (16, *model.input_shape[1:]))
        (folder / "model.json").write_text(stock.to_json())
        np.savez(folder / "weights.npz", **stock.weights())
        np.save(folder / "images.npy", images.astype("float32"))
        expected[name] = folder, stock, model.predict(images.astype("float32"), verbose=0)
    folders = [str(folder) for folder, _, _ in expected.values()]
    subprocess.run([sys.executable, "-c", PROGRAM, *folders], cwd=ROOT, check=True)
    return expected


@pytest.mark.parametrize("name", MODELS)
def test_keras_2_computes_the_same_logits(computed, name):
    folder, _, logits = computed[name]
    assert_equal_in_range(np.load(folder / "logits.npy"), logits)


@pytest.mark.parametrize("name", MODELS)
def test_weights_come_back_under_their_names(computed, name):
    folder, stock, _ = computed[name]
    back = dict(np.load(folder / "weights-again.npz"))
    assert back.keys() == stock.weights().keys()
    for key, value in stock.weights().items():
        np.testing.assert_array_equal(back[key], value)


def test_a_model_takes_other_weights():
    model = net(CUTS["several runs"])
    stock = as_stock_layers(model)
    stock.assign({key: value + 1 for key, value in stock.weights().items()})
    twin = net(CUTS["several runs"])
    for weight, before in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, before + 1)


def test_only_stock_layers_are_left():
    nodes = json.loads(as_stock_layers(net(CUTS["several runs"])).to_json())["nodes"]
    kinds = {node["kind"] for node in nodes} - {"ChannelSlice"}
    assert all(hasattr(layers, kind) for kind in kinds)
    assert "Concatenate" in kinds and "ChannelSlice" in {node["kind"] for node in nodes}


class Mine(layers.Layer):
    def call(self, inputs):
        return 2 * inputs


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda x: Mine(name="mine")(x), "layer 'mine' (Mine) is not known in Keras 2"),
        (lambda x: layers.Softmax(name="soft")(x), "layer 'soft' (Softmax) is not known"),
        (lambda x: layers.BatchNormalization(axis=1, name="rows")(x), "layer 'rows' (Batch"),
        (lambda x: layers.Conv2D(2, 1, activation="gelu", name="conv")(x),
         "layer 'conv': the activation 'gelu' is not known in Keras 2"),
        (lambda x: layers.ReLU()(x + 1.0), "(Add) is not known in Keras 2"),
    ],
)  # fmt: skip
def test_what_keras_2_may_not_know_is_named(make, text):
    inputs = keras.Input((4, 4, 2), name="image")
    with pytest.raises(ExportError) as raised:
        as_stock_layers(keras.Model(inputs, make(inputs)))
    assert text in str(raised.value)


def test_several_outputs_are_refused():
    inputs = keras.Input((4,), name="features")
    model = keras.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(3)(inputs)], name="two")
    with pytest.raises(ExportError) as raised:
        as_stock_layers(model)
    assert str(raised.value) == (
        "expected a model with one input and one output to train on; 'two' has 1 and 2"
    )
