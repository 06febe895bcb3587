"""What files cost, side by side: turns, memory, rows, and the command. Nothing here is a race:
models that are compared differ by orders of magnitude."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT
from test_children import is_gone

import cli
from export import timing
from export.bench import bench
from export.children import Child
from export.quantize import make_variant
from export.runtime import ModelFileError
from export.tflite import convert
from export.worker import Loading


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A Dense layer of 6 multiply-accumulates; two convolutions of 76 M, and 4 MB of weights."""
    folder = tmp_path_factory.mktemp("models")
    inputs = keras.Input((3,), name="features")
    light = folder / "light.tflite"
    light.write_bytes(convert(keras.Model(inputs, keras.layers.Dense(2)(inputs))))
    inputs = keras.Input((32, 32, 3), name="image")
    x = keras.layers.Conv2D(64, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(64, 3, padding="same", strides=2)(x)
    x = keras.layers.Dense(61)(keras.layers.Flatten()(x))
    heavy = folder / "heavy.tflite"
    heavy.write_bytes(convert(keras.Model(inputs, x)))
    return light, heavy


def hwkeras(*arguments):
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


# ---- turns


def test_files_are_timed_on_each_number_of_threads(files):
    light, heavy = timing.bench(files, runs=7, threads=(1, 2))
    for cost in (light, heavy):
        assert [(x.threads, x.runs) for x in cost.latencies] == [(1, 7), (2, 7)]
        assert all(0 < x.median_ms <= x.p90_ms for x in cost.latencies)
    assert heavy.latencies[0].median_ms > 5 * light.latencies[0].median_ms


def test_processes_take_turns(files, monkeypatch):
    """Every round asks each process once, for 5 inferences to warm up and at most 5 that count."""
    asked, pids = [], set()

    class Watched(Child):
        def ask(self, request):
            asked.append((str(self._path), request))
            pids.add(self._process.pid)
            return super().ask(request)

    monkeypatch.setattr(timing, "Child", Watched)
    steps = []
    timing.bench([*files, files[0]], runs=32, progress=lambda *step: steps.append(step))
    assert len(pids) == 3 and os.getpid() not in pids
    rounds = [asked[i : i + 3] for i in range(0, len(asked), 3)]
    assert [{count for _, count in turn} for turn in rounds] == [*[{10}] * 6, {7}]
    names = sorted(map(str, [*files, files[0]]))
    assert all(sorted(path for path, _ in turn) == names for turn in rounds)
    assert len({tuple(path for path, _ in turn) for turn in rounds}) > 1  # orders differ
    assert steps[0] == (5, 96) and steps[-1] == (96, 96) and steps == sorted(steps)
    assert all(is_gone(pid) for pid in pids)


def test_bench_wants_something_to_do(files):
    with pytest.raises(ValueError) as raised:
        timing.bench(files, runs=0)
    assert str(raised.value) == "`runs` must be at least 1. Received: 0"


def test_a_file_that_cannot_be_run_is_named_and_no_process_is_left(files, tmp_path, monkeypatch):
    pids = []

    class Watched(Child):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            pids.append(self._process.pid)

    monkeypatch.setattr(timing, "Child", Watched)
    with pytest.raises(ModelFileError, match=f"^{tmp_path}/no.tflite: the model cannot be run: "):
        timing.bench([files[0], tmp_path / "no.tflite"])
    assert len(pids) == 2 and all(is_gone(pid) for pid in pids)


@pytest.mark.parametrize("io", ["int8", "uint8"])
def test_integer_inputs_are_filled(files, tmp_path, io):
    path = tmp_path / f"{io}.tflite"
    pixels = np.random.default_rng(0).uniform(0, 255, (8, 3))
    path.write_bytes(make_variant(files[0].read_bytes(), "int8", pixels, io=io))
    (cost,) = timing.bench([path], runs=1)
    assert cost.latencies[0].median_ms > 0


# ---- memory


def test_memory_is_that_of_the_model_alone(files):
    ballast = np.ones(64 * 2**20)  # 512 MiB in this process are no cost of the model's
    light, heavy = (cost.start for cost in timing.bench(files, runs=1))
    assert ballast.sum() == ballast.size
    assert light.load_ms > 0 and light.first_ms > 0
    # 4 MB of weights are mapped, and packed once more by the delegate
    weights = files[1].stat().st_size
    assert 1.8 * weights < heavy.peak_bytes - light.peak_bytes < 4 * weights
    if sys.platform == "linux":
        assert heavy.private_bytes - light.private_bytes > 0.9 * weights
        assert heavy.file_bytes - light.file_bytes > 0.9 * weights


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_how_a_file_is_loaded_shows_in_its_memory(files, tmp_path):
    weights, cache = files[1].stat().st_size, str(tmp_path / "cache")

    def memory(**how):
        with timing.start(Loading(str(files[1]), **how)) as child:
            start = child.answer()
        return start["private_bytes"] / weights, start["file_bytes"] / weights

    mapped, read, bare = memory(), memory(mapped=False), memory(delegate=False)
    memory(weight_cache=cache)
    cached = memory(weight_cache=cache)
    assert read[0] - mapped[0] > 0.8 and mapped[1] - read[1] > 0.8  # the file itself
    assert mapped[0] - bare[0] > 0.6  # the packed copy, less what the kernels without it need
    assert mapped[0] - cached[0] > 0.8  # the packed copy is now a page of a file
    assert Path(cache).stat().st_size > 0.9 * weights


# ---- rows and the command


def test_a_row_holds_everything(files, monkeypatch):
    monkeypatch.setattr(timing, "all_cores", lambda: 2)
    (row,) = bench(files[1:], runs=1, threads=(1, None, 2))
    assert row.file == str(files[1])
    assert row.size_bytes == files[1].stat().st_size
    assert 0.8 * row.size_bytes < row.gzip_bytes < row.size_bytes  # random weights
    assert [latency.threads for latency in row.latencies] == [1, 2]
    assert row.operators == {"CONV_2D": 2, "RESHAPE": 1, "FULLY_CONNECTED": 1}
    assert (row.partitions, row.undelegated, row.profile) == (1, {}, None)


def test_a_broken_file_is_named_before_anything_runs(files, tmp_path, monkeypatch):
    path = tmp_path / "broken.tflite"
    path.write_bytes(files[1].read_bytes()[:5000])
    monkeypatch.setattr(timing, "Child", None)
    result = hwkeras("bench", files[0], path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {path}: broken or truncated .tflite model of 5,000 by")


def test_the_command_prints_json(files):
    result = hwkeras("bench", *files, "--runs", 3, "--threads", 1, "--operators", "--json")
    assert result.exit_code == 0, result.output
    light, heavy = json.loads(result.stdout)
    assert light["operators"] == {"FULLY_CONNECTED": 1}
    assert [light["latencies"][0][name] for name in ("threads", "runs")] == [1, 3]
    assert set(light["start"]) == {
        "load_ms", "first_ms", "peak_bytes", "private_bytes", "file_bytes",
    }  # fmt: skip
    kinds = [operator["kind"] for operator in heavy["profile"]["operators"]]
    assert kinds.count("Convolution") == 2 and kinds.count("Fully Connected") == 1


def test_the_command_prints_tables(files):
    result = hwkeras("bench", *files, "--runs", 1, "--threads", "1", "--operators")
    assert result.exit_code == 0, result.output
    header, rule, light, heavy, caption = result.stdout.splitlines()[:5]
    assert header.split("  ")[0] == "file" and "1 thread: ms" in header and "own MiB" in header
    assert light.startswith(str(files[0])) and heavy.startswith(str(files[1]))
    assert "1.00" in light and heavy.endswith("none")
    times = result.stdout.split("\n\n")[1].splitlines()
    assert times[0].split("  ")[0] == "operator" and "heavy: number" in times[0]
    assert [line.split("  ")[0] for line in times[-3:-1]] == ["between operators", "inference"]


@pytest.mark.parametrize("threads", ["", "0", "1,", "two", "1 2", "-1", "all,0"])
def test_numbers_of_threads_that_are_none(files, threads):
    result = hwkeras("bench", files[0], "--threads", threads)
    assert result.exit_code == 2
    assert f"{threads!r}: expected numbers of threads or `all`, as in 1,all" in result.stderr


def test_numbers_of_threads():
    assert cli.Threads().convert("1,4,all", None, None) == (1, 4, None)


def children_of(parent: int) -> list[int]:
    """Returns the processes whose parent is `parent`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that ended
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_interrupt_leaves_no_process(files):
    command = [sys.executable, "-c", "import cli; cli.main()", "bench", "--runs", "10000000"]
    run = subprocess.Popen(
        [*command, *map(str, files)], cwd=ROOT, start_new_session=True,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        # a suite that a shell runs in the background inherits SIGINT as ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert run.stderr and run.stderr.readline().startswith("bench: 5/")
    children = children_of(run.pid)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: the children get it as well
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 1 and errors.split() == ["Aborted!"]
    assert len(children) == 2 * len({1, timing.all_cores()})
    assert all(is_gone(pid) for pid in children)
