"""Whether there is a GPU is answered on every backend, with or without one."""

import sys
import types

import keras
import pytest

from hwkeras.device import has_gpu


@pytest.mark.parametrize("found", [True, False])
def test_torch_is_asked_itself(monkeypatch, found):
    """Keras lists no devices for it: there its `list_devices` raises AttributeError."""
    cuda = types.SimpleNamespace(is_available=lambda: found)
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(keras.distribution, "list_devices", None)
    assert has_gpu() is found


@pytest.mark.parametrize(
    ("devices", "found"), [(["gpu:0", "gpu:1"], True), (["cpu:0"], False), (["tpu:0"], False)]
)
def test_the_devices_that_keras_lists_count(monkeypatch, devices, found):
    def list_devices(device_type=None):
        if device_type and not any(device.startswith(device_type) for device in devices):
            raise RuntimeError(f"Unknown backend {device_type!r}")  # as on JAX
        return devices

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(keras.distribution, "list_devices", list_devices)
    assert has_gpu() is found
