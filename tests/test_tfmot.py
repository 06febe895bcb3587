"""Training on for a variant, in a process of its own: what comes out, and what a failure leaves."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import ROOT, plan_by_hand, randomize

from export.quantize import make_variant
from export.runtime import allocated, graph, io_spec, predict
from export.stock import as_stock_layers
from export.tflite import ExportError, convert
from export.tfmot import CLUSTERED, TRAINED, Retraining, train_on
from hwkeras.data import load_dataset
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.rebuild import apply_plan

CONFIG = HighwayConfig(stem=8, stages=(12, 20), blocks=2, strides=(1, 2))
FEW = Retraining(steps=6, batch_size=32)
# Several runs, an empty block without a projection and one with.
KEPT = {"stage1_block1": (0, 2, 3, 7, 11), "stage1_block2": (), "stage2_block1": ()}


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def slim_net():
    model = randomize(highway_net(CONFIG, (8, 8, 1), 10))
    return apply_plan(model, plan_by_hand(model, KEPT))


@pytest.fixture(scope="module")
def trained(digits):
    """The weights and the int8 file of each variant of the same slim net, and of post-training."""
    made, images = {}, digits.train.images[:64]
    for variant in TRAINED:
        model, calls = slim_net(), []
        outcome = train_on(model, variant, digits, FEW, lambda *done, to=calls: to.append(done))
        content = make_variant(convert(model), "int8", images, one_scale=variant in CLUSTERED)
        made[variant] = model, content, outcome, calls
    return made


@pytest.fixture(scope="module")
def int8(digits):
    return make_variant(convert(slim_net()), "int8", digits.train.images[:64])


def kernels(content):
    """Returns values `(out, ...)` and scales of each kernel of a file."""
    interpreter = allocated(content, delegate=False)
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    return [
        (interpreter.get_tensor(i), details[i]["quantization_parameters"]["scales"])
        for node in interpreter._get_ops_details()
        if node["op_name"] in ("CONV_2D", "FULLY_CONNECTED")
        for i in node["inputs"][1:2]
    ]


@pytest.mark.parametrize("variant", TRAINED)
def test_every_variant_computes_in_int8_in_one_partition(trained, variant):
    info = graph(trained[variant][1])
    assert (info.partitions, info.undelegated) == (1, {})
    assert (info.operators["QUANTIZE"], info.operators["DEQUANTIZE"]) == (1, 1)
    spec = io_spec(trained[variant][1])
    assert [tensor.dtype for tensor in (*spec.inputs, *spec.outputs)] == ["float32", "float32"]


@pytest.mark.parametrize("variant", TRAINED)
def test_progress_and_outcome_come_back(trained, variant):
    _, _, outcome, calls = trained[variant]
    assert calls == [(done, FEW.steps) for done in range(1, FEW.steps + 1)]
    assert 0 <= outcome["validation_accuracy"] <= 1
    assert outcome["steps"] in {4, 5, 6}  # the validation split is asked in the last 40%


@pytest.mark.parametrize("variant", TRAINED)
def test_training_changes_every_kernel_and_keeps_it_finite(trained, variant):
    before, after = as_stock_layers(slim_net()).weights(), as_stock_layers(trained[variant][0])
    for name, value in after.weights().items():
        assert np.isfinite(value).all()
        if value.ndim > 1:
            assert np.abs(value - before[name]).max() > 1e-6, name


def test_qat_has_the_size_of_post_training_int8_and_its_scales(trained, int8):
    content = trained["qat-int8"][1]
    assert abs(len(content) / len(int8) - 1) < 0.02
    for values, scales in kernels(content):
        assert len(scales) == len(values)


@pytest.mark.parametrize("variant", CLUSTERED)
def test_clustered_kernels_hold_few_values(trained, variant):
    model, content, _, _ = trained[variant]
    large = [v for v in as_stock_layers(model).weights().values() if v.ndim > 1 and v.size >= 64]
    assert len(large) > 5
    for kernel in large:
        assert 2 < len(np.unique(kernel)) <= FEW.clusters
    for values, scales in kernels(content):
        assert len(scales) == 1
        assert len(np.unique(values)) <= FEW.clusters or values.size < 64


def test_of_four_sparse_weights_two_are_zero(trained):
    model, content, _, _ = trained["sparse24"]
    for name, kernel in as_stock_layers(model).weights().items():
        if kernel.ndim > 1:
            assert most_of_four(np.swapaxes(kernel, -1, -2)) <= 2, name
            assert np.count_nonzero(kernel) > 0.3 * kernel.size
    for values, _ in kernels(content):
        assert most_of_four(values) <= 2


def most_of_four(values):
    """Returns how many of four neighbouring input channels, the last axis, are not zero at most."""
    whole = values[..., : values.shape[-1] // 4 * 4].reshape(-1, 4)
    return np.count_nonzero(whole, axis=1).max(initial=0)


def test_what_is_trained_is_what_the_file_computes(trained, digits):
    model, content, _, _ = trained["qat-int8"]
    images = digits.test.images[:50]
    expected = model.predict(images, verbose=0)
    assert np.abs(predict(content, images) - expected).max() < 0.2 * np.ptp(expected)


# ---- failures


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    """What other processes leave in the common one is no business of these tests."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


def left_behind():
    return sorted(Path(tempfile.gettempdir()).glob("hwkeras-*"))


def test_a_variant_that_does_not_exist(digits):
    with pytest.raises(ExportError) as raised:
        train_on(slim_net(), "qat", digits, FEW)
    assert str(raised.value) == (
        "no variant 'qat' to train; there are qat-int8, clustered, clustered-qat, sparse24"
    )


def test_data_of_another_shape():
    inputs = keras.Input((9, 9, 1), name="image")
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)))
    with pytest.raises(ExportError) as raised:
        train_on(model, "qat-int8", load_dataset("digits"), FEW)
    assert "the model takes (9, 9, 1); 'digits' gives (8, 8, 1)" in str(raised.value)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (None, "No module named 'tensorflow_model_optimization'"),
        ("raise ValueError('built for another Python')", "built for another Python"),
    ],
)
def test_tfmot_missing_or_broken(digits, monkeypatch, tmp_path, source, text):
    """A stub stands before the real one: one that is broken, or an importer that finds none."""
    hide = "import sys\nsys.modules['tensorflow_model_optimization'] = None\n"
    (tmp_path / "sitecustomize.py").write_text("" if source else hide)
    if source:
        (tmp_path / "tensorflow_model_optimization.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    before = left_behind()
    with pytest.raises(ExportError) as raised:
        train_on(slim_net(), "qat-int8", digits, FEW)
    message = str(raised.value)
    assert message.startswith("qat-int8: TensorFlow Model Optimization cannot be imported (")
    assert "pip install" in message and "\n" not in message
    assert text in message or source is None
    assert left_behind() == before


def test_an_interrupt_ends_the_process_and_leaves_nothing(digits):
    before, model = left_behind(), slim_net()
    weights = [weight.copy() for weight in model.get_weights()]

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_on(model, "qat-int8", digits, Retraining(steps=1000), interrupt)
    assert left_behind() == before
    for weight, value in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, value)
    children = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "export.retrain"], capture_output=True, text=True
    )
    assert children.stdout == ""


def test_a_killed_caller_leaves_nothing(tmp_path):
    """The process that trains notices at its next step that nobody listens, and tidies up."""
    program = (
        "import keras, sys\n"
        "from export.tfmot import Retraining, train_on\n"
        "from hwkeras.data import load_dataset\n"
        "from hwkeras.models import HighwayConfig, highway_net\n"
        "model = highway_net(HighwayConfig(4, (4,), 1, (1,)), (8, 8, 1), 10)\n"
        "train_on(model, 'qat-int8', load_dataset('digits'), Retraining(steps=100000),\n"
        "         lambda done, total: print(done, flush=True))\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    caller = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    assert caller.stdout and caller.stdout.readline() == b"1\n"
    assert list(tmp_path.glob("hwkeras-*/model.json"))
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    for _ in range(200):
        if not list(tmp_path.glob("hwkeras-*")):
            return
        time.sleep(0.1)
    raise AssertionError("the folder is still there")


def test_the_caller_stays_with_keras_3():
    program = (
        "import json, os, sys, cli, hwkeras\n"
        "from export import debugging, jobs, measuring, reporting, shipping, stock, text, tfmot\n"
        "[getattr(hwkeras, name) for name in hwkeras.__all__]\n"
        "foreign = {'tensorflow_model_optimization', 'tf_keras', 'export.retrain'}\n"
        "found = sorted(foreign & set(sys.modules))\n"
        "print(json.dumps([found, 'TF_USE_LEGACY_KERAS' in os.environ]))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [[], False]
