"""Kernels of few bits: what is rounded, on which grid, and how much nearer the answers are."""

import keras
import numpy as np
import pytest
from keras import layers

from export import compensation
from export.calibration import samples_of
from export.compensation import compensated, rounded
from export.packing import pack, unpack
from export.quantize import make_variant
from export.runtime import allocated, predict
from export.tflite import convert

RNG = np.random.default_rng(0)
# Neighbouring pixels and channels go together, as in pictures and features.
IMAGES = RNG.normal(size=(48, 9, 9, 1)).cumsum(1).cumsum(2) + 0.3 * RNG.normal(size=(48, 9, 9, 6))
IMAGES = IMAGES.astype(np.float32)
LEARNT, UNSEEN = IMAGES[:32], IMAGES[32:]

LAYERS = {
    "same": layers.Conv2D(8, 3, padding="same"),
    "valid": layers.Conv2D(8, 3),
    "stride and an even window": layers.Conv2D(8, (2, 4), strides=2, padding="same"),
    "uneven strides": layers.Conv2D(8, 3, strides=(1, 3), padding="same"),
    "dilation": layers.Conv2D(8, 3, dilation_rate=2, padding="same"),
    "1x1": layers.Conv2D(8, 1, use_bias=False),
    "one dimension": keras.Sequential([layers.Reshape((9, 54)), layers.Conv1D(8, 3)]),
    "dense at every pixel": layers.Dense(8),
    "dense": keras.Sequential([layers.Flatten(), layers.Dense(8)]),
}


def file_of(layer):
    """Returns a float32 .tflite of one layer with some channels larger than others."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 9, 6), name="image")
    outputs = layers.Flatten(name="logits")(layer(inputs))
    model = keras.Model(inputs, outputs)
    for variable in model.trainable_variables:
        values = RNG.normal(size=variable.shape) * np.geomspace(0.1, 10, variable.shape[-1])
        variable.assign(values)
    return convert(model)


def kernels(content):
    """Returns each float kernel `(outputs, inputs)` by the name of what is computed with it."""
    model = unpack(content)
    (graph,) = model.subgraphs
    found = {}
    for node in allocated(content, delegate=False)._get_ops_details():
        if node["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            tensor = graph.tensors[node["inputs"][1]]
            values = np.frombuffer(model.buffers[tensor.buffer].data.tobytes(), np.float32)
            name = graph.tensors[node["outputs"][0]].name.decode()
            found[name] = values.reshape(tensor.shape[0], -1)
    return found


def to_nearest(content, bits):
    """Returns a file with each kernel rounded weight by weight."""
    model = unpack(content)
    (graph,) = model.subgraphs
    for node in allocated(content, delegate=False)._get_ops_details():
        if node["op_name"] in ("CONV_2D", "FULLY_CONNECTED"):
            tensor = graph.tensors[node["inputs"][1]]
            buffer = model.buffers[tensor.buffer]
            values = np.frombuffer(buffer.data.tobytes(), np.float32).reshape(tensor.shape[0], -1)
            steps = np.abs(values).max(1, keepdims=True) / (2 ** (bits - 1) - 1)
            buffer.data = np.frombuffer((np.rint(values / steps) * steps).tobytes(), np.uint8)
    return pack(model)


def distance(content, reference):
    return float(np.mean((predict(content, UNSEEN) - predict(reference, UNSEEN)) ** 2))


@pytest.mark.parametrize("kind", LAYERS)
def test_answers_to_unseen_images_are_nearer_than_by_rounding_each_weight(kind):
    """Rows read in another order or at other places than the kernel's would make them worse."""
    content = file_of(LAYERS[kind])
    made = compensated(content, samples_of(content, LEARNT), dict.fromkeys(kernels(content), 4))
    assert distance(made, content) < 0.6 * distance(to_nearest(content, 4), content)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rows_are_multiples_of_one_step_with_the_largest_among_them(bits):
    kernel = RNG.normal(size=(5, 30)).astype(np.float32)
    kernel[3] = 0
    reads = RNG.normal(size=(200, 30)) @ RNG.normal(size=(30, 30))
    made, levels = rounded(kernel, reads.T @ reads / 200, bits), 2 ** (bits - 1) - 1
    assert made.dtype == np.float32
    assert not made[3].any()
    live = np.delete(made, 3, 0)
    multiples = live / (np.abs(live).max(1, keepdims=True) / levels)
    np.testing.assert_allclose(multiples, np.rint(multiples), atol=1e-4)
    assert np.abs(multiples).max() <= levels + 1e-4


def test_weights_that_read_the_same_take_back_what_rounding_costs():
    kernel = np.array([[7.0, 0.4, 0.4]], np.float32)
    together = np.array([[1, 0, 0], [0, 1, 1], [0, 1, 1]], np.float64)
    made = rounded(kernel, together, 4)
    assert made[0, 0] == 7
    assert made[0, 1:].sum() == 1  # 0.8; each by itself would go to 0
    np.testing.assert_array_equal(rounded(kernel, np.eye(3), 4), [[7, 0, 0]])


def test_inputs_that_are_never_read_and_few_images_do_no_harm():
    kernel = RNG.normal(size=(4, 50)).astype(np.float32)
    reads = RNG.normal(size=(8, 50))
    reads[:, 20:] = 0
    made = rounded(kernel, reads.T @ reads / 8, 4)
    steps = np.abs(made).max(1, keepdims=True) / 7
    assert np.isfinite(made).all()
    nearest = np.clip(np.rint(kernel / steps), -7, 7) * steps
    np.testing.assert_allclose(made[:, 20:], nearest[:, 20:], rtol=1e-5)
    assert np.isfinite(rounded(kernel, np.zeros((50, 50)), 4)).all()


def test_what_is_not_named_or_not_plain_stays():
    inputs = keras.Input((9, 9, 6), name="image")
    shared = layers.Conv2D(6, 3, padding="same", name="shared")
    x = shared(shared(inputs))
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Conv2D(6, 1, groups=2, name="grouped")(x)
    x = layers.Conv2D(6, 1, name="left")(layers.Activation("sigmoid")(x))
    x = layers.Conv2D(6, 1, name="named")(layers.Activation("sigmoid")(x))
    content = convert(keras.Model(inputs, layers.Flatten(name="logits")(x)))
    before = kernels(content)
    names = dict.fromkeys(set(before) - {"left"}, 4)
    after = kernels(compensated(content, samples_of(content, LEARNT[:8]), names))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"named"}


def test_a_kernel_of_very_long_rows_stays(monkeypatch):
    content = file_of(LAYERS["dense"])
    samples, names = samples_of(content, LEARNT), dict.fromkeys(kernels(content), 4)
    for widest in (486, 485):
        monkeypatch.setattr(compensation, "_WIDEST", widest)
        changed = not np.array_equal(
            *(
                next(iter(kernels(c).values()))
                for c in (content, compensated(content, samples, names))
            )
        )
        assert changed is (widest == 486)


def three_layers():
    """Returns a file of which int4 gives four bits to the layer "middle" alone."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 9, 6), name="image")
    x = layers.Activation("sigmoid")(layers.Conv2D(8, 3, name="first")(inputs))
    x = layers.Activation("sigmoid")(layers.Conv2D(32, 3, name="middle")(x))
    outputs = layers.Dense(4, name="last")(layers.GlobalAveragePooling2D()(x))
    return convert(keras.Model(inputs, outputs), "int4")


def test_int4_ships_the_values_that_were_found():
    content, calls = three_layers(), []
    expected = kernels(
        compensated(
            content,
            samples_of(content, LEARNT),
            {"middle": 4},
            lambda *done: calls.append(done),
        )
    )
    assert calls == [(16, 33), (32, 33), (33, 33)]
    shipped = make_variant(content, "int4", LEARNT)
    interpreter = allocated(shipped, delegate=False)
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    (node,) = [
        node
        for node in interpreter._get_ops_details()
        if details[node["outputs"][0]]["name"] == "middle"
    ]
    kernel = node["inputs"][1]
    scales = details[kernel]["quantization_parameters"]["scales"][:, None]
    values = interpreter.get_tensor(kernel).astype(np.float32).reshape(len(scales), -1)
    assert np.abs(values).max() == 7
    np.testing.assert_allclose(values * scales, expected["middle"], rtol=1e-5, atol=1e-7)


def test_without_images_int4_rounds_each_weight_to_the_nearest():
    content = three_layers()
    with_images, without = (make_variant(content, "int4", *given) for given in ((LEARNT,), ()))
    assert len(with_images) == len(without)
    assert distance(with_images, content) < 0.6 * distance(without, content)


def test_int4_leaves_alone_what_is_kept_in_float():
    content = three_layers()
    made = make_variant(content, "int4", LEARNT, keep_float=["middle"])
    interpreter = allocated(made, delegate=False)
    (kernel,) = (t for t in interpreter.get_tensor_details() if t["name"] == "middle:1")
    assert kernel["dtype"] is np.float32
    found = interpreter.get_tensor(kernel["index"])
    np.testing.assert_array_equal(found.reshape(32, -1), kernels(content)["middle"])
