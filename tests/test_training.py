"""Training on a few digits with a net of two blocks: what it learns, and that it resumes."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

from hwkeras import search
from hwkeras.batchnorm import recalibrate
from hwkeras.data import load_dataset
from hwkeras.dataset import Dataset, Split
from hwkeras.device import times_slower
from hwkeras.evaluation import accuracy, predict_logits
from hwkeras.files import FileError
from hwkeras.layers import HighwayConv2D
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.regularizers import GatePenalty
from hwkeras.saving import load_model
from hwkeras.stats import collect_stats
from hwkeras.training import FINETUNE, TrainConfig, TrainingError, finetune, fit, training_view

ROOT = Path(__file__).parent.parent
CONFIG = TrainConfig(epochs=3, batch_size=64)


@pytest.fixture(scope="module")
def digits():
    data = load_dataset("digits")
    return dataclasses.replace(data, train=data.train.take(slice(0, 512)))


@pytest.fixture
def net(digits):
    keras.utils.set_random_seed(0)
    config = HighwayConfig(stem=4, stages=(8,), strides=(2,), blocks=2)
    return highway_net(
        config, digits.input_shape, 10, digits.channel_mean, digits.channel_deviation
    )


def test_fit_learns_and_its_history_has_the_gates(net, digits):
    rows = fit(net, digits, dataclasses.replace(CONFIG, epochs=12))
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    assert accuracy(predict_logits(net, digits.validation.images), digits.validation.labels) > 0.5
    for name in ("loss", "accuracy", "penalty", "mean_gate", "share_shut"):
        assert {name, f"val_{name}"} <= set(rows[0])
    # sigmoid(-1) = 0.27: where the gates start
    assert 0.15 < rows[0]["mean_gate"] < 0.4
    # the ramp: in the first epoch the mean strength over steps 0..7 of 96 is (0+..+7)/8/48
    assert rows[0]["penalty"] / rows[0]["mean_gate"] == pytest.approx(3.5 / 48, rel=0.1)


def test_the_penalty_shuts_gates(digits):
    def mean_gate(strength):
        keras.utils.set_random_seed(0)
        net = highway_net(HighwayConfig(4, (8,), 2, (2,)), digits.input_shape, 10)
        penalty = GatePenalty(strength, ramp=0)
        return fit(net, digits, dataclasses.replace(CONFIG, penalty=penalty))[-1]["mean_gate"]

    assert mean_gate(20.0) < 0.5 * mean_gate(0.0)


class Stopped(Exception):
    pass


def test_resume_gives_what_an_unbroken_run_gives(net, digits, tmp_path):
    start = [weight.copy() for weight in net.get_weights()]
    unbroken = fit(net, digits, CONFIG)
    weights = net.get_weights()

    def stop(rows):
        if len(rows) == 2:
            raise Stopped

    net.set_weights(start)
    with pytest.raises(Stopped):
        fit(net, digits, CONFIG, checkpoint=tmp_path, on_epoch=stop)
    net.set_weights(start)  # a fresh process knows nothing of the first two epochs
    resumed = fit(net, digits, CONFIG, checkpoint=tmp_path, resume=True)

    for row, other in zip(resumed, unbroken, strict=True):
        for name in row.keys() - {"seconds"}:
            assert row[name] == pytest.approx(other[name], rel=1e-4, abs=1e-6), name
    for weight, other in zip(net.get_weights(), weights, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-3, atol=1e-5)


def net_with_dropout(digits):
    """Returns a net of a user's own, every layer named: a checkpoint knows it by that."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Rescaling(1 / 255, name="shares"),
        HighwayConv2D(4, name="block"),
        keras.layers.Dropout(0.5, name="dropout"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(10, name="logits"),
    ]
    return keras.Sequential([keras.Input(digits.input_shape, name="image"), *layers], name="net")


def test_dropout_resumes_too(digits, tmp_path):
    def stop(rows):
        if len(rows) == 2:
            raise Stopped

    whole, broken, resumed = (net_with_dropout(digits) for _ in range(3))
    fit(whole, digits, CONFIG)
    with pytest.raises(Stopped):
        fit(broken, digits, CONFIG, checkpoint=tmp_path, on_epoch=stop)
    fit(resumed, digits, CONFIG, checkpoint=tmp_path, resume=True)
    for weight, other in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-3, atol=1e-5)


def test_a_checkpoint_of_before_random_states_were_kept_is_read(digits, tmp_path):
    rows = fit(net_with_dropout(digits), digits, CONFIG, checkpoint=tmp_path)
    path = tmp_path / "checkpoint.json"
    content = json.loads(path.read_text())
    (state,) = content.pop("random")
    assert state[1] == 3 * 8  # draws: 3 epochs of 512 // 64 batches
    path.write_text(json.dumps(content))
    again = fit(net_with_dropout(digits), digits, CONFIG, checkpoint=tmp_path, resume=True)
    assert again == rows


def test_a_finished_run_resumes_to_itself(net, digits, tmp_path):
    rows = fit(net, digits, CONFIG, checkpoint=tmp_path)
    weights = net.get_weights()
    assert fit(net, digits, CONFIG, checkpoint=tmp_path, resume=True) == rows
    for weight, other in zip(net.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_the_checkpoint_of_another_run_is_refused(net, digits, tmp_path):
    fit(net, digits, dataclasses.replace(CONFIG, epochs=1), checkpoint=tmp_path)
    same = {"checkpoint": tmp_path, "resume": True}
    fit(net, digits, dataclasses.replace(CONFIG, epochs=1), **same)
    with pytest.raises(FileError, match="the checkpoint is of another run"):
        fit(net, digits, dataclasses.replace(CONFIG, epochs=1), origin="elsewhere", **same)
    flipped = dataclasses.replace(digits, augment=True)
    with pytest.raises(FileError, match="the checkpoint is of another run"):
        fit(net, flipped, dataclasses.replace(CONFIG, epochs=1), **same)
    with pytest.raises(FileError, match="the checkpoint is of another run"):
        fit(net, digits, CONFIG, checkpoint=tmp_path, resume=True)


def test_a_broken_checkpoint_is_named(net, digits, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=1)
    fit(net, digits, config, checkpoint=tmp_path)
    (weights,) = tmp_path.glob("*.weights.h5")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(FileError, match="weights.h5: broken checkpoint"):
        fit(net, digits, config, checkpoint=tmp_path, resume=True)


def test_kill_9_and_resume(tmp_path):
    """A real process, killed after its first checkpoint, against one that runs through."""
    command = [
        sys.executable, "-m", "cli", "train", "digits", "--preset", "tiny",
        "--epochs", "3", "--batch-size", "256",
    ]  # fmt: skip
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    process = subprocess.Popen(
        [*command, "-o", str(broken)], cwd=ROOT, stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (broken / "checkpoint" / "checkpoint.json").exists():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint in two minutes"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (broken / "dense.keras").exists()
    for options in ([*command, "-o", str(broken), "--resume"], [*command, "-o", str(whole)]):
        subprocess.run(options, cwd=ROOT, check=True, capture_output=True)

    from export.history import read_history

    rows, others = (read_history(run / "history.csv") for run in (broken, whole))
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row, other in zip(rows, others, strict=True):
        for name in row.keys() - {"seconds", "phase"}:
            assert row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5), name
    weights, expected = (load_model(run / "dense.keras").get_weights() for run in (broken, whole))
    for weight, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-2, atol=1e-4)
    assert not (broken / "checkpoint").exists()


def test_divergence_stops_and_the_last_good_epoch_is_back(net, digits, tmp_path):
    config = dataclasses.replace(CONFIG, learning_rate=1e12, warmup=0.9, schedule="cosine")
    good = []

    def remember(rows):
        good[:] = [weight.copy() for weight in net.get_weights()]

    with pytest.raises(TrainingError, match="diverged in epoch \\d: the loss is nan"):
        fit(net, digits, config, checkpoint=tmp_path, on_epoch=remember)
    if good:
        for weight, other in zip(net.get_weights(), good, strict=True):
            np.testing.assert_array_equal(weight, other)


def test_weight_decay_touches_kernels_only(net, digits):
    """With a gradient of zero only decay moves weights: w * (1 - rate * decay)."""
    view = training_view(net, CONFIG, steps=8)
    before = {v.path: v.numpy().copy() for v in view.trainable_variables}
    still = [keras.ops.zeros_like(variable) for variable in view.trainable_variables]
    view.optimizer.apply(still, view.trainable_variables)
    rate = CONFIG.learning_rate * (1 / 24) / 0.2  # the first of 24 steps, 20% of them rising
    for variable in view.trainable_variables:
        old, new = before[variable.path], variable.numpy()
        expected = old * (1 - rate * 5e-3) if variable.path.endswith("kernel") else old
        np.testing.assert_allclose(new, expected, rtol=1e-6, err_msg=variable.path)
    assert any(path.endswith("kernel") for path in before)
    assert any(path.endswith("gamma") for path in before)


def test_muon_makes_the_steps_of_all_kernels_but_the_last_orthogonal(net, digits):
    """Tenfold gradients move an orthogonal kernel as far as before, any other ten times as far."""
    config = dataclasses.replace(CONFIG, optimizer="muon", weight_decay=0.0)
    start = net.get_weights()
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=variable.shape) for variable in net.trainable_variables]
    moved = []
    for factor in (1e-2, 1e-1):
        net.set_weights(start)
        view = training_view(net, config, steps=8)
        before = {v.path: v.numpy().copy() for v in view.trainable_variables}
        gradients = [keras.ops.convert_to_tensor(factor * n, "float32") for n in noise]
        view.optimizer.apply(gradients, view.trainable_variables)
        moved.append({v.path: v.numpy() - before[v.path] for v in view.trainable_variables})
    orthogonal = {path for path in moved[0] if path.endswith("kernel")} - {"logits/kernel"}
    assert "stage1_block1/gate/kernel" in orthogonal and "logits/kernel" in moved[0]
    for path, step in moved[0].items():
        times = np.linalg.norm(moved[1][path]) / np.linalg.norm(step)
        assert times == pytest.approx(1 if path in orthogonal else 10, rel=1e-2), path


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs: expected at least 1; found 0"),
        ({"batch_size": 0}, "batch_size: expected at least 1; found 0"),
        ({"learning_rate": 0.0}, "learning_rate: expected more than 0; found 0.0"),
        ({"learning_rate": math.inf}, "learning_rate: expected more than 0; found inf"),
        ({"warmup": 1.0}, "warmup: expected 0 to less than 1; found 1.0"),
        ({"momentum": -0.1}, "momentum: expected 0 to 1; found -0.1"),
        ({"weight_decay": math.nan}, "weight_decay: expected at least 0; found nan"),
        ({"label_smoothing": 1.5}, "label_smoothing: expected 0 to 1; found 1.5"),
        ({"distill": -0.5}, "distill: expected 0 to 1; found -0.5"),
        ({"temperature": 0.0}, "temperature: expected more than 0; found 0.0"),
        ({"seed": -1}, "seed: expected at least 0; found -1"),
    ],
)
def test_numbers_that_cannot_be_are_refused(net, digits, settings, message):
    with pytest.raises(TrainingError) as caught:
        fit(net, digits, dataclasses.replace(CONFIG, **settings))
    assert str(caught.value) == message


def test_a_net_and_a_teacher_with_lists_of_one_input_and_output_train(net, digits):
    listed = keras.Model([net.input], [net.output])
    config = dataclasses.replace(FINETUNE, epochs=3, batch_size=64)
    start, losses = net.get_weights(), []
    for model in (net, listed):
        net.set_weights(start)
        losses.append([row["loss"] for row in finetune(model, digits, config, teacher=listed)])
    np.testing.assert_allclose(*losses, rtol=1e-3)
    plain, one = (predict_logits(model, digits.validation.images) for model in (net, listed))
    np.testing.assert_array_equal(plain, one)


def test_an_unknown_optimizer_is_refused(net, digits):
    with pytest.raises(TrainingError, match="expected an optimizer of .*; found 'adam'"):
        fit(net, digits, dataclasses.replace(CONFIG, optimizer="adam"))


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_leaves_a_float32_model(net, digits, precision):
    rows = fit(net, digits, dataclasses.replace(CONFIG, epochs=1, precision=precision))
    assert np.isfinite(rows[0]["loss"])
    assert {variable.dtype for variable in net.variables} == {"float32"}
    assert net.get_layer("stage1_block1").transform.compute_dtype == "float32"


def test_a_precision_that_the_processor_lacks_is_warned_of(net, digits, monkeypatch):
    few = dataclasses.replace(digits, train=digits.train.take(slice(0, 64)))
    config = dataclasses.replace(CONFIG, epochs=1, precision="mixed_bfloat16")
    monkeypatch.setattr("hwkeras.training.has_gpu", lambda: False)
    monkeypatch.setattr("hwkeras.training.times_slower", lambda policy: 25.0)
    with pytest.warns(UserWarning, match="25 times as long .* in mixed_bfloat16 as in float32"):
        fit(net, few, config)
    monkeypatch.setattr("hwkeras.training.times_slower", lambda policy: 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(net, few, config)


def test_a_policy_is_timed_against_float32():
    assert 0 < times_slower("mixed_bfloat16") < math.inf


def test_finetuning_follows_the_teacher_and_leaves_it_alone(net, digits):
    teacher = keras.models.clone_model(net)
    fit(teacher, digits, dataclasses.replace(CONFIG, epochs=4))
    before = teacher.get_weights()

    def distance(student):
        images = digits.validation.images
        return np.abs(predict_logits(student, images) - predict_logits(teacher, images)).mean()

    start = net.get_weights()
    config = dataclasses.replace(FINETUNE, epochs=3, batch_size=64)
    finetune(net, digits, dataclasses.replace(config, distill=1.0), teacher=teacher)
    with_teacher = distance(net)
    net.set_weights(start)
    finetune(net, digits, config)
    assert with_teacher < distance(net)
    for weight, other in zip(teacher.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_a_net_for_other_classes_is_refused(digits):
    net = highway_net(HighwayConfig(4, (8,), 1, (1,)), digits.input_shape, 7)
    with pytest.raises(TrainingError, match="expected one output of 10 logits"):
        fit(net, digits, CONFIG)


def test_a_net_without_logits_is_refused_also_as_a_teacher(net, digits):
    shares = keras.Model(net.input, keras.layers.Softmax(name="shares")(net.output))
    with pytest.raises(TrainingError, match="the model ends in 'shares'.*expected logits"):
        fit(shares, digits, CONFIG)
    with pytest.raises(TrainingError, match="the teacher ends in 'shares'.*expected logits"):
        finetune(net, digits, CONFIG, teacher=shares)


def test_a_net_for_other_images_is_refused(digits):
    net = highway_net(HighwayConfig(4, (8,), 1, (1,)), (16, 16, 1), 10)
    with pytest.raises(TrainingError, match=r"takes \(16, 16, 1\), 'digits' gives \(8, 8, 1\)"):
        fit(net, digits, CONFIG)


def test_recalibration_sets_the_plain_mean_over_batches():
    inputs = keras.Input((2,), name="features")
    net = keras.Model(inputs, keras.layers.BatchNormalization(name="norm")(inputs))
    images = np.array([[0, 1], [2, 1], [4, 3], [6, 3], [9, 9]], np.float32)
    assert np.random.default_rng(0).permutation(5).tolist() == [2, 4, 3, 0, 1]
    recalibrate(net, images, batch_size=2)  # (4, 3), (9, 9) and (6, 3), (0, 1); a row is left out
    norm = net.get_layer("norm")
    # means (6.5, 6) and (3, 2); variances (2.5^2, 3^2) and (3^2, 1^2)
    np.testing.assert_allclose(norm.moving_mean, [4.75, 4])
    np.testing.assert_allclose(norm.moving_variance, [7.625, 5])
    assert norm.momentum == 0.99


def test_recalibration_does_not_mind_images_sorted_by_class():
    inputs = keras.Input((1,), name="features")
    net = keras.Model(inputs, keras.layers.BatchNormalization(name="norm")(inputs))
    classes = np.repeat(np.arange(8, dtype=np.float32), 64)[:, None]
    shuffled = np.random.default_rng(1).permutation(classes)
    variances = []
    for images in (classes, shuffled):
        recalibrate(net, images, batch_size=64)
        variances.append(float(net.get_layer("norm").moving_variance[0]))
    # (8^2 - 1) / 12 = 5.25, of 64 drawn 63/64 of it; with one class a batch it would be 0
    assert variances == pytest.approx([5.17, 5.17], rel=0.05)


@pytest.mark.parametrize("form", [list, dict])
def test_recalibration_of_a_model_of_several_inputs(form):
    inputs = {name: keras.Input((1,), name=name) for name in ("a", "b")}
    norms = {name: keras.layers.BatchNormalization(name=f"norm_{name}") for name in inputs}
    outputs = [norms[name](inputs[name]) for name in inputs]
    net = keras.Model(inputs if form is dict else list(inputs.values()), outputs)
    rows = {"a": np.array([[1], [2], [6]], np.float32), "b": np.array([[4], [4], [1]], np.float32)}
    recalibrate(net, rows if form is dict else list(rows.values()))
    np.testing.assert_allclose(norms["a"].moving_mean, [3])
    np.testing.assert_allclose(norms["b"].moving_variance, [2], rtol=1e-6)


def test_recalibration_counts_every_call_of_a_norm_alike():
    one, other = keras.Input((1,), name="one"), keras.Input((1,), name="other")
    norm = keras.layers.BatchNormalization(name="norm")
    net = keras.Model([one, other], [norm(one), norm(other)])
    recalibrate(net, [np.array([[1], [3]], np.float32), np.array([[10], [20]], np.float32)])
    # means 2 and 15, variances 1 and 25
    np.testing.assert_allclose(norm.moving_mean, [8.5])
    np.testing.assert_allclose(norm.moving_variance, [13])
    assert norm.momentum == 0.99 and "call" not in vars(norm)


def test_a_search_judges_candidates_on_images_of_every_class(monkeypatch):
    """A folder's images are sorted by class: the first of them are of one."""
    monkeypatch.setattr(search, "_IMAGES", 16)
    monkeypatch.setattr(search, "accuracy", lambda *_: 1.0)
    seen = []
    monkeypatch.setattr(search, "recalibrate", lambda net, images: seen.append(images))
    net = highway_net(HighwayConfig(2, (4,), 1, (1,)), (3,), 2)
    labels = np.repeat(np.arange(2, dtype=np.int32), 32)
    split = Split(np.repeat(labels[:, None], 3, axis=1).astype(np.float32), labels)
    dataset = Dataset("rows", split, split, split, ("a", "b"), augment=False)
    search.search_plan(net, collect_stats(net, split.images), dataset, 0.0)
    assert len(seen) > 1 and {len(images) for images in seen} == {16}
    for images in seen:
        assert 4 <= images[:, 0].sum() <= 12
        np.testing.assert_array_equal(images, seen[0])


NO_TENSORFLOW = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tf_keras"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Refuse())
import dataclasses, keras
from hwkeras import TrainConfig, apply_plan, collect_stats, fit, highway_net, load_dataset
from hwkeras import HighwayConfig, finetune, make_plan
data = load_dataset("digits")
data = dataclasses.replace(data, train=data.train.take(slice(0, 256)))
net = highway_net(HighwayConfig(4, (8,), 2, (2,)), data.input_shape, 10)
config = TrainConfig(epochs=1, batch_size=64)
rows = fit(net, data, config)
stats = collect_stats(net, data.train.images)
slim = apply_plan(net, make_plan(stats, keep=0.5))
assert slim.count_params() < net.count_params()
finetune(slim, data, dataclasses.replace(config, penalty=None, distill=0.5), teacher=net)
print(keras.backend.backend(), round(rows[0]["loss"], 3), "tensorflow" in sys.modules)
"""


def test_one_epoch_on_jax_where_tensorflow_cannot_be_imported():
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-c", NO_TENSORFLOW],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    backend, loss, imported = done.stdout.split()
    assert (backend, imported) == ("jax", "False")
    assert 1.0 < float(loss) < 4.0  # ln(10) = 2.3 plus the penalty
