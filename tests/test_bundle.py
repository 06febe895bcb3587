"""The JSON beside a .tflite: what it says, and that it never speaks of another file."""

import dataclasses
import gzip
import hashlib
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT

import hwkeras
from export.bundle import (
    BundleError,
    Sidecar,
    describe,
    read_sidecar,
    sidecar_path,
    write_model,
)
from export.quantize import make_variant
from export.runtime import TensorSpec
from export.tflite import convert, with_labels
from export.verify import Verification
from hwkeras.files import FileError
from hwkeras.plan import BlockPlan, PruningPlan

CONTENT = b"a model's bytes"
SIDECAR = Sidecar(
    name="birds",
    variant="int8",
    labels=("Amsel", "Spätzle"),
    input=TensorSpec("image", (1, 32, 32, 3), "int8", 1.0, -128),
    range=(0.0, 255.0),
    output=TensorSpec("logits", (1, 2), "float32"),
    accuracy=0.75,
    accuracy_images=4,
    size_bytes=15,
    gzip_bytes=35,
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    parameters=6,
    macs=12,
    plan=None,
    versions={"hwkeras": "0.1.0", "python": "3.11.2"},
)
GOLDEN = """{
  "format": "hwkeras-bundle-1",
  "name": "birds",
  "variant": "int8",
  "labels": [
    "Amsel",
    "Spätzle"
  ],
  "input": {
    "name": "image",
    "shape": [
      1,
      32,
      32,
      3
    ],
    "dtype": "int8",
    "scale": 1.0,
    "zero_point": -128,
    "range": [
      0.0,
      255.0
    ]
  },
  "output": {
    "name": "logits",
    "shape": [
      1,
      2
    ],
    "dtype": "float32",
    "scale": null,
    "zero_point": null
  },
  "accuracy": 0.75,
  "accuracy_images": 4,
  "size_bytes": 15,
  "gzip_bytes": 35,
  "sha256": "%s",
  "parameters": 6,
  "macs": 12,
  "plan": null,
  "versions": {
    "hwkeras": "0.1.0",
    "python": "3.11.2"
  }
}
""" % hashlib.sha256(CONTENT).hexdigest()  # noqa: UP031  (braces are JSON's here)


@pytest.fixture(scope="module")
def classifier():
    """A .tflite of two classes over 4x4 pixels."""
    inputs = keras.Input((4, 4, 1), name="image")
    x = keras.layers.Conv2D(3, 3)(inputs)
    return convert(keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x))))


def test_the_json_that_apps_read():
    assert SIDECAR.to_json() == GOLDEN
    assert Sidecar.from_json(GOLDEN) == SIDECAR


def test_a_table_has_no_range():
    table = dataclasses.replace(SIDECAR, range=None, plan="0123", accuracy=None)
    assert Sidecar.from_json(table.to_json()) == table


def changed(*path, value=None, remove=False):
    content = json.loads(GOLDEN)
    place = content
    for key in path[:-1]:
        place = place[key]
    if remove:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected a sidecar, found broken JSON: Expecting property name enclosed in double"
         " quotes: line 1 column 2 (char 1)"),
        ("[]", "expected a sidecar of format 'hwkeras-bundle-1'; found 'list'"),
        (changed("format", value="hwkeras-plan-1"),
         "expected a sidecar of format 'hwkeras-bundle-1'; found 'hwkeras-plan-1'"),
        (changed("labels", remove=True), "broken sidecar: KeyError('labels')"),
        (changed("input", "range", remove=True), "broken sidecar: KeyError('range')"),
    ],
)  # fmt: skip
def test_what_is_no_sidecar_is_refused(text, message):
    with pytest.raises(BundleError) as raised:
        Sidecar.from_json(text)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "text",
    [
        changed("sha256", remove=True),
        changed("surprise", value=1),
        changed("output", "surprise", value=1),
        changed("input", value=3),
        changed("labels", value=None),
    ],
)
def test_missing_and_foreign_fields_are_refused(text):
    with pytest.raises(BundleError, match="^broken sidecar: (TypeError|AttributeError|KeyError)"):
        Sidecar.from_json(text)


def test_a_file_is_described_by_its_bytes(classifier):
    images = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 1))
    content = with_labels(make_variant(classifier, "int8", images, io="uint8"), ["a", "b"])
    plan = PruningPlan(
        "digest", "by hand", "hand", "none", "channel", None, (BlockPlan("block", 8, 8, (1, 2)),)
    )
    checked = Verification(16, 0.5, 0.625, 0.75, 0.01, 1, {"CONV_2D": 1}, {})
    found = describe(
        "net", "int8", content, ["a", "b"],
        parameters=50, macs=120, verification=checked, plan=plan,
    )  # fmt: skip
    assert found.input == TensorSpec("image", (1, 4, 4, 1), "uint8", 1.0, 0)
    assert (found.output.name, found.output.shape, found.output.dtype) == (
        "logits", (1, 2), "uint8",
    )  # fmt: skip
    assert found.range == (0, 255)
    assert (found.accuracy, found.accuracy_images) == (0.5, 16)
    assert (found.size_bytes, found.parameters, found.macs) == (len(content), 50, 120)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.gzip_bytes == len(gzip.compress(content, mtime=0)) < len(content)
    assert found.plan == hashlib.sha256(plan.to_json().encode()).hexdigest()
    assert found.versions["hwkeras"] == hwkeras.__version__
    assert found.versions["keras"] == keras.__version__
    assert {"tensorflow", "ai-edge-litert", "litert-quantizer", "python"} <= set(found.versions)
    assert Sidecar.from_json(found.to_json()) == found


def test_every_class_needs_a_label(classifier):
    with pytest.raises(BundleError) as raised:
        describe("net", "float32", classifier, ["a", "b", "c"], parameters=50, macs=120)
    assert str(raised.value) == "expected 2 labels, one a class; found 3"


def test_both_files_are_written(tmp_path):
    path = tmp_path / "new" / "birds.tflite"
    write_model(path, CONTENT, SIDECAR)
    assert path.read_bytes() == CONTENT
    assert sidecar_path(path) == tmp_path / "new" / "birds.json"
    assert read_sidecar(sidecar_path(path)) == SIDECAR
    assert len(list(path.parent.iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("birds.tflite", b"other", "the sidecar describes another file"),
        ("birds.json", CONTENT, "expected a name that ends in .tflite"),
    ],
)
def test_what_does_not_belong_together_is_not_written(name, content, text, tmp_path):
    with pytest.raises(BundleError) as raised:
        write_model(tmp_path / name, content, SIDECAR)
    assert str(raised.value) == f"{tmp_path / name}: {text}"
    assert not list(tmp_path.iterdir())


# Ends the process, as kill -9 does, at the n-th call that touches the disk's names or flushes.
CRASH = """
import os, pathlib, sys
calls = 0
def dying(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == int(sys.argv[1]):
            os._exit(9)
        return function(*args, **kwargs)
    return call
from export.bundle import Sidecar, write_model
content = b"a model's bytes"
sidecar = Sidecar.from_json(sys.stdin.read())
os.fsync = dying(os.fsync)
os.unlink = dying(os.unlink)
pathlib.Path.replace = dying(pathlib.Path.replace)
pathlib.Path.unlink = dying(pathlib.Path.unlink)
write_model(sys.argv[2], content, sidecar)
"""


def test_a_crash_never_leaves_a_wrong_sidecar(tmp_path):
    old = b"the bytes of an older model"
    before = dataclasses.replace(SIDECAR, sha256=hashlib.sha256(old).hexdigest())
    path, seen = tmp_path / "birds.tflite", set()
    for moment in range(1, 20):
        write_model(path, old, before)
        done = subprocess.run(
            [sys.executable, "-c", CRASH, str(moment), str(path)],
            input=GOLDEN, cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        now = path.read_bytes()
        assert now in (old, CONTENT)
        beside = sidecar_path(path)
        described = read_sidecar(beside).sha256 if beside.exists() else None
        assert described in (None, hashlib.sha256(now).hexdigest())
        seen.add((now == CONTENT, described is not None))
        if done.returncode == 0:
            break
        assert done.returncode == 9, done.stderr
    assert done.returncode == 0
    assert seen == {(False, True), (False, False), (True, False), (True, True)}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "no such file; expected the JSON beside a .tflite"),
        (b"{}", "expected a sidecar of format 'hwkeras-bundle-1'; found None"),
    ],
)
def test_a_bad_file_is_named(content, text, tmp_path):
    path = tmp_path / "birds.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError) as raised:
        read_sidecar(path)
    assert str(raised.value) == f"{path}: {text}"
