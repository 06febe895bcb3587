"""Reading a graph and watching its gates, on models of every form; the model stays as it was."""

import keras
import numpy as np
import pytest
from conftest import assert_equal_in_range, randomize
from keras import layers

from hwkeras.graph import (
    GraphError,
    all_layers,
    as_functional,
    highway_blocks,
    require_blocks,
    rewire,
    with_gates,
)
from hwkeras.layers import HighwayConv2D, HighwayDense


def table_net(name="table"):
    x = keras.Input((4,), name="x")
    y = HighwayDense(4, name="a")(x)
    y = layers.Dense(3, name="between")(y)
    return keras.Model(x, HighwayDense(2, name="b")(y), name=name)


def nested_net():
    """Two models inside a model; the first is called twice and shares its block with the second."""
    shared = HighwayDense(4, name="shared")
    x = keras.Input((4,), name="x1")
    first = keras.Model(x, HighwayDense(4, name="own")(shared(x)), name="first")
    second = keras.Sequential([keras.Input((4,), name="x2"), shared], name="second")
    x = keras.Input((4,), name="x")
    return keras.Model(x, second(first(first(x))), name="outer")


def table(n=3):
    return np.random.default_rng(0).normal(size=(n, 4)).astype("float32")


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="subclassed")
        self.block = HighwayDense(4, name="a")

    def call(self, inputs):
        return self.block(inputs)


def test_blocks_come_by_name_in_the_order_of_the_graph():
    model = table_net()
    assert list(highway_blocks(model)) == ["a", "b"]
    assert highway_blocks(model)["b"] is model.get_layer("b")


def test_blocks_of_nested_models_are_found_once():
    model = nested_net()
    assert list(highway_blocks(model)) == ["shared", "own"]
    assert [layer.name for layer in all_layers(model)] == ["x", "x1", "shared", "own"]


def test_blocks_of_a_sequential_model_are_found():
    model = keras.Sequential([HighwayDense(4, name="a"), HighwayDense(3, name="b")])
    assert list(highway_blocks(model)) == ["a", "b"]


def test_a_model_without_blocks_is_refused():
    x = keras.Input((4,))
    with pytest.raises(GraphError) as caught:
        require_blocks(keras.Model(x, layers.Dense(3)(x), name="plain"))
    assert str(caught.value) == (
        "model 'plain' has no highway block: expected HighwayConv2D or HighwayDense layers"
    )


def test_two_blocks_of_one_name_are_refused():
    x = keras.Input((4,), name="x")
    nested = keras.Model(x, HighwayDense(4, name="a")(x), name="nested")
    y = keras.Input((4,), name="y")
    with pytest.raises(GraphError) as caught:
        highway_blocks(keras.Model(y, HighwayDense(4, name="a")(nested(y))))
    assert str(caught.value) == "two highway blocks are named 'a'; rename one"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Subclassed(), "model 'subclassed' has no graph: .* found Subclassed$"),
        (keras.Sequential([layers.Dense(3)], name="s"), "model 's' has no graph: .* Sequential$"),
        (layers.Dense(3), "^expected a Keras model, found Dense$"),
    ],
)
def test_a_model_without_a_graph_is_refused(model, message):
    with pytest.raises(GraphError, match=message):
        as_functional(model)


def test_a_nested_model_without_a_graph_is_refused():
    x = keras.Input((4,), name="x")
    model = keras.Model(x, HighwayDense(4, name="b")(Subclassed()(x)))
    for read in (with_gates, lambda model: rewire(model, lambda layer: layer)):
        with pytest.raises(GraphError, match="model 'subclassed' has no graph"):
            read(model)


def test_a_sequential_model_becomes_functional_on_the_same_layers():
    model = keras.Sequential([HighwayDense(4, name="a"), layers.Dense(2)], name="s")
    model(table())  # built by its first data
    functional = as_functional(model)
    assert not isinstance(functional, keras.Sequential)
    assert functional.name == "s"
    assert functional.get_layer("a") is model.get_layer("a")
    np.testing.assert_array_equal(functional(table()), model(table()))


def test_rewire_asks_once_for_each_layer_however_often_it_is_called():
    asked = []

    def copy(layer):
        asked.append(layer.name)
        return type(layer).from_config(layer.get_config())

    model = nested_net()
    rewired = rewire(model, copy)
    assert sorted(asked) == ["own", "shared"]
    assert rewired.name == "outer"
    assert [weight.path for weight in rewired.weights] == [weight.path for weight in model.weights]
    rewired.set_weights(randomize(model).get_weights())
    assert_equal_in_range(rewired(table()), model(table()))


def test_rewire_may_change_how_layers_are_called():
    calls = []

    def call(layer, *args, **kwargs):
        calls.append(layer.name)
        return layer(*args, **kwargs)

    rewire(table_net(), lambda layer: type(layer).from_config(layer.get_config()), call)
    assert calls == ["a", "between", "b"]


def unregistered_loss(labels, outputs):
    return keras.ops.mean((labels - outputs) ** 2)


def test_a_compiled_model_gives_models_that_are_not():
    model = table_net()
    model.compile("sgd", unregistered_loss)  # Keras's clone of this raises
    assert not rewire(model, lambda layer: type(layer).from_config(layer.get_config())).compiled
    assert not with_gates(model).compiled
    assert model.compiled


def image_net():
    image, row = keras.Input((5, 7, 3), name="image"), keras.Input((4,), name="row")
    x = HighwayConv2D(4, strides=2, name="conv")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    both = layers.Add(name="add")([x, HighwayDense(4, name="dense")(row)])
    outputs = {"sum": both, "row": HighwayDense(2, name="head")(row)}
    return keras.Model({"image": image, "row": row}, outputs, name="two")


def image_and_row():
    images = np.random.default_rng(1).normal(size=(3, 5, 7, 3)).astype("float32")
    return {"image": images, "row": table()}


def sequential_net():
    rest = [HighwayDense(4, name="a"), layers.Dropout(0.5), HighwayDense(2, name="b")]
    return keras.Sequential([keras.Input((4,), name="x"), *rest])


NETS = {
    "functional": (table_net, table),
    "nested": (nested_net, table),
    "sequential": (sequential_net, table),
    "two inputs and outputs": (image_net, image_and_row),
}


@pytest.mark.parametrize("net", NETS)
def test_watching_gates_changes_neither_the_answer_nor_the_model(net):
    build, data = NETS[net]
    model = randomize(build())
    config, weights = model.get_config(), [w.tobytes() for w in model.get_weights()]
    outputs = keras.tree.map_structure(np.asarray, model(data()))
    watched = with_gates(model)
    again = watched(data())
    assert keras.tree.is_nested(again["outputs"]) == keras.tree.is_nested(outputs)
    assert_equal_in_range(again["outputs"], outputs, tolerance=1e-6)
    assert model.get_config() == config
    assert [w.tobytes() for w in model.get_weights()] == weights
    assert_equal_in_range(model(data()), outputs, tolerance=0)
    assert set(again["gates"]) == set(highway_blocks(model))


def test_gates_of_a_block_have_an_entry_for_each_call():
    model = randomize(nested_net())
    gates = with_gates(model)(table())["gates"]
    # first runs twice, and second once: shared, own, shared, own, shared
    assert {name: len(calls) for name, calls in gates.items()} == {"shared": 3, "own": 2}
    shared, own = highway_blocks(model).values()
    x, expected = table(), {"shared": [], "own": []}
    for block in (shared, own, shared, own, shared):
        x, seen = block(x, return_gates=True)
        expected[block.name].append(seen)
    for name in ("shared", "own"):
        assert_equal_in_range(gates[name], expected[name])


def test_a_block_called_twice_in_one_graph_has_two_entries():
    x, block = keras.Input((4,), name="x"), HighwayDense(4, name="a")
    model = randomize(keras.Model(x, block(block(x))))
    first, second = with_gates(model)(table())["gates"]["a"]
    y, expected = block(table(), return_gates=True)
    assert_equal_in_range(first, expected)
    assert_equal_in_range(second, block(y, return_gates=True)[1])


def test_blocks_without_an_active_channel_have_no_gates():
    x = keras.Input((4,), name="x")
    y = HighwayDense(3, active=[], name="empty")(x)
    model = keras.Model(x, HighwayDense(3, active=[1], name="one")(y))
    gates = with_gates(model)(table())["gates"]
    assert list(gates) == ["one"]
    assert gates["one"][0]["mean_gate"].shape == (3, 1)
    alone = with_gates(keras.Model(x, y))(table())
    assert alone["gates"] == {} and alone["outputs"].shape == (3, 3)


def test_a_watched_model_trains_the_models_own_weights():
    model = table_net()
    with_gates(model)(table(), training=True)
    mean = np.array(model.get_layer("a").norm.moving_mean)
    np.testing.assert_allclose(mean, 0.1 * table().mean(axis=0), rtol=1e-5)  # it was 0
    assert {id(w) for w in with_gates(model).weights} == {id(w) for w in model.weights}
