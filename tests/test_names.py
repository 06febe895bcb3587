"""What tensors are called: after layers, each by a name of its own, and nothing else changes."""

import keras
import numpy as np
import pytest
from conftest import plan_by_hand, randomize

from export.names import belongs
from export.runtime import allocated, predict
from export.tflite import convert
from hwkeras.layers import HighwayConv2D
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.rebuild import apply_plan


def names(content):
    interpreter = allocated(content, delegate=False)
    found = [tensor["name"] for tensor in interpreter.get_tensor_details()]
    return [name for name in found if name]  # the runtime's own have none


def outputs(content):
    interpreter = allocated(content, delegate=False)
    by_index = {t["index"]: t["name"] for t in interpreter.get_tensor_details()}
    return [by_index[node["outputs"][0]] for node in interpreter._get_ops_details()]


@pytest.fixture(scope="module")
def slim():
    config = HighwayConfig(stem=6, stages=(8,), blocks=2, strides=(1,))
    model = randomize(highway_net(config, (8, 8, 1), 5))
    kept = {"stage1_block1": (0, 2, 3, 7), "stage1_block2": ()}
    return apply_plan(model, plan_by_hand(model, kept))


def test_operators_are_called_after_their_layers(slim):
    found = outputs(convert(slim))
    assert {"stem", "stage1_block1/transform", "stage1_block1/gate", "logits"} <= set(found)
    assert {"stage1_block1/logistic", "stage1_block1/projection"} <= set(found)
    layers = {layer.name for layer in slim.layers}
    assert {name.split("/")[0] for name in found} <= layers


def test_each_tensor_has_a_name_of_its_own(slim):
    found = names(convert(slim))
    assert len(set(found)) == len(found)


def test_inputs_and_outputs_have_their_names_in_the_signature():
    image = keras.Input((8, 8, 1), name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(HighwayConv2D(4)(image))
    kind, size = keras.layers.Dense(3, name="kind")(pooled), keras.layers.Dense(2)(pooled)
    found = names(convert(keras.Model(image, {"kind": kind, "size": size})))
    assert {"image", "kind", "size"} <= set(found)


def test_nested_models_and_names_with_numbers():
    inner = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Conv2D(3, 1, name="conv_1")])
    inner.name = "inner_2"
    image = keras.Input((6, 6, 2), name="image")
    x = keras.layers.Flatten()(inner(image))
    found = outputs(convert(keras.Model(image, keras.layers.Dense(2, name="dense_7")(x))))
    assert "inner_2/conv_1" in found


def test_naming_changes_no_answer(slim):
    content, images = convert(slim), np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 1))
    expected = slim.predict(images, verbose=0)
    assert np.abs(predict(content, images) - expected).max() <= 1e-4 * np.ptp(expected)


@pytest.mark.parametrize(
    ("operator", "name", "expected"),
    [
        ("stage1_block1/gate", "stage1_block1", True),
        ("stage1_block1/gate", "stage1_block1/gate", True),
        ("stage1_block1/add~2", "stage1_block1/add", True),
        ("stage1_block1/gate", "stage1_block", False),
        ("stage1_block12/gate", "stage1_block1", False),
        ("stem", "s.em", False),
    ],
)
def test_what_a_name_means(operator, name, expected):
    assert belongs(operator, name) is expected
