"""What the tests share: quiet logs, fixed seeds, models with random weights, plans by hand."""

import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import hypothesis
import keras
import numpy as np
import pytest

from hwkeras.graph import highway_blocks
from hwkeras.plan import BlockPlan, PruningPlan
from hwkeras.stats import model_digest

ROOT = Path(__file__).resolve().parent.parent

# Same examples on every run; Keras builds models too slowly for a deadline.
hypothesis.settings.register_profile("hwkeras", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("hwkeras")


def pytest_configure(config: pytest.Config) -> None:
    """Keras 3.15 does not know NumPy 2's `__array__(copy=...)`: not ours to mend."""
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state, in any order."""
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def cifar10_folder() -> Path:
    """The folder with CIFAR-10 as sheets of images, beside the checkout."""
    folder = ROOT.parent / "shared" / "cifar10"
    if not folder.is_dir():
        pytest.skip(f"no CIFAR-10 at {folder}")
    return folder


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Returns the model, every weight random, so that no initial value hides a defect.

    Scales keep the signal alive through many blocks. Gammas take either sign, variances are not 1,
    and gates lie anywhere between shut and open. What a Normalization was adapted to stays.
    """
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape, kind = weight.shape, weight.path.split("/")[-1]
        if kind in ("mean", "variance", "count"):
            continue
        if kind == "moving_variance":
            value = rng.uniform(0.5, 2.0, shape)
        elif kind == "gamma":
            value = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
        elif len(shape) > 1:
            value = rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape)
        else:
            value = rng.normal(0, 0.5, shape)
        weight.assign(value.astype("float32"))
    return model


def plan_by_hand(model: keras.Model, kept: dict) -> PruningPlan:
    """Returns the plan that keeps these channels; blocks that are not named stay whole."""
    blocks = (
        BlockPlan(name, block.channels, len(block.active), tuple(kept.get(name, block.active)))
        for name, block in highway_blocks(model).items()
        if block.active
    )
    return PruningPlan(
        model_digest(model), "by hand", "hand", "none", "channel", None, tuple(blocks)
    )


def assert_equal_in_range(actual, expected, tolerance=1e-5):
    """Two structures of arrays are equal up to a share of each expected array's range."""
    actual, expected = keras.tree.flatten(actual), keras.tree.flatten(expected)
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        one, other = keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
        assert one.shape == other.shape
        assert np.isfinite(other).all()
        assert np.abs(one - other).max() <= tolerance * np.ptp(other)
