"""Feeding `fit`: which batch comes when, and what augmentation may do to an image."""

import collections
import time

import keras
import numpy as np
import pytest

from hwkeras.batches import TrainingBatches, augment_images, crop_pad


def counted(n):
    """n noisy 12x12 images, and the index of each as its label."""
    return noise(n), np.arange(n, dtype=np.int32)


def noise(n=64, shape=(12, 12, 3), dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, (n, *shape)).astype(dtype)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# --- augmentation


@pytest.mark.parametrize(
    ("side", "pad"), [(1, 0), (2, 1), (8, 1), (16, 2), (31, 3), (32, 4), (224, 4)]
)
def test_crop_pad(side, pad):
    assert crop_pad(side, 500) == crop_pad(500, side) == pad


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    ("shape", "pad", "outcomes"),
    # Of 2 * (2 * pad + 1)^2 equally likely outcomes 48 draws meet 38 of 98, or 17 of 18.
    [((12, 12, 3), 3, 30), ((9, 14, 1), 3, 30), ((5, 4, 2), 1, 13)],
)
def test_every_result_is_a_crop_of_the_padded_image_or_its_mirror(shape, pad, outcomes, dtype):
    images = noise(48, shape, dtype)
    before = images.copy()
    height, width, _ = shape
    seen = collections.Counter()
    results = augment_images(images, np.random.default_rng(1), pad)
    for image, result in zip(images, results, strict=True):
        matches = []
        for flip in (False, True):
            source = image[:, ::-1] if flip else image
            padded = np.pad(source, ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
            for y in range(2 * pad + 1):
                for x in range(2 * pad + 1):
                    if np.array_equal(padded[y : y + height, x : x + width], result):
                        matches.append((flip, y, x))
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) >= outcomes
    np.testing.assert_array_equal(images, before)


def test_shifts_reach_both_ends_and_half_the_images_flip():
    row = np.arange(8, dtype=np.uint8)
    images = np.broadcast_to(row[None, None, :, None], (4000, 8, 8, 1))
    out = augment_images(images, np.random.default_rng(0), pad=1)[:, 0, :, 0]
    flips = out[:, 4] < out[:, 3]
    assert 0.46 < flips.mean() < 0.54  # 0.5, deviation 0.008
    starts = collections.Counter(tuple(r[:2].tolist()) for r in out[~flips])
    assert set(starts) == {(1, 0), (0, 1), (1, 2)}  # shifted by -1 (0 reflected: 1, 0), 0 and 1
    assert all(0.27 < n / (~flips).sum() < 0.40 for n in starts.values())


def test_result_keeps_dtype_and_shape_and_takes_non_contiguous_images():
    images = noise(64, (12, 12, 4))[..., ::2]
    result = augment_images(images, np.random.default_rng(0))
    assert result.dtype == np.uint8 and result.shape == images.shape
    copied = augment_images(np.ascontiguousarray(images), np.random.default_rng(0))
    np.testing.assert_array_equal(result, copied)


def test_one_pixel_images_stay():
    images = noise(5, (1, 1, 3))
    np.testing.assert_array_equal(augment_images(images, np.random.default_rng(0)), images)


def test_augmentation_errors():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"can be augmented\. Received: shape=\(4, 7\)$"):
        augment_images(np.zeros((4, 7)), rng)
    text = r"`pad` must be from 0 to 7 for 8x9 images\. Received: pad=8$"
    with pytest.raises(ValueError, match=text):
        augment_images(np.zeros((4, 8, 9, 3)), rng, pad=8)


# --- batches


def test_an_epoch_draws_every_image_at_most_once():
    images, labels = counted(22)
    batches = TrainingBatches(images, labels, batch_size=4, seed=0, augment=False)
    assert len(batches) == batches.num_batches == 5  # 22 = 5 * 4 + 2 dropped
    drawn = [batches[i] for i in range(5)]
    seen = np.concatenate([y for _, y in drawn])
    assert len(set(seen.tolist())) == 20
    for x, y in drawn:
        assert x.dtype == np.uint8 and y.dtype == np.int32
        np.testing.assert_array_equal(x, images[y])


def test_order_is_the_documented_one():
    images, labels = counted(10)
    batches = TrainingBatches(images, labels, batch_size=5, seed=7, augment=False, epoch=3)
    order = np.random.default_rng((7, 3)).permutation(10)
    np.testing.assert_array_equal(np.concatenate([batches[0][1], batches[1][1]]), order)


def test_a_batch_depends_on_seed_epoch_and_index_only():
    images, labels = noise(), np.arange(64)

    def batch(index=1, seed=0, epoch=2):
        return TrainingBatches(images, labels, 16, seed, augment=True, epoch=epoch)[index]

    whole = TrainingBatches(images, labels, 16, 0, augment=True, epoch=2)
    backwards = {i: whole[i] for i in (3, 2, 1, 0)}
    assert same(batch(), backwards[1])
    assert not same(batch(), batch(seed=1))
    assert not same(batch(), batch(epoch=3))
    assert not same(batch(), batch(index=2))


def test_augmentation_differs_between_batches_and_epochs():
    image = np.broadcast_to(noise(1), (32, 12, 12, 3))  # 32 times the same image
    batches = TrainingBatches(image, np.zeros(32, np.int32), 16, 0, augment=True)
    first, second = batches[0][0], batches[1][0]
    batches.epoch = 1
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, batches[0][0])


def test_tables_pass_through():
    table = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    batches = TrainingBatches(table, np.arange(9), batch_size=3, seed=0, augment=False)
    x, y = batches[2]
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, table[y])


def test_batch_size_is_clipped():
    batches = TrainingBatches(*counted(5), batch_size=128, seed=0, augment=True)
    assert len(batches) == 1 and len(batches[0][1]) == 5


def test_iteration_ends():
    batches = TrainingBatches(*counted(9), batch_size=4, seed=0, augment=False)
    assert len(list(batches)) == 2
    for index in (2, -1):
        with pytest.raises(IndexError, match=f"^batch {index} of 2$"):
            batches[index]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"images": np.zeros((0, 2, 2, 1))}, "not 0. Received: 0 images, 9 labels$"),
        ({"labels": np.arange(8)}, "Received: 9 images, 8 labels$"),
        ({"batch_size": 0}, "`batch_size` must be at least 1. Received: batch_size=0$"),
        ({"seed": -1}, "must not be negative. Received: seed=-1, epoch=0$"),
        ({"epoch": -2}, "must not be negative. Received: seed=0, epoch=-2$"),
        ({"images": np.zeros((9, 4))}, r"only images can be augmented\. Received: shape=\(9, 4\)$"),
    ],
)
def test_bad_arguments(changes, text):
    images, labels = counted(9)
    sound = {"images": images, "labels": labels, "batch_size": 4, "seed": 0, "augment": True}
    with pytest.raises(ValueError, match=text):
        TrainingBatches(**{**sound, **changes})


def test_epoch_advances_only_after_all_its_batches():
    batches = TrainingBatches(*counted(9), batch_size=4, seed=0, augment=False, epoch=5)
    batches.on_epoch_end()  # `fit` calls this before it begins
    batches.on_epoch_begin()
    batches[0]  # a first batch to build the model with
    batches.on_epoch_end()
    assert batches.epoch == 5
    batches.on_epoch_begin()
    assert len([batches[0], batches[1]]) == 2
    batches.on_epoch_end()
    assert batches.epoch == 6


# --- under fit


class Recorder(keras.Model):
    """Keeps the batches it is trained on, by epoch, and learns nothing."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, inputs):
        return keras.ops.mean(keras.ops.cast(inputs, "float32"), axis=(1, 2, 3))

    def train_step(self, data):
        self.seen.append(tuple(keras.ops.convert_to_numpy(part) for part in data))
        time.sleep(0.002)  # lets the prefetching thread run ahead
        return {"loss": 0.0}


def seen_by_fit(batches, **options):
    model = Recorder()
    model.compile(loss="mse", run_eagerly=True)
    model.fit(batches, **{"shuffle": False, "verbose": 0, **options})
    return model.seen


def by_hand(epoch, count=22, batch_size=4):
    batches = TrainingBatches(*counted(count), batch_size, seed=3, augment=True, epoch=epoch)
    return [batches[i] for i in range(len(batches))]


@pytest.mark.parametrize("batch_size", [4, 11, 22])  # 5, 2 and 1 batches
def test_fit_sees_the_epochs_in_order(batch_size):
    batches = TrainingBatches(*counted(22), batch_size, seed=3, augment=True)
    validation = TrainingBatches(*counted(8), 4, seed=0, augment=False)
    seen = seen_by_fit(batches, epochs=3, validation_data=validation)
    expected = [b for epoch in range(3) for b in by_hand(epoch, batch_size=batch_size)]
    assert len(seen) == len(expected) == 3 * (22 // batch_size)
    assert all(same(a, b) for a, b in zip(seen, expected, strict=True))
    assert batches.epoch == 3


def test_a_resumed_fit_sees_what_an_unbroken_one_sees():
    unbroken = seen_by_fit(TrainingBatches(*counted(22), 4, seed=3, augment=True), epochs=4)
    resumed = TrainingBatches(*counted(22), 4, seed=3, augment=True, epoch=2)
    seen = seen_by_fit(resumed, initial_epoch=2, epochs=4)
    assert len(seen) == 10
    assert all(same(a, b) for a, b in zip(seen, unbroken[10:], strict=True))


def test_the_same_batches_serve_a_second_fit():
    batches = TrainingBatches(*counted(22), 4, seed=3, augment=True)
    seen = seen_by_fit(batches, epochs=1) + seen_by_fit(batches, initial_epoch=1, epochs=2)
    assert all(same(a, b) for a, b in zip(seen, by_hand(0) + by_hand(1), strict=True))


def test_fit_that_shuffles_is_refused():
    batches = TrainingBatches(*counted(22), 1, seed=3, augment=False)
    with pytest.raises(Exception, match=r"batch \d+ is due, but \d+ was asked for: call fit\(sh"):
        seen_by_fit(batches, shuffle=True)
