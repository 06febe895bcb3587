"""In TensorFlow: tf.function, NHWC, the fused batch norm."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from plain import CLASSES, DECAY, EPSILON, MOMENTUM, PENALTY, RATE, SMOOTHING


def stepper(config, dtype):
    rng = np.random.default_rng(0)
    weights: list[tf.Variable] = []
    decayed: list[bool] = []

    def variable(value, decays=False):
        weights.append(tf.Variable(value, dtype=tf.float32))
        decayed.append(decays)
        return weights[-1]

    def kernel(height, inputs, outputs):
        deviation = np.sqrt(2 / (height**2 * inputs))
        return variable(rng.normal(0, deviation, (height, height, inputs, outputs)), True)

    def convolution(height, inputs, outputs, bias=0.0):
        return kernel(height, inputs, outputs), variable(np.full(outputs, bias))

    def norm(channels):
        return variable(np.ones(channels)), variable(np.zeros(channels))

    def convolve(x, kernel, bias=None, stride=1):
        y = tf.nn.conv2d(x, tf.cast(kernel, dtype), stride, "SAME")
        return y if bias is None else tf.nn.bias_add(y, tf.cast(bias, dtype))

    def normed(x, scale, offset):
        y, *_ = tf.compat.v1.nn.fused_batch_norm(
            x, scale, offset, epsilon=EPSILON, is_training=True
        )
        return tf.nn.relu(y)

    stem, blocks, channels = convolution(3, 3, config.stem), [], config.stem
    for width, stride in zip(config.stages, config.strides, strict=True):
        for i in range(config.blocks):
            projection = kernel(1, channels, width) if i == 0 else None
            blocks.append(
                (norm(channels), convolution(3, channels, width),
                 convolution(3, width, width, config.gate_bias), projection,
                 stride if i == 0 else 1)
            )  # fmt: skip
            channels = width
    last, head = norm(channels), convolution(1, channels, CLASSES)
    velocities = [tf.Variable(tf.zeros_like(w)) for w in weights]

    @tf.function
    def step(images, labels):
        with tf.GradientTape() as tape:
            x = convolve(tf.cast(images, dtype) / 255, *stem)
            gates = []
            for before, transform, gate, projection, stride in blocks:
                carry = x if projection is None else convolve(x, projection, stride=stride)
                h = convolve(normed(x, *before), *transform, stride=stride)
                t = tf.sigmoid(convolve(h, *gate))
                gates.append(tf.reduce_mean(tf.cast(t, tf.float32)))
                x = carry + t * (h - carry)
            pooled = tf.reduce_mean(normed(x, *last), [1, 2], keepdims=True)
            logits = tf.cast(convolve(pooled, *head)[:, 0, 0], tf.float32)
            wanted = tf.one_hot(labels, CLASSES) * (1 - SMOOTHING) + SMOOTHING / CLASSES
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(wanted, logits))
            loss += PENALTY * tf.add_n(gates)
        for weight, velocity, decays, slope in zip(
            weights, velocities, decayed, tape.gradient(loss, weights), strict=True
        ):
            slope = tf.convert_to_tensor(slope) + (DECAY * weight if decays else 0.0)
            velocity.assign(MOMENTUM * velocity + slope)
            weight.assign_sub(RATE * (slope + MOMENTUM * velocity))
        return loss

    return lambda images, labels: float(step(tf.constant(images), tf.constant(labels)))


def matmul(side: int, dtype):
    a, b = (tf.cast(tf.random.normal((side, side)), dtype) for _ in range(2))

    @tf.function
    def product(a, b):
        return tf.reduce_sum(tf.cast((a @ b)[:1, :1], tf.float32))

    return lambda: float(product(a, b))
