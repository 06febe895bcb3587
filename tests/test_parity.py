"""The design's parity check on real photographs: dense, slim, and a net with emptied blocks."""

import numpy as np
import pytest
from conftest import plan_by_hand
from PIL import Image

from export.quantize import make_variant
from export.tflite import convert
from export.verify import verify
from hwkeras.dataset import Dataset, Split
from hwkeras.models import HighwayConfig, highway_net
from hwkeras.planning import make_plan
from hwkeras.rebuild import apply_plan
from hwkeras.stats import collect_stats
from hwkeras.training import TrainConfig, fit

COUNT = 500  # images in a strip


@pytest.fixture(scope="module")
def photographs(request):
    folder = request.getfixturevalue("cifar10_folder")

    def split(part):
        with Image.open(folder / f"{part}-000.webp") as strip:
            pixels = np.asarray(strip.convert("RGB"))
        labels = np.load(folder / f"{part}-labels.npy", allow_pickle=False)[:COUNT]
        return Split(pixels.reshape(-1, 32, 32, 3), labels.reshape(-1).astype(np.int32))

    train = split("train")
    return Dataset(
        "cifar10", train, train.take(slice(0, 100)), split("test"),
        tuple("airplane automobile bird cat deer dog frog horse ship truck".split()), augment=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def dense(photographs):
    data = photographs
    net = highway_net(
        HighwayConfig(8, (8, 16), 2, (2, 2)), data.input_shape, 10, data.channel_mean,
        data.channel_deviation,
    )  # fmt: skip
    fit(net, data, TrainConfig(epochs=2, batch_size=50))
    return net


def models(dense, data):
    yield "dense", dense
    yield "slim", apply_plan(dense, make_plan(collect_stats(dense, data.train.images), keep=0.4))
    # one emptied block keeps its projection, the other has none and disappears
    yield "emptied", apply_plan(dense, plan_by_hand(dense, {n: [] for n in EMPTIED}))


EMPTIED = ("stage1_block2", "stage2_block1")


def test_float32_is_exact_and_int8_agrees(dense, photographs):
    test = photographs.test
    for name, model in models(dense, photographs):
        content = convert(model)
        exact = verify(model, content, test.images, test.labels, exact=True)
        assert exact.max_difference <= 1e-4 and exact.partitions == 1, name
        int8 = make_variant(content, "int8", photographs.train.images[:64])
        found = verify(model, int8, test.images, test.labels, exact=False)
        assert found.partitions == 1 and not found.undelegated, name
        assert found.agreement > 0.8, name
