"""The graph that a phone runs computes what the Keras model computes, in fewer operators."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export import lowering, runtime
from export.forms import CONVOLUTION, FORMS, SLICES, Form
from export.lowering import Target, lower, target_of
from export.quantize import VARIANTS, make_variant
from export.tflite import convert
from export.tfmot import TRAINED
from hwkeras.layers import HighwayConv2D, HighwayDense
from hwkeras.models import HighwayConfig, highway_net


def scrambled(model, seed=0, negative=False):
    """Gives every batch norm statistics as training would; with `negative`, some scales below 0."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.weights[0].shape
            gamma = rng.uniform(0.4, 1.4, shape) * np.where(rng.random(shape) < 0.3, -1, 1)
            layer.set_weights(
                [
                    gamma if negative else np.abs(gamma),
                    rng.normal(0, 0.3, shape),
                    rng.normal(0, 0.3, shape),
                    rng.uniform(0.3, 1.6, shape),
                ]
            )
    return model


def net_of(active, channels=12, **block):
    """Returns a net of one block, on 12 channels or as asked."""
    inputs = keras.Input((6, 5, channels), name="image")
    outputs = HighwayConv2D(channels, active=active, name="block", **block)(inputs)
    return scrambled(keras.Model(inputs, outputs))


def assert_same(model, lowered, images):
    expected, found = np.asarray(model(images)), np.asarray(lowered(images))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.ptp(expected))


IMAGES = np.random.default_rng(1).normal(size=(3, 6, 5, 12)).astype(np.float32)


def test_concatenations_nest_beyond_what_xnnpack_takes(monkeypatch):
    joined = []
    concatenate = lowering.ops.concatenate

    def counted(parts, axis):
        joined.append(len(parts))
        return concatenate(parts, axis=axis)

    model = net_of(range(0, 40, 2), channels=40)
    monkeypatch.setattr(lowering.ops, "concatenate", counted)
    lower(model, Target(), Form(SLICES, SLICES))
    # 20 slices are taken by 5 concatenations and 2 more (4 + 1 parts), 40 parts are put by
    # 10 and 3 (4 + 4 + 2) and 1; nothing else of the graph concatenates.
    assert sorted(joined) == sorted([4] * 5 + [4, 2] + [4] * 10 + [4, 4, 2] + [3])
    assert max(joined) <= 5


@pytest.mark.parametrize(("gamma", "folded"), [(0.3, True), (0.01, False)])
def test_a_norm_that_scales_a_channel_to_nothing_is_not_folded(gamma, folded):
    """Its shift over its scale would take the range of 8 bits from all other channels."""
    model = net_of(range(12))
    norm = model.get_layer("block").norm
    first = np.arange(12) == 0
    norm.set_weights([np.where(first, gamma, 1.0), np.full(12, 0.3), np.zeros(12), np.ones(12)])
    lowered = lower(model, Target("int8"))
    assert_same(model, lowered, IMAGES)
    kernel = lowered.get_layer("block").get_layer("transform").kernel
    assert np.allclose(kernel, model.get_layer("block").transform.kernel, rtol=1e-2) != folded
    expected = np.asarray(model(IMAGES))
    calibration = np.random.default_rng(2).normal(size=(32, 6, 5, 12))
    found = runtime.predict(make_variant(convert(model, "int8"), "int8", calibration), IMAGES)
    assert np.abs(found - expected).max() < 0.03 * np.ptp(expected)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.take}-{form.put}")
@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("active", [(0, 1, 5, 6, 11), (4, 5, 6), (0,), tuple(range(12))])
def test_every_form_computes_the_same(form, fold, active):
    model = net_of(active)
    lowered = lower(model, Target(fold=fold), form)
    assert_same(model, lowered, IMAGES)
    names = [layer.name for layer in lowered.get_layer("block").layers]
    assert ("take" in names, "put" in names) == (form.take == CONVOLUTION, form.put == CONVOLUTION)


@given(
    st.sets(st.integers(0, 11)).map(sorted), st.booleans(), st.booleans(), st.sampled_from(FORMS),
    st.sampled_from([{}, {"strides": 2}, {"kernel_size": (1, 3)}]),
)  # fmt: skip
@settings(max_examples=25)
def test_lowering_is_exact_over_random_active_sets(active, negative, fold, form, block):
    model = scrambled(net_of(active, **block), negative=negative)
    assert_same(model, lower(model, Target(fold=fold), form), IMAGES)


def test_a_positive_scale_leaves_one_addition_and_no_multiplication():
    operators = runtime.operators(convert(net_of((4, 5, 6))))
    assert operators["MUL"] == 1  # the gate's
    assert operators["ADD"] == 2  # the norm's shift, and the update
    assert "MAXIMUM" not in operators and "RELU" not in operators  # fused


def test_a_negative_scale_stays_and_the_answer_is_right():
    model = scrambled(net_of((4, 5, 6)), negative=True)
    lowered = lower(model)
    assert_same(model, lowered, IMAGES)
    kernel = lowered.get_layer("block").get_layer("transform").kernel
    np.testing.assert_array_equal(kernel, model.get_layer("block").transform.kernel)


def test_a_scale_of_zero_stays_and_the_answer_is_right():
    model = net_of((4, 5, 6))
    norm = model.get_layer("block").norm
    gamma, *others = norm.get_weights()
    gamma[3] = 0.0
    norm.set_weights([gamma, *others])
    assert_same(model, lower(model), IMAGES)


def test_four_bits_keep_their_kernels_as_trained():
    model = net_of((4, 5, 6))
    lowered = lower(model, target_of("int4"))
    kernel = lowered.get_layer("block").get_layer("transform").kernel
    np.testing.assert_array_equal(kernel, model.get_layer("block").transform.kernel)


def test_every_variant_has_a_target():
    assert {variant: target_of(variant).kind for variant in VARIANTS} == {
        "float32": "float32", "float16": "float32", "int8": "int8",
        "dynamic": None, "int16x8": None, "int4": None,
    }  # fmt: skip
    assert {target_of(variant).kind for variant in TRAINED} == {"int8"}
    unfolded = [v for v in (*VARIANTS, *TRAINED) if not target_of(v).fold]
    assert unfolded == ["int4", "clustered", "clustered-qat"]


def test_the_form_depends_on_the_type(monkeypatch):
    prices = {"float32": "float", "int8": "integer"}
    by_price = {"float": Form(SLICES, SLICES), "integer": Form(CONVOLUTION, CONVOLUTION)}
    monkeypatch.setattr(lowering, "PRICES", prices)
    monkeypatch.setattr(lowering, "choose_forms", lambda blocks, price, _: [by_price[price]])
    model = net_of((0, 5, 6))

    def has_take(variant):
        block = lower(model, target_of(variant)).get_layer("block")
        return "take" in [layer.name for layer in block.layers]

    assert [v for v in VARIANTS if has_take(v)] == ["int8"]


def test_pixels_are_normalised_in_long_rows():
    net = scrambled(
        highway_net(
            HighwayConfig(4, (8,), 1, (2,)), (6, 5, 3), 3, (120.0, 110.0, 90.0), (60.0, 50.0, 70.0)
        )
    )
    images = np.random.default_rng(2).integers(0, 256, (2, 6, 5, 3)).astype(np.float32)
    assert_same(net, lower(net), images)
    shapes = [
        tuple(tensor["shape"])
        for tensor in runtime.allocated(convert(net), delegate=False).get_tensor_details()
    ]
    assert (1, 6, 15) in shapes


def test_what_is_lowered_is_named_after_its_block_and_the_model_is_untouched():
    shared = HighwayConv2D(8, active=[1, 2], name="shared")
    inputs = keras.Input((4, 4, 8), name="image")
    x = shared(shared(inputs))
    x = HighwayConv2D(8, active=[], name="empty")(x)
    x = HighwayConv2D(16, active=[], name="projects")(x)
    x = keras.layers.Flatten()(x)
    outputs = HighwayDense(5, active=[0, 4], name="dense")(x)
    model = scrambled(keras.Model(inputs, outputs))
    before = model.to_json(), [np.array(w) for w in model.get_weights()]
    lowered = lower(model)
    assert [type(lowered.get_layer(n)).__name__ for n in ("shared", "projects", "dense")] == [
        "Functional"
    ] * 3
    images = np.random.default_rng(3).normal(size=(2, 4, 4, 8)).astype(np.float32)
    assert_same(model, lowered, images)
    assert model.to_json() == before[0]
    for weight, old in zip(model.get_weights(), before[1], strict=True):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.take}-{form.put}")
def test_every_form_is_one_partition_in_float_and_int8(monkeypatch, form):
    from export.quantize import make_variant

    monkeypatch.setattr(lowering, "choose_forms", lambda blocks, *_: [form] * len(blocks))
    inputs = keras.Input((6, 5, 12), name="image")
    x = HighwayConv2D(12, active=(0, 1, 5, 6, 11))(inputs)
    x = HighwayConv2D(12, active=(2, 3, 4))(x)
    model = scrambled(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)))
    content = convert(model)
    images = np.random.default_rng(4).normal(size=(16, 6, 5, 12)).astype(np.float32)
    whole = np.asarray(model(images))
    for variant, tolerance in (("float32", 1e-5), ("int8", 0.06)):
        made = make_variant(content, variant, images)
        info = runtime.graph(made)
        assert (info.partitions, info.undelegated) == (1, {})
        assert np.abs(runtime.predict(made, images) - whole).max() < tolerance * np.ptp(whole)


def test_a_rescaling_of_two_sizes_and_one_of_whole_arrays_convert():
    rescaling = keras.layers.Rescaling(0.5, 1.0)
    small, large = keras.Input((4, 4, 3), name="small"), keras.Input((8, 8, 3), name="large")
    pool = keras.layers.GlobalAveragePooling2D()
    model = keras.Model(
        [small, large], keras.layers.Add()([pool(rescaling(small)), pool(rescaling(large))])
    )
    images = [IMAGES[:, :4, :4, :3], np.ones((3, 8, 8, 3), np.float32)]
    lowered = lower(model, Target())
    np.testing.assert_allclose(lowered(images), model(images), rtol=1e-5)
    inputs = keras.Input((6, 5, 3), name="image")
    factors = np.arange(1.0, 4.0).reshape(1, 1, 3)
    model = keras.Model(inputs, keras.layers.Rescaling(factors)(inputs))
    assert_same(model, lower(model, Target()), IMAGES[..., :3])
