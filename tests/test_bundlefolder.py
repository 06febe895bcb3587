"""The folder that the apps load: what is in it, what is refused, and what is never lost."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import cli
from export import bundlefolder
from export.bundle import BundleError, describe, read_sidecar, sidecar_path, write_model
from export.bundlefolder import gather, read_bundle, read_bundles, write_folder
from export.samples import Sample, file_names, load_samples
from export.tflite import convert
from hwkeras.dataset import DataError
from hwkeras.files import FileError
from hwkeras.folder import load_image

INDEX = """{
  "format": "hwkeras-bundles-1",
  "models": [
    "dense",
    "slim"
  ],
  "samples": [
    {
      "file": "samples/Spätzle.png",
      "label": "Spätzle"
    },
    {
      "file": "samples/Amsel.png",
      "label": "Amsel"
    }
  ]
}
"""
LABELS = ("Amsel", "Spätzle")
PIXELS = np.arange(2 * 3 * 1, dtype=np.uint8).reshape(2, 3, 1)
SAMPLES = (Sample("Spätzle", PIXELS), Sample("Amsel", 9 * PIXELS))


def net(*shape):
    inputs = keras.Input(shape, name="image")
    return convert(keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs))))


def ship(path, content, labels=LABELS):
    write_model(
        path, content, describe(path.stem, "float32", content, labels, parameters=1, macs=1)
    )
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run's models: `dense` and `slim`, and others that do not go with them."""
    folder = tmp_path_factory.mktemp("run")
    grey = net(2, 3, 1)
    ship(folder / "dense.tflite", grey)
    ship(folder / "slim.tflite", net(2, 3, 1))
    ship(folder / "larger.tflite", net(4, 5, 3))
    ship(folder / "table.tflite", net(6))
    ship(folder / "others.tflite", grey, ("Amsel", "Meise"))
    ship(folder / "bundles.tflite", grey)
    return folder


@pytest.fixture
def run(made, tmp_path):
    """A copy of them to break."""
    return shutil.copytree(made, tmp_path / "run")


def files(folder):
    """Returns what a folder holds, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(error, *arguments, call=gather, **options):
    with pytest.raises(error) as raised:
        call(*arguments, **options)
    return str(raised.value)


def test_what_an_app_finds(made, tmp_path):
    folder = tmp_path / "app" / "assets"
    bundles = read_bundles([made / "dense.tflite", made / "slim.tflite"])
    index = write_folder(folder, bundles, SAMPLES)
    assert (folder / "bundles.json").read_text(encoding="utf-8") == INDEX
    assert index == json.loads(INDEX)
    assert set(files(folder)) == {
        "bundles.json", "dense.tflite", "dense.json", "slim.tflite", "slim.json",
        "samples/Amsel.png", "samples/Spätzle.png",
    }  # fmt: skip
    for name in ("dense", "slim"):
        assert (folder / f"{name}.tflite").read_bytes() == (made / f"{name}.tflite").read_bytes()
        assert read_sidecar(folder / f"{name}.json") == read_sidecar(made / f"{name}.json")
    shown = load_image(folder / "samples" / "Spätzle.png", (2, 3, 1))
    np.testing.assert_array_equal(shown, PIXELS)


def test_a_model_is_named_as_its_file(run, tmp_path):
    for ending in (".tflite", ".json"):
        (run / f"dense{ending}").rename(run / f"mine{ending}")
    gather([run / "mine.tflite"], tmp_path / "app")
    assert read_sidecar(tmp_path / "app" / "mine.json").name == "mine"


def test_pictures_are_stored_as_the_largest_input_sees_them(made, tmp_path):
    photo = tmp_path / "Amsel.jpg"
    Image.fromarray(np.arange(60 * 50 * 3).reshape(60, 50, 3).astype(np.uint8)).save(photo)
    index = gather([made / "dense.tflite", made / "larger.tflite"], tmp_path / "app", [str(photo)])
    assert index["samples"] == [{"file": "samples/Amsel.png", "label": "Amsel"}]
    stored = np.asarray(Image.open(tmp_path / "app" / "samples" / "Amsel.png"))
    np.testing.assert_array_equal(stored, load_image(photo, (4, 5, 3)))


@pytest.mark.parametrize(
    ("break_it", "error", "text"),
    [
        (lambda f: f.unlink(), ValueError, "dense.tflite: no such file; expected a .tflite model"),
        (lambda f: f.write_bytes(f.read_bytes()[:-99]), ValueError, "broken or truncated"),
        (lambda f: f.write_bytes(b""), ValueError, "found an empty file"),
        (lambda f: sidecar_path(f).unlink(), FileError, "dense.json: no such file"),
        (lambda f: sidecar_path(f).write_text("{}"), FileError, "expected a sidecar of format"),
        (lambda f: shutil.copy(f.with_name("slim.tflite"), f), BundleError,
         "dense.tflite: not the file that dense.json describes: SHA-256 differs"),
        (lambda f: change(f, labels=("a", "b", "c")), BundleError, "3 labels for output (1, 2)"),
        (lambda f: change(f, output=read_sidecar(sidecar_path(f)).input), BundleError,
         "dense.json: describes another input or output than dense.tflite has"),
    ],
)  # fmt: skip
def test_a_broken_bundle_is_named_and_nothing_is_written(run, tmp_path, break_it, error, text):
    break_it(run / "dense.tflite")
    message = refused(error, [run / "slim.tflite", run / "dense.tflite"], tmp_path / "app")
    assert text in message and "\n" not in message
    assert not (tmp_path / "app").exists()


def change(path, **fields):
    beside = sidecar_path(path)
    beside.write_text(dataclasses.replace(read_sidecar(beside), **fields).to_json())


def test_what_takes_no_pictures_is_refused(made):
    message = refused(BundleError, made / "table.tflite", call=read_bundle)
    assert "the apps need input (1, height, width, 1 or 3), found (1, 6)" in message


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["dense", "slim", "dense"], "dense.tflite has that name; rename the .tflite and its JSON"),
        (["dense", "bundles"], "bundles.tflite: bundles.json has that name"),
        (["dense", "others"], "expected the labels of"),
    ],
)
def test_bundles_that_cannot_stand_side_by_side(made, names, text):
    paths = [made / f"{name}.tflite" for name in names]
    assert text in refused(BundleError, paths, call=read_bundles)


def test_a_folder_that_exists_is_replaced_only_by_force(made, tmp_path):
    dense, slim = read_bundles([made / "dense.tflite", made / "slim.tflite"])
    write_folder(tmp_path, [dense], SAMPLES)
    (tmp_path / "samples" / "mine.png").write_bytes(b"not of hwkeras")
    (tmp_path / "font.ttf").write_bytes(b"not of hwkeras")
    before = files(tmp_path)
    text = refused(BundleError, tmp_path, [slim], call=write_folder)
    assert text == f"{tmp_path / 'bundles.json'} exists; --force replaces the folder's bundles"
    assert files(tmp_path) == before
    write_folder(tmp_path, [slim], force=True)
    assert set(files(tmp_path)) == {
        "bundles.json", "slim.tflite", "slim.json", "samples/mine.png", "font.ttf",
    }  # fmt: skip
    (tmp_path / "samples" / "mine.png").unlink()
    write_folder(tmp_path, [dense], force=True)
    assert set(files(tmp_path)) == {"bundles.json", "dense.tflite", "dense.json", "font.ttf"}
    assert not (tmp_path / "samples").exists()


@pytest.mark.parametrize("taken", ["slim.json", "samples/Amsel.png"])
@pytest.mark.parametrize("force", [False, True])
def test_a_file_of_someone_else_is_never_replaced(made, tmp_path, taken, force):
    dense, slim = read_bundles([made / "dense.tflite", made / "slim.tflite"])
    if force:
        write_folder(tmp_path, [dense])
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_bytes(b"precious")
    before = files(tmp_path)
    text = refused(BundleError, tmp_path, [slim], SAMPLES, call=write_folder, force=force)
    assert text == f"{tmp_path / taken} exists and is no part of a bundle folder; move it"
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("content", "error", "text"),
    [
        ("{", FileError, "expected the index of a bundle folder, found broken JSON"),
        ('{"models": []}', BundleError, "expected an index of format 'hwkeras-bundles-1'"),
        ("[]", BundleError, "expected an index of format 'hwkeras-bundles-1'"),
    ],
)
def test_another_programs_index_is_never_replaced(made, tmp_path, content, error, text):
    (tmp_path / "bundles.json").write_text(content)
    assert text in refused(error, [made / "slim.tflite"], tmp_path, force=True)
    assert files(tmp_path) == {"bundles.json": content.encode()}


def test_an_index_from_elsewhere_does_not_reach_out_of_its_folder(made, tmp_path):
    folder = tmp_path / "app"
    (tmp_path / "precious.json").write_text("1")
    (tmp_path / "precious.png").write_text("1")
    foreign = {
        "format": "hwkeras-bundles-1",
        "models": ["../precious"],
        "samples": [{"file": "../precious.png"}, {"file": str(tmp_path / "precious.png")}],
    }
    folder.mkdir()
    (folder / "bundles.json").write_text(json.dumps(foreign))
    gather([made / "slim.tflite"], folder, force=True)
    assert (tmp_path / "precious.json").exists() and (tmp_path / "precious.png").exists()


def test_what_a_killed_call_left_is_no_obstacle(made, tmp_path, monkeypatch):
    bundles = read_bundles([made / "dense.tflite", made / "slim.tflite"])
    write_folder(tmp_path, bundles[:1])
    before = (tmp_path / "bundles.json").read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(bundlefolder, "write_text", killed)
        write_folder(tmp_path, bundles[1:], SAMPLES, force=True)
    assert (tmp_path / "bundles.json").read_bytes() == before
    assert (tmp_path / "dense.tflite").exists()  # what the index names is still there
    write_folder(tmp_path, bundles[1:], SAMPLES, force=True)
    assert len(files(tmp_path)) == 5 and not (tmp_path / "dense.tflite").exists()


@pytest.fixture
def photos(tmp_path):
    """photos/train/<class>/*.png, two pictures a class, told apart by their grey."""
    for label, grey in (("cat", 10), ("dog", 20)):
        folder = tmp_path / "photos" / "train" / label
        folder.mkdir(parents=True)
        for n in range(2):
            Image.new("L", (3, 2), grey + n).save(folder / f"{n}.png")
    return tmp_path / "photos"


def found(source, labels=("cat", "dog")):
    return [(s.label, int(s.pixels.max())) for s in load_samples(str(source), (2, 3, 1), labels)]


def test_samples_of_a_folder_are_the_first_of_each_class(photos):
    assert found(photos / "train") == found(photos) == [("cat", 10), ("dog", 20)]
    shutil.copytree(photos / "train" / "dog", photos / "test" / "dog")
    (photos / "test" / "dog" / "0.png").unlink()
    assert found(photos) == [("dog", 21)]  # the test images come before those trained on


def test_samples_of_files(photos):
    assert found(photos / "train" / "dog" / "1.png") == [("dog", 21)]
    assert found(photos / "train" / "dog", labels=("3",)) == [("0", 20), ("1", 21)]


def test_samples_of_a_data_set_are_test_images(tmp_path):
    images = np.arange(4, dtype=np.uint8).repeat(6).reshape(4, 2, 3, 1)
    np.savez(
        tmp_path / "data.npz", x_train=images, y_train=[0, 0, 1, 1], x_test=images + 50,
        y_test=[1, 0, 1, 0], classes=["cat", "dog"], x_val=images, y_val=[0, 0, 1, 1],
    )  # fmt: skip
    assert found(tmp_path / "data.npz") == [("cat", 51), ("dog", 50)]


def test_bad_sources_of_samples(photos, tmp_path):
    text = refused(DataError, photos, (2, 3, 1), ("cat", "bird"), call=load_samples)
    assert text == f"{photos / 'train'}: the model has no class 'dog'; it has cat, bird"
    (photos / "train" / "ant").mkdir()
    text = refused(DataError, photos, (2, 3, 1), ("ant", "cat", "dog"), call=load_samples)
    assert text == f"{photos / 'train' / 'ant'}: expected a picture, found none"
    text = refused(DataError, photos / "train" / "ant", (2, 3, 1), (), call=load_samples)
    assert text.endswith("ant: expected pictures, or a folder for each class; found none")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    text = refused(DataError, str(tmp_path / "broken.png"), (2, 3, 1), (), call=load_samples)
    assert "broken.png: not a readable image" in text
    text = refused(DataError, "nowhere", (2, 3, 1), (), call=load_samples)
    assert text.startswith("nowhere: no such data; expected digits")
    rows = np.eye(4, 6, dtype=np.float32)
    np.savez(
        tmp_path / "table.npz", x_train=rows, y_train=[0, 0, 1, 1], x_test=rows + 2,
        y_test=[0, 0, 1, 1], x_val=rows + 1, y_val=[0, 0, 1, 1],
    )  # fmt: skip
    text = refused(DataError, str(tmp_path / "table.npz"), (2, 3, 1), ("0", "1"), call=load_samples)
    assert text.endswith("table.npz: expected pictures, found a table")


def test_names_of_samples_are_safe_and_unlike_each_other():
    labels = ["cat", "cat", "Cat", "cat-2", "a/b", "..", "été"]
    assert file_names([Sample(label, PIXELS) for label in labels]) == [
        "cat.png", "cat-2.png", "Cat-3.png", "cat-2-2.png", "a_b.png", "sample.png", "été.png",
    ]  # fmt: skip


def test_the_command(made, tmp_path):
    def call(*arguments):
        return CliRunner().invoke(cli.main, ["bundle", *map(str, arguments)])

    models = [made / "dense.tflite", made / "slim.tflite"]
    Image.new("L", (3, 2)).save(tmp_path / "Amsel.png")
    done = call(*models, "-o", tmp_path / "app", "--samples", tmp_path / "Amsel.png")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'app'}: dense, slim; pictures: 1\n")
    again = call(*models, "-o", tmp_path / "app")
    assert again.exit_code == 1 and again.stderr.startswith("Error: ")
    assert len(again.stderr.splitlines()) == 1
    forced = call(*models, "-o", tmp_path / "app", "--force", "--json")
    assert json.loads(forced.stdout) == {
        "format": "hwkeras-bundles-1", "models": ["dense", "slim"], "samples": [],
    }  # fmt: skip
