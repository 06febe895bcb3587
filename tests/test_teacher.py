"""The teacher answers as in inference, and its kept answers are those it would give."""

import dataclasses

import keras
import numpy as np
import pytest

from hwkeras.batches import TrainingBatches
from hwkeras.data import load_dataset
from hwkeras.files import FileError
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.teacher import Teacher
from hwkeras.training import FINETUNE, TrainingError, finetune

CONFIG = dataclasses.replace(FINETUNE, epochs=2, batch_size=64)


@pytest.fixture(scope="module")
def digits():
    data = load_dataset("digits")
    return dataclasses.replace(data, train=data.train.take(slice(0, 256)))


def make_net(digits, seed=0):
    keras.utils.set_random_seed(seed)
    config = HighwayConfig(stem=4, stages=(8,), strides=(2,), blocks=2)
    return highway_net(
        config, digits.input_shape, 10, digits.channel_mean, digits.channel_deviation
    )


@pytest.fixture
def net(digits):
    return make_net(digits)


def lessons(digits, teacher, epoch=0):
    split = digits.train
    return TrainingBatches(
        split.images, split.labels, 64, seed=0, augment=True, epoch=epoch, teacher=teacher
    )


def test_it_answers_as_in_inference_and_is_a_copy(net, digits):
    inputs = keras.Input(digits.input_shape, name="image")
    noisy = keras.Model(inputs, keras.layers.Dropout(0.5)(net(inputs)), name="noisy")
    teacher = Teacher(noisy)
    images = digits.train.images[:64]
    expected = np.asarray(noisy(images, training=False))
    for weight in net.weights:
        weight.assign(weight + 1.0)  # the pupil may be the teacher itself
    answers = teacher.answer(0, 0, images, batches=4)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-5)


def test_it_answers_with_what_a_normalization_was_adapted_to(digits):
    images = digits.train.images[:64]
    norm = keras.layers.Normalization()
    norm.adapt(images)
    inputs = keras.Input(digits.input_shape, name="image")
    inner = keras.Sequential([keras.Input(digits.input_shape), norm])
    outputs = keras.layers.Dense(10)(keras.layers.Flatten()(inner(inputs)))
    model = keras.Model(inputs, outputs)
    answers = Teacher(model).answer(0, 0, images, batches=4)
    np.testing.assert_allclose(answers, np.asarray(model(images)), rtol=1e-5, atol=1e-5)


def test_it_computes_in_the_precision_of_the_training(net, digits):
    images = digits.train.images[:64]
    exact, rough = (
        Teacher(net, precision).answer(0, 0, images, 4)
        for precision in ("float32", "mixed_bfloat16")
    )
    assert rough.dtype == np.float32
    assert not np.array_equal(exact, rough)
    np.testing.assert_allclose(rough, exact, atol=0.1)
    assert {layer.compute_dtype for layer in net._flatten_layers()} == {"float32"}


def test_batches_carry_its_answers(net, digits):
    images, labels = lessons(digits, Teacher(net), epoch=1)[2]
    plain_images, plain_labels = lessons(digits, None, epoch=1)[2]
    np.testing.assert_array_equal(images, plain_images)
    np.testing.assert_array_equal(labels["labels"], plain_labels)
    expected = np.asarray(net(images, training=False))
    np.testing.assert_allclose(labels["teacher"], expected, rtol=1e-5, atol=1e-5)


def test_kept_answers_are_taken_by_the_next_pupil_only_if_nothing_changed(net, digits, tmp_path):
    def asked(*arguments, net=net, epoch=0):
        """Returns the answers of an epoch and how often the model itself was asked."""
        teacher, count = Teacher(net, "float32", tmp_path, *arguments), []
        ask = teacher.model.predict_on_batch
        teacher.model.predict_on_batch = lambda images: count.append(1) or ask(images)
        batches = lessons(digits, teacher, epoch)
        return np.stack([batches[i][1]["teacher"] for i in range(len(batches))]), len(count)

    first, count = asked("lesson")
    assert count == 4
    again, count = asked("lesson")
    assert count == 0
    np.testing.assert_array_equal(first, again)
    assert asked("another lesson")[1] == 4
    assert asked("lesson", epoch=1)[1] == 4
    assert asked("lesson", net=make_net(digits, seed=1))[1] == 4


@pytest.mark.parametrize("damage", [b"", b"PK", b"\x93NUMPY", b"garbage"])
def test_broken_answers_are_asked_anew(net, digits, tmp_path, damage):
    def answers():
        batches = lessons(digits, Teacher(net, kept=tmp_path))
        return np.stack([batches[i][1]["teacher"] for i in range(len(batches))])

    whole = answers()
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(damage or content[: len(content) // 2])
    np.testing.assert_array_equal(answers(), whole)
    assert path.read_bytes() == content


def test_a_broken_off_epoch_keeps_nothing(net, digits, tmp_path):
    batches = lessons(digits, Teacher(net, kept=tmp_path))
    for i in range(3):
        batches[i]
    assert list(tmp_path.iterdir()) == []
    batches[3]
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def copies(model):
    """Returns weights that stay as they are: PyTorch's share the model's memory."""
    return [weight.copy() for weight in model.get_weights()]


def test_fine_tuning_is_the_same_with_kept_answers(net, digits, tmp_path):
    start, results = copies(net), []
    for answers in (None, tmp_path, tmp_path):
        net.set_weights(start)
        finetune(net, digits, CONFIG, teacher=make_net(digits, seed=1), answers=answers)
        results.append(copies(net))
    assert len(list(tmp_path.iterdir())) == CONFIG.epochs
    for weights in zip(*results, strict=True):
        np.testing.assert_array_equal(weights[0], weights[1])
        np.testing.assert_array_equal(weights[0], weights[2])


def test_no_answers_without_distillation(net, digits, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=1, distill=0.0)
    finetune(net, digits, config, teacher=net, answers=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_of_other_classes_is_refused(net, digits):
    config = HighwayConfig(stem=4, stages=(8,), strides=(1,), blocks=1)
    teacher = highway_net(config, digits.input_shape, 7)
    with pytest.raises(TrainingError, match=r"teacher gives \(None, 7\); expected .* 10 logits"):
        finetune(net, digits, CONFIG, teacher=teacher)


def test_a_training_does_not_go_on_with_another_teacher(net, digits, tmp_path):
    teacher = make_net(digits, seed=1)
    finetune(net, digits, CONFIG, teacher=teacher, checkpoint=tmp_path)
    finetune(net, digits, CONFIG, teacher=teacher, checkpoint=tmp_path, resume=True)
    other = make_net(digits, seed=2)
    with pytest.raises(FileError, match="checkpoint is of another run"):
        finetune(net, digits, CONFIG, teacher=other, checkpoint=tmp_path, resume=True)
