"""Which models fit which data, and how often a classifier is right."""

import keras
import numpy as np
import pytest

from hwkeras.data import load_dataset
from hwkeras.dataset import DataError
from hwkeras.evaluation import accuracy, check_fits, require_logits


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def classifier(*last, shape=(8, 8, 1), classes=10):
    inputs = keras.Input(shape, name="image")
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    for layer in (keras.layers.Dense(classes, name="dense"), *last):
        x = layer(x)
    return keras.Model(inputs, x)


def test_accuracy_is_the_share_of_largest_logits():
    assert accuracy(np.array([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]]), np.array([0, 1, 1])) == 2 / 3


@pytest.mark.parametrize(
    "model, text",
    [
        (classifier(classes=7), r"the model gives \(None, 7\); expected one output of 10 logits"),
        (classifier(shape=(9, 9, 1)), r"the model takes \(9, 9, 1\), 'digits' gives \(8, 8, 1\)"),
        (classifier(shape=(8, None, 1)), r"takes \(8, None, 1\)"),
    ],
)
def test_a_model_for_other_data_is_refused(digits, model, text):
    check_fits(classifier(), digits)
    with pytest.raises(DataError, match=text):
        check_fits(model, digits)


def test_a_model_of_several_inputs_or_outputs_is_refused(digits):
    model = classifier()
    other = keras.Input((8, 8, 1), name="other")
    pair = keras.Model([model.input, other], model(model.input + other))
    with pytest.raises(DataError, match="the model takes .*, 'digits' gives"):
        check_fits(pair, digits)
    named = keras.Model({"image": model.input, "other": other}, model(model.input + other))
    with pytest.raises(DataError, match="the model takes .*, 'digits' gives"):
        check_fits(named, digits)
    twice = keras.Model(model.input, [model.output, model.output * 2])
    with pytest.raises(DataError, match="expected one output of 10 logits"):
        check_fits(twice, digits)


@pytest.mark.parametrize(
    "last",
    [
        keras.layers.Softmax(name="last"),
        keras.layers.Activation("softmax", name="last"),
        keras.layers.Dense(10, activation="sigmoid", name="last"),
    ],
)
def test_what_ends_in_shares_gives_no_logits(last):
    require_logits(classifier())
    require_logits(classifier(keras.layers.Activation("linear")))
    model = classifier(last)
    nested = keras.Sequential([keras.Input((8, 8, 1)), model])
    for each in (model, nested, keras.models.clone_model(model)):
        with pytest.raises(DataError, match="ends in 'last', which gives shares; expected logits"):
            require_logits(each)
