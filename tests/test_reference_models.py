"""The committed reference models: whole, described truly, and as accurate as the README says."""

import csv
import hashlib
import json

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from export import runtime
from export.bundle import read_sidecar, sidecar_path
from hwkeras.evaluation import accuracy
from hwkeras.plan import PruningPlan

MODELS = ROOT / "models" / "cifar10"
HEADLINE = json.loads((ROOT / "results" / "cifar10" / "headline.json").read_text("utf-8"))
ROWS = {row["file"]: row for row in HEADLINE["measurements"] if "file" in row}
each_model = pytest.mark.parametrize("name", sorted(ROWS))


@pytest.fixture(scope="module")
def photographs(request):
    folder = request.getfixturevalue("cifar10_folder")
    strips = []
    for path in sorted(folder.glob("test-*.webp")):
        with Image.open(path) as strip:
            strips.append(np.asarray(strip.convert("RGB")).reshape(-1, 32, 32, 3))
    labels = np.load(folder / "test-labels.npy", allow_pickle=False)
    return np.concatenate(strips), labels.reshape(-1)


def test_the_table_names_every_file_and_no_other():
    assert {path.name for path in MODELS.glob("*.tflite")} == set(ROWS)
    files = [path for path in MODELS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 9 * 2**20


@each_model
def test_a_model_is_the_one_that_its_sidecar_plan_and_row_describe(name):
    content = (MODELS / name).read_bytes()
    sidecar, row = read_sidecar(sidecar_path(MODELS / name)), ROWS[name]
    assert hashlib.sha256(content).hexdigest() == sidecar.sha256
    assert (len(content), sidecar.accuracy) == (row["bytes"], row["accuracy"])
    assert (sidecar.parameters, sidecar.macs) == (row["parameters"], row["macs"])
    kind = name.removesuffix(f"-{sidecar.variant}.tflite")
    plan = PruningPlan.from_json((MODELS / f"{kind}.plan.json").read_text("utf-8"))
    assert hashlib.sha256(plan.to_json().encode()).hexdigest() == sidecar.plan
    with open(MODELS / f"{kind}.history.csv", encoding="utf-8", newline="") as file:
        assert {line["phase"] for line in csv.DictReader(file)} == {"dense", "finetune"}


@each_model
def test_a_model_answers(name):
    content = runtime.load(MODELS / name)
    logits = runtime.predict(content, np.zeros((2, 32, 32, 3), np.uint8))
    assert logits.shape == (2, 10) and np.isfinite(logits).all()


@each_model
def test_a_model_is_as_accurate_as_its_row(name, photographs):
    images, labels = photographs
    found = accuracy(runtime.predict(runtime.load(MODELS / name), images), labels)
    # another machine's kernels may round a near tie the other way
    assert found == pytest.approx(ROWS[name]["accuracy"], abs=5e-4)
    assert len(images) == ROWS[name]["images"]
