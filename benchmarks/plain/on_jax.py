"""In JAX: one jitted, donated step, NHWC."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from plain import CLASSES, DECAY, EPSILON, MOMENTUM, PENALTY, RATE, SMOOTHING


def stepper(config, dtype):
    rng = np.random.default_rng(0)

    def convolution(height, inputs, outputs, bias=0.0):
        kernel = rng.normal(0, np.sqrt(2 / (height**2 * inputs)), (height, height, inputs, outputs))
        return {"kernel": jnp.array(kernel, jnp.float32), "bias": jnp.full(outputs, bias)}

    def norm(channels):
        return {"scale": jnp.ones(channels), "offset": jnp.zeros(channels)}

    def convolve(x, layer, stride=1):
        y = jax.lax.conv_general_dilated(
            x, layer["kernel"].astype(dtype), (stride, stride), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        return y + layer["bias"].astype(dtype)

    def normed(x, layer):
        y = x.astype(jnp.float32)
        mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
        scale = layer["scale"] * jax.lax.rsqrt(variance + EPSILON)
        return jax.nn.relu(y * scale + (layer["offset"] - mean * scale)).astype(dtype)

    weights = {"stem": convolution(3, 3, config.stem), "blocks": []}
    channels, strides = config.stem, []
    for width, stride in zip(config.stages, config.strides, strict=True):
        for i in range(config.blocks):
            block = {
                "norm": norm(channels),
                "transform": convolution(3, channels, width),
                "gate": convolution(3, width, width, config.gate_bias),
            }
            if i == 0:
                block["projection"] = convolution(1, channels, width)
            weights["blocks"].append(block)
            strides.append(stride if i == 0 else 1)
            channels = width
    weights["norm"], weights["head"] = norm(channels), convolution(1, channels, CLASSES)

    def loss(weights, images, labels):
        x = convolve(images.astype(dtype) / 255, weights["stem"])
        gates = 0.0
        for block, stride in zip(weights["blocks"], strides, strict=True):
            carry = convolve(x, block["projection"], stride) if "projection" in block else x
            h = convolve(normed(x, block["norm"]), block["transform"], stride)
            t = jax.nn.sigmoid(convolve(h, block["gate"]))
            gates += t.astype(jnp.float32).mean()
            x = carry + t * (h - carry)
        pooled = normed(x, weights["norm"]).mean((1, 2), keepdims=True)
        logits = convolve(pooled, weights["head"])[:, 0, 0].astype(jnp.float32)
        wanted = jax.nn.one_hot(labels, CLASSES) * (1 - SMOOTHING) + SMOOTHING / CLASSES
        cross = -(wanted * jax.nn.log_softmax(logits)).sum(-1).mean()
        return cross + PENALTY * gates

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(weights, velocities, images, labels):
        value, slopes = jax.value_and_grad(loss)(weights, images, labels)
        slopes = jax.tree.map(lambda g, w: g + DECAY * w if w.ndim == 4 else g, slopes, weights)
        velocities = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocities, slopes)
        weights = jax.tree.map(
            lambda w, v, g: w - RATE * (g + MOMENTUM * v), weights, velocities, slopes
        )
        return weights, velocities, value

    state = [weights, jax.tree.map(jnp.zeros_like, weights)]

    def run(images, labels):
        *state[:], value = step(*state, images, labels)
        return float(value)

    return run


def matmul(side: int, dtype):
    a, b = (jnp.array(np.random.default_rng(i).random((side, side)), dtype) for i in range(2))
    product = jax.jit(lambda a, b: (a @ b).astype(jnp.float32)[0, 0])
    return lambda: float(product(a, b))
