"""What the machine computes on, and what it is slow at."""

from __future__ import annotations

import sys
import time

import keras
import numpy as np


def has_gpu() -> bool:
    """Returns whether the backend sees a GPU."""
    if keras.backend.backend() == "torch":  # for which Keras lists no devices
        return sys.modules["torch"].cuda.is_available()
    # All at once: asked for a kind of device that is not there, JAX raises.
    return any(device.startswith("gpu") for device in keras.distribution.list_devices())


def times_slower(policy: str) -> float:
    """Returns how much longer a training step of one convolution takes than in float32.

    Processors without units for a half precision compute it in plain loops; takes a second or two.

    Args:
        policy: Keras's dtype policy, such as "mixed_bfloat16".
    """
    rng = np.random.default_rng(0)
    images = rng.normal(size=(64, 16, 16, 64)).astype("float32")
    wanted = np.zeros((64, 64), "float32")

    def seconds(dtype: str) -> float:
        layers = [
            keras.Input(images.shape[1:]),
            keras.layers.Conv2D(64, 3, 2, "same", data_format="channels_last", dtype=dtype),
            keras.layers.GlobalAveragePooling2D(data_format="channels_last", dtype=dtype),
        ]
        model = keras.Sequential(layers)
        model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
        spent = []
        for _ in range(3):
            started = time.perf_counter()
            model.train_on_batch(images, wanted)
            spent.append(time.perf_counter() - started)
        return min(spent[1:])  # the first compiles

    return seconds(policy) / seconds("float32")
