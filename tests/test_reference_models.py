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
from export.runfolder import RunFolder
from hwkeras import load_model
from hwkeras.evaluation import accuracy, predict_logits
from hwkeras.plan import PruningPlan
from hwkeras.stats import model_cost, model_digest

MODELS = ROOT / "models" / "cifar10"
SMALL = ROOT / "models" / "cifar10-small"
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


@pytest.fixture(scope="module")
def run_to_cut():
    """The run of the small net, the dense net that teaches its cuts, and that net's row."""
    teacher = load_model(SMALL / "frontier" / "dense-parameters-1-0" / "slim.keras")
    frontier = ROOT / "results" / SMALL.name / "frontier.json"
    row = json.loads(frontier.read_text("utf-8"))["measurements"][0]
    return RunFolder.open(SMALL), teacher, row


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
    plan = (MODELS / f"{kind}.plan.json").read_bytes()
    assert hashlib.sha256(plan).hexdigest() == sidecar.plan
    assert PruningPlan.from_json(plan.decode()).blocks
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


def test_the_run_to_cut_is_whole_and_names_no_machine(run_to_cut):
    run, teacher, row = run_to_cut
    dense, stats = load_model(run.need("train")), run.stats()
    assert stats.model == model_digest(dense) and stats.cost() == model_cost(dense)
    assert row["method"] == "dense" and row["parameters"] == model_cost(teacher).parameters
    assert run.data().source == "cifar10.npz"


def test_the_teacher_of_cuts_is_as_accurate_as_its_row(run_to_cut, photographs):
    _, teacher, row = run_to_cut
    images, labels = photographs
    found = accuracy(predict_logits(teacher, images), labels)
    assert found == pytest.approx(row["test"], abs=5e-4)
