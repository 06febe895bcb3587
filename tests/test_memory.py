"""Freed memory is kept between training steps: counted as page faults, each in its own process."""

import ctypes
import platform
import subprocess
import sys
import types

import keras
import pytest

from hwkeras import memory

LINUX = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is no glibc here")

FAULTS = """
import ctypes, resource

def faults():
    "Returns the page faults of filling 8 MiB a hundred times; 200,000 if each is mapped anew."
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        block = libc.malloc(8 << 20)
        libc.memset(block, 1, 8 << 20)
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""
TRAINING = """
import keras, numpy as np
from hwkeras import batches, highway_net, HighwayConfig, TrainConfig
from hwkeras.training import training_view

if {forgetful}:
    batches.keep_freed_memory = lambda: False
images = np.zeros((8, 8, 8, 3), "uint8")
fed = batches.TrainingBatches(images, np.arange(8) % 2, 4, 0, augment=True)
view = training_view(highway_net(HighwayConfig(2, (4,), 1, (2,)), (8, 8, 3), 2), TrainConfig(), 2)
view.fit(fed, shuffle=False, verbose=0)
print(faults())
"""


def printed_by(code: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS + code], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


@LINUX
def test_memory_that_malloc_would_give_back_is_kept():
    told = "ctypes.CDLL(None).mallopt(-1, 128 << 10)  # M_TRIM_THRESHOLD, as TensorFlow does\n"
    assert printed_by(told + "print(faults())") > 150_000
    kept = "from hwkeras.memory import keep_freed_memory\nassert keep_freed_memory()\n"
    assert printed_by(told + kept + "print(faults())") < 20_000


@LINUX
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow meddles")
def test_a_training_keeps_it():
    """If the first figure falls, TensorFlow has mended it, and `hwkeras.memory` can go."""
    assert printed_by(TRAINING.format(forgetful=True)) > 150_000
    assert printed_by(TRAINING.format(forgetful=False)) < 20_000


@pytest.mark.parametrize(("largest", "told"), [(1 << 30, True), (32 << 20, True), (0, False)])
def test_an_older_glibc_takes_a_lower_threshold(monkeypatch, largest, told):
    taken = {}

    def mallopt(option, size):
        if option == -3 and size > largest:  # M_MMAP_THRESHOLD
            return 0
        taken[option] = size
        return 1

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace(mallopt=mallopt))
    assert memory.keep_freed_memory() is told
    assert taken == ({-3: largest} if told else {}) | {-1: 1 << 30}  # M_TRIM_THRESHOLD
