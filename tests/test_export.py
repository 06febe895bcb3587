"""Conversion, the six variants and their check, on small real nets and real digits."""

import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from conftest import ROOT, plan_by_hand, randomize
from sklearn.datasets import load_digits

from export.lowering import target_of
from export.quantize import VARIANTS, make_variant
from export.runtime import graph, io_spec, operators, predict, predict_all
from export.tflite import ExportError, convert, in_float32, read_labels, with_labels
from export.verify import EXACT_DIFFERENCE, keras_logits, verify
from hwkeras.layers import HighwayConv2D
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.rebuild import apply_plan

LABELS = [str(digit) for digit in range(10)]
MIDDLE = HighwayConfig(stem=16, stages=(32, 64), blocks=2, strides=(1, 2))
SMALL = HighwayConfig(stem=8, stages=(12, 20), blocks=2, strides=(1, 2))


@pytest.fixture(scope="session")
def digits():
    """Real images with pixels 0..255, 1,400 to train on and 397 to test."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) * (255 / 16)).astype("float32")
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], labels[order]
    return images[:1400], labels[:1400], images[1400:], labels[1400:]


@pytest.fixture(scope="session")
def net(digits):
    """A trained net, for logits of a real classifier: half of each block's channels in many runs,
    and one empty block."""
    keras.utils.set_random_seed(1)
    images, labels, _, _ = digits
    whole = highway_net(MIDDLE, (8, 8, 1), 10)
    rng = np.random.default_rng(2)
    kept = {
        name: sorted(rng.choice(channels, channels // 2 + 1, replace=False).tolist())
        for name, channels in (("stage1_block1", 32), ("stage2_block1", 64), ("stage2_block2", 64))
    }
    model = apply_plan(whole, plan_by_hand(whole, {**kept, "stage1_block2": ()}))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(images, labels, batch_size=64, epochs=5, verbose=0)
    return model


@pytest.fixture(scope="session")
def file(net):
    return convert(net)


@pytest.fixture(scope="session")
def variants(net, digits):
    graphs = {
        target_of(name): convert(net, name) for name in ("float32", "int8", "dynamic", "int4")
    }
    return {n: make_variant(graphs[target_of(n)], n, digits[0][:64]) for n in VARIANTS}


def small_net(kept=None, input_shape=(8, 8, 1)):
    """Returns a net with random weights, cut by hand."""
    model = randomize(highway_net(SMALL, input_shape, 10))
    return apply_plan(model, plan_by_hand(model, kept)) if kept else model


def tensor_types(content):
    """Returns the types of the inputs and outputs of each operator, weights included."""
    interpreter = Interpreter(model_content=content)
    types = {t["index"]: np.dtype(t["dtype"]).name for t in interpreter.get_tensor_details()}
    return [
        (node["op_name"], [types[i] for i in node["inputs"] if i >= 0], types[node["outputs"][0]])
        for node in interpreter._get_ops_details()
        if node["op_name"] != "DELEGATE"
    ]


# ---- convert


def test_one_signature_with_names_and_batch_1(file):
    spec = io_spec(file)
    assert [(t.name, t.shape, t.dtype, t.scale) for t in spec.inputs] == [
        ("image", (1, 8, 8, 1), "float32", None)
    ]
    assert [(t.name, t.shape, t.dtype, t.scale) for t in spec.outputs] == [
        ("logits", (1, 10), "float32", None)
    ]
    assert list(Interpreter(model_content=file).get_signature_list()) == ["serving_default"]


STREAMS = {
    "whole": {},
    "odd channels in many runs": {
        "stage1_block1": (0, 2, 3, 7, 11),
        "stage1_block2": (1, 4, 6, 9),
        "stage2_block1": (0, 1, 2, 5, 9, 13, 19),
        "stage2_block2": (18,),
    },
    "an empty block without projection": {"stage1_block2": ()},
    "an empty block with projection": {"stage2_block1": ()},
    "no block left": {f"stage{stage}_block{block}": () for stage in (1, 2) for block in (1, 2)},
}


@pytest.mark.parametrize("kept", STREAMS.values(), ids=STREAMS)
def test_every_cut_is_exact_and_one_partition(kept, digits):
    model, images = small_net(kept), digits[2][:100]
    content = convert(model)
    checked = verify(model, content, images, digits[3][:100], exact=True)
    assert checked.max_difference < EXACT_DIFFERENCE and checked.agreement == 1
    for variant in ("float32", "float16", "dynamic", "int8"):
        info = graph(make_variant(content, variant, images))
        assert (variant, info.partitions, info.undelegated) == (variant, 1, {})
        assert not [name for name in info.operators if name.startswith(("GATHER", "SCATTER"))]


def test_a_table_net_is_exact_and_one_partition(digits):
    rows = digits[2][:100].reshape(100, 64)
    kept = {"stage1_block1": (0, 3, 4, 11), "stage2_block2": ()}
    model = small_net(kept, input_shape=(64,))
    content = convert(model)
    assert io_spec(content).inputs[0].name == "features"
    checked = verify(model, content, rows, digits[3][:100], exact=True)
    assert (checked.partitions, checked.undelegated) == (1, {})
    int8 = graph(make_variant(content, "int8", rows))
    assert (int8.partitions, int8.undelegated) == (1, {})


@pytest.mark.parametrize("as_dict", [False, True])
def test_several_inputs_and_outputs_keep_their_names(digits, as_dict):
    image = keras.Input((8, 8, 1), name="image")
    side = keras.Input((3,), name="side")
    x = HighwayConv2D(6, strides=2)(image)
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    joined = keras.layers.Concatenate()([pooled, side])
    kind = keras.layers.Dense(10, name="kind")(joined)
    size = keras.layers.Dense(2, name="size")(joined)
    outputs = {"kind": kind, "size": size} if as_dict else [kind, size]
    inputs = {"side": side, "image": image} if as_dict else [image, side]
    model = randomize(keras.Model(inputs, outputs))
    content = convert(model)
    spec = io_spec(content)
    assert {t.name: t.shape for t in spec.inputs} == {"image": (1, 8, 8, 1), "side": (1, 3)}
    given = {"image": digits[2][:20], "side": np.arange(60, dtype="float32").reshape(20, 3)}
    found = predict_all(content, given)
    assert {name: array.shape for name, array in found.items()} == {
        "kind": (20, 10), "size": (20, 2),
    }  # fmt: skip
    checked = verify(model, content, given, digits[3][:20], exact=True)
    assert checked.images == 20


def test_sequential_and_nested_models_are_exported(digits):
    images, labels = digits[2][:20], digits[3][:20]
    inner = [keras.Input((8, 8, 1), name="image"), HighwayConv2D(4, strides=2)]
    outer = [keras.Sequential(inner), keras.layers.Flatten(), keras.layers.Dense(10)]
    model = randomize(keras.Sequential([keras.Input((8, 8, 1), name="pixels"), *outer]))
    content = convert(model)
    assert [tensor.name for tensor in io_spec(content).inputs] == ["pixels"]
    assert verify(model, content, images, labels, exact=True).agreement == 1


def test_a_model_without_a_graph_is_refused():
    with pytest.raises(ExportError) as raised:
        convert(keras.Sequential([keras.layers.Dense(3)], name="unbuilt"))
    assert str(raised.value) == (
        "model 'unbuilt' has no graph: expected a functional model, or a sequential one that was"
        " built; found Sequential"
    )


def test_mixed_precision_is_exported_in_float32(digits):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = randomize(highway_net(SMALL, (8, 8, 1), 10))
    finally:
        keras.config.set_dtype_policy("float32")
    twin = small_net()
    np.testing.assert_array_equal(in_float32(mixed).get_weights()[0], twin.get_weights()[0])
    content = convert(mixed)
    assert "CAST" not in operators(content)
    images = digits[2][:50]
    found, expected = predict(content, images), keras_logits(twin, images)["logits"]
    assert np.abs(found - expected).max() <= 1e-4 * np.ptp(expected)
    assert mixed.layers[-1].compute_dtype == "bfloat16"  # untouched


def test_nothing_is_printed(net, digits, capfd):
    content = convert(net)
    for variant in VARIANTS:
        make_variant(content, variant, digits[0][:16])
    verify(net, content, digits[2][:8], digits[3][:8], exact=True)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed_however_much_tensorflow_would_say():
    code = (
        "import os, sys\n"
        "from export.tflite import convert\n"
        "from hwkeras.models import HighwayConfig, highway_net\n"
        "model = highway_net(HighwayConfig(4, (4,), 1, (1,)), (8, 8, 1), 10)\n"
        "for stream in (sys.stdout, sys.stderr): print('start', file=stream, flush=True)\n"
        "convert(model)\n"
        "for stream in (sys.stdout, sys.stderr): print('end', file=stream, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    for text in (done.stdout, done.stderr):
        assert text.endswith("start\nend\n")


def test_the_same_model_gives_the_same_bytes(net, file):
    assert convert(net) == file


def test_weights_that_are_not_finite_are_refused():
    model = small_net()
    gate = model.get_layer("stage1_block2").gate
    kernel, bias = gate.get_weights()
    kernel[0, 0, 0, :2] = np.nan, np.inf
    gate.set_weights([kernel, bias])
    with pytest.raises(ExportError) as raised:
        convert(model)
    assert str(raised.value) == (
        "layer 'stage1_block2': 2 values of stage1_block2/gate/kernel are NaN or infinite;"
        " export the last checkpoint from before training diverged"
    )


@pytest.mark.parametrize(
    ("name", "side", "text"),
    [
        ("image", None, "input 'image' has the shape (None, None, None, 3): expected fixed sides,"
         " only the batch may be free"),
        ("my image", 8, "input 'my image': expected a name of letters, digits and underscores"),
    ],
)  # fmt: skip
def test_an_input_that_no_phone_could_fill_is_refused(name, side, text):
    inputs = keras.Input((side, side, 3), name=name)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    with pytest.raises(ExportError) as raised:
        convert(model)
    assert str(raised.value) == text


class Bessel(keras.layers.Layer):
    """A layer whose operator LiteRT does not have."""

    def call(self, inputs):
        return tf.math.bessel_i0(inputs)


def test_an_operator_that_litert_lacks_is_named():
    inputs = keras.Input((4,), name="features")
    with pytest.raises(ExportError) as raised:
        convert(keras.Model(inputs, Bessel()(inputs)))
    assert str(raised.value) == (
        "LiteRT has no operator for tf.BesselI0: replace the layer that uses it (SELECT_TF_OPS is"
        " not used, phones would need TensorFlow)"
    )


def test_another_backend_is_told_what_to_do():
    code = (
        "from export.tflite import convert, ExportError\n"
        "from hwkeras.models import HighwayConfig, highway_net\n"
        "try: convert(highway_net(HighwayConfig(4, (4,), 1, (1,)), (8, 8, 1), 10))\n"
        "except ExportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == (
        "export needs Keras on TensorFlow, found KERAS_BACKEND=numpy: set"
        " KERAS_BACKEND=tensorflow; a .keras file loads there, whichever backend saved it"
    )


# ---- labels


def test_labels_travel_in_a_zip_behind_the_model(file, digits, tmp_path):
    assert read_labels(file) == ()
    content = with_labels(file, ["zero", "ein Ä"])
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:  # what `unzip` does
        assert archive.testzip() is None
        assert archive.read("labels.txt") == "zero\nein Ä\n".encode()
    assert read_labels(content) == ("zero", "ein Ä")
    np.testing.assert_array_equal(predict(content, digits[2][:3]), predict(file, digits[2][:3]))


def test_labels_are_replaced_and_give_the_same_bytes(file):
    first = with_labels(file, LABELS)
    assert with_labels(with_labels(file, ["a", "b"]), LABELS) == first
    assert first.startswith(file)


@pytest.mark.parametrize("labels", [["a", ""], ["a\nb"], [" "], ["a\u2028b"]])
def test_labels_that_are_not_one_line_are_refused(file, labels):
    bad = next(label for label in labels if label != "a")
    with pytest.raises(ExportError) as raised:
        with_labels(file, labels)
    assert str(raised.value) == f"labels are one line each and not empty. Received: {bad!r}"


def test_cut_labels_are_noticed(file):
    content = with_labels(file, LABELS)
    with pytest.raises(ExportError, match="^the .tflite is truncated: it ends within its labels$"):
        read_labels(content[:-5])


# ---- variants


def test_each_variant_is_as_right_as_keras(net, variants, digits):
    _, _, images, labels = digits
    logits = keras_logits(net, images)
    for name, content in variants.items():
        limit = 2.0 if name == "int4" else 1.1  # of 397 images: 7 and 4
        checked = verify(
            net, content, images, labels,
            exact=name == "float32", limit_drop=limit, logits=logits,
        )  # fmt: skip
        assert checked.keras_accuracy > 0.85
        assert checked.agreement > {"int4": 0.94, "int8": 0.96}.get(name, 0.985), name


def test_sizes_follow_from_bytes_per_weight(digits):
    model = randomize(highway_net(MIDDLE, (8, 8, 1), 10))
    kernels = sum(int(np.prod(w.shape)) for w in model.weights if w.path.endswith("kernel"))
    content = convert(model)
    sizes = {name: len(make_variant(content, name, digits[0][:8])) for name in VARIANTS}
    overhead = sizes["float32"] - 4 * kernels  # graph, names, norms and biases
    assert 0 < overhead < 20_000
    bits = {"float32": 32, "float16": 16, "dynamic": 8, "int8": 8, "int16x8": 8, "int4": 4}
    for name, size in sizes.items():
        # int4 keeps up to 4% of the weights, and the first and the last kernel, at 8 bits.
        slack = 0.05 * kernels / 2 if name == "int4" else 0
        assert 0 < size - kernels * bits[name] / 8 < 2.5 * overhead + slack, name


def test_int8_computes_in_int8_throughout(variants):
    found = tensor_types(variants["int8"])
    first, *middle, last = found
    assert first == ("QUANTIZE", ["float32"], "int8")
    assert last == ("DEQUANTIZE", ["int8"], "float32")
    assert {output for _, _, output in middle} == {"int8"}
    for name, inputs, _ in middle:
        if name in ("CONV_2D", "FULLY_CONNECTED"):
            assert inputs == ["int8", "int8", "int32"]


def test_int8_weights_have_a_scale_per_channel(variants):
    interpreter = Interpreter(model_content=variants["int8"])
    tensors = {t["index"]: t for t in interpreter.get_tensor_details()}
    for node in interpreter._get_ops_details():
        if node["op_name"] == "CONV_2D":
            kernel = tensors[node["inputs"][1]]
            assert len(kernel["quantization_parameters"]["scales"]) == kernel["shape"][0]


def test_slices_are_not_rescaled_one_by_one(digits):
    rows = digits[2][:64].reshape(64, 64)
    content = convert(small_net(STREAMS["odd channels in many runs"], input_shape=(64,)))
    assert operators(content)["STRIDED_SLICE"] > 30
    for name in ("int8", "int16x8"):
        found = operators(make_variant(content, name, rows))
        assert (found["QUANTIZE"], found["DEQUANTIZE"]) == (1, 1)


def test_int4_keeps_the_first_and_last_kernel_in_8_bits(file, variants):
    interpreter = Interpreter(model_content=variants["int4"])
    tensors = {t["index"]: t for t in interpreter.get_tensor_details()}
    nodes = [
        n for n in interpreter._get_ops_details() if n["op_name"] in ("CONV_2D", "FULLY_CONNECTED")
    ]
    levels = [int(interpreter.get_tensor(n["inputs"][1]).max()) for n in nodes]
    assert levels[0] == levels[-1] == 127  # 8 bits symmetric: -127..127
    sizes = [int(np.prod(tensors[n["inputs"][1]]["shape"])) for n in nodes]
    in_4_bits = [size for size, level in zip(sizes, levels, strict=True) if level <= 7]
    assert sum(in_4_bits) > 0.9 * sum(sizes)


@pytest.mark.parametrize(("io", "zero_point"), [("int8", -128), ("uint8", 0)])
def test_integer_pixels_go_in_as_they_are(file, digits, io, zero_point):
    calibration, images = 0.8 * digits[0][:64], np.rint(digits[2][:60])  # darker than the test
    content = make_variant(file, "int8", calibration, io=io)
    spec = io_spec(content)
    assert (spec.inputs[0].dtype, spec.outputs[0].dtype) == (io, io)
    assert (spec.inputs[0].scale, spec.inputs[0].zero_point) == (1.0, zero_point)
    logits = predict(file, calibration)
    assert spec.outputs[0].scale == pytest.approx(np.ptp(logits) / 255, rel=0.01)  # none clipped
    # Only the rounding of the logits is left between this and the file with float32 outside.
    as_float = predict(make_variant(file, "int8", calibration), images)
    assert np.abs(predict(content, images) - as_float).max() <= 1e-5


def test_a_table_is_calibrated_on_its_own_range(digits):
    rows = digits[2][:64].reshape(64, 64) / 100 - 1
    content = convert(small_net(input_shape=(64,)))
    spec = io_spec(make_variant(content, "int8", rows, io="int8")).inputs[0]
    assert spec.scale == pytest.approx(np.ptp(rows) / 255, rel=1e-3)


@pytest.mark.parametrize(
    ("variant", "io", "images", "text"),
    [
        ("int2", "float32", None,
         "no variant 'int2'; there are float32, float16, dynamic, int8, int16x8, int4"),
        ("int8", "int4", None, "no input and output type 'int4'; there are float32, int8, uint8"),
        ("dynamic", "uint8", None,
         "dynamic takes and gives float32; uint8 goes with the variant int8"),
        ("int8", "float32", None, "int8 and int16x8 need at least 8 calibration images"),
        ("int8", "float32", np.zeros((7, 8, 8, 1)),
         "calibration images: expected at least 8, found 7"),
        ("int8", "float32", np.zeros((8, 8, 8, 3)),
         "calibration images: expected (n, 8, 8, 1), found (8, 8, 8, 3)"),
        ("int16x8", "float32", np.where(np.arange(9) == 4, np.nan, 0)[:, None, None, None]
         * np.ones((8, 8, 1)), "calibration image 4 holds NaN or infinity"),
        ("int8", "float32", {"picture": np.zeros((8, 8, 8, 1))},
         "no calibration images for the input 'image'"),
    ],
)  # fmt: skip
def test_what_cannot_be_quantized_is_refused(file, variant, io, images, text):
    with pytest.raises(ExportError) as raised:
        make_variant(file, variant, images, io=io)
    assert str(raised.value) == text


# ---- verify


def test_another_model_is_refused(file, digits):
    with pytest.raises(
        ExportError,
        match=r"^the \.tflite's logits differ from Keras's by \d\.\d\de[-+]\d\d of their range;"
        r" at most 1e-04 is rounding$",
    ):
        verify(small_net(), file, digits[2][:50], digits[3][:50], exact=True)


def test_a_normalization_keeps_what_it_was_adapted_to_on_the_way_to_float32():
    images = np.random.default_rng(0).uniform(0, 255, (64, 4, 4, 1)).astype("float32")
    norm = keras.layers.Normalization(dtype="mixed_bfloat16")
    norm.adapt(images)
    inputs = keras.Input((4, 4, 1), name="image")
    logits = keras.layers.Dense(3, dtype="mixed_bfloat16")(keras.layers.Flatten()(norm(inputs)))
    model = keras.Model(inputs, logits)
    expected = np.asarray(model(images), "float32")
    np.testing.assert_allclose(in_float32(model)(images), expected, atol=0.1)
    np.testing.assert_allclose(predict(convert(model), images), expected, atol=0.1)


def test_a_drop_beyond_the_limit_is_refused(net, file, digits):
    images, labels = digits[2][:100], digits[3][:100]
    right = keras_logits(net, images)["logits"]
    missed = np.flatnonzero(right.argmax(-1) == labels)[:3]
    wrong = images.copy()
    wrong[missed] = 0.0  # what the file sees of three images is black
    labels = right.argmax(-1)  # so that Keras is right on 100 of 100
    blank = predict(file, np.zeros((1, 8, 8, 1), "float32")).argmax()
    lost = int(np.sum(labels[missed] != blank))
    assert lost >= 2
    with pytest.raises(ExportError) as raised:
        verify(
            net, file, wrong, labels,
            exact=False, limit_drop=1.5, logits={"logits": right},
        )  # fmt: skip
    assert str(raised.value) == (
        f"the .tflite loses {lost:.2f} points of accuracy on 100 images (100.00% in Keras,"
        f" {100 - lost:.2f}% here); the limit is 1.5"
    )
    kept = verify(net, file, wrong, labels, exact=False, limit_drop=lost, logits={"logits": right})
    assert (kept.accuracy, kept.keras_accuracy) == (1 - lost / 100, 1.0)


@pytest.fixture(scope="module")
def echo():
    """A model whose logits are its input, and its file."""
    inputs = keras.Input((3,), name="features")
    model = keras.Model(inputs, keras.layers.Dense(3, use_bias=False)(inputs))
    model.set_weights([np.eye(3)])
    return model, convert(model)


def test_a_tie_may_change_the_class(echo):
    model, content = echo
    rows = np.array([[10, 0, 0], [5, 5.0005, 0]], "float32")  # the range is 10, so 0.001 is a tie
    logits = {"logits": np.array([[10, 0, 0], [5.0005, 5, 0]], "float32")}
    checked = verify(model, content, rows, np.array([0, 0]), exact=True, logits=logits)
    assert (checked.agreement, checked.accuracy, checked.keras_accuracy) == (0.5, 0.5, 1.0)
    assert checked.max_difference == pytest.approx(5e-5, rel=1e-2)


def test_what_is_no_tie_may_not_change_the_class(echo):
    model, content = echo
    rows = np.array([[10, 0, 0], [5, 5.0002, 0]], "float32")
    logits = {"logits": np.array([[10, 0, 0], [5.0009, 4.9995, 0]], "float32")}  # 0.0014 apart
    with pytest.raises(ExportError) as raised:
        verify(model, content, rows, np.array([0, 0]), exact=True, logits=logits)
    assert str(raised.value) == (
        "the .tflite names another class than Keras on 1 of 2 images that are no ties"
    )


def test_logits_that_are_not_finite_are_refused(echo):
    model, content = echo
    rows = np.array([[np.inf, 0, 0]], "float32")
    with pytest.raises(ExportError, match=r"^the \.tflite gives NaN or infinite logits$"):
        verify(model, content, rows, np.array([0]), exact=False, logits={"logits": np.eye(3)[:1]})


def test_an_operator_of_tensorflow_is_refused(tmp_path):
    module = tf.Module()
    specs = {"image": tf.TensorSpec((1, 2, 2), name="image")}
    inverse = tf.function(lambda image: {"logits": tf.linalg.inv(image)})
    signatures = {"serving_default": inverse.get_concrete_function(**specs)}
    tf.saved_model.save(module, tmp_path, signatures=signatures)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path))
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS,
    ]  # fmt: skip
    content = converter.convert()
    inputs = keras.Input((2, 2), name="image")
    with pytest.raises(ExportError) as raised:
        verify(keras.Model(inputs, inputs), content, np.zeros((1, 2, 2)), np.zeros(1), exact=False)
    assert str(raised.value) == ("the .tflite needs more than LiteRT's builtins: FlexMatrixInverse")


def test_a_gather_is_refused():
    inputs = keras.Input((8,), name="features")
    model = keras.Model(inputs, keras.ops.take(inputs, [3, 1, 6], axis=-1))
    rows = np.zeros((4, 8), "float32")
    with pytest.raises(ExportError) as raised:
        verify(model, convert(model), rows, np.zeros(4), exact=True)
    assert str(raised.value) == (
        "the .tflite holds GATHER, which XNNPACK cannot take: use slices and concatenation"
    )
