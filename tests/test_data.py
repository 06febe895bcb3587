"""Loading: what each source becomes, and the line that each kind of bad input gets."""

import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

from hwkeras.data import load_dataset
from hwkeras.dataset import DataError, Dataset, Split
from hwkeras.folder import load_image

RED, BLUE, GREY = (255, 0, 0), (0, 0, 255), 128


def save_image(path, colour=RED, size=(8, 8), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


def make_folder(root, classes=("cat", "dog"), count=10, size=(8, 8), mode="RGB"):
    """Every image has a value of its own: 20 * class + its number."""
    for c, name in enumerate(classes):
        for i in range(count):
            value = 20 * c + i
            save_image(root / name / f"{i}.png", value if mode == "L" else (value,) * 3, size, mode)
    return root


def arrays(**changes):
    """A sound .npz: 20 images of 3 classes with the index in the first pixel; None removes."""
    labels = np.arange(20) % 3
    x = np.zeros((20, 4, 4, 3), np.uint8)
    x[:, 0, 0, 0] = np.arange(20)
    sound = {"x_train": x, "y_train": labels, "x_test": x[:6] + 100, "y_test": labels[:6]}
    return {key: value for key, value in {**sound, **changes}.items() if value is not None}


def save_npz(path, **changes):
    np.savez(path, **arrays(**changes))
    return path


def rows(split):
    return {image.tobytes() for image in split.images}


# --- the value


def test_moments_are_those_of_the_training_split():
    train = Split(np.array([[[[0, 7]]], [[[10, 7]]]], np.uint8), np.array([0, 1], np.int32))
    other = Split(np.full((1, 1, 1, 2), 255, np.uint8), np.array([0], np.int32))
    data = Dataset("two", train, other, other, ("a", "b"), augment=False)
    assert data.input_shape == (1, 1, 2)
    assert data.channel_mean == (5.0, 7.0)
    assert data.channel_deviation == (5.0, 1.0)  # (0 - 5)^2, (10 - 5)^2; the second is constant


def test_moments_over_more_rows_than_one_part():
    images = np.random.default_rng(0).integers(0, 256, (2500, 2, 3, 3), dtype=np.uint8)
    split = Split(images, np.zeros(2500, np.int32))
    data = Dataset("noise", split, split, split, ("a", "b"), augment=False)
    np.testing.assert_allclose(data.channel_mean, images.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(data.channel_deviation, images.std((0, 1, 2)), rtol=1e-12)


def test_constant_and_nearly_constant_features():
    table = np.full((3000, 2), 0.1, np.float32)
    table[::2, 1] = 1000
    table[1::2, 1] = 1001
    split = Split(table, np.zeros(3000, np.int32))
    # 1 stands for 0; and 1000.5 - 1000 = 0.5
    assert Dataset("t", split, split, split, ("a", "b"), False).channel_deviation == (1.0, 0.5)


def test_fingerprint_sees_every_array_and_the_classes():
    def make(value=1, label=0, classes=("a", "b"), shape=(2, 1, 1, 1)):
        split = Split(np.ones(shape, np.uint8), np.zeros(2, np.int32))
        changed = Split(np.full(shape, value, np.uint8), np.full(2, label, np.int32))
        return Dataset("x", split, split, changed, classes, augment=False).fingerprint

    prints = [make(), make(value=2), make(label=1), make(classes=("a", "c")), make(shape=(2, 1, 1))]
    assert len(set(prints)) == 5
    assert make() == make()
    assert len(make()) == 64


# --- digits


def test_digits():
    data = load_dataset("digits")
    # 1,797 images, of class c: 178 182 177 183 181 182 181 179 174 180. A fifth of each, rounded:
    # 36 36 35 37 36 36 36 36 35 36 = 359. A tenth of the rest (142 146 142 146 145 146 145 143 139
    # 144), rounded: 14 15 14 15 14 15 14 14 14 14 = 143 (14.5 rounds to even).
    assert [len(data.test), len(data.validation), len(data.train)] == [359, 143, 1295]
    assert np.bincount(data.test.labels).tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert data.input_shape == (8, 8, 1)
    assert data.train.images.dtype == np.uint8 and data.train.labels.dtype == np.int32
    assert data.train.images.max() == 255 and data.train.images.min() == 0
    assert data.classes == tuple("0123456789")
    assert not data.augment


def test_digits_splits_share_nothing_and_lose_nothing():
    data = load_dataset("digits")
    parts = [rows(data.train), rows(data.validation), rows(data.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1797  # all 1,797 images differ


def test_the_seed_moves_validation_but_not_test():
    one, same, two = (load_dataset("digits", seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint == same.fingerprint
    np.testing.assert_array_equal(one.test.images, two.test.images)
    assert rows(one.validation) != rows(two.validation)


# --- cifar10


def test_cifar10_without_network_says_what_to_do(monkeypatch):
    import keras

    def fail():
        raise Exception("URL fetch failure on https://host: None\nmore")

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", fail)
    text = r"^cifar10: download failed; pass an \.npz with x_train, .* \(URL .* None\)$"
    with pytest.raises(DataError, match=text):
        load_dataset("cifar10")


def test_cifar10_labels_become_flat_and_the_download_is_no_result(monkeypatch, capsys):
    import keras

    x, y = np.zeros((40, 2, 2, 3), np.uint8), np.arange(40, dtype=np.uint8)[:, None] % 10

    def load():
        print("Downloading data")  # as Keras does, where --json wants nothing but JSON
        return (x, y), (x[:10], y[:10])

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", load)
    data = load_dataset("cifar10")
    assert capsys.readouterr() == ("", "Downloading data\n")
    assert data.test.labels.tolist() == list(range(10))
    assert [len(data.train), len(data.validation)] == [30, 10]  # one of each class's four
    assert data.classes[0] == "airplane" and data.classes[9] == "truck" and data.augment


# --- folders


def test_folder_with_a_test_split(tmp_path):
    make_folder(tmp_path / "pets/train", count=10)
    make_folder(tmp_path / "pets/test", classes=("dog",), count=2)
    data = load_dataset(tmp_path / "pets", validation=0.3)
    assert data.name == "pets" and data.classes == ("cat", "dog") and data.augment
    assert data.input_shape == (8, 8, 3)
    assert [len(data.train), len(data.validation), len(data.test)] == [14, 6, 2]
    assert np.bincount(data.validation.labels).tolist() == [3, 3]
    assert data.test.labels.tolist() == [1, 1]
    # value 20 * class + number, so the label can be read off the image
    for split in (data.train, data.validation):
        assert (split.images[:, 0, 0, 0] // 20).tolist() == split.labels.tolist()
    assert not rows(data.train) & rows(data.validation)


def test_plain_folder_gives_up_a_test_split(tmp_path):
    make_folder(tmp_path, count=20)
    data = load_dataset(tmp_path)
    # of 20 a class: 3 to test (15%), then 2 of 17 to validation (1.7 rounded)
    assert [len(data.test), len(data.validation), len(data.train)] == [6, 4, 30]
    assert len(rows(data.train) | rows(data.validation) | rows(data.test)) == 40
    assert rows(load_dataset(tmp_path, seed=5).test) == rows(data.test)


def test_grey_folder_keeps_one_channel(tmp_path):
    make_folder(tmp_path, mode="L")
    assert load_dataset(tmp_path).input_shape == (8, 8, 1)
    save_image(tmp_path / "cat/colour.png", RED)
    assert load_dataset(tmp_path).input_shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("extra", "image_size", "expected"),
    [
        ((8, 8), None, (8, 8, 3)),  # all share a small size
        ((8, 9), None, (64, 64, 3)),  # two sizes
        ((8, 8), 16, (16, 16, 3)),  # asked for
        ((300, 200), 16, (16, 16, 3)),
    ],
)
def test_sizes(tmp_path, extra, image_size, expected):
    make_folder(tmp_path, count=3)
    save_image(tmp_path / "dog/extra.jpg", RED, extra)
    assert load_dataset(tmp_path, image_size=image_size).input_shape == expected


@pytest.mark.parametrize(("width", "expected"), [(128, (100, 128, 3)), (129, (64, 64, 3))])
def test_a_shared_size_is_kept_up_to_128_pixels(tmp_path, width, expected):
    make_folder(tmp_path, count=3, size=(width, 100))
    assert load_dataset(tmp_path).input_shape == expected


def test_other_files_are_ignored(tmp_path):
    make_folder(tmp_path / "train")
    (tmp_path / "train/cat/notes.txt").write_text("x")
    (tmp_path / "train/cat/.hidden.png").write_text("x")
    (tmp_path / "train/cat/nested.png").mkdir()
    (tmp_path / "train/.cache").mkdir()
    (tmp_path / "train/README.md").write_text("x")
    data = load_dataset(tmp_path)
    assert data.classes == ("cat", "dog") and data.skipped == ()
    assert len(data.train) + len(data.validation) + len(data.test) == 20


def test_unreadable_images_are_skipped_up_to_max_bad(tmp_path):
    make_folder(tmp_path, size=(40, 40))
    whole = (tmp_path / "cat/3.png").read_bytes()
    (tmp_path / "cat/3.png").write_bytes(whole[: len(whole) // 2])  # cut off
    (tmp_path / "dog/4.png").write_bytes(b"")
    (tmp_path / "dog/5.png").write_text("<html>")
    text = r"expected at most 2 unreadable images, found 3; the first is .*cat/3\.png: \S"
    with pytest.raises(DataError, match=text):
        load_dataset(tmp_path, max_bad=2)
    data = load_dataset(tmp_path, max_bad=3)
    names = ["cat/3.png", "dog/4.png", "dog/5.png"]
    assert data.skipped == tuple(str(tmp_path / name) for name in names)
    assert len(data.train) + len(data.validation) + len(data.test) == 17
    assert data.input_shape == (40, 40, 3)


def test_an_enormous_image_is_unreadable(tmp_path, monkeypatch):
    make_folder(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # PIL warns above this, raises above twice
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match="found 20; .*exceeds limit of 50 pixels"):
            load_dataset(tmp_path)


def test_a_foreign_format_in_disguise_is_unreadable(tmp_path):
    make_folder(tmp_path)
    save_image(tmp_path / "cat/x.png", RED, format="GIF")
    with pytest.raises(DataError, match=r"found 1; the first is .*cat/x\.png: neither PNG, JPEG,"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        ((), r"expected at least 2 classes, found 0$"),
        (("cat",), r"expected at least 2 classes, found 1$"),
    ],
)
def test_too_few_classes(tmp_path, classes, text):
    make_folder(tmp_path / "train", classes)
    (tmp_path / "train").mkdir(exist_ok=True)
    with pytest.raises(DataError, match=r"train/<class>/\*\.png: " + text):
        load_dataset(tmp_path)


def test_empty_class(tmp_path):
    make_folder(tmp_path / "train")
    (tmp_path / "train/emu").mkdir()
    with pytest.raises(DataError, match="expected images of every class, found none of 'emu'$"):
        load_dataset(tmp_path)


def test_a_class_of_files_that_are_not_read_says_which_are(tmp_path):
    make_folder(tmp_path / "train")
    (tmp_path / "train/emu").mkdir()
    (tmp_path / "train/emu/2.svg").write_text("<svg/>")
    (tmp_path / "train/emu/1.PDF").write_text("%PDF-1.4")
    text = r"emu: expected images \(\.png, .*, \.bmp\), found '1\.PDF'$"
    with pytest.raises(DataError, match=text):
        load_dataset(tmp_path)
    save_image(tmp_path / "train/emu/3.png", RED)
    assert load_dataset(tmp_path).classes == ("cat", "dog", "emu")


def test_pictures_of_other_formats_count_as_unreadable(tmp_path):
    """A phone's folder of .heic with one .jpg in it must not become a class of one image."""
    make_folder(tmp_path)
    (tmp_path / "cat/a.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    save_image(tmp_path / "dog/b.gif", RED)
    text = r"found 2; the first is .*cat/a\.HEIC: neither PNG, JPEG, WebP nor BMP$"
    with pytest.raises(DataError, match=text):
        load_dataset(tmp_path, max_bad=1)
    names = ["cat/a.HEIC", "dog/b.gif"]
    skipped = load_dataset(tmp_path, max_bad=2).skipped
    assert skipped == tuple(str(tmp_path / name) for name in names)


def test_jfif_is_jpeg(tmp_path):
    make_folder(tmp_path)
    save_image(tmp_path / "cat/a.jfif", RED, format="JPEG")
    dataset = load_dataset(tmp_path)
    assert sum(map(len, (dataset.train, dataset.validation, dataset.test))) == 21


def test_a_class_left_empty_by_skipping(tmp_path):
    make_folder(tmp_path / "train")
    (tmp_path / "train/emu").mkdir()
    (tmp_path / "train/emu/1.png").write_text("x")
    with pytest.raises(DataError, match="found none of 'emu'$"):
        load_dataset(tmp_path, max_bad=1)


def test_unknown_test_class(tmp_path):
    make_folder(tmp_path / "train")
    make_folder(tmp_path / "test", ("cat", "yak"))
    with pytest.raises(DataError, match="test: expected only classes of .*train, found 'yak'$"):
        load_dataset(tmp_path)


def test_empty_test_split(tmp_path):
    make_folder(tmp_path / "train")
    (tmp_path / "test/cat").mkdir(parents=True)
    with pytest.raises(DataError, match=r"test/<class>/\*\.png: expected images, found none$"):
        load_dataset(tmp_path)


def test_one_image_a_class_cannot_be_split(tmp_path):
    make_folder(tmp_path, count=1)
    with pytest.raises(DataError, match="test split: expected 2 images of some class"):
        load_dataset(tmp_path)


# --- single pictures


def test_load_image_resizes_with_antialias(tmp_path):
    picture = Image.new("L", (64, 64), 0)
    picture.paste(255, (0, 0, 32, 64))  # left half white
    picture.save(tmp_path / "x.png")
    image = load_image(tmp_path / "x.png", (2, 2, 3))
    assert image.shape == (2, 2, 3) and image.dtype == np.uint8
    # The left pixel weighs columns by a triangle of half-width 32 around 16, cut at the edge:
    # area 32 - 4 beyond the edge = 28, of which 4 lie over the black half.
    np.testing.assert_allclose(image[:, 0], 255 * 6 / 7, atol=1)
    np.testing.assert_allclose(image[:, 1], 255 / 7, atol=1)


def test_load_image_turns_upright(tmp_path):
    picture = Image.new("RGB", (4, 2), RED)  # stored lying
    picture.paste(BLUE, (0, 0, 2, 2))  # blue on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise: left becomes top
    picture.save(tmp_path / "x.png", exif=exif)
    image = load_image(tmp_path / "x.png", (4, 2, 3))
    assert image[0, 0].tolist() == list(BLUE) and image[3, 1].tolist() == list(RED)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), [255, 255, 255]),
        ("RGBA", (255, 0, 0, 51), [255, 204, 204]),  # alpha 0.2: 0.8 * 255
        ("LA", (0, 51), [204, 204, 204]),
        ("1", 1, [255, 255, 255]),
        ("I;16", 0x8034, [0x80, 0x80, 0x80]),
    ],
)
def test_load_image_converts_modes(tmp_path, mode, colour, expected):
    save_image(tmp_path / "x.png", colour, mode=mode)
    assert load_image(tmp_path / "x.png", (8, 8, 3))[4, 4].tolist() == expected


def test_load_image_composites_palette_transparency(tmp_path):
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(tmp_path / "x.png", transparency=1)
    assert load_image(tmp_path / "x.png", (8, 8, 3))[0, 0].tolist() == [255, 255, 255]


def test_load_image_to_grey(tmp_path):
    save_image(tmp_path / "x.png", RED)
    assert load_image(tmp_path / "x.png", (8, 8, 1))[0, 0].tolist() == [76]  # 0.299 * 255


def test_load_image_equals_the_folders_conversion(tmp_path):
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(3):
            noise = rng.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"{i}.png")
    data = load_dataset(tmp_path)
    files = sorted(tmp_path.glob("*/*.png"))
    alone = {load_image(file, data.input_shape).tobytes() for file in files}
    assert alone == rows(data.train) | rows(data.validation) | rows(data.test)


def test_load_image_errors(tmp_path):
    (tmp_path / "x.png").write_text("text")
    with pytest.raises(DataError, match=r"x\.png: not a readable image: neither PNG, JPEG"):
        load_image(tmp_path / "x.png", (8, 8, 3))
    with pytest.raises(DataError, match=r"y\.png: not a readable image: .*No such file"):
        load_image(tmp_path / "y.png", (8, 8, 3))
    with pytest.raises(DataError, match=r"becomes \(height, width, 1 or 3\), not \(64,\)"):
        load_image(tmp_path / "x.png", (64,))


# --- .npz


def test_npz(tmp_path):
    data = load_dataset(save_npz(tmp_path / "toy.npz", classes=np.array(["a", "b", "c"])))
    assert data.name == "toy" and data.classes == ("a", "b", "c") and data.augment
    # 7, 7 and 6 images a class: a tenth is 0.7, 0.7, 0.6, so one of each
    assert [len(data.train), len(data.validation), len(data.test)] == [17, 3, 6]
    assert sorted(data.validation.labels.tolist()) == [0, 1, 2]
    np.testing.assert_array_equal(data.train.images[:, 0, 0, 0] % 3, data.train.labels)
    assert not rows(data.train) & rows(data.validation)


def test_npz_with_its_own_validation(tmp_path):
    extra = arrays()
    path = save_npz(tmp_path / "x.npz", x_val=extra["x_test"][:3], y_val=extra["y_test"][:3])
    data = load_dataset(path)
    assert [len(data.train), len(data.validation)] == [20, 3]
    assert data.classes == ("0", "1", "2")


def test_npz_shapes_that_are_completed(tmp_path):
    x = arrays()
    grey = {key: x[key][..., 0] for key in ("x_train", "x_test")}
    data = load_dataset(save_npz(tmp_path / "x.npz", **grey, y_train=x["y_train"][:, None]))
    assert data.input_shape == (4, 4, 1) and data.train.labels.shape == (17,)


def test_npz_table(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 5))
    data = load_dataset(save_npz(tmp_path / "x.npz", x_train=x, x_test=x[:6]))
    assert data.input_shape == (5,) and data.train.images.dtype == np.float32
    assert not data.augment and len(data.channel_mean) == 5


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_npz_whole_pixels_of_other_types_are_taken(tmp_path, dtype):
    x = arrays()
    wide = {key: x[key].astype(dtype) for key in ("x_train", "x_test")}
    data = load_dataset(save_npz(tmp_path / "wide.npz", **wide))
    assert data.train.images.dtype == np.uint8
    assert data.fingerprint == load_dataset(save_npz(tmp_path / "plain.npz")).fingerprint


def test_npz_binary_pixels_are_whole(tmp_path):
    ink = (np.arange(20 * 9).reshape(20, 3, 3) % 2).astype(np.int64)  # max is 1, but not a float
    data = load_dataset(save_npz(tmp_path / "x.npz", x_train=ink, x_test=ink[:6]))
    assert data.train.images.max() == 1 and data.train.images.dtype == np.uint8


def changed(key, index, value, dtype):
    array = arrays()[key].astype(dtype)
    array[index] = value
    return {key: array}


X = arrays()["x_train"]
BAD_NPZ = {
    "missing": ({"y_test": None}, r"x_train, y_train, x_test, y_test; y_test is missing$"),
    "half": ({"x_val": X}, r"x_val, y_val; y_val is missing$"),
    "scaled": ({"x_train": X / 255}, r"pixels 0\.\.255 uint8 expected, found float 0\.\.1; mult"),
    "nan": (
        changed("x_train", (2, 1, 0, 2), np.nan, float),
        r"x_train\[2, 1, 0, 2\] must be a pixel 0\.\.255, found nan$",
    ),
    "infinite": (changed("x_test", (0, 0, 0, 0), np.inf, float), r"x_test\[0, 0, 0, 0\].*inf$"),
    "high": (changed("x_train", (3, 0, 0, 0), 256, int), r"x_train\[3, 0, 0, 0\].*found 256$"),
    "low": (changed("x_train", (3, 0, 0, 0), -1, int), r"x_train\[3, 0, 0, 0\].*found -1$"),
    "fraction": (
        changed("x_train", (3, 0, 0, 1), 12.5, float),
        r"x_train\[3, 0, 0, 1\] must be a whole pixel 0\.\.255, found 12\.5$",
    ),
    "table nan": (
        {"x_train": np.where(np.eye(20, 4) > 0, np.nan, 0)[::-1]},
        r"x_train\[16, 3\] must be a finite float32, found nan$",
    ),
    "table overflow": ({"x_train": np.full((20, 4), 1e300)}, r"x_train\[0, 0\].*found 1e\+300$"),
    "text": ({"x_train": np.array(["a"] * 20)}, r"x_train: expected numbers of shape.*<U1 \(20,\)"),
    "no images": ({"x_train": X[:0]}, r"x_train: expected numbers.*uint8 \(0, 4, 4, 3\)$"),
    "channels first": (
        {"x_train": np.zeros((20, 3, 8, 8), np.uint8)},
        r"x_train: expected channels last, found shape \(20, 3, 8, 8\)$",
    ),
    "length": ({"x_train": X[:19]}, r"x_train has 19 rows and y_train has 20$"),
    "shapes": (
        {"x_test": X[:6, :3]},
        r"one shape, found x_test \(6, 3, 4, 3\) and x_train \(20, 4, 4, 3\)$",
    ),
    "negative": (
        changed("y_train", 4, -1, int),
        r"y_train\[4\] must be a whole number 0\.\.19, found -1$",
    ),
    "unknown test label": (
        changed("y_test", 5, 3, int),
        r"y_test\[5\] must be a whole number 0\.\.2, found 3$",
    ),
    "label beyond classes": (
        {"classes": np.array(["a", "b"])},
        r"y_train\[2\] must be a whole number 0\.\.1, found 2$",
    ),
    "fractional label": (changed("y_train", 1, 0.5, float), r"y_train\[1\].*found 0\.5$"),
    "nan label": (changed("y_train", 1, np.nan, float), r"y_train\[1\].*found nan$"),
    "infinite label": (changed("y_train", 1, np.inf, float), r"y_train\[1\].*found inf$"),
    "one-hot": ({"y_train": np.eye(3)[np.arange(20) % 3]}, r"shape \(n,\), found .*\(20, 3\)$"),
    "scalar labels": ({"y_train": np.array(3)}, r"y_train: expected whole numbers.*int64 \(\)$"),
    "scalar images": ({"x_train": np.array(3)}, r"x_train: expected numbers of shape"),
    "empty class": (
        {"classes": np.array(["a", "b", "c", "d"])},
        r"y_train: expected images of every class, found none of 'd'$",
    ),
    "one class": ({"y_train": np.zeros(20, int)}, r"expected at least 2 classes, found 1$"),
    "same names": (
        {"classes": np.array(["a", "b", "a"])},
        r"classes must be distinct strings, found \['a', 'b', 'a'\]$",
    ),
    "number names": ({"classes": np.arange(3)}, r"distinct strings, found \[0, 1, 2\]$"),
    "objects": (
        {"y_train": np.array([0, 1, None] * 6 + [0, 1], object)},
        r"y_train cannot be read: Object arrays cannot be loaded when allow_pickle=False$",
    ),
}


@pytest.mark.parametrize(("changes", "text"), BAD_NPZ.values(), ids=BAD_NPZ.keys())
def test_bad_npz(tmp_path, changes, text):
    path = save_npz(tmp_path / "bad.npz", **changes)
    with pytest.raises(DataError, match=r"bad\.npz: .*" + text) as caught:
        load_dataset(path)
    assert "\n" not in str(caught.value)


def test_npz_that_is_none(tmp_path):
    path = save_npz(tmp_path / "whole.npz")
    whole = path.read_bytes()
    np.save(tmp_path / "array.npy", X)
    contents = {
        "empty": b"",
        "text": b"x_train",
        "truncated": whole[: len(whole) // 2],
        "array": (tmp_path / "array.npy").read_bytes(),
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.npz: expected an \.npz archive, found anot"):
            load_dataset(tmp_path / f"{name}.npz")


def test_npz_with_damaged_bytes(tmp_path):
    path = save_npz(tmp_path / "bad.npz")
    content = bytearray(path.read_bytes())
    content[400] ^= 255  # inside x_train, so the checksum fails
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.npz: x_train cannot be read: .*CRC"):
        load_dataset(path)


def test_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("notes.txt", "x")
    with pytest.raises(DataError, match="y_test; x_train is missing$"):
        load_dataset(tmp_path / "x.npz")


# --- the call


@pytest.mark.parametrize("source", ["mnist", "no/such/folder", "gone.npz"])
def test_unknown_source(source):
    text = (
        f"^{source}: no such data; expected digits, cifar10, a folder train/<class>/.*, "
        "or an .npz with x_train, y_train, x_test, y_test$"
    )
    with pytest.raises(DataError, match=text):
        load_dataset(source)


def test_a_model_where_data_belongs(tmp_path):
    model = tmp_path / "slim.tflite"
    model.write_bytes(b"PK")
    with pytest.raises(DataError, match="^.*slim.tflite is a model, and no data; expected digits"):
        load_dataset(str(model))


def test_bad_arguments():
    with pytest.raises(DataError, match="validation share must be between 0 and 1, found 1"):
        load_dataset("digits", validation=1)
    with pytest.raises(DataError, match="image size must be at least 1 pixel, found 0"):
        load_dataset("digits", image_size=0)
    with pytest.raises(DataError, match="^the seed must be at least 0, found -1$"):
        load_dataset("digits", seed=-1)
    with pytest.raises(
        DataError, match="^the number of images to skip must be at least 0, found -2"
    ):
        load_dataset("digits", max_bad=-2)


def test_loading_needs_neither_keras_nor_tensorflow():
    code = (
        "import sys; from hwkeras.data import load_dataset; load_dataset('digits');"
        "print([m for m in ('keras', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
