"""Time by operator: what is measured, and arithmetic by hand on runs that were made up."""

import keras
import numpy as np
import pytest

from export import profile as module
from export.children import Child
from export.profile import OperatorTime, Profile, profile
from export.quantize import make_variant
from export.runtime import ModelFileError, operators
from export.tflite import convert


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Two convolutions with a slice, a concatenation and, outside of the delegate, a GATHER."""
    inputs = keras.Input((32, 32, 8), name="image")
    x = keras.layers.Conv2D(32, 3, padding="same", activation="relu", name="early")(inputs)
    x = keras.layers.Concatenate(name="join")([x[..., 4:8], x])
    x = keras.ops.take(x, np.arange(36)[::-1], axis=-1)
    x = keras.layers.Conv2D(32, 3, padding="same", name="late")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    path = tmp_path_factory.mktemp("models") / "split.tflite"
    path.write_bytes(convert(keras.Model(inputs, x)))
    return path


def test_operators_run_in_the_order_of_the_file(split):
    found = profile(split, runs=20, warmup=2)
    assert (found.runs, found.threads) == (10, 1)
    assert [x.kind for x in found.operators] == [
        "Convolution", "Slice", "Copy", "GATHER", "Convolution", "Mean",
    ]  # fmt: skip
    early, sliced, joined, gathered, late, _ = found.operators
    assert "early" in early.tensor and "late" in late.tensor
    assert "strided_slice" in sliced.tensor and "join" in joined.tensor
    assert early.kernel.startswith("Convolution (NHWC, F32)") and gathered.kernel == "GATHER"


def test_the_times_of_operators_make_up_the_inference(split):
    found = profile(split, runs=40)
    total = sum(x.microseconds for x in found.operators)
    assert 0.5 * found.inference_us < total < 1.1 * found.inference_us
    # 2 and 9 M multiply-accumulates against 4 KiB that are copied
    early, sliced, _, _, late, _ = found.operators
    assert min(early.microseconds, late.microseconds) > 3 * sliced.microseconds > 0


def test_integer_models_have_integer_kernels(split, tmp_path):
    images = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 8))
    content = make_variant(split.read_bytes(), "int8", images, io="uint8")
    path = tmp_path / "int8.tflite"
    path.write_bytes(content)
    found = profile(path, runs=4, warmup=0)
    assert operators(content)["CONV_2D"] == 2
    convolutions = [x for x in found.operators if x.kind == "Convolution"]
    assert len(convolutions) == 2 and all("QC8" in x.kernel for x in convolutions)


def test_a_convolution_of_one_pixel_is_found_in_its_place(tmp_path):
    """XNNPACK calls it fully connected, as it does the layer at the end."""
    inputs = keras.Input((16, 16, 8), name="image")
    x = keras.layers.Conv2D(8, 1, name="narrow")(inputs)
    x = keras.layers.Conv2D(16, 3, padding="same", name="wide")(x)
    x = keras.layers.Dense(4, name="logits")(keras.layers.GlobalAveragePooling2D()(x))
    path = tmp_path / "narrow.tflite"
    path.write_bytes(convert(keras.Model(inputs, x)))
    narrow, wide, *_, last = profile(path, runs=4, warmup=0).operators
    assert (narrow.kind, wide.kind, last.kind) == (
        "Fully Connected", "Convolution", "Fully Connected",
    )  # fmt: skip
    assert "narrow" in narrow.tensor and "wide" in wide.tensor and "logits" in last.tensor


def test_kinds_are_summed_and_sorted():
    times = [("Slice", 1.0), ("Convolution", 9.0), ("Slice", 2.5)]
    made = Profile(20.0, 1, 1, tuple(OperatorTime(kind, kind, "x", us) for kind, us in times))
    assert list(made.by_kind().items()) == [("Convolution", (1, 9.0)), ("Slice", (2, 3.5))]


def made_up(monkeypatch, runs):
    """Makes the profiler answer with these runs."""

    class Answers(Child):
        def __init__(self, *_):
            pass

        def __exit__(self, *_):
            pass

        def answer(self):
            return [{"inference_us": whole, "operators": events} for whole, events in runs]

    monkeypatch.setattr(module, "Child", Answers)


def test_the_faster_half_of_the_runs_counts_and_cut_times_get_half_a_microsecond(
    split, monkeypatch
):
    def events(conv, copy, gather):
        return [
            ["Convolution (NHWC, F32) IGEMM", True, 0, conv],
            ["Slice (ND, X32)", True, 1, 0],
            ["Copy (NC, X32)", True, 2, copy],
            ["GATHER", False, 3, gather],
            ["Convolution (NHWC, F32) IGEMM", True, 0, 50],
        ]

    disturbed = (900, events(800, 70, 60))
    made_up(monkeypatch, [disturbed, (100, events(30, 2, 7)), (110, events(31, 3, 8)), disturbed])
    found = profile(split, runs=4)
    assert (found.inference_us, found.runs) == (105, 2)
    times = [x.microseconds for x in found.operators]
    # a concatenation of two has two times that were cut; GATHER, outside, has none
    assert times == [30.5 + 0.5, 0 + 0.5, 2.5 + 2 * 0.5, 7.5, 50 + 0.5]


def test_what_the_delegate_adds_belongs_to_the_operator_before(split, monkeypatch):
    kernels = ["Convert", "Convolution (NHWC) IGEMM", "Clamp", "Slice", "Copy"]
    events = [[kernel, True, i, 1] for i, kernel in enumerate(kernels)]
    made_up(monkeypatch, [(9, [*events, ["GATHER", False, 3, 1], ["Convolution", True, 0, 1]])])
    names = [x.tensor for x in profile(split, runs=1).operators]
    assert "early" in names[0] and names[0] == names[1] == names[2]
    assert "strided_slice" in names[3] and "join" in names[4] and "late" in names[6]


def test_a_partition_may_begin_before_where_the_last_one_ended(split, monkeypatch):
    """The delegate takes both convolutions at once; their tensors are not mixed up."""
    events = [
        ["Convolution", True, 0, 1], ["Convolution", True, 1, 1],
        ["GATHER", False, 3, 1], ["Slice", True, 0, 1], ["Copy", True, 1, 1],
    ]  # fmt: skip
    made_up(monkeypatch, [(9, events)])
    names = [x.tensor for x in profile(split, runs=1).operators]
    expected = ("early", "late", "", "strided_slice", "join")
    assert all(part in name for part, name in zip(expected, names, strict=True))


def test_a_broken_file_is_named(split, tmp_path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(split.read_bytes()[:3000])
    with pytest.raises(ModelFileError, match=f"^{path}: broken or truncated"):
        profile(path)
